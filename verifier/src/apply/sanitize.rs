//! Programs without privileges: pointer arithmetic that holds on speculative paths too.
//!
//! Linux masks the number that is added to a pointer so that the result stays in bounds even where
//! the processor speculates. Whether it can decides about the program; the masked way, on which the
//! number is taken for 0, is followed too (`sanitize_ptr_alu`).

use super::alu::Operation;
use crate::check::{self, By, Range};
use crate::domain::Bounds;
use crate::explore::Sanitation;
use crate::reject::{ArithmeticReason, Reason};
use crate::state::{Flags, Kind, MAX_STACK_BYTES, Value};
use crate::step::Step;
use ebpfvm_asm::{AluOp, Operand, Reg};

/// What was found out before the pointer was moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    to_left: bool,
    sanitation: Option<Sanitation>,
}

/// Whether the instruction is never masked (`can_skip_alu_sanitation`, `sanitize_needed`).
fn is_exempt(step: &Step<'_, '_>, operation: &Operation) -> bool {
    !step.subject.is_speculation_followed()
        || matches!(operation.src, Operand::Imm(_))
        || !matches!(operation.op, AluOp::Add | AluOp::Sub)
        || step.past.insns[step.pc.index()].no_speculation
}

const fn verb(op: AluOp) -> &'static str {
    if matches!(op, AluOp::Add) { "add" } else { "sub" }
}

/// Remembers how an instruction must be masked (`update_alu_sanitation_state`).
fn remember(
    step: &mut Step<'_, '_>,
    operation: &Operation,
    sanitation: Sanitation,
) -> Result<(), Reason> {
    let known = &mut step.past.insn_mut(step.pc).sanitation;
    if known.is_some_and(|known| known != sanitation) {
        let (reg, verb) = (operation.dst.number(), verb(operation.op));
        return Err(ArithmeticReason::DifferentPaths { reg, verb }.into());
    }
    *known = Some(sanitation);
    Ok(())
}

/// Two numbers: not masked, on no path (`sanitize_val_alu`).
pub(crate) fn numbers(step: &mut Step<'_, '_>, operation: &Operation) -> Result<(), Reason> {
    if is_exempt(step, operation) {
        return Ok(());
    }
    remember(step, operation, Sanitation::Numbers)
}

/// Before a pointer is moved: whether it can be masked, and follows the masked way. The destination
/// is changed after it.
pub(crate) fn before_move(
    step: &mut Step<'_, '_>,
    operation: &Operation,
    pointer: &Value,
    by: &Value,
    pointer_first: bool,
) -> Result<Option<Window>, Reason> {
    if is_exempt(step, operation) {
        return Ok(None);
    }
    let (dst, is_constant) = (operation.dst, by.scalar.tnum.is_const());
    let mut window = Window { to_left: false, sanitation: None };
    if !step.state.speculative {
        let full = &by.scalar.full;
        let is_negative = full.smin < 0;
        if !is_constant && is_negative != (full.smax < 0) {
            let (_, number) = operands(operation, pointer_first);
            return Err(ArithmeticReason::MixedSigns { reg: number.number() }.into());
        }
        window.to_left = is_negative == (operation.op == AluOp::Add);
        let limit = limit(step, operation, pointer, window.to_left, pointer_first)?;
        let sanitation = Sanitation::Pointer { is_negative, is_constant, pointer_first, limit };
        window.sanitation = Some(sanitation);
        if !is_constant {
            // Other values may need other masks: those paths are followed too.
            step.past.follows_all_masks = true;
        }
    }
    if !is_constant {
        let mut masked = *pointer;
        if pointer_first {
            // Linux forgot them already, and finds them contradict the rest when the pointer is
            // copied.
            masked.scalar.half = Bounds::TOP;
        }
        follow_masked(step, dst, &masked)?;
    }
    Ok(Some(window))
}

/// After a pointer was moved: the mask is as wide as the way that it went, on all paths.
pub(crate) fn after_move(
    step: &mut Step<'_, '_>,
    operation: &Operation,
    moved: &Value,
    window: Option<Window>,
) -> Result<(), Reason> {
    let Some(Window { to_left, sanitation: Some(sanitation) }) = window else { return Ok(()) };
    let after = limit(step, operation, moved, to_left, true)?;
    let narrowed = match sanitation {
        Sanitation::Pointer { is_negative, is_constant, pointer_first, limit } => {
            let limit = (limit.wrapping_sub(after) as i32).unsigned_abs();
            Sanitation::Pointer { is_negative, is_constant, pointer_first, limit }
        }
        Sanitation::Numbers => sanitation,
    };
    remember(step, operation, narrowed)
}

