//! Rotates: `(x << k) | (x >> (w - k))` in one operation.
//!
//! Sound: both shifts read the same bits of `x`, the registers that are read still have the values
//! that the shifts read ([`Values`]), and the two parts have no bit in common, so that `or`, `xor`
//! and `+` are the same. With counts in registers only `or` is taken: a count of 0 makes both parts
//! `x`. Counts are taken modulo the width by shifts and rotates alike.

use super::Given;
use super::kinds::{Kinds, Summary};
use super::local::{Value, Values};
use crate::ir::{Binary, Fill, Inst, Op, Operand, Reg, Unit};
use ebpfvm_asm::{AluOp, Size, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    let live = unit.live();
    let rules = live.rules();
    let mut values = Values::new(unit);
    for number in 0..unit.blocks.len() {
        let mut insts = std::mem::take(&mut unit.blocks[number].insts);
        let kinds = Summary::of(&insts);
        if [Kinds::LEFT, Kinds::RIGHT, Kinds::JOIN].into_iter().all(|kind| kinds.has(kind)) {
            let end = rules.end(&unit.blocks[number].end);
            let uses = |op: &Op| rules.uses(unit, op);
            values.enter_counting(&insts, uses, end, live.after(number));
            for at in 0..insts.len() {
                match rotation(&values, &insts, &insts[at].op) {
                    Some(Found::Here(op)) => insts[at].op = op,
                    Some(Found::There { at: shift, op, copy }) => {
                        insts[shift].op = op;
                        insts[at].op = copy;
                    }
                    None => {}
                }
                values.step(at, &insts[at].op);
            }
        }
        unit.blocks[number].insts = insts;
    }
    unit.keeps_shape();
    unit.keeps_live();
}

/// What becomes a rotate.
enum Found {
    /// The operation that joins.
    Here(Op),
    /// A shift before, whose result nobody else reads, where its operand is gone since; what joined is
    /// a copy of it.
    There { at: usize, op: Op, copy: Op },
}

/// A count of a shift.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Fixed(u32),
    Value(Value),
}

/// A shifted value.
#[derive(Clone, Copy)]
struct Shift {
    is_left: bool,
    width: Width,
    src: Value,
    count: Count,
}

fn rotation(values: &Values, insts: &[Inst], op: &Op) -> Option<Found> {
    match *op {
        Op::Binary {
            op: Binary::Alu(join @ (AluOp::Or | AluOp::Xor | AluOp::Add)),
            width,
            dst,
            lhs,
            rhs: Operand::Reg(rhs),
        } => {
            let a = shift(values, insts, values.of(lhs))?;
            let b = shift(values, insts, values.of(rhs))?;
            let (left, right) = if a.is_left { (a, b) } else { (b, a) };
            // An `or` of 64 bits joins halves of 32 as well: their upper halves are zero.
            let fits = left.width == right.width && (left.width == width || width == Width::W64);
            if !left.is_left || right.is_left || !fits {
                return None;
            }
            let parts = [values.of(lhs), values.of(rhs)];
            let regs = [lhs, rhs];
            joined(values, insts, dst, left, right, left.width, join == AluOp::Or)
                .or_else(|| at_shift(values, insts, dst, left, right, parts, regs))
        }
        // A rotate of 32 bits done with 64, and cut.
        Op::Move { width: Width::W32, dst, src }
        | Op::Extend { size: Size::W, fill: Fill::Zero, dst, src } => {
            let (or, [a, b]) = values.made_by(insts, values.of(src))?;
            if !matches!(
                or,
                Op::Binary {
                    op: Binary::Alu(AluOp::Or | AluOp::Xor | AluOp::Add),
                    width: Width::W64,
                    rhs: Operand::Reg(_),
                    ..
                }
            ) {
                return None;
            }
            let (a, b) = (shift(values, insts, a)?, shift(values, insts, b)?);
            let (left, right) = if a.is_left { (a, b) } else { (b, a) };
            if !left.is_left || right.is_left {
                return None;
            }
            // What is shifted right must have no upper half, or it would come down.
            let is_narrow = right.width == Width::W32 || values.is_zero_extended(right.src);
            let (Count::Fixed(_), Count::Fixed(1..=31)) = (left.count, right.count) else {
                return None;
            };
            if !is_narrow {
                return None;
            }
            joined(values, insts, dst, left, right, Width::W32, false)
        }
        _ => None,
    }
}

