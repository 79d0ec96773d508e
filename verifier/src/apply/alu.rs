//! Arithmetic on numbers, and moves (`check_alu_op`).

use super::{linked, pointer, sanitize};
use crate::domain::{self, Scalar};
use crate::reject::{ArithmeticReason, Reason};
use crate::state::{Kind, Link, Value};
use crate::step::{Flow, Step};
use ebpfvm_asm::{AluOp, ByteOrder, EndianOp, Operand, Reg, Size, Width, semantics};
use ebpfvm_spec::load_flags;

/// `dst = dst op src`
pub(crate) fn alu(
    step: &mut Step<'_, '_>,
    width: Width,
    op: AluOp,
    dst: Reg,
    src: Operand,
) -> Result<Flow, Reason> {
    if op == AluOp::Mov {
        return mov(step, width, dst, src);
    }
    let by = operand(step, src)?;
    let value = step.read(dst)?;
    check_immediate(width, op, src)?;
    step.check_writable(dst)?;
    let operation = Operation { width, op, dst, src };
    match (value.is_number(), by.is_number()) {
        (true, true) => numbers(step, operation, value, by)?,
        (false, false) => {
            // Differences of pointers are numbers; nothing else makes sense of two.
            if op != AluOp::Sub || !step.subject.options.privileges.may_leak_pointers() {
                let (reg, op) = (dst.number(), symbol(op));
                return Err(ArithmeticReason::TwoPointers { reg, op }.into());
            }
            step.write_unknown(dst);
        }
        (true, false) => {
            step.mark_precise(dst)?;
            pointer::adjust(step, operation, by, value, false)?;
        }
        (false, true) => {
            if let Operand::Reg(src) = src {
                step.mark_precise(src)?;
            }
            pointer::adjust(step, operation, value, by, true)?;
        }
    }
    settle(step, dst)
}

/// An arithmetic instruction with two operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) width: Width,
    pub(crate) op: AluOp,
    pub(crate) dst: Reg,
    pub(crate) src: Operand,
}

/// An operation as messages write it (`bpf_alu_string`).
pub(crate) const fn symbol(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div | AluOp::Sdiv => "/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod | AluOp::Smod => "%=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
        AluOp::Arsh => "s>>=",
    }
}

fn operand(step: &mut Step<'_, '_>, src: Operand) -> Result<Value, Reason> {
    match src {
        Operand::Reg(reg) => step.read(reg),
        Operand::Imm(imm) => Ok(Value::constant(semantics::immediate(imm))),
    }
}

fn check_immediate(width: Width, op: AluOp, src: Operand) -> Result<(), Reason> {
    let Operand::Imm(imm) = src else { return Ok(()) };
    match op {
        AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod if imm == 0 => {
            Err(ArithmeticReason::DivisionByZero.into())
        }
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if imm < 0 || imm as u32 >= width.bits() => {
            Err(ArithmeticReason::Shift { by: imm }.into())
        }
        _ => Ok(()),
    }
}

/// Arithmetic on two numbers (`adjust_scalar_min_max_vals`).
fn numbers(
    step: &mut Step<'_, '_>,
    operation: Operation,
    value: Value,
    by: Value,
) -> Result<(), Reason> {
    let Operation { width, op, dst, src } = operation;
    if value.precise
        && let Operand::Reg(src) = src
    {
        step.mark_precise(src)?;
    }
    sanitize::numbers(step, &operation)?;
    let mut operand = value.scalar;
    if let Some((first, second)) = domain::fork_sign(op, value.scalar, by.scalar) {
        let other = step.fork(step.pc, false)?.reg_mut(dst);
        other.scalar = second;
        if second.as_const().is_some() {
            linked::unlink(other);
        }
        operand = first;
    }
    let scalar = domain::alu(width, op, operand, by.scalar);
    let is_followed = match op {
        AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => false,
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => scalar != Scalar::TOP,
        _ => true,
    };
    if !is_followed {
        step.write_unknown(dst);
        return Ok(());
    }
    let mut result = Value { scalar, ..value };
    match difference(step, &operation, &value, &by) {
        Some((link, delta)) => {
            result.link = link;
            result.offset = delta;
        }
        None => linked::unlink(&mut result),
    }
    step.write(dst, result);
    Ok(())
}

/// How the result stays linked to what the operand was linked to: by a constant that was added,
/// once.
fn difference(
    step: &Step<'_, '_>,
    operation: &Operation,
    value: &Value,
    by: &Value,
) -> Option<(Link, i32)> {
    let Operation { width, op, dst, src } = *operation;
    if !step.subject.options.privileges.bpf
        || value.id == 0
        || value.link != Link::Equal
        || src == Operand::Reg(dst)
    {
        return None;
    }
    let delta = match width {
        Width::W64 => i32::try_from(by.scalar.as_const()? as i64).ok()?,
        // What is cut off of the operand would be missing in the others.
        Width::W32 if value.scalar.full.umax > u64::from(u32::MAX) => return None,
        Width::W32 => by.scalar.tnum.low().as_const()? as i32,
    };
    let delta = match op {
        AluOp::Add => delta,
        AluOp::Sub => delta.checked_neg()?,
        _ => return None,
    };
    let link = match width {
        Width::W32 => Link::Plus32,
        Width::W64 => Link::Plus64,
    };
    Some((link, delta))
}

