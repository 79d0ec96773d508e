//! Constants and copies: what registers are known to hold takes the place of what computes it.
//!
//! A register is known to be a number, or another register and an offset. What holds on all ways to a
//! block holds at its beginning; loops start from what is known before them and lose what their rounds
//! contradict, so every block is looked at a bounded number of times.
//!
//! Invariant: a register that others are known by is not known by a third one.

use super::Given;
use super::forward::{self, Changes, Fact, Improve};
use super::simplify::{self, size_of};
use crate::ir::{
    Address, Binary, Block, Check, Cond, Edge, End, Op, Operand, Place, Reg, RegSet, Unit,
};
use ebpfvm_asm::{AluOp, AtomicOp, JmpOp, Size, Width};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Unknown,
    Const(u64),
    /// What the register holds, and so much more.
    Plus(Reg, i32),
}

/// What all registers hold.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Registers that are known to be a number.
    numbers: RegSet,
    /// Registers that are known by another one.
    sums: RegSet,
    /// Registers that others may be known by.
    roots: RegSet,
    /// The numbers; of a sum the root's number in the lower half and the offset in the upper one.
    values: [u64; Reg::COUNT],
}

/// Replaces registers by what they are known to hold, and computes what can be.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    forward::improve::<Known>(unit);
}

impl Fact for Known {
    const NOTHING: Known = Known {
        numbers: RegSet::NONE,
        sums: RegSet::NONE,
        roots: RegSet::NONE,
        values: [0; Reg::COUNT],
    };

    // A register that both know by another: that one is not known by a third in either.
    fn meet(&mut self, other: &Known) -> bool {
        let before = self.any();
        self.numbers = self.numbers & other.numbers;
        self.sums = self.sums & other.sums;
        for reg in self.any().iter() {
            if self.values[reg.index()] != other.values[reg.index()] {
                self.clear(reg);
            }
        }
        self.any() != before
    }

    fn through(&mut self, block: &Block) {
        block.insts.iter().for_each(|inst| self.step(&inst.op));
    }

    fn learns(cond: &Cond) -> bool {
        matches!(cond.op, JmpOp::Eq | JmpOp::Ne)
    }

    fn assume(&mut self, cond: &Cond, holds: bool) {
        if let Cond { op, size: Size::Dw, lhs: Place::Reg(reg), rhs } = *cond
            && op == if holds { JmpOp::Eq } else { JmpOp::Ne }
            && !(self.any() | self.roots).has(reg)
        {
            let value = match rhs {
                Operand::Imm(imm) => Some(i64::from(imm) as u64),
                Operand::Reg(rhs) => self.constant(rhs),
            };
            if let Some(value) = value {
                self.put(reg, Value::Const(value));
            }
        }
    }
}

impl Improve for Known {
    fn improve(&mut self, block: &mut Block, changes: &mut Changes) {
        let mut inverted = Inverted::default();
        for inst in &mut block.insts {
            match self.helps(&inst.op) {
                true => changes.reads |= self.rewrite(&mut inst.op),
                false => simplify::simplify(&mut inst.op, |_| None),
            }
            inverted.rewrite(&mut inst.op);
            inverted.step(&inst.op);
            self.step(&inst.op);
        }
    }

    fn improve_end(&self, end: &mut End, changes: &mut Changes) {
        let End::Branch { cond, then, other } = end else { return };
        let reads = cond.uses();
        self.rewrite_cond(cond);
        changes.reads |= cond.uses().without(reads) != RegSet::NONE;
        let decided: Option<Edge> = match simplify::decide(cond, |reg| self.constant(reg)) {
            Some(true) => Some(*then),
            Some(false) => Some(*other),
            None => None,
        };
        if let Some(edge) = decided {
            *end = End::Jump(edge);
            changes.edges = true;
        }
    }
}

impl Known {
    /// Registers of which something is known.
    fn any(&self) -> RegSet {
        self.numbers | self.sums
    }