/// The rotate that a left and a right shift make.
fn joined(
    values: &Values,
    insts: &[Inst],
    dst: Reg,
    left: Shift,
    right: Shift,
    width: Width,
    may_overlap: bool,
) -> Option<Found> {
    let bits = width.bits();
    let same = match width {
        Width::W64 => left.src == right.src,
        Width::W32 => values.low_half(insts, left.src) == values.low_half(insts, right.src),
    };
    if !same {
        return None;
    }
    let rhs = match (left.count, right.count) {
        (Count::Fixed(left), Count::Fixed(right)) => {
            // Shifts of 64 bits that make a rotate of 32 have counts below 32.
            if left == 0 || left >= bits || left + right != bits {
                return None;
            }
            Operand::Imm(left as i32)
        }
        (Count::Value(left), Count::Value(right)) if may_overlap => {
            let (a, b) =
                (low_bits(values, insts, left, bits), low_bits(values, insts, right, bits));
            if negated(values, insts, a, bits) != Some(b)
                && negated(values, insts, b, bits) != Some(a)
            {
                return None;
            }
            let count = values.find(left, dst).or_else(|| values.find(a, dst))?;
            Operand::Reg(count)
        }
        _ => return None,
    };
    let lhs =
        values.find(left.src, dst).or_else(|| values.find(right.src, dst)).or_else(
            || match width {
                Width::W64 => None,
                Width::W32 => values.find(values.low_half(insts, left.src), dst),
            },
        )?;
    Some(Found::Here(Op::Binary { op: Binary::Rotl, width, dst, lhs, rhs }))
}

/// A rotate in place of one of the shifts.
fn at_shift(
    values: &Values,
    insts: &[Inst],
    dst: Reg,
    left: Shift,
    right: Shift,
    parts: [Value; 2],
    regs: [Reg; 2],
) -> Option<Found> {
    let (Count::Fixed(count), Count::Fixed(other)) = (left.count, right.count) else {
        return None;
    };
    let bits = left.width.bits();
    if count == 0 || count + other != bits || left.src != right.src {
        return None;
    }
    // The shift whose register is that of the result comes first, so that no copy is left.
    let order = if regs[1] == dst { [1, 0] } else { [0, 1] };
    order.into_iter().find_map(|side| {
        let at = values.maker(parts[side])?;
        let Op::Binary {
            op: Binary::Alu(AluOp::Lsh | AluOp::Rsh), width, dst: shifted, lhs, ..
        } = insts[at].op
        else {
            return None;
        };
        // What it reads must be x itself: not a part of a longer shift.
        let (_, [src, _]) = values.made_by(insts, parts[side])?;
        if !values.has_one_reader(parts[side]) || width != left.width || src != left.src {
            return None;
        }
        let rhs = Operand::Imm(count as i32);
        let op = Op::Binary { op: Binary::Rotl, width, dst: shifted, lhs, rhs };
        let copy = match regs[side] == dst {
            true => Op::Nop,
            false => Op::Move { width: Width::W64, dst, src: regs[side] },
        };
        Some(Found::There { at, op, copy })
    })
}

fn shift(values: &Values, insts: &[Inst], value: Value) -> Option<Shift> {
    let (op, [src, count]) = values.made_by(insts, value)?;
    match *op {
        Op::Binary { op: Binary::Alu(op @ (AluOp::Lsh | AluOp::Rsh)), width, rhs, .. } => {
            let count = match rhs {
                Operand::Imm(imm) => Count::Fixed(imm as u32 & (width.bits() - 1)),
                Operand::Reg(_) => Count::Value(count),
            };
            // (x << 32) >> (32 + k) is the lower half of x, shifted.
            if let (AluOp::Rsh, Width::W64, Count::Fixed(by @ 33..)) = (op, width, count)
                && let Some(inner) = shift(values, insts, src)
                && inner.is_left
                && inner.width == Width::W64
                && inner.count == Count::Fixed(32)
            {
                let count = Count::Fixed(by - 32);
                return Some(Shift { is_left: false, width: Width::W32, src: inner.src, count });
            }
            Some(Shift { is_left: op == AluOp::Lsh, width, src, count })
        }
        Op::Bits { shift, bits, .. } if shift > 0 && shift + bits == 32 => {
            let count = Count::Fixed(shift.into());
            Some(Shift { is_left: false, width: Width::W32, src, count })
        }
        Op::Bits { shift, bits, .. } if shift > 0 && shift + bits == 64 => {
            let count = Count::Fixed(shift.into());
            Some(Shift { is_left: false, width: Width::W64, src, count })
        }
        _ => None,
    }
}

