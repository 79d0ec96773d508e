//! Single operations made simpler: numbers computed, identities, cheaper operations that do the same.
//!
//! `constant` says what registers are known to hold before the operation.

use crate::ir::{Address, Binary, Check, Cond, Fill, Op, Operand, Place, Reg};
use crate::state::FRAME_BYTES;
use ebpfvm_asm::semantics::{alu, jump, movsx, neg, sign_extend, zero_extend};
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

/// The size of a value of this width.
pub(super) fn size_of(width: Width) -> Size {
    match width {
        Width::W32 => Size::W,
        Width::W64 => Size::Dw,
    }
}

/// The immediate that stands for a value at this size.
pub(super) fn immediate(value: u64, size: Size) -> Option<i32> {
    i32::try_from(sign_extend(size, value) as i64).ok()
}

/// Whether operands may change places.
pub(super) fn is_commutative(op: Binary) -> bool {
    use AluOp::{Add, And, Mul, Or, Xor};
    matches!(op, Binary::Alu(Add | And | Mul | Or | Xor))
}

/// The comparison that holds for exchanged operands.
pub(super) fn mirrored(op: JmpOp) -> JmpOp {
    match op {
        JmpOp::Gt => JmpOp::Lt,
        JmpOp::Ge => JmpOp::Le,
        JmpOp::Lt => JmpOp::Gt,
        JmpOp::Le => JmpOp::Ge,
        JmpOp::Sgt => JmpOp::Slt,
        JmpOp::Sge => JmpOp::Sle,
        JmpOp::Slt => JmpOp::Sgt,
        JmpOp::Sle => JmpOp::Sge,
        JmpOp::Eq | JmpOp::Ne | JmpOp::Set => op,
    }
}

/// The result of an operation on registers, if they are all known.
pub(super) fn compute(op: &Op, constant: impl Fn(Reg) -> Option<u64>) -> Option<u64> {
    let operand = |operand| match operand {
        Operand::Reg(reg) => constant(reg),
        Operand::Imm(imm) => Some(i64::from(imm) as u64),
    };
    Some(match *op {
        Op::Const { value, .. } => value,
        Op::Move { width, src, .. } => zero_extend(size_of(width), constant(src)?),
        Op::Extend { size, fill: Fill::Zero, src, .. } => zero_extend(size, constant(src)?),
        Op::Extend { size, fill: Fill::Sign(width), src, .. } => movsx(width, size, constant(src)?),
        Op::Swap { size, src, .. } => constant(src)?.swap_bytes() >> (64 - size.bits()),
        Op::Neg { width, src, .. } => neg(width, constant(src)?),
        Op::Bits { shift, bits, src, .. } => (constant(src)? >> shift) & (u64::MAX >> (64 - bits)),
        Op::Binary { op, width, lhs, rhs, .. } => binary(op, width, constant(lhs)?, operand(rhs)?)?,
        Op::Lea { width, at, .. } => {
            let index = match at.index {
                Some((index, scale)) => constant(index)? << scale,
                None => 0,
            };
            let sum = constant(at.base)?.wrapping_add(index);
            zero_extend(size_of(width), sum.wrapping_add(i64::from(at.offset) as u64))
        }
        _ => return None,
    })
}

fn binary(op: Binary, width: Width, lhs: u64, rhs: u64) -> Option<u64> {
    Some(match (op, width) {
        (Binary::Alu(op), _) => alu(width, op, lhs, rhs),
        (Binary::AndNot, _) => zero_extend(size_of(width), lhs & !rhs),
        (Binary::Rotl, Width::W32) => (lhs as u32).rotate_left(rhs as u32 % 32).into(),
        (Binary::Rotl, Width::W64) => lhs.rotate_left(rhs as u32 % 64),
        (Binary::MulHigh | Binary::SmulHigh, _) => return None,
    })
}