/// Follows the way on which the number is taken for 0.
fn follow_masked(step: &mut Step<'_, '_>, dst: Reg, pointer: &Value) -> Result<(), Reason> {
    let next = step.pc.jump(0).ok_or_else(|| Reason::internal("no instruction follows"))?;
    match step.fork(next, true) {
        Ok(state) => {
            *state.reg_mut(dst) = *pointer;
            Ok(())
        }
        Err(reason) => {
            let (reg, pending) = (dst.number(), reason.to_string());
            Err(ArithmeticReason::NoSpeculation { reg, pending }.into())
        }
    }
}

/// The registers of the pointer and of the number.
fn operands(operation: &Operation, pointer_first: bool) -> (Reg, Reg) {
    let src = match operation.src {
        Operand::Reg(src) => src,
        Operand::Imm(_) => operation.dst,
    };
    if pointer_first { (operation.dst, src) } else { (src, operation.dst) }
}

/// How far the pointer may move (`retrieve_ptr_limit`).
fn limit(
    step: &Step<'_, '_>,
    operation: &Operation,
    pointer: &Value,
    to_left: bool,
    pointer_first: bool,
) -> Result<u32, Reason> {
    let full = &pointer.scalar.full;
    let (most, limit) = match pointer.kind {
        _ if pointer.flags != Flags::NONE => (None, 0),
        // The frame pointer itself is out of bounds, but a start for going down.
        Kind::Stack { .. } => {
            let at = (pointer.scalar.tnum.value() as i64).wrapping_add(pointer.offset.into());
            (Some(MAX_STACK_BYTES + u32::from(to_left)), at.wrapping_neg() as u32)
        }
        Kind::MapValue(map) => {
            let variable = if to_left { full.smin } else { full.umax as i64 };
            let at = variable.wrapping_add(pointer.offset.into());
            (Some(step.subject.map(map.map).def.value_bytes), at as u32)
        }
        _ => (None, 0),
    };
    match most {
        None => {
            let (pointer, _) = operands(operation, pointer_first);
            Err(ArithmeticReason::UnmaskedKind { reg: pointer.number() }.into())
        }
        Some(most) if limit >= most => {
            let (reg, verb) = (operation.dst.number(), verb(operation.op));
            Err(ArithmeticReason::BeyondBounds { reg, verb }.into())
        }
        Some(_) => Ok(limit),
    }
}

/// That a moved pointer can be masked later: it lies in its stack or map value
/// (`sanitize_check_bounds`).
pub(crate) fn check_bounds(step: &mut Step<'_, '_>, dst: Reg) -> Result<(), Reason> {
    if !step.subject.is_speculation_followed() {
        return Ok(());
    }
    let moved = *step.reg(dst);
    let reg = dst.number();
    if moved.flags != Flags::NONE {
        return Ok(());
    }
    match moved.kind {
        Kind::Stack { .. } => {
            let tnum = moved.scalar.tnum;
            let offset = i64::from(moved.offset).wrapping_add(tnum.value() as i64);
            if !tnum.is_const() {
                let bits = format!("({:#x}; {:#x})", tnum.value(), tnum.mask());
                return Err(ArithmeticReason::VariableStack { reg, bits, offset }.into());
            }
            if offset >= 0 || offset < -i64::from(MAX_STACK_BYTES) {
                return Err(ArithmeticReason::BeyondStack { reg, offset }.into());
            }
            Ok(())
        }
        Kind::MapValue(_) => {
            let range = Range { offset: moved.offset, bytes: 1, zero_allowed: false };
            let access = check::map_value(step.subject, &moved, dst, range, By::Helper);
            access.map_err(|reason| match reason {
                Reason::Unsupported(_) => reason,
                _ => ArithmeticReason::BeyondMapValue { reg, access: reason.to_string() }.into(),
            })
        }
        _ => Ok(()),
    }
}