    fn value(&self, reg: Reg) -> Value {
        let value = self.values[reg.index()];
        if self.numbers.has(reg) {
            Value::Const(value)
        } else if self.sums.has(reg) {
            Value::Plus(Reg::new(value as u8), (value >> 32) as i32)
        } else {
            Value::Unknown
        }
    }

    /// Nothing is known of a register any more; others may be known by it still.
    fn clear(&mut self, reg: Reg) {
        let reg = RegSet::of(reg);
        (self.numbers, self.sums) = (self.numbers.without(reg), self.sums.without(reg));
    }

    /// Says what is known of a register.
    fn put(&mut self, reg: Reg, value: Value) {
        self.clear(reg);
        let place = &mut self.values[reg.index()];
        match value {
            Value::Unknown => {}
            Value::Const(value) => {
                *place = value;
                self.numbers = self.numbers.with(reg);
            }
            Value::Plus(root, offset) => {
                *place = root.index() as u64 | u64::from(offset as u32) << 32;
                self.sums = self.sums.with(reg);
            }
        }
    }

    fn constant(&self, reg: Reg) -> Option<u64> {
        self.numbers.has(reg).then(|| self.values[reg.index()])
    }

    /// A register and an offset that make up what a register holds.
    fn sum(&self, reg: Reg) -> (Reg, i32) {
        match self.value(reg) {
            Value::Plus(root, offset) => (root, offset),
            _ => (reg, 0),
        }
    }

    /// A register that holds the same.
    fn same(&self, reg: Reg) -> Reg {
        match self.value(reg) {
            Value::Plus(root, 0) => root,
            _ => reg,
        }
    }

    /// Forgets what was known by a register, whose value goes: another takes its place.
    fn unroot(&mut self, reg: Reg) {
        if !self.roots.has(reg) {
            return;
        }
        self.roots = self.roots.without(RegSet::of(reg));
        let mut heir = None;
        for other in self.sums.iter() {
            let Value::Plus(root, offset) = self.value(other) else { continue };
            if root != reg {
                continue;
            }
            let value = match heir {
                None => {
                    heir = Some((other, offset));
                    Value::Unknown
                }
                Some((heir, first)) => match offset.checked_sub(first) {
                    Some(offset) => {
                        self.roots = self.roots.with(heir);
                        Value::Plus(heir, offset)
                    }
                    None => Value::Unknown,
                },
            };
            self.put(other, value);
        }
    }

    fn forget(&mut self, regs: RegSet) {
        for reg in (regs & (self.any() | self.roots)).iter() {
            self.unroot(reg);
            self.clear(reg);
        }
    }

    fn set(&mut self, dst: Reg, value: Value) {
        match value {
            // What was known by the register is known by it still, from its new value.
            Value::Plus(root, by) if root == dst => {
                let others = if self.roots.has(dst) { self.sums } else { RegSet::NONE };
                for other in others.iter() {
                    if let Value::Plus(root, offset) = self.value(other)
                        && root == dst
                    {
                        let offset = offset.checked_sub(by);
                        let value =
                            offset.map_or(Value::Unknown, |offset| Value::Plus(dst, offset));
                        self.put(other, value);
                    }
                }
            }
            Value::Plus(root, _) => {
                self.unroot(dst);
                // It may have been the root's heir.
                self.roots = self.roots.with(root);
                self.put(dst, value);
            }
            _ => {
                self.unroot(dst);
                self.put(dst, value);
            }
        }
    }

    /// Another register that holds the same, for one that is overwritten.
    fn twin(&self, reg: Reg) -> Reg {
        let others = match self.value(reg) {
            Value::Unknown => return reg,
            Value::Const(_) => self.numbers,
            Value::Plus(..) => self.sums,
        };
        let value = self.values[reg.index()];
        let mut others = others.without(RegSet::of(reg)).iter();
        others.find(|other| self.values[other.index()] == value).unwrap_or(reg)
    }

