//! Removes extensions and masks that change nothing, and does in 32 bits what needs no more.
//!
//! First forward: how many low bits of each register can be set. Then backward through each block: how
//! many low bits of each register matter. The second works on what the first has left, for it takes
//! away what the first relies on only where nobody relies on it any more.

use super::Given;
use super::forward::{self, Changes, Fact, Improve};
use super::simplify::size_of;
use crate::ir::live::Rules;
use crate::ir::{
    Binary, Block, Cond, End, Fill, Inst, Op, Operand, Place, Reg, RegSet, Unit, loaded,
};
use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, Size, Width};

/// Removes extensions that have no effect.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    forward::improve::<Widths>(unit);
    let live = unit.live();
    for (number, block) in unit.blocks.iter_mut().enumerate() {
        demand(block, live.after(number), live.rules());
    }
    for block in &mut unit.blocks {
        block.insts.retain(|inst| inst.op != Op::Nop);
    }
}

/// How many of the low bits of each register can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Widths([u8; Reg::COUNT]);

impl Fact for Widths {
    const NOTHING: Widths = Widths([64; Reg::COUNT]);

    fn meet(&mut self, other: &Widths) -> bool {
        let mut is_less = false;
        for (bits, other) in self.0.iter_mut().zip(&other.0) {
            if other > bits {
                // A loop that counts up does not go through all widths.
                *bits = [8, 16, 31, 32, 63].into_iter().find(|step| step >= other).unwrap_or(64);
                is_less = true;
            }
        }
        is_less
    }

    fn through(&mut self, block: &Block) {
        block.insts.iter().for_each(|inst| self.step(&inst.op));
    }

    fn learns(cond: &Cond) -> bool {
        matches!(cond.rhs, Operand::Imm(_))
    }

    /// Unsigned comparisons with a number say how large it can be.
    fn assume(&mut self, cond: &Cond, holds: bool) {
        let Cond { op, size: Size::Dw, lhs: Place::Reg(reg), rhs: Operand::Imm(imm) } = *cond
        else {
            return;
        };
        let most = match (op, holds) {
            (JmpOp::Lt, true) | (JmpOp::Ge, false) if imm > 0 => imm - 1,
            (JmpOp::Le, true) | (JmpOp::Gt, false) | (JmpOp::Eq, true) | (JmpOp::Ne, false) => imm,
            _ => return,
        };
        let bits = bits_of(i64::from(most) as u64);
        let known = &mut self.0[reg.index()];
        *known = bits.min(*known);
    }
}

impl Improve for Widths {
    fn improve(&mut self, block: &mut Block, _: &mut Changes) {
        pairs(&mut block.insts);
        for inst in &mut block.insts {
            self.narrow(&mut inst.op);
            self.step(&inst.op);
        }
    }

    fn improve_end(&self, end: &mut End, _: &mut Changes) {
        if let End::Branch { cond, .. } = end {
            self.narrow_cond(cond);
        }
    }
}

/// How many low bits a number has up to its highest one.
fn bits_of(value: u64) -> u8 {
    (64 - value.leading_zeros()) as u8
}

impl Widths {
    fn get(&self, reg: Reg) -> u8 {
        self.0[reg.index()]
    }

    fn operand(&self, operand: Operand, width: Width) -> u8 {
        match operand {
            Operand::Reg(reg) => self.get(reg).min(width.bits() as u8),
            Operand::Imm(imm) => bits_of(crate::build::immediate(width, imm)),
        }
    }

    fn step(&mut self, op: &Op) {
        match op.pure_dst() {
            Some(dst) => self.0[dst.index()] = self.result(op),
            None => {
                op.writes().iter().for_each(|reg| self.0[reg.index()] = 64);
                let (dst, size) = match *op {
                    Op::Load { dst, size, fill: Fill::Zero, check, .. }
                    | Op::LoadAcquire { dst, size, check, .. } => (dst, loaded(size, check)),
                    Op::Load { dst, fill: Fill::Sign(width), .. } => (dst, size_of(width)),
                    Op::Atomic { op: AtomicOp::Fetch(_) | AtomicOp::Xchg, src, size, .. } => {
                        (src, size)
                    }
                    Op::Atomic { op: AtomicOp::Cmpxchg, size, .. } => (Reg::R0, size),
                    Op::Packet { size, .. } => (Reg::R0, size),
                    _ => return,
                };
                self.0[dst.index()] = size.bits() as u8;
            }
        }
    }

