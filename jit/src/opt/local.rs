//! Which value each register has, within a block.
//!
//! Every operation that writes a register makes a value; copies share one. A pass walks over a
//! block, looks at how the values of operands were made, and may replace an operation by one that
//! starts from earlier values, as long as registers still have them. What is then no longer needed,
//! the removal of dead code takes away.
//!
//! Invariant: two registers with the same value number hold the same 64 bits.

use crate::ir::{Address, Inst, Op, Operand, Reg, RegSet, Unit};
use ebpfvm_asm::Width;

/// The number of a value: a register at the block's beginning, what an operation of the block makes,
/// or, from [`OPAQUE`] on, something else.
pub(super) type Value = u32;

/// The first number of values that nothing is known of.
const OPAQUE: Value = 1 << 31;

/// No value: an operand that there is not.
const NO_VALUE: Value = u32::MAX;

/// What is known of the value that an operation makes.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// Its operands: of addresses, base and index.
    args: [Value; 2],
    /// How often memory was written before.
    epoch: u32,
    is_zero_extended: bool,
    /// The operations and ends that read it, one more for each register that keeps it at the end.
    readers: u32,
}

const NOTHING_MADE: Made =
    Made { args: [NO_VALUE; 2], epoch: 0, is_zero_extended: false, readers: 0 };

/// The values at a point of a block.
#[derive(Clone, Debug)]
pub(super) struct Values {
    now: [Value; Reg::COUNT],
    made: Vec<Made>,
    epoch: u32,
    opaque: Value,
    /// Whether helpers leave `r1` to `r5` as they are ([`Unit::is_checked`]).
    keeps_args: bool,
}

impl Values {
    /// For any number of blocks of a unit.
    pub(super) fn new(unit: &Unit) -> Values {
        Values {
            now: [0; Reg::COUNT],
            made: Vec::new(),
            epoch: 0,
            opaque: OPAQUE,
            keeps_args: unit.is_checked,
        }
    }

    /// Goes to the beginning of a block of so many operations.
    pub(super) fn enter(&mut self, insts: usize) {
        self.made.clear();
        self.made.resize(insts, NOTHING_MADE);
        self.rewind();
    }

    /// Goes to the beginning of the same block; the counts of readers are kept.
    pub(super) fn rewind(&mut self) {
        self.now = std::array::from_fn(|number| number as Value);
        self.epoch = 0;
        self.opaque = OPAQUE;
    }

    /// Goes to the beginning of a block and counts the readers of its values: `uses` are the
    /// registers that an operation reads, `after` those that are read by the block's end or later.
    pub(super) fn enter_counting(
        &mut self,
        insts: &[Inst],
        uses: impl Fn(&Op) -> RegSet,
        end: RegSet,
        after: RegSet,
    ) {
        self.enter(insts.len());
        for (at, inst) in insts.iter().enumerate() {
            let before = self.now;
            if !self.step(at, &inst.op) {
                for reg in uses(&inst.op).iter() {
                    self.read(before[reg.index()]);
                }
            }
        }
        for set in [end, after] {
            for reg in set.iter() {
                self.read(self.now[reg.index()]);
            }
        }
        self.rewind();
    }

    fn read(&mut self, value: Value) {
        if let Some(at) = self.maker(value) {
            self.made[at].readers += 1;
        }
    }

    /// Goes over the operation with this number. Whether it only copies a value.
    pub(super) fn step(&mut self, at: usize, op: &Op) -> bool {
        match *op {
            Op::Nop => return true,
            Op::Move { width: Width::W64, dst, src } => {
                self.now[dst.index()] = self.of(src);
                return true;
            }
            Op::Move { width: Width::W32, dst, src } if self.is_zero_extended(self.of(src)) => {
                self.now[dst.index()] = self.of(src);
                return true;
            }
            _ => {}
        }
        let made = &mut self.made[at];
        let (first, second) = operands(op);
        let value = |reg: Option<Reg>| reg.map_or(NO_VALUE, |reg| self.now[reg.index()]);
        made.args = [value(first), value(second)];
        made.epoch = self.epoch;
        made.is_zero_extended = op.zero_extends().is_some();
        if op.writes_memory() {
            self.epoch += 1;
        }
        let mut writes = op.writes();
        if writes == RegSet::CALL {
            if self.keeps_args && !matches!(op, Op::CallLocal { .. }) {
                writes = writes.without(RegSet::ARGS);
            }
            for reg in writes.iter() {
                self.now[reg.index()] = self.opaque;
                self.opaque += 1;
            }
        } else {
            for reg in writes.iter() {
                self.now[reg.index()] = Reg::COUNT as Value + at as Value;
            }
        }
        false
    }

    /// What the operation with this number makes is from now on a copy of a register, which it is
    /// about to be: its readers are those of the register's value.
    pub(super) fn becomes_copy(&mut self, at: usize, src: Reg) {
        let readers = self.made[at].readers;
        if let Some(other) = self.maker(self.of(src)) {
            self.made[other].readers += readers;
        }
    }

    /// An operation before makes another value than it did.
    pub(super) fn remake(&mut self, at: usize, is_zero_extended: bool) {
        self.made[at].is_zero_extended = is_zero_extended;
    }

    /// The value of a register.
    pub(super) fn of(&self, reg: Reg) -> Value {
        self.now[reg.index()]
    }

    /// A register that has a value: the one that has had it since the block's beginning, else this
    /// one, else any.
    pub(super) fn find(&self, value: Value, first: Reg) -> Option<Reg> {
        if self.now.get(value as usize) == Some(&value) {
            return Some(Reg::new(value as u8));
        }
        if self.of(first) == value {
            return Some(first);
        }
        let number = self.now.iter().position(|now| *now == value)?;
        Some(Reg::new(number as u8))
    }