    /// What is known after an operation.
    fn step(&mut self, op: &Op) {
        match *op {
            Op::Const { dst, value } => self.set(dst, Value::Const(value)),
            Op::Move { width: Width::W64, dst, src } => self.plus(dst, src, 0),
            Op::Binary {
                op: Binary::Alu(AluOp::Add),
                width: Width::W64,
                dst,
                lhs,
                rhs: Operand::Imm(imm),
            } => self.plus(dst, lhs, imm),
            Op::Binary {
                op: Binary::Alu(AluOp::Sub),
                width: Width::W64,
                dst,
                lhs,
                rhs: Operand::Imm(imm),
            } if imm != i32::MIN => self.plus(dst, lhs, -imm),
            Op::Lea { width: Width::W64, dst, at: Address { base, index: None, offset } } => {
                self.plus(dst, base, offset);
            }
            _ => {
                let value = match op.pure_dst() {
                    Some(dst) => simplify::compute(op, |reg| self.constant(reg)).map(|v| (dst, v)),
                    None => None,
                };
                match value {
                    Some((dst, value)) => self.set(dst, Value::Const(value)),
                    None => self.forget(op.writes()),
                }
            }
        }
    }

    fn plus(&mut self, dst: Reg, src: Reg, by: i32) {
        let value = match self.value(src) {
            Value::Const(value) => Value::Const(value.wrapping_add(i64::from(by) as u64)),
            Value::Unknown => Value::Plus(src, by),
            Value::Plus(root, offset) => match offset.checked_add(by) {
                Some(offset) => Value::Plus(root, offset),
                None => Value::Unknown,
            },
        };
        // Itself and nothing more.
        if value != Value::Plus(dst, 0) {
            self.set(dst, value);
        }
    }

    /// A number that can stand for an operand: its lower bits are those of the register.
    fn immediate(&self, operand: Operand, size: Size) -> Operand {
        let Operand::Reg(reg) = operand else { return operand };
        match self.constant(reg) {
            Some(value) => match simplify::immediate(value, size) {
                Some(imm) => Operand::Imm(imm),
                None => operand,
            },
            None => Operand::Reg(self.same(reg)),
        }
    }

    /// An address by roots, with the offsets in one. The register of an access that is compared with
    /// the context must hold the same.
    fn address(&self, at: &mut Address, is_exact: bool) {
        if is_exact {
            at.base = self.same(at.base);
            return;
        }
        let (base, offset) = self.sum(at.base);
        if let Some(offset) = at.offset.checked_add(offset) {
            (at.base, at.offset) = (base, offset);
        }
        let Some((index, scale)) = at.index else { return };
        if let Some(value) = self.constant(index) {
            let offset = (value << scale) as i64;
            let sum = i64::from(at.offset).checked_add(offset).map(i32::try_from);
            if let Some(Ok(offset)) = sum {
                (at.index, at.offset) = (None, offset);
            }
        } else {
            let (root, by) = self.sum(index);
            let by = i32::try_from(i64::from(by) << scale).ok();
            if let Some(offset) = by.and_then(|by| at.offset.checked_add(by)) {
                (at.index, at.offset) = (Some((root, scale)), offset);
            }
        }
    }

    fn access(&self, check: &mut Check, at: &mut Address, size: Size) {
        self.address(at, matches!(check, Check::Context { .. }));
        simplify::check_in_frame(check, *at, size);
    }

    /// Whether what is known may change an operation.
    fn helps(&self, op: &Op) -> bool {
        let known = match op {
            Op::Call { .. } | Op::CallLocal { .. } => return false,
            Op::Const { dst, .. } => RegSet::of(*dst),
            op => op.uses(&[]),
        };
        // Some checks are taken away for what is known always.
        known & self.any() != RegSet::NONE || op.may_leave()
    }

