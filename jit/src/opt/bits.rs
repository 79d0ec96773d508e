//! Bit fields: shift and mask in one operation, and comparisons of masked values with zero.
//!
//! Sound: a field that is taken out of another value is the same bits of it; the register that is
//! read still has that value. What is joined is read nowhere else, so that no work is done twice.

use super::Given;
use super::kinds::{Kinds, Summary};
use super::local::{Value, Values};
use crate::ir::{Binary, Block, Cond, End, Fill, Inst, Op, Operand, Place, Reg, Unit};
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    let live = unit.live();
    let rules = live.rules();
    let mut values = Values::new(unit);
    let mut turned = false;
    for number in 0..unit.blocks.len() {
        if !has_any(&unit.blocks[number]) {
            continue;
        }
        let mut insts = std::mem::take(&mut unit.blocks[number].insts);
        let end = unit.blocks[number].end;
        let uses = |op: &Op| rules.uses(unit, op);
        values.enter_counting(&insts, uses, rules.end(&end), live.after(number));
        for at in 0..insts.len() {
            if let Some(op) = field(&values, &insts, &insts[at].op) {
                insts[at].op = op;
            }
            if let Op::Select { mut cond, dst, mut then, mut other } = insts[at].op {
                if narrow(&values, &insts, &mut cond) {
                    std::mem::swap(&mut then, &mut other);
                }
                insts[at].op = Op::Select { cond, dst, then, other };
            }
            values.step(at, &insts[at].op);
        }
        if let End::Branch { cond, then, other } = &mut unit.blocks[number].end
            && narrow(&values, &insts, cond)
        {
            std::mem::swap(then, other);
            turned = true;
        }
        unit.blocks[number].insts = insts;
    }
    unit.keeps_live();
    if !turned {
        unit.keeps_shape();
    }
}

/// Whether there is a field, or a difference that may be compared with zero.
fn has_any(block: &Block) -> bool {
    let all = Summary::of(&block.insts);
    let compares = || {
        all.has(Kinds::SELECT)
            || matches!(block.end, End::Branch { cond: Cond { rhs: Operand::Imm(0), .. }, .. })
    };
    all.has(Kinds::MASK.or(Kinds::RIGHT).or(Kinds::EXTEND))
        || all.has(Kinds::DIFFERENCE) && compares()
}

/// The bits of a value.
struct Field {
    src: Value,
    shift: u32,
    bits: u32,
}

/// The bits that an operation takes, if it takes some in a row and fills up with zeros.
fn bits_of(op: &Op, src: Value) -> Option<Field> {
    let (shift, bits) = match *op {
        Op::Binary { op: Binary::Alu(AluOp::And), rhs: Operand::Imm(imm @ 1..), .. } => {
            if imm & imm.wrapping_add(1) != 0 {
                return None;
            }
            (0, imm.trailing_ones())
        }
        Op::Binary { op: Binary::Alu(AluOp::Rsh), width, rhs: Operand::Imm(imm), .. } => {
            let shift = imm as u32 & (width.bits() - 1);
            (shift, width.bits() - shift)
        }
        Op::Extend { size, fill: Fill::Zero, .. } => (0, size.bits()),
        Op::Move { width: Width::W32, .. } => (0, 32),
        Op::Bits { shift, bits, .. } => (shift.into(), bits.into()),
        _ => return None,
    };
    Some(Field { src, shift, bits })
}

/// A field of an earlier value in place of a field of a field, or of a value shifted to the left.
fn field(values: &Values, insts: &[Inst], op: &Op) -> Option<Op> {
    let (dst, src) = match *op {
        Op::Binary { dst, lhs, .. } => (dst, lhs),
        Op::Extend { dst, src, .. } | Op::Move { dst, src, .. } | Op::Bits { dst, src, .. } => {
            (dst, src)
        }
        _ => return None,
    };
    let value = values.of(src);
    let outer = bits_of(op, value)?;
    let joined = |inner: &Op, [src, _]: [Value; 2]| match *inner {
        Op::Binary { op: Binary::Alu(AluOp::Lsh), width, rhs: Operand::Imm(imm), .. } => {
            let left = imm as u32 & (width.bits() - 1);
            let end = (outer.shift + outer.bits).min(width.bits());
            if outer.shift < left || end <= outer.shift {
                return None;
            }
            Some(Field { src, shift: outer.shift - left, bits: end - outer.shift })
        }
        _ => {
            let inner = bits_of(inner, src)?;
            let bits = inner.bits.checked_sub(outer.shift)?.min(outer.bits);
            (bits > 0).then_some(Field { src: inner.src, shift: inner.shift + outer.shift, bits })
        }
    };
    if values.has_one_reader(value)
        && let Some((inner, args)) = values.made_by(insts, value)
        && let Some(field) = joined(inner, args)
        && let Some(src) = values.find(field.src, dst)
    {
        return Some(take(dst, src, field.shift, field.bits));
    }
    // Masks have moves of their own.
    match op {
        Op::Binary { op: Binary::Alu(AluOp::And), .. } if matches!(outer.bits, 8 | 16) => {
            Some(take(dst, src, 0, outer.bits))
        }
        _ => None,
    }
}