    /// How many low bits of a result can be set.
    fn result(&self, op: &Op) -> u8 {
        let full = |width: Width| width.bits() as u8;
        match *op {
            Op::Const { value, .. } => bits_of(value),
            Op::Move { width, src, .. } => self.get(src).min(full(width)),
            Op::Extend { size, fill: Fill::Zero, src, .. } => self.get(src).min(size.bits() as u8),
            Op::Extend { size, fill: Fill::Sign(width), src, .. } => {
                match self.get(src) < size.bits() as u8 {
                    true => self.get(src),
                    false => full(width),
                }
            }
            Op::Swap { size, .. } => size.bits() as u8,
            Op::Neg { width, .. } => full(width),
            Op::Bits { shift, bits, src, .. } => bits.min(self.get(src).saturating_sub(shift)),
            Op::Binary { op, width, lhs, rhs, .. } => {
                let lhs = self.get(lhs).min(full(width));
                let count = match rhs {
                    Operand::Imm(imm) => Some((imm as u32 % width.bits()) as u8),
                    Operand::Reg(_) => None,
                };
                binary(op, width, lhs, self.operand(rhs, width), count)
            }
            Op::BinaryLoad { op, width, lhs, .. } => {
                binary(op, width, self.get(lhs).min(full(width)), full(width), None)
            }
            Op::Lea { width, .. } => full(width),
            Op::Load { size, fill: Fill::Zero, .. } => size.bits() as u8,
            Op::Load { fill: Fill::Sign(width), .. } => full(width),
            Op::Select { then, other, .. } => self.get(then).max(self.get(other)),
            _ => 64,
        }
    }

    /// What does the same as a mask of low bits.
    fn unmasked(&self, op: &Op) -> Option<Op> {
        let Op::Binary {
            op: Binary::Alu(AluOp::And),
            width,
            dst,
            lhs: src,
            rhs: Operand::Imm(imm),
        } = *op
        else {
            return None;
        };
        let mask = crate::build::immediate(width, imm);
        match mask {
            // All bits that can be set are kept.
            _ if self.get(src) <= mask.trailing_ones() as u8 => Some(copy(dst, src)),
            0xff => Some(Op::Extend { size: Size::B, fill: Fill::Zero, dst, src }),
            0xffff => Some(Op::Extend { size: Size::H, fill: Fill::Zero, dst, src }),
            _ => None,
        }
    }

    /// Puts an operation in the place of one that does no more here.
    fn narrow(&self, op: &mut Op) {
        if let Some(simpler) = self.unmasked(op) {
            *op = simpler;
        }
        *op = match *op {
            Op::Move { width: Width::W32, dst, src } if self.get(src) <= 32 => copy(dst, src),
            Op::Extend { size, fill: Fill::Zero, dst, src }
                if self.get(src) <= size.bits() as u8 =>
            {
                copy(dst, src)
            }
            // The sign is not set.
            Op::Extend { size, fill: Fill::Sign(_), dst, src }
                if self.get(src) < size.bits() as u8 =>
            {
                copy(dst, src)
            }
            Op::Binary { op: binary_op, width: Width::W64, dst, lhs, rhs }
                if self.get(lhs) <= 32 && self.operand(rhs, Width::W64) <= 32 =>
            {
                use AluOp::{Add, And, Div, Mod, Mul, Or, Rsh, Xor};
                let fits = match (binary_op, rhs) {
                    (Binary::Alu(And | Or | Xor | Div | Mod), _) | (Binary::AndNot, _) => true,
                    (Binary::Alu(Add | Mul), _) => {
                        let (l, r) = (self.get(lhs), self.operand(rhs, Width::W64));
                        binary(binary_op, Width::W64, l, r, None) <= 32
                    }
                    (Binary::Alu(Rsh), Operand::Imm(..32)) => true,
                    _ => false,
                };
                // 32 bits of an immediate are the same number only if it is not negative.
                if !fits || matches!(rhs, Operand::Imm(..0)) {
                    return;
                }
                Op::Binary { op: binary_op, width: Width::W32, dst, lhs, rhs }
            }
            Op::Select { cond, dst, then, other } => {
                let mut cond = cond;
                self.narrow_cond(&mut cond);
                Op::Select { cond, dst, then, other }
            }
            _ => return,
        };
    }