/// Puts a simpler operation in its place.
pub(super) fn simplify(op: &mut Op, constant: impl Fn(Reg) -> Option<u64>) {
    match *op {
        Op::Binary { op: binary, width, dst, lhs, rhs: Operand::Reg(rhs) } => {
            if let Some(new) = same_operands(binary, width, dst, lhs, rhs) {
                *op = new;
            } else if binary == Binary::Alu(AluOp::And)
                && width == Width::W64
                && let Some((src, 0xffff_ffff)) = constant(rhs)
                    .map(|value| (lhs, value))
                    .or_else(|| constant(lhs).map(|value| (rhs, value)))
            {
                *op = Op::Move { width: Width::W32, dst, src };
            }
        }
        Op::Binary { op: binary, width, dst, lhs, rhs: Operand::Imm(imm) } => {
            *op = with_immediate(binary, width, dst, lhs, imm);
        }
        Op::Lea { width: Width::W64, dst, at: Address { base, index: None, offset: 0 } } => {
            *op = Op::Move { width: Width::W64, dst, src: base };
        }
        Op::Select { cond, dst, then, other } => {
            let mut cond = cond;
            simplify_cond(&mut cond);
            let is_register = matches!(cond.lhs, Place::Reg(_));
            let src = match decide(&cond, constant) {
                Some(true) => Some(then),
                Some(false) => Some(other),
                None if then == other && is_register => Some(then),
                None => None,
            };
            *op = match src {
                Some(src) => Op::Move { width: Width::W64, dst, src },
                None => Op::Select { cond, dst, then, other },
            };
        }
        _ => {}
    }
    if let Op::Move { width: Width::W64, dst, src } = *op
        && dst == src
    {
        *op = Op::Nop;
    }
}

fn same_operands(op: Binary, width: Width, dst: Reg, lhs: Reg, rhs: Reg) -> Option<Op> {
    if lhs != rhs {
        return None;
    }
    match op {
        Binary::Alu(AluOp::Xor | AluOp::Sub) | Binary::AndNot => Some(Op::Const { dst, value: 0 }),
        Binary::Alu(AluOp::And | AluOp::Or) => Some(Op::Move { width, dst, src: lhs }),
        _ => None,
    }
}

/// An operation with an immediate, or what does the same.
fn with_immediate(op: Binary, width: Width, dst: Reg, lhs: Reg, imm: i32) -> Op {
    use AluOp::*;
    let unchanged = Op::Move { width, dst, src: lhs };
    let number = |value: u64| Op::Const { dst, value: zero_extend(size_of(width), value) };
    let binary =
        |op, imm| Op::Binary { op: Binary::Alu(op), width, dst, lhs, rhs: Operand::Imm(imm) };
    let times = |scale| Op::Lea {
        width,
        dst,
        at: Address { base: lhs, index: Some((lhs, scale)), offset: 0 },
    };
    // The count of a shift as the hardware takes it.
    let count = imm & (width.bits() as i32 - 1);
    let same = Op::Binary { op, width, dst, lhs, rhs: Operand::Imm(imm) };
    let Binary::Alu(op) = op else {
        return match op {
            Binary::AndNot => with_immediate(Binary::Alu(And), width, dst, lhs, !imm),
            Binary::Rotl if count == 0 => unchanged,
            _ => same,
        };
    };
    match (op, imm) {
        (Add | Sub | Or | Xor, 0) | (Mul | Div | Sdiv, 1) | (And, -1) => unchanged,
        (Lsh | Rsh | Arsh, _) if count == 0 => unchanged,
        (Lsh | Rsh | Arsh, _) => binary(op, count),
        (And | Mul | Div | Sdiv, 0) | (Mod | Smod, 1) | (Smod, -1) => number(0),
        (Mod | Smod, 0) => unchanged,
        (Or, -1) => number(u64::MAX),
        (Mul | Sdiv, -1) => Op::Neg { width, dst, src: lhs },
        (Mul, 3) => times(1),
        (Mul, 5) => times(2),
        (Mul, 9) => times(3),
        (Mul, 2..) if imm & (imm - 1) == 0 => binary(Lsh, imm.trailing_zeros() as i32),
        (Sub, _) if imm != i32::MIN => binary(Add, -imm),
        _ => same,
    }
}

/// Comparisons with the ends of the range.
pub(super) fn simplify_cond(cond: &mut Cond) {
    (cond.op, cond.rhs) = match (cond.op, cond.rhs) {
        (JmpOp::Gt, Operand::Imm(0)) | (JmpOp::Ge, Operand::Imm(1)) => (JmpOp::Ne, Operand::Imm(0)),
        (JmpOp::Le, Operand::Imm(0)) | (JmpOp::Lt, Operand::Imm(1)) => (JmpOp::Eq, Operand::Imm(0)),
        (JmpOp::Set, Operand::Imm(-1)) => (JmpOp::Ne, Operand::Imm(0)),
        other => other,
    };
}