/// Forgets bounds that contradict themselves (`reg_bounds_sanity_check`).
fn settle(step: &mut Step<'_, '_>, dst: Reg) -> Result<Flow, Reason> {
    if step.reg(dst).scalar.contradiction().is_some()
        && let Some(violation) = step.state.reg_mut(dst).scalar.settle()
    {
        report_violation(step, "alu", &violation)?;
    }
    Ok(Flow::Next)
}

/// Writes that bounds contradict themselves, or refuses the program if its load asks for it.
///
/// # Errors
/// [`ArithmeticReason::Invariants`]
pub(crate) fn report_violation(
    step: &mut Step<'_, '_>,
    what: &'static str,
    violation: &domain::Violation,
) -> Result<(), Reason> {
    if step.subject.has_flag(load_flags::TEST_REG_INVARIANTS) {
        let violation = violation.to_string();
        return Err(ArithmeticReason::Invariants { what, violation }.into());
    }
    step.past
        .log
        .write(format_args!("verifier bug: REG INVARIANTS VIOLATION ({what}): {violation}\n"));
    Ok(())
}

/// `dst = src`
fn mov(step: &mut Step<'_, '_>, width: Width, dst: Reg, src: Operand) -> Result<Flow, Reason> {
    let src = match src {
        Operand::Imm(imm) => {
            step.check_writable(dst)?;
            let number = semantics::alu(width, AluOp::Mov, 0, semantics::immediate(imm));
            let precise = !step.subject.options.privileges.bpf;
            step.write(dst, Value { precise, ..Value::constant(number) });
            return Ok(Flow::Next);
        }
        Operand::Reg(src) => src,
    };
    let value = step.read(src)?;
    step.check_writable(dst)?;
    match width {
        Width::W64 => {
            let value = copied(step, src, value);
            step.write(dst, value);
        }
        Width::W32 => {
            if step.is_secret(&value) {
                return Err(ArithmeticReason::PartialCopy { reg: src.number() }.into());
            }
            if value.is_number() {
                // Linked only if nothing is cut off.
                let fits = value.scalar.full.umax <= u64::from(u32::MAX);
                let mut copy = if fits { copied(step, src, value) } else { value };
                if !fits {
                    linked::unlink(&mut copy);
                }
                copy.scalar = copy.scalar.zero_extend_half();
                step.write(dst, copy);
            } else {
                let unknown = step.unknown();
                let scalar = unknown.scalar.zero_extend_half();
                step.write(dst, Value { scalar, ..unknown });
            }
        }
    }
    settle(step, dst)
}

/// The value for a copy of a register; a number gets an id if it has none.
fn copied(step: &mut Step<'_, '_>, src: Reg, mut value: Value) -> Value {
    if value.is_number() {
        let before = (value.id, value.link);
        linked::prepare_copy(&mut value, || step.past.new_id());
        if (value.id, value.link) != before {
            *step.state.reg_mut(src) = value;
        }
    }
    value
}

/// `dst = (sN)src`
pub(crate) fn movsx(
    step: &mut Step<'_, '_>,
    width: Width,
    from: Size,
    dst: Reg,
    src: Reg,
) -> Result<Flow, Reason> {
    let value = step.read(src)?;
    step.check_writable(dst)?;
    if step.is_secret(&value) {
        let reg = src.number();
        return Err(match width {
            Width::W64 => ArithmeticReason::PointerSignExtension { reg },
            Width::W32 => ArithmeticReason::PartialCopy { reg },
        }
        .into());
    }
    if value.is_number() {
        let is_unchanged = value.scalar.full.umax < 1 << (from.bits() - 1);
        let mut copy = if is_unchanged { copied(step, src, value) } else { value };
        if !is_unchanged {
            linked::unlink(&mut copy);
        }
        copy.scalar = domain::movsx(width, from, copy.scalar);
        step.write(dst, copy);
    } else {
        let unknown = step.unknown();
        let scalar = match width {
            Width::W64 => unknown.scalar,
            Width::W32 => unknown.scalar.zero_extend_half(),
        };
        step.write(dst, Value { scalar, ..unknown });
    }
    settle(step, dst)
}

/// `dst = -dst`
pub(crate) fn neg(step: &mut Step<'_, '_>, width: Width, dst: Reg) -> Result<Flow, Reason> {
    change(step, dst, |value| {
        value.scalar = domain::neg(width, value.scalar);
        linked::unlink(value);
    })
}

/// Byte order.
pub(crate) fn endian(
    step: &mut Step<'_, '_>,
    op: EndianOp,
    size: Size,
    dst: Reg,
) -> Result<Flow, Reason> {
    change(step, dst, |value| {
        let scalar = domain::endian(ByteOrder::HOST, op, size, value.scalar);
        // A conversion of the whole register to its own order changes nothing.
        let probe = 0x0102_0304_0506_0708;
        if size != Size::Dw || semantics::endian(ByteOrder::HOST, op, size, probe) != probe {
            linked::unlink(value);
        }
        value.scalar = scalar;
    })
}

/// An operation with one operand; makes a number of a pointer.
fn change(step: &mut Step<'_, '_>, dst: Reg, how: impl FnOnce(&mut Value)) -> Result<Flow, Reason> {
    let mut value = step.read(dst)?;
    if step.is_secret(&value) {
        return Err(ArithmeticReason::PointerOperand { reg: dst.number() }.into());
    }
    step.check_writable(dst)?;
    if value.kind == Kind::Scalar {
        how(&mut value);
        step.write(dst, value);
    } else {
        step.write_unknown(dst);
    }
    settle(step, dst)
}