    /// A comparison of numbers that 32 bits have room for is one of 32 bits.
    fn narrow_cond(&self, cond: &mut Cond) {
        let Cond { op, size: Size::Dw, lhs: Place::Reg(lhs), rhs } = *cond else { return };
        let most = self.get(lhs).max(self.operand(rhs, Width::W64));
        let room = match op {
            JmpOp::Sgt | JmpOp::Sge | JmpOp::Slt | JmpOp::Sle => 31,
            _ => 32,
        };
        // Such an immediate would be negative in 32 bits.
        if most <= room && !matches!(rhs, Operand::Imm(..0)) {
            cond.size = Size::W;
        }
    }
}

/// How many low bits a result can have set, of operands with so many; `count` is that of a shift.
fn binary(op: Binary, width: Width, lhs: u8, rhs: u8, count: Option<u8>) -> u8 {
    let full = width.bits() as u8;
    let bits = match op {
        Binary::Alu(AluOp::And) => lhs.min(rhs),
        Binary::Alu(AluOp::Or | AluOp::Xor) => lhs.max(rhs),
        Binary::Alu(AluOp::Add) => lhs.max(rhs) + 1,
        Binary::Alu(AluOp::Mul) => lhs + rhs,
        Binary::Alu(AluOp::Div | AluOp::Mod) | Binary::AndNot => lhs,
        Binary::Alu(AluOp::Lsh) => lhs + count.unwrap_or(full),
        Binary::Alu(AluOp::Rsh) => lhs.saturating_sub(count.unwrap_or(0)),
        Binary::Alu(AluOp::Arsh) if lhs < full => lhs.saturating_sub(count.unwrap_or(0)),
        Binary::MulHigh => (lhs + rhs).saturating_sub(full),
        _ => full,
    };
    bits.min(full)
}

fn copy(dst: Reg, src: Reg) -> Op {
    match dst == src {
        true => Op::Nop,
        false => Op::Move { width: Width::W64, dst, src },
    }
}

/// A shift to the left of a register that has the same value still.
#[derive(Clone, Copy)]
struct Shifted {
    place: usize,
    src: Reg,
    count: u8,
    width: Width,
}

/// Puts extensions in the place of a shift to the left and one back.
fn pairs(insts: &mut [Inst]) {
    let mut shifted: [Option<Shifted>; Reg::COUNT] = [None; Reg::COUNT];
    let mut any = RegSet::NONE;
    for place in 0..insts.len() {
        let op = insts[place].op;
        if let Op::Binary { op: back, width, dst, lhs, rhs: Operand::Imm(count) } = op
            && any.has(lhs)
            && let Some(first) = shifted[lhs.index()]
            && first.width == width
            && i32::from(first.count) == count
            && let Some(extension) = extension(back, width, first, dst)
            && (first.src != lhs || dst == lhs)
        {
            insts[place].op = extension;
            // Nobody has seen a value that was shifted in place.
            if first.src == lhs {
                insts[first.place].op = Op::Nop;
            }
        }
        if any == RegSet::NONE && !matches!(op, Op::Binary { .. }) {
            continue;
        }
        // Who reads a register shifted in place wants it shifted; calls read more than they say.
        let op = insts[place].op;
        if matches!(op, Op::Call { .. } | Op::CallLocal { .. } | Op::Packet { .. }) {
            any = RegSet::NONE;
            continue;
        }
        let (reads, writes) = (op.uses(&[]), op.writes());
        for reg in any.iter() {
            let Some(first) = shifted[reg.index()] else { continue };
            let is_seen = first.src == reg && reads.has(reg);
            if is_seen || writes.has(reg) || writes.has(first.src) {
                any = any.without(RegSet::of(reg));
            }
        }
        if let Op::Binary {
            op: Binary::Alu(AluOp::Lsh),
            width,
            dst,
            lhs: src,
            rhs: Operand::Imm(count @ 1..64),
        } = op
        {
            any = any.with(dst);
            shifted[dst.index()] = Some(Shifted { place, src, count: count as u8, width });
        }
    }
}

