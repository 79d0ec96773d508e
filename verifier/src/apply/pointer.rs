//! Arithmetic on a pointer and a number (`adjust_ptr_min_max_vals`).

use super::alu::{Operation, symbol};
use super::sanitize;
use crate::domain::{self, Bounds};
use crate::reject::{ArithmeticReason, Reason};
use crate::state::{Flags, Kind, Value};
use crate::step::Step;
use ebpfvm_asm::{AluOp, Width};

/// Offsets must stay below this, either way (`BPF_MAX_VAR_OFF`).
pub(crate) const MAX_OFFSET: i64 = 1 << 29;

/// Puts what comes of a pointer and a number into the destination. `pointer_first` tells whether the
/// pointer was there before.
///
/// # Errors
/// If the pointer may not be moved so.
pub(crate) fn adjust(
    step: &mut Step<'_, '_>,
    operation: Operation,
    pointer: Value,
    by: Value,
    pointer_first: bool,
) -> Result<(), Reason> {
    let Operation { width, op, dst, .. } = operation;
    let reg = dst.number();
    let known = by.scalar.as_const();
    let bounds = &by.scalar.full;
    if (known.is_some() && (bounds.smin != bounds.smax || bounds.umin != bounds.umax))
        || bounds.is_empty()
    {
        // Nothing is known on a way that is never taken.
        step.write_unknown(dst);
        return Ok(());
    }
    if width == Width::W32 {
        if op == AluOp::Sub && step.subject.options.privileges.may_leak_pointers() {
            step.write_unknown(dst);
            return Ok(());
        }
        return Err(ArithmeticReason::NarrowPointer { reg }.into());
    }
    if pointer.may_be_null() {
        let kind = pointer.type_name().to_string();
        return Err(ArithmeticReason::MaybeNull { reg, kind }.into());
    }
    if matches!(pointer.kind, Kind::Mem { .. }) && pointer.flags.has(Flags::UNTRUSTED) {
        // Reads of such memory cannot fail, so that its offsets are not followed.
        if !pointer_first {
            step.write_unknown(dst);
        }
        return Ok(());
    }
    if !may_move(&pointer, op, known) {
        let kind = pointer.type_name().to_string();
        return Err(ArithmeticReason::PointerKind { reg, kind }.into());
    }
    check_sane(&by, &pointer)?;
    check_sane(&pointer, &pointer)?;
    let window = sanitize::before_move(step, &operation, &pointer, &by, pointer_first)?;
    let moved = match op {
        AluOp::Add => add(step, &pointer, &by),
        AluOp::Sub if !pointer_first => {
            return Err(ArithmeticReason::SubtractedPointer { reg }.into());
        }
        // Engines need not be able to address above a frame.
        AluOp::Sub if matches!(pointer.kind, Kind::Stack { .. }) => {
            return Err(ArithmeticReason::StackSubtraction { reg }.into());
        }
        AluOp::Sub => sub(step, &pointer, &by),
        AluOp::And | AluOp::Or | AluOp::Xor => {
            return Err(ArithmeticReason::PointerBits { reg, op: symbol(op) }.into());
        }
        _ => return Err(ArithmeticReason::PointerOperator { reg, op: symbol(op) }.into()),
    };
    check_sane(&moved, &pointer)?;
    let mut moved = moved;
    moved.scalar.sync();
    step.write(dst, moved);
    sanitize::check_bounds(step, dst)?;
    sanitize::after_move(step, &operation, &moved, window)
}

/// Whether pointers of this kind can be moved by the number.
fn may_move(pointer: &Value, op: AluOp, known: Option<u64>) -> bool {
    match pointer.kind {
        Kind::Ctx
        | Kind::MapValue(_)
        | Kind::MapKey(_)
        | Kind::Stack { .. }
        | Kind::Packet { .. }
        | Kind::PacketMeta { .. }
        | Kind::TpBuffer
        | Kind::Mem { .. }
        | Kind::Buf
        | Kind::Func(_)
        | Kind::Dynptr { .. } => true,
        Kind::FlowKeys => known.is_some(),
        Kind::MapPtr(_) => known == Some(0) && op == AluOp::Add,
        Kind::Uninit
        | Kind::Scalar
        | Kind::PacketEnd
        | Kind::Sock
        | Kind::SockCommon
        | Kind::TcpSock
        | Kind::XdpSock => false,
    }
}

/// That an offset is near enough (`check_reg_sane_offset`): of a pointer, or what is added to one.
fn check_sane(value: &Value, pointer: &Value) -> Result<(), Reason> {
    let limits = -MAX_OFFSET + 1..MAX_OFFSET;
    let kind = || pointer.type_name().to_string();
    let smin = value.scalar.full.smin;
    let reason = match value.scalar.as_const() {
        Some(by) if !limits.contains(&(by as i64)) => {
            ArithmeticReason::FarConstant { kind: kind(), by: by as i64 }
        }
        _ if !limits.contains(&value.offset.into()) => {
            ArithmeticReason::FarOffset { kind: kind(), offset: value.offset }
        }
        _ if smin == i64::MIN => ArithmeticReason::UnboundedMin { kind: kind() },
        _ if !limits.contains(&smin) => ArithmeticReason::FarMin { kind: kind(), min: smin },
        _ => return Ok(()),
    };
    Err(reason.into())
}

fn add(step: &mut Step<'_, '_>, pointer: &Value, by: &Value) -> Value {
    let fixed =
        by.scalar.as_const().and_then(|by| i64::from(pointer.offset).checked_add(by as i64));
    if let Some(offset) = fixed.and_then(|offset| i32::try_from(offset).ok()) {
        return with_offset(pointer, offset);
    }
    let scalar = domain::pointer_add(pointer.scalar, by.scalar);
    rebased(step, Value { scalar, ..*pointer }, true)
}

fn sub(step: &mut Step<'_, '_>, pointer: &Value, by: &Value) -> Value {
    let fixed =
        by.scalar.as_const().and_then(|by| i64::from(pointer.offset).checked_sub(by as i64));
    if let Some(offset) = fixed.and_then(|offset| i32::try_from(offset).ok()) {
        return with_offset(pointer, offset);
    }
    let scalar = domain::pointer_sub(pointer.scalar, by.scalar);
    // What lay before a place in the packet lies there still.
    let mut moved = rebased(step, Value { scalar, ..*pointer }, by.scalar.full.smin < 0);
    forget_end(&mut moved);
    moved
}

/// Pointers have no bounds of the lower half.
fn with_offset(pointer: &Value, offset: i32) -> Value {
    let mut moved = Value { offset, ..*pointer };
    if offset < pointer.offset {
        forget_end(&mut moved);
    }
    moved.scalar.half = Bounds::TOP;
    moved
}

/// A pointer at the end of the packet or beyond that moves back may lie before it again. Linux 6.18
/// goes on as if it did not, and takes code for dead that is not.
fn forget_end(moved: &mut Value) {
    if let Kind::Packet { range } = &mut moved.kind {
        *range = (*range).max(0);
    }
}

/// A packet pointer with a new variable offset is another base, and may have lost its range.
fn rebased(step: &mut Step<'_, '_>, mut moved: Value, loses_range: bool) -> Value {
    if let Kind::Packet { range } | Kind::PacketMeta { range } = &mut moved.kind {
        if loses_range {
            *range = 0;
        }
        moved.id = step.past.new_id();
    }
    moved
}