    /// Replaces an operation; whether it then reads a register that it did not, or leaves one that it
    /// wrote.
    fn rewrite(&self, op: &mut Op) -> bool {
        let reads = op.uses(&[]);
        self.replace(op);
        op.uses(&[]).without(reads) != RegSet::NONE || *op == Op::Nop
    }

    fn replace(&self, op: &mut Op) {
        // What a register holds is replaced first, then what can be computed.
        match op {
            Op::Move { width: Width::W64, src, .. } => *src = self.same(*src),
            Op::Move { src, .. }
            | Op::Extend { src, .. }
            | Op::Swap { src, .. }
            | Op::Neg { src, .. }
            | Op::Bits { src, .. } => *src = self.same(*src),
            Op::Binary { op: Binary::MulHigh | Binary::SmulHigh, lhs, rhs, .. } => {
                *lhs = self.same(*lhs);
                if let Operand::Reg(reg) = rhs {
                    *reg = self.same(*reg);
                }
            }
            Op::Binary { op: binary, width, dst, lhs, rhs } => {
                *rhs = self.immediate(*rhs, size_of(*width));
                if *dst == *lhs {
                    *lhs = self.twin(*lhs);
                }
                match self.value(*lhs) {
                    Value::Plus(root, 0) => *lhs = root,
                    // Sums of sums.
                    Value::Plus(root, offset) if *binary == Binary::Alu(AluOp::Add) => {
                        if let Operand::Imm(imm) = *rhs
                            && *width == Width::W64
                            && let Some(sum) = imm.checked_add(offset)
                        {
                            (*lhs, *rhs) = (root, Operand::Imm(sum));
                        }
                    }
                    Value::Const(value) if simplify::is_commutative(*binary) => {
                        if let (Operand::Reg(other), Some(imm)) =
                            (*rhs, simplify::immediate(value, size_of(*width)))
                        {
                            (*lhs, *rhs) = (other, Operand::Imm(imm));
                        }
                    }
                    _ => {}
                }
            }
            Op::BinaryLoad { lhs, at, .. } => {
                *lhs = self.same(*lhs);
                self.address(at, false);
            }
            Op::Update { size, at, rhs, .. } => {
                *rhs = self.immediate(*rhs, *size);
                self.address(at, false);
            }
            Op::Lea { at, .. } => self.address(at, false),
            Op::Load { check, at, size, .. } | Op::LoadAcquire { check, at, size, .. } => {
                self.access(check, at, *size);
            }
            Op::Store { check, at, size, src, swap } => {
                if !*swap {
                    *src = self.immediate(*src, *size);
                } else if let Operand::Reg(reg) = src {
                    *reg = self.same(*reg);
                }
                self.access(check, at, *size);
            }
            Op::StoreRelease { check, at, size, src } => {
                *src = self.same(*src);
                self.access(check, at, *size);
            }
            Op::Atomic { op, check, at, size, src } => {
                if matches!(op, AtomicOp::Rmw(_) | AtomicOp::Cmpxchg) {
                    *src = self.same(*src);
                }
                self.access(check, at, *size);
            }
            Op::Select { cond, then, other, .. } => {
                self.rewrite_cond(cond);
                (*then, *other) = (self.same(*then), self.same(*other));
            }
            Op::Packet { index: Some(index), .. } => *index = self.same(*index),
            _ => {}
        }
        if let Some(dst) = op.pure_dst()
            && let Some(value) = simplify::compute(op, |reg| self.constant(reg))
        {
            // A long number that a register has is copied.
            let is_long_copy = matches!(op, Op::Move { .. })
                && i32::try_from(value as i64).is_err()
                && u32::try_from(value).is_err();
            if self.constant(dst) == Some(value) {
                *op = Op::Nop;
                return;
            }
            if !is_long_copy {
                *op = Op::Const { dst, value };
                return;
            }
        }
        simplify::simplify(op, |reg| self.constant(reg));
    }