/// Whether a condition holds, if that is known.
pub(super) fn decide(cond: &Cond, constant: impl Fn(Reg) -> Option<u64>) -> Option<bool> {
    let Place::Reg(lhs) = cond.lhs else { return None };
    if cond.rhs == Operand::Reg(lhs) {
        return match cond.op {
            JmpOp::Eq | JmpOp::Ge | JmpOp::Le | JmpOp::Sge | JmpOp::Sle => Some(true),
            JmpOp::Ne | JmpOp::Gt | JmpOp::Lt | JmpOp::Sgt | JmpOp::Slt => Some(false),
            JmpOp::Set => None,
        };
    }
    let rhs = match cond.rhs {
        Operand::Reg(rhs) => constant(rhs),
        Operand::Imm(imm) => Some(i64::from(imm) as u64),
    };
    let width = if cond.size == Size::W { Width::W32 } else { Width::W64 };
    match (cond.op, rhs, constant(lhs)) {
        (op, Some(rhs), Some(lhs)) => Some(jump(width, op, lhs, rhs)),
        (JmpOp::Ge, Some(0), _) => Some(true),
        (JmpOp::Lt | JmpOp::Set, Some(0), _) => Some(false),
        _ => None,
    }
}

/// Takes the check from an access that is seen to be in the frame.
pub(super) fn check_in_frame(check: &mut Check, at: Address, size: Size) {
    let inside = -(FRAME_BYTES as i32)..=-(size.bytes() as i32);
    if at.base == Reg::FP && at.index.is_none() && inside.contains(&at.offset) {
        *check = Check::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::binary as evaluate;

    const VALUES: [u64; 12] = [
        0,
        1,
        2,
        7,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        1 << 63,
        u64::MAX,
        0x0123_4567_89ab_cdef,
        u64::MAX - 1,
    ];

    /// What a simplified operation gives, as the evaluator sees it.
    fn value_of(op: &Op, lhs: u64) -> u64 {
        match *op {
            Op::Binary { op, width, rhs: Operand::Imm(imm), .. } => {
                evaluate(op, width, lhs, i64::from(imm) as u64)
            }
            _ => compute(op, |_| Some(lhs)).expect("an operation on registers"),
        }
    }

    #[test]
    fn operations_with_immediates_stay_what_they_are() {
        let ops = AluOp::ALL.into_iter().filter(|op| *op != AluOp::Mov).map(Binary::Alu);
        let numbers = [0, 1, -1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 63, 64, 65, 100, i32::MIN, i32::MAX];
        for op in ops.chain([Binary::Rotl, Binary::AndNot]) {
            for (imm, width) in numbers.iter().flat_map(|n| Width::ALL.map(|width| (*n, width))) {
                let (dst, lhs) = (Reg::R1, Reg::R2);
                let mut simple = Op::Binary { op, width, dst, lhs, rhs: Operand::Imm(imm) };
                simplify(&mut simple, |_| None);
                for value in VALUES {
                    let expected = evaluate(op, width, value, i64::from(imm) as u64);
                    assert_eq!(value_of(&simple, value), expected, "{op} {imm} {width:?} {value}");
                }
            }
        }
    }

    #[test]
    fn comparisons_stay_what_they_are() {
        for op in JmpOp::ALL {
            for (imm, size) in [0, 1, -1].iter().flat_map(|n| [(*n, Size::W), (*n, Size::Dw)]) {
                let lhs = Place::Reg(Reg::R1);
                let before = Cond { op, size, lhs, rhs: Operand::Imm(imm) };
                let mut after = before;
                simplify_cond(&mut after);
                let unknown = decide(&after, |_| None);
                for value in VALUES {
                    let expected = decide(&before, |_| Some(value));
                    assert_eq!(decide(&after, |_| Some(value)), expected);
                    assert!(unknown.is_none() || unknown == expected);
                    let width = if size == Size::W { Width::W32 } else { Width::W64 };
                    for other in VALUES {
                        let mirrored = jump(width, mirrored(op), other, value);
                        assert_eq!(mirrored, jump(width, op, value, other));
                    }
                }
            }
        }
    }
}