/// What a shift back by the same count does to the value before the first.
fn extension(back: Binary, width: Width, first: Shifted, dst: Reg) -> Option<Op> {
    let size = Size::from_bits(width.bits().checked_sub(first.count.into())?)?;
    let src = first.src;
    match back {
        Binary::Alu(AluOp::Rsh) if size == Size::W => {
            Some(Op::Move { width: Width::W32, dst, src })
        }
        Binary::Alu(AluOp::Rsh) => Some(Op::Extend { size, fill: Fill::Zero, dst, src }),
        Binary::Alu(AluOp::Arsh) => Some(Op::Extend { size, fill: Fill::Sign(width), dst, src }),
        _ => None,
    }
}

/// Goes back through a block with the number of low bits of each register that matter; removes what
/// changes others only. `after` matters in full at the end.
fn demand(block: &mut Block, after: RegSet, rules: Rules) {
    let mut wanted = [0; Reg::COUNT];
    let all = |wanted: &mut [u8; Reg::COUNT], regs: RegSet| {
        regs.iter().for_each(|reg| wanted[reg.index()] = 64);
    };
    all(&mut wanted, after);
    match &block.end {
        End::Branch { cond, .. } => want_cond(&mut wanted, cond),
        end => all(&mut wanted, rules.end(end)),
    }
    for inst in block.insts.iter_mut().rev() {
        let Some(dst) = inst.op.pure_dst() else {
            match inst.op {
                Op::Store { size, src: Operand::Reg(src), at, .. } => {
                    want(&mut wanted, src, size.bits() as u8);
                    all(&mut wanted, at.uses());
                }
                // What they write matters before them where they do not write it.
                Op::Call { .. } | Op::CallLocal { .. } | Op::Packet { .. } => {
                    wanted = [64; Reg::COUNT]
                }
                op => {
                    op.writes().iter().for_each(|reg| wanted[reg.index()] = 0);
                    all(&mut wanted, op.uses(&[]));
                }
            }
            continue;
        };
        let bits = wanted[dst.index()];
        let unneeded = match inst.op {
            Op::Move { width: Width::W32, src, .. } if bits <= 32 => Some(src),
            Op::Extend { size, src, .. } if bits <= size.bits() as u8 => Some(src),
            Op::Binary { op: Binary::Alu(AluOp::And), lhs, rhs: Operand::Imm(imm), .. }
                if bits <= imm.trailing_ones().min(31) as u8 =>
            {
                Some(lhs)
            }
            _ => None,
        };
        if let Some(src) = unneeded {
            inst.op = copy(dst, src);
        }
        if inst.op == Op::Nop {
            continue;
        }
        wanted[dst.index()] = 0;
        want_operands(&mut wanted, &inst.op, bits);
    }
}

fn want(wanted: &mut [u8; Reg::COUNT], reg: Reg, bits: u8) {
    let known = &mut wanted[reg.index()];
    *known = bits.max(*known);
}

fn want_cond(wanted: &mut [u8; Reg::COUNT], cond: &Cond) {
    match cond.lhs {
        Place::Reg(reg) => want(wanted, reg, cond.size.bits() as u8),
        Place::Memory(at) => at.uses().iter().for_each(|reg| want(wanted, reg, 64)),
    }
    if let Operand::Reg(reg) = cond.rhs {
        want(wanted, reg, cond.size.bits() as u8);
    }
}