    fn rewrite_cond(&self, cond: &mut Cond) {
        match &mut cond.lhs {
            Place::Memory(at) => self.address(at, false),
            Place::Reg(reg) => *reg = self.same(*reg),
        }
        cond.rhs = self.immediate(cond.rhs, cond.size);
        if let (Place::Reg(lhs), Operand::Reg(rhs)) = (cond.lhs, cond.rhs)
            && let Some(value) = self.constant(lhs)
            && let Some(imm) = simplify::immediate(value, cond.size)
        {
            cond.op = simplify::mirrored(cond.op);
            (cond.lhs, cond.rhs) = (Place::Reg(rhs), Operand::Imm(imm));
        }
        simplify::simplify_cond(cond);
    }
}

/// Registers that have the inverted bits of another one, in a block.
#[derive(Default)]
struct Inverted {
    of: [Option<(Reg, Width)>; Reg::COUNT],
    any: RegSet,
}

impl Inverted {
    /// Lets an operation invert its operand itself.
    fn rewrite(&self, op: &mut Op) {
        let Op::Binary { op: binary, width, lhs, rhs: Operand::Reg(rhs), .. } = op else { return };
        if *binary != Binary::Alu(AluOp::And) || self.any == RegSet::NONE {
            return;
        }
        let find = |reg: Reg| match self.of[reg.index()] {
            Some((src, at)) if self.any.has(reg) && (at == *width || *width == Width::W32) => {
                Some(src)
            }
            _ => None,
        };
        let (left, right) = match (find(*rhs), find(*lhs)) {
            (Some(src), _) => (*lhs, src),
            (None, Some(src)) => (*rhs, src),
            (None, None) => return,
        };
        (*binary, *lhs, *rhs) = (Binary::AndNot, left, right);
    }