/// An earlier value with the same lowest bits, as many as a count has.
fn low_bits(values: &Values, insts: &[Inst], mut value: Value, bits: u32) -> Value {
    for _ in 0..4 {
        let mask = (bits - 1) as i32;
        match values.made_by(insts, value) {
            Some((
                Op::Binary { op: Binary::Alu(AluOp::And), rhs: Operand::Imm(imm), .. },
                [src, _],
            )) if imm & mask == mask => value = src,
            Some((Op::Move { .. } | Op::Extend { .. }, [src, _])) => value = src,
            Some((Op::Bits { shift: 0, bits: taken, .. }, [src, _]))
                if u32::from(*taken) >= bits.ilog2() =>
            {
                value = src;
            }
            _ => break,
        }
    }
    value
}

/// The value whose negative this is, modulo the width.
fn negated(values: &Values, insts: &[Inst], value: Value, bits: u32) -> Option<Value> {
    let (op, [first, second]) = values.made_by(insts, value)?;
    let src = match *op {
        Op::Neg { .. } => first,
        Op::Binary { op: Binary::Alu(AluOp::Sub), rhs: Operand::Reg(_), .. } => {
            let (Op::Const { value, .. }, _) = values.made_by(insts, first)? else { return None };
            if value % u64::from(bits) != 0 {
                return None;
            }
            second
        }
        _ => return None,
    };
    Some(low_bits(values, insts, src, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opt::local::tests::after;
    use crate::opt::same::keeps_meaning;

    #[test]
    fn rotates_of_both_widths_are_found() {
        let text = "w4 = w3\nw4 >>= 28\nw0 = w3\nw0 <<= 4\nw0 |= w4\nexit";
        assert_eq!(after(run, text), "w0 = w3 rotl 4\nexit");
        let text = "r4 = r3\nr4 >>= 51\nr0 = r3\nr0 <<= 13\nr0 ^= r4\nexit";
        assert_eq!(after(run, text), "r0 = r3 rotl 13\nexit");
    }

    #[test]
    fn counts_in_registers_are_taken_modulo_the_width() {
        let text = "w5 = w2\nw5 = -w5\nw0 = w1\nw0 <<= w2\nw1 >>= w5\nw1 |= w0\nw0 = w1\nexit";
        assert!(!after(run, text).contains("rotl"), "x is gone");
        // Where x was there still, the shift becomes the rotate.
        let text = "r2 = r7\nr2 >>= 51\nr7 <<= 13\nr7 |= r2\nr0 = r7\nexit";
        assert_eq!(after(run, text), "r7 = r7 rotl 13\nr0 = r7\nexit");
        let text =
            "r2 = r7\nr2 >>= 51\nr7 <<= 13\nr3 = r2\nr2 |= r7\nr0 = r7\nr0 += r2\nr0 += r3\nexit";
        assert!(!after(run, text).contains("rotl"), "the shifted values are needed");
        let text = "w5 = w2\nw5 = -w5\nw5 &= 31\nw0 = w1\nw0 <<= w2\nw4 = w1\nw4 >>= w5\n\
            w0 |= w4\nexit";
        assert_eq!(after(run, text), "w0 = w1 rotl w2\nexit");
        let text = "r5 = 64\nr5 -= r2\nr0 = r1\nr0 >>= r2\nr4 = r1\nr4 <<= r5\nr0 |= r4\nexit";
        assert_eq!(after(run, text), "r5 = 64\nr5 = r5 - r2\nr0 = r1 rotl r5\nexit");
        // With a count of 0 the sum is twice x.
        let text = "r5 = r2\nr5 = -r5\nr0 = r1\nr0 >>= r2\nr4 = r1\nr4 <<= r5\nr0 += r4\nexit";
        assert!(!after(run, text).contains("rotl"));
    }

    #[test]
    fn half_words_in_whole_registers_are_found() {
        let text = "w3 = w1\nr4 = r3\nr4 >>= 27\nr3 <<= 5\nr3 |= r4\nw0 = w3\nexit";
        assert_eq!(after(run, text), "w0 = w1 rotl 5\nexit");
        let text = "r4 = r1\nr4 <<= 32\nr4 >>= 59\nr3 = r1\nr3 <<= 5\nr3 |= r4\nw0 = w3\nexit";
        assert_eq!(after(run, text), "w0 = w1 rotl 5\nexit");
        // The upper half of r1 comes down.
        let text = "r4 = r1\nr4 >>= 27\nr3 = r1\nr3 <<= 5\nr3 |= r4\nw0 = w3\nexit";
        assert!(!after(run, text).contains("rotl"));
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