/// What of its operands matters to so many bits of an operation's result.
fn want_operands(wanted: &mut [u8; Reg::COUNT], op: &Op, bits: u8) {
    let at = |width: Width| bits.min(width.bits() as u8);
    match *op {
        Op::Move { width, src, .. } => want(wanted, src, at(width)),
        // The sign matters to what is above the part; the lower bits are the part's.
        Op::Extend { size, src, .. } => want(wanted, src, bits.min(size.bits() as u8)),
        Op::Neg { width, src, .. } => want(wanted, src, at(width)),
        Op::Swap { size, src, .. } => want(wanted, src, size.bits() as u8),
        Op::Bits { shift, bits, src, .. } => want(wanted, src, shift + bits),
        Op::Binary { op: Binary::Alu(alu), width, lhs, rhs, .. } => {
            use AluOp::{Add, And, Arsh, Lsh, Mul, Or, Rsh, Sub, Xor};
            let full = width.bits() as u8;
            let (l, r) = match (alu, rhs) {
                (And, Operand::Imm(imm @ 0..)) => (at(width).min(bits_of(imm as u64)), 0),
                (Add | Sub | Mul | And | Or | Xor, _) => (at(width), at(width)),
                (Lsh, Operand::Imm(count)) => {
                    (at(width).saturating_sub((count as u32 % width.bits()) as u8), 0)
                }
                (Rsh | Arsh, Operand::Imm(count)) => {
                    ((bits + (count as u32 % width.bits()) as u8).min(full), 0)
                }
                // Of a count the bits above the width do not matter.
                (Lsh | Rsh | Arsh, Operand::Reg(_)) => {
                    (if alu == Lsh { at(width) } else { full }, width.bits().ilog2() as u8)
                }
                _ => (full, full),
            };
            want(wanted, lhs, l);
            if let Operand::Reg(rhs) = rhs {
                want(wanted, rhs, r);
            }
        }
        Op::Select { cond, then, other, .. } => {
            want_cond(wanted, &cond);
            want(wanted, then, bits);
            want(wanted, other, bits);
        }
        op => op.uses(&[]).iter().for_each(|reg| want(wanted, reg, 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{self, checked_unit_of, unit_of};
    use crate::opt::{same, values};

    fn after(text: &str) -> String {
        same::text_after(unit_of(text), &[values::run, run])
    }

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&run);
        same::keeps_meaning(&|unit, given| {
            values::run(unit, given);
            run(unit, given);
        });
    }

    #[test]
    fn shifts_there_and_back_are_extensions() {
        assert_eq!(
            after("r0 = r1\nr0 <<= 32\nr0 >>= 32\nexit"),
            "r0 = r1|r0 = r1 << 32|w0 = w1|exit"
        );
        assert_eq!(after("r1 <<= 32\nr1 s>>= 32\nr0 = r1\nexit"), "r1 = (s32) r1|r0 = r1|exit");
        assert_eq!(after("w1 <<= 24\nw1 s>>= 24\nr0 = r1\nexit"), "w1 = (s8) r1|r0 = r1|exit");
        // The shifted value is wanted itself.
        let text = "r1 <<= 48\nr2 = r1\nr1 >>= 48\nr0 = r1\nr0 += r2\nexit";
        assert_eq!(after(text), "r1 = r1 << 48|r2 = r1|r1 = r1 >> 48|r0 = r1|r0 = r1 + r2|exit");
        let text = "r2 = r1\nr2 <<= 56\nr3 = r2\nr3 >>= 56\nr0 = r3\nr0 += r2\nexit";
        assert_eq!(
            after(text),
            "r2 = r1|r2 = r1 << 56|r3 = r2|r3 = (u8) r1|r0 = r3|r0 = r3 + r2|exit"
        );
    }

    #[test]
    fn what_loads_have_filled_up_is_not_filled_up_again() {
        assert_eq!(
            after("r0 = *(u8 *)(r1 + 0)\nr0 &= 255\nw0 = w0\nr0 &= 0xfff\nexit"),
            "r0 = *(u8 *)(r1)|exit"
        );
        assert_eq!(after("r0 = r1\nr0 &= 255\nexit"), "r0 = r1|r0 = (u8) r1|exit");
        // In a loop that changes it, too, as long as it stays small.
        assert_eq!(
            after("r0 = 0\nagain: r0 &= 7\nr0 += 3\nw0 = w0\nr1 -= 1\nif r1 != 0 goto again\nexit"),
            "r0 = 0|goto b1|w0 = w0 & 7|w0 = w0 + 3|r1 = r1 + -1|if r1 != 0 goto b1 (cost 5) else b2|exit"
        );
    }

    /// A pointer of the context fills the register, though the program loads 4 bytes.
    #[test]
    fn pointers_of_the_context_are_filled_up_again() {
        let after = |text: &str| same::text_after(checked_unit_of(text), &[values::run, run]);
        for cut in ["w0 = w0", "r0 <<= 32|r0 >>= 32"] {
            let text = format!("r0 = *(u32 *)(r1 + 0)\n{}\nexit", cut.replace('|', "\n"));
            let text = after(&text);
            assert!(text.contains("w0 = w0") || text.contains("(u32) r0"), "{text}");
        }
        let text = after("r0 = *(u16 *)(r1 + 0)\nw0 = w0\nexit");
        assert!(!text.contains("w0 = w0"), "{text}");
    }

    #[test]
    fn small_numbers_are_divided_and_compared_in_32_bits() {
        assert_eq!(
            after(
                "r0 = *(u32 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 4)\nr0 /= r2\nif r0 > 9 goto out\nr0 = 1\nout: exit"
            ),
            "r0 = *(u32 *)(r1)|r2 = *(u32 *)(r1 + 4)|w0 = w0 / w2|if w0 > 9 goto b2 else b1|r0 = 1|goto b2|exit"
        );
        // An immediate that is negative is a large number.
        let text = "r0 = *(u32 *)(r1 + 0)\nr0 /= -3\nif r0 > -9 goto out\nr0 = 1\nout: exit";
        assert!(after(text).contains("r0 = r0 / -3|if r0 > -9 "));
    }

    #[test]
    fn bits_that_do_not_matter_are_not_cleared() {
        assert_eq!(
            after("w2 += 1\nw2 = w2\nr2 &= 255\n*(u8 *)(r1 + 0) = r2\nr0 = 0\nexit"),
            "w2 = w2 + 1|*(u8 *)(r1) = w2|r0 = 0|exit"
        );
        // Of a count of 64 bits 6 matter, of a value that is masked less than 32 later.
        assert_eq!(after("r2 &= 63\nr0 = r1\nr0 <<= r2\nexit"), "r0 = r1|r0 = r1 << r2|exit");
        assert_eq!(
            after("r2 &= 31\nr0 = r1\nr0 <<= r2\nexit"),
            "r2 = r2 & 31|r0 = r1|r0 = r1 << r2|exit"
        );
        // A sign matters above the part.
        assert_eq!(
            after("r2 = *(u64 *)(r1 + 0)\nr2 = (s8)r2\n*(u16 *)(r1 + 0) = r2\nr0 = 0\nexit"),
            "r2 = *(u64 *)(r1)|r2 = (s8) r2|*(u16 *)(r1) = w2|r0 = 0|exit"
        );
    }

    #[test]
    fn widths_hold_what_operations_give() {
        let values = [0, 1, 5, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX];
        let ops = AluOp::ALL.into_iter().filter(|op| *op != AluOp::Mov).map(Binary::Alu);
        let ops = ops.chain([Binary::Rotl, Binary::MulHigh, Binary::SmulHigh, Binary::AndNot]);
        for (op, width) in ops.flat_map(|op| Width::ALL.map(|width| (op, width))) {
            for (lhs, rhs) in values.iter().flat_map(|l| values.map(|r| (*l, r))) {
                let mut widths = Widths::NOTHING;
                widths.0[1] = bits_of(lhs);
                widths.0[2] = bits_of(rhs);
                let (dst, l) = (Reg::R0, Reg::R1);
                let regs = Op::Binary { op, width, dst, lhs: l, rhs: Operand::Reg(Reg::R2) };
                let result = eval::binary(op, width, lhs, rhs);
                assert!(
                    bits_of(result) <= widths.result(&regs),
                    "{op} {width:?} {lhs:#x} {rhs:#x}"
                );
                let imm = rhs as i32;
                let with = Op::Binary { op, width, dst, lhs: l, rhs: Operand::Imm(imm) };
                let result = eval::binary(op, width, lhs, i64::from(imm) as u64);
                assert!(bits_of(result) <= widths.result(&with), "{op} {width:?} {lhs:#x} {imm}");
            }
        }
    }
}