    /// The number of the operation that makes a value.
    pub(super) fn maker(&self, value: Value) -> Option<usize> {
        let at = (value as usize).checked_sub(Reg::COUNT)?;
        (at < self.made.len()).then_some(at)
    }

    /// The operation that makes a value, and the values of its operands.
    pub(super) fn made_by<'a>(
        &self,
        insts: &'a [Inst],
        value: Value,
    ) -> Option<(&'a Op, [Value; 2])> {
        let at = self.maker(value)?;
        Some((&insts[at].op, self.made[at].args))
    }

    /// Whether the upper half of a value is zero.
    pub(super) fn is_zero_extended(&self, value: Value) -> bool {
        self.maker(value).is_some_and(|at| self.made[at].is_zero_extended)
    }

    /// Who reads a value, counted by [`Values::enter_counting`]. 0 if nothing is known.
    pub(super) fn readers(&self, value: Value) -> u32 {
        self.maker(value).map_or(0, |at| self.made[at].readers)
    }

    /// Whether the value is needed once: what is known of it may be joined with what needs it.
    pub(super) fn has_one_reader(&self, value: Value) -> bool {
        self.readers(value) == 1
    }

    /// How often memory was written up to here.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How often memory was written before the operation that makes a value.
    pub(super) fn epoch_of(&self, value: Value) -> Option<u32> {
        self.maker(value).map(|at| self.made[at].epoch)
    }

    /// A value with the same lower half, made earlier: that of which it is a copy of 32 bits.
    pub(super) fn low_half(&self, insts: &[Inst], mut value: Value) -> Value {
        use crate::ir::Fill;
        use ebpfvm_asm::Size;
        for _ in 0..4 {
            match self.made_by(insts, value) {
                Some((
                    Op::Move { width: Width::W32, .. }
                    | Op::Extend { size: Size::W, fill: Fill::Zero, .. }
                    | Op::Extend { size: Size::W, fill: Fill::Sign(_), .. },
                    [src, _],
                )) => value = src,
                _ => break,
            }
        }
        value
    }

    /// An address in terms of the registers that have its parts here, if there are such: the address
    /// `at` that the operation which makes `value` has.
    pub(super) fn address_here(&self, value: Value, at: Address) -> Option<Address> {
        let [base, index] = self.made[self.maker(value)?].args;
        self.address_of(base, index, at)
    }

    /// An address with these values as base and index.
    pub(super) fn address_of(&self, base: Value, index: Value, at: Address) -> Option<Address> {
        let base = self.find(base, at.base)?;
        let index = match at.index {
            None => None,
            Some((reg, scale)) => Some((self.find(index, reg)?, scale)),
        };
        Some(Address { base, index, offset: at.offset })
    }
}

/// The operands that patterns look at.
fn operands(op: &Op) -> (Option<Reg>, Option<Reg>) {
    match *op {
        Op::Move { src, .. }
        | Op::Extend { src, .. }
        | Op::Swap { src, .. }
        | Op::Neg { src, .. }
        | Op::Bits { src, .. } => (Some(src), None),
        Op::Binary { lhs, rhs: Operand::Reg(rhs), .. } => (Some(lhs), Some(rhs)),
        Op::Binary { lhs, rhs: Operand::Imm(_), .. } => (Some(lhs), None),
        Op::Load { at, .. } | Op::Lea { at, .. } => {
            (Some(at.base), at.index.map(|(index, _)| index))
        }
        _ => (None, None),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ir::eval::unit_of;
    use crate::ir::live::{Live, Rules};
    use crate::opt::Given;

    /// The operations and ends of a program without checks after a pass, less those that nobody
    /// needs.
    pub(in crate::opt) fn after(pass: fn(&mut Unit, &Given<'_>), text: &str) -> String {
        let mut unit = unit_of(text);
        pass(&mut unit, &Given { facts: None, has_spare: true });
        needed(&unit)
    }

    /// The operations and ends of a unit, less those that nobody needs.
    pub(in crate::opt) fn needed(unit: &Unit) -> String {
        let (live, rules) = (Live::of(unit), Rules::of(unit));
        let mut lines = Vec::new();
        for (number, block) in unit.blocks.iter().enumerate().rev().skip(1) {
            lines.push(block.end.to_string());
            let mut after = live.after(number) | rules.end(&block.end);
            for inst in block.insts.iter().rev() {
                let is_needed = inst.op.pure_dst().is_none_or(|dst| after.has(dst));
                if is_needed && inst.op != Op::Nop {
                    lines.push(inst.op.to_string());
                    after = rules.before(unit, &inst.op, after);
                }
            }
        }
        lines.reverse();
        lines.join("\n")
    }

    #[test]
    fn copies_share_a_value_and_writes_end_it() {
        let unit = unit_of("r3 = r1\nw4 = 7\nw5 = w4\nr3 += 1\ncall 1\nexit");
        let insts = &unit.blocks[0].insts;
        let mut values = Values::new(&unit);
        values.enter(insts.len());
        let [r1, r3, r4, r5] = [1, 3, 4, 5].map(Reg::new);
        for (at, inst) in insts.iter().enumerate() {
            values.step(at, &inst.op);
            match at {
                0 => assert_eq!(values.of(r3), values.of(r1)),
                2 => assert_eq!(values.of(r5), values.of(r4)),
                3 => {
                    assert_ne!(values.of(r3), values.of(r1));
                    assert_eq!(
                        values.made_by(insts, values.of(r3)).map(|(_, args)| args[0]),
                        Some(1)
                    );
                }
                _ => {}
            }
        }
        assert_eq!(values.maker(values.of(r1)), None);
        assert_eq!(values.find(values.of(Reg::FP), r1), Some(Reg::FP));
    }
}