/// `dst = so many bits of src`
fn take(dst: Reg, src: Reg, shift: u32, bits: u32) -> Op {
    let rhs = Operand::Imm(shift as i32);
    let right = |width| Op::Binary { op: Binary::Alu(AluOp::Rsh), width, dst, lhs: src, rhs };
    match (shift, bits) {
        (0, 64) => Op::Move { width: Width::W64, dst, src },
        (0, 32) => Op::Move { width: Width::W32, dst, src },
        (0, 16) => Op::Extend { size: Size::H, fill: Fill::Zero, dst, src },
        (0, 8) => Op::Extend { size: Size::B, fill: Fill::Zero, dst, src },
        (1..=31, bits) if shift + bits == 32 => right(Width::W32),
        (1..=63, bits) if shift + bits == 64 => right(Width::W64),
        _ => Op::Bits { shift: shift as u8, bits: bits as u8, dst, src },
    }
}

/// Makes a comparison of a masked value with zero a test of bits, and one of a difference a
/// comparison. Whether it is then the other way round.
fn narrow(values: &Values, insts: &[Inst], cond: &mut Cond) -> bool {
    let Place::Reg(reg) = cond.lhs else { return false };
    let value = values.of(reg);
    if cond.rhs != Operand::Imm(0) || !values.has_one_reader(value) {
        return false;
    }
    let is_equal = match cond.op {
        JmpOp::Eq => true,
        JmpOp::Ne => false,
        // Above zero, unsigned.
        JmpOp::Gt => false,
        _ => return false,
    };
    let Some((op, [first, second])) = values.made_by(insts, value) else { return false };
    let Some(lhs) = values.find(first, reg) else { return false };
    let narrower = |width: Width| match (width, cond.size) {
        (Width::W64, Size::Dw) => Size::Dw,
        _ => Size::W,
    };
    let test = |size, mask: u64| {
        let imm = match size {
            Size::Dw => i32::try_from(mask as i64).ok()?,
            _ => u32::try_from(mask).ok()? as i32,
        };
        Some((JmpOp::Set, size, Operand::Imm(imm)))
    };
    let new = match *op {
        Op::Binary { op: Binary::Alu(AluOp::And), width, rhs, .. } => match rhs {
            Operand::Imm(imm) => Some((JmpOp::Set, narrower(width), Operand::Imm(imm))),
            Operand::Reg(hint) => values
                .find(second, hint)
                .map(|rhs| (JmpOp::Set, narrower(width), Operand::Reg(rhs))),
        },
        Op::Binary { op: Binary::Alu(AluOp::Sub | AluOp::Xor), width, rhs, .. } => {
            let rhs = match rhs {
                Operand::Imm(imm) => Some(Operand::Imm(imm)),
                Operand::Reg(hint) => values.find(second, hint).map(Operand::Reg),
            };
            rhs.map(|rhs| (JmpOp::Ne, narrower(width), rhs))
        }
        Op::Bits { .. } | Op::Extend { fill: Fill::Zero, .. } => {
            bits_of(op, first).and_then(|field| {
                let mask = (u64::MAX >> (64 - field.bits)) << field.shift;
                match cond.size {
                    Size::W if field.bits > 32 => None,
                    _ if mask <= u32::MAX.into() => test(Size::W, mask),
                    _ => test(Size::Dw, mask),
                }
            })
        }
        _ => None,
    };
    let Some((op, size, rhs)) = new else { return false };
    *cond = Cond { op, size, lhs: Place::Reg(lhs), rhs };
    if op == JmpOp::Ne && is_equal {
        cond.op = JmpOp::Eq;
        return false;
    }
    is_equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opt::local::tests::after;
    use crate::opt::same::keeps_meaning;

    #[test]
    fn shifts_and_masks_are_fields() {
        let text = "r0 = r1\nr0 >>= 5\nr0 &= 7\nexit";
        assert_eq!(after(run, text), "r0 = bits 5..8 of r1\nexit");
        let text = "r0 = r1\nr0 <<= 40\nr0 >>= 50\nexit";
        assert_eq!(after(run, text), "r0 = bits 10..24 of r1\nexit");
        let text = "w0 = w1\nw0 >>= 24\nw0 &= 4095\nexit";
        assert_eq!(after(run, text), "w0 = w1 >> 24\nexit");
        let text = "r0 = r1\nr0 &= 65535\nexit";
        assert_eq!(after(run, text), "r0 = r1\nr0 = (u16) r0\nexit");
    }

    #[test]
    fn masked_values_are_tested() {
        let text = "r3 = r2\nr3 &= 4\nif r3 == 0 goto +1\nr0 = 1\nexit";
        assert!(after(run, text).contains("if r2 & 4 goto b1 else b2"), "{}", after(run, text));
        let text = "r3 = r2\nr3 >>= 3\nr3 &= 1\nif r3 != 0 goto +1\nr0 = 1\nexit";
        assert!(after(run, text).contains("if w2 & 8 goto b2 else b1"));
        let text = "r3 = r2\nr3 -= r1\nif w3 == 0 goto +1\nr0 = 1\nexit";
        assert!(after(run, text).contains("if w2 == w1 goto b2 else b1"));
        // What is needed later stays.
        let text = "r0 = r2\nr0 &= 4\nif r0 == 0 goto +1\nr0 += 1\nexit";
        assert!(after(run, text).contains("if r0 == 0"));
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