    fn step(&mut self, op: &Op) {
        let inverts = match *op {
            Op::Binary { op: Binary::Alu(AluOp::Xor), width, dst, lhs, rhs: Operand::Imm(-1) }
                if dst != lhs =>
            {
                Some((dst, lhs, width))
            }
            _ => None,
        };
        if self.any == RegSet::NONE && inverts.is_none() {
            return;
        }
        let writes = op.writes();
        self.any = self.any.without(writes);
        for reg in self.any.iter() {
            if self.of[reg.index()].is_some_and(|(src, _)| writes.has(src)) {
                self.any = self.any.without(RegSet::of(reg));
            }
        }
        if let Some((dst, src, width)) = inverts {
            self.of[dst.index()] = Some((src, width));
            self.any = self.any.with(dst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{checked_unit_of, unit_of};
    use crate::opt::same;

    fn after(text: &str) -> String {
        same::text_after(unit_of(text), &[run])
    }

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&run);
    }

    #[test]
    fn constants_become_immediates_and_results() {
        assert_eq!(
            after("r2 = 5\nr3 = r2\nr3 *= 4\nr0 = r1\nr0 += r3\nexit"),
            "r2 = 5|r3 = 5|r3 = 20|r0 = r1|r0 = r1 + 20|exit"
        );
        assert_eq!(
            after("r2 = 0xffffffff ll\nr0 = r1\nr0 &= r2\nexit"),
            "r2 = 0xffffffff|r0 = r1|w0 = w1|exit"
        );
        assert_eq!(
            after("r2 = 3\nr0 = 7\n*(u16 *)(r1 + 2) = r2\nexit"),
            "r2 = 3|r0 = 7|*(u16 *)(r1 + 2) = 3|exit"
        );
    }

    #[test]
    fn pointers_are_the_frame_and_an_offset() {
        assert_eq!(
            after("r2 = r10\nr2 += -8\nr3 = r2\nr3 += 4\nr0 = *(u32 *)(r3 + 0)\nexit"),
            "r2 = r10|r2 = r10 + -8|r3 = r2|r3 = r10 + -4|r0 = *(u32 *)(r10 - 4)|exit"
        );
        // Other registers keep up with one that moves on.
        assert_eq!(
            after("r2 = r1\nr1 += 1\nr0 = *(u8 *)(r2 + 0)\nexit"),
            "r2 = r1|r1 = r1 + 1|r0 = *(u8 *)(r1 - 1)|exit"
        );
        let unit = checked_unit_of("r2 = r10\nr2 += -8\nr0 = *(u32 *)(r2 + 0)\nexit");
        assert!(same::text_after(unit, &[run]).contains("r0 = *(u32 *)(r10 - 8)|"));
    }

    #[test]
    fn what_both_ways_know_holds_after_them() {
        assert_eq!(
            after("r2 = 7\nr3 = 1\nif r1 == 0 goto out\nr3 = 2\nout: r0 = r2\nr0 += r3\nexit"),
            "r2 = 7|r3 = 1|if r1 == 0 goto b2 else b1|r3 = 2|goto b2|r0 = 7|r0 = r3 + 7|exit"
        );
        // A loop that changes it does not.
        assert_eq!(
            after("r2 = 7\nr0 = 0\nagain: r0 += 1\nif r0 < r2 goto again\nexit"),
            "r2 = 7|r0 = 0|goto b1|r0 = r0 + 1|if r0 < 7 goto b1 (cost 2) else b2|exit"
        );
    }

    #[test]
    fn a_decided_comparison_is_a_jump() {
        assert_eq!(
            after("r2 = 7\nif r2 > 6 goto out\nr2 = 1\nout: r0 = r2\nexit"),
            "r2 = 7|goto b2|r2 = 1|goto b2|r0 = r2|exit"
        );
        assert_eq!(
            after("r0 = 1\nif r1 != 5 goto out\nr0 = r1\nout: exit"),
            "r0 = 1|if r1 != 5 goto b2 else b1|r0 = 5|goto b2|exit"
        );
    }

    #[test]
    fn a_register_that_is_overwritten_gives_way_to_its_twin() {
        assert_eq!(
            after("r3 = r10\nr3 += -16\nr4 = r3\nr4 += r1\nr0 = r4\nr4 = 5\nr4 = 5\nexit"),
            "r3 = r10|r3 = r10 + -16|r4 = r3|r4 = r3 + r1|r0 = r4|r4 = 5|nop|exit"
        );
    }

    #[test]
    fn inverted_operands_are_inverted_on_the_way() {
        assert_eq!(
            after("w2 = w1\nr3 = r1\nr3 ^= -1\nr0 = 9\nr0 &= r3\nr1 = 1\nr0 &= r3\nexit"),
            "w2 = w1|r3 = r1|r3 = r1 ^ -1|r0 = 9|r0 = r3 & 9|r1 = 1|r0 = r0 & r3|exit"
        );
        assert_eq!(
            after("r3 = r1\nr3 ^= -1\nr0 = r2\nr0 &= r3\nr1 = 1\nr0 &= r3\nexit"),
            "r3 = r1|r3 = r1 ^ -1|r0 = r2|r0 = r2 & ~ r1|r1 = 1|r0 = r0 & r3|exit"
        );
        // The upper half is not inverted.
        assert_eq!(
            after("r3 = r1\nw3 ^= -1\nr0 = r2\nr0 &= r3\nexit"),
            "r3 = r1|w3 = w1 ^ -1|r0 = r2|r0 = r2 & r3|exit"
        );
    }

    #[test]
    fn a_call_ends_what_its_arguments_hold() {
        assert_eq!(
            after("r6 = 1\nr2 = 2\ncall 7\nr2 += 1\nr0 = r2\nr0 += r6\nexit"),
            "r6 = 1|r2 = 2|call callee 0|r2 = r2 + 1|r0 = r2|r0 = r2 + 1|exit"
        );
    }
}
