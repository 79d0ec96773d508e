//! Which registers still matter: their values may be read before they are written again.
//!
//! In units with [defined values everywhere](Unit::is_checked) a call leaves `r1` to `r5` readable:
//! a helper does not change them and a function leaves them as they are at its exit. There, calls of
//! functions read all registers, for a callee may read what its caller left in any.

use super::graph::{Part, Shape};
use super::{Block, End, Inst, Op, Reg, RegSet, Unit};
use ebpfvm_asm::Width;

/// The registers that matter at the beginning and end of each block.
#[derive(Clone, Debug)]
pub struct Live {
    rules: Rules,
    ins: Vec<RegSet>,
    outs: Vec<RegSet>,
}

/// What calls and exits read in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    is_checked: bool,
    /// What an exit reads.
    exit: RegSet,
}

impl Rules {
    /// Of a unit.
    pub fn of(unit: &Unit) -> Rules {
        let calls =
            |block: &Block| block.insts.iter().any(|inst| matches!(inst.op, Op::CallLocal { .. }));
        let r0 = RegSet::of(Reg::R0);
        let exit = match unit.is_checked && unit.blocks.iter().any(calls) {
            true => r0 | RegSet::ARGS,
            false => r0,
        };
        Rules { is_checked: unit.is_checked, exit }
    }

    /// The registers that an operation reads, or that someone may read when it leaves the function.
    pub fn uses(self, unit: &Unit, op: &Op) -> RegSet {
        let uses = op.uses(&unit.callees);
        match op {
            Op::CallLocal { .. } if self.is_checked => {
                uses | RegSet::KEPT | RegSet::ARGS.with(Reg::R0)
            }
            // Out of range the function returns.
            Op::Packet { .. } => uses | self.exit.without(RegSet::of(Reg::R0)),
            _ => uses,
        }
    }

    /// The registers whose values from before nobody reads afterwards.
    pub fn kills(self, op: &Op) -> RegSet {
        let writes = op.writes();
        match op {
            Op::Call { .. } | Op::CallLocal { .. } | Op::Packet { .. } if self.is_checked => {
                writes.without(RegSet::ARGS)
            }
            _ => writes,
        }
    }

    /// The registers that matter before an operation, from those that do after it.
    pub fn before(self, unit: &Unit, op: &Op, after: RegSet) -> RegSet {
        after.without(self.kills(op)) | self.uses(unit, op)
    }

    /// What a block reads before it writes it, and what it writes.
    fn through(self, unit: &Unit, block: &Block) -> (RegSet, RegSet) {
        let mut uses = self.end(&block.end);
        let mut kills = RegSet::NONE;
        for inst in block.insts.iter().rev() {
            uses = self.before(unit, &inst.op, uses);
            kills |= self.kills(&inst.op);
        }
        (uses, kills)
    }

    /// The registers that matter before an operation, if it is needed at all: if it does more than
    /// write a register, or that one matters.
    fn before_if_needed(self, unit: &Unit, op: &Op, after: RegSet) -> Option<RegSet> {
        match (op, op.pure_dst()) {
            (Op::Nop, _) => None,
            (Op::Move { width: Width::W64, dst, src }, _) if dst == src => None,
            (_, Some(dst)) if !after.has(dst) => None,
            (_, Some(dst)) => Some(after.without(RegSet::of(dst)) | op.uses(&[])),
            (_, None) => Some(self.before(unit, op, after)),
        }
    }

    /// The registers that the end of a block reads itself.
    pub fn end(self, end: &End) -> RegSet {
        match end {
            End::Exit => self.exit,
            _ => end.uses(),
        }
    }
}

impl Live {
    /// Of a unit. Takes time in proportion to its size.
    pub fn of(unit: &Unit) -> Live {
        Live::on(unit, &Shape::of(unit))
    }

    /// Of a unit of this shape. Nothing matters in blocks that control does not come to.
    pub fn on(unit: &Unit, shape: &Shape) -> Live {
        let mut live = Live::nothing(unit);
        // Of each block what it writes, if it may have to be looked at again.
        let mut kills = vec![RegSet::NONE; if shape.has_loops { unit.blocks.len() } else { 0 }];
        for part in shape.parts.iter().rev() {
            for number in shape.blocks(part).rev() {
                let block = &unit.blocks[number];
                let (uses, writes) = live.rules.through(unit, block);
                live.outs[number] = live.at_end(block);
                live.ins[number] = uses | live.outs[number].without(writes) | live.otherwise(block);
                if part.is_loop {
                    kills[number] = writes;
                }
            }
            // What is read first in a block is in the set already.
            live.go_round(unit, shape, part, |live, number| {
                live.ins[number] | live.outs[number].without(kills[number])
            });
        }
        live
    }

    /// Takes out of a unit of this shape all operations whose results nobody needs, neither after
    /// them nor, round and round, for themselves.
    pub fn prune(unit: &mut Unit, shape: &Shape) -> Live {
        let mut live = Live::nothing(unit);
        for part in shape.parts.iter().rev() {
            // In loops it is not known at first what is needed.
            if part.is_loop {
                for number in shape.blocks(part).rev() {
                    live.outs[number] = live.at_end(&unit.blocks[number]);
                    live.ins[number] = live.needed(unit, number);
                }
                live.go_round(unit, shape, part, |live, number| live.needed(unit, number));
            }
            for number in shape.blocks(part).rev() {
                live.outs[number] = live.at_end(&unit.blocks[number]);
                live.ins[number] = live.prune_block(unit, number);
            }
        }
        live
    }

    /// Where nothing matters.
    fn nothing(unit: &Unit) -> Live {
        let nothing = vec![RegSet::NONE; unit.blocks.len()];
        Live { rules: Rules::of(unit), ins: nothing.clone(), outs: nothing }
    }

    /// What matters where a block goes on, as far as that is known.
    fn at_end(&self, block: &Block) -> RegSet {
        block.end.edges().fold(RegSet::NONE, |set, edge| set | self.ins[edge.to as usize])
    }

    /// What the guards of a block and the block behind them need.
    fn otherwise(&self, block: &Block) -> RegSet {
        let Some(first) = block.guards.first() else { return RegSet::NONE };
        let all = block.guards.iter().fold(first.at.uses(), |set, guard| set | guard.at.uses());
        all | self.ins[block.otherwise as usize]
    }

    /// What matters at the beginning of a block without the operations that are not needed.
    fn needed(&self, unit: &Unit, number: usize) -> RegSet {
        let block = &unit.blocks[number];
        let end = self.outs[number] | self.rules.end(&block.end);
        let before =
            |set, inst: &Inst| self.rules.before_if_needed(unit, &inst.op, set).unwrap_or(set);
        block.insts.iter().rev().fold(end, before) | self.otherwise(block)
    }

    /// As [`Live::needed`]; and takes the others out.
    fn prune_block(&self, unit: &mut Unit, number: usize) -> RegSet {
        let mut insts = std::mem::take(&mut unit.blocks[number].insts);
        let mut set = self.before_end(unit, number);
        // Those that stay move to the end.
        let mut first = insts.len();
        for at in (0..insts.len()).rev() {
            if let Some(before) = self.rules.before_if_needed(unit, &insts[at].op, set) {
                set = before;
                first -= 1;
                insts[first] = insts[at];
            }
        }
        insts.drain(..first);
        unit.blocks[number].insts = insts;
        set | self.otherwise(&unit.blocks[number])
    }

    /// Looks again at blocks of a loop after which more matters than was known: at each at most once a
    /// register and edge. `before` says what matters at the beginning of a block then.
    fn go_round(
        &mut self,
        unit: &Unit,
        shape: &Shape,
        part: &Part,
        before: impl Fn(&Live, usize) -> RegSet,
    ) {
        shape.go_round(unit, part, |number| {
            let block = &unit.blocks[number];
            self.outs[number] = self.at_end(block);
            let new = before(self, number) | self.otherwise(block);
            std::mem::replace(&mut self.ins[number], new) != new
        });
    }

    /// Whether no less matters anywhere than in another result for the same blocks.
    pub(super) fn holds(&self, other: &Live) -> bool {
        let holds = |own: &[RegSet], other: &[RegSet]| {
            own.len() == other.len()
                && own.iter().zip(other).all(|(own, other)| other.without(*own) == RegSet::NONE)
        };
        self.rules == other.rules && holds(&self.ins, &other.ins) && holds(&self.outs, &other.outs)
    }

    /// What matters at the beginning of a block.
    pub fn before(&self, block: usize) -> RegSet {
        self.ins[block]
    }

    /// What matters where a block goes on, after its comparison.
    pub fn after(&self, block: usize) -> RegSet {
        self.outs[block]
    }

    /// What matters after a block's last operation: before its end.
    pub fn before_end(&self, unit: &Unit, block: usize) -> RegSet {
        self.outs[block] | self.rules.end(&unit.blocks[block].end)
    }

    /// What calls and exits read, to go backwards through a block.
    pub fn rules(&self) -> Rules {
        self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{checked_unit_of, unit_of};

    fn set(registers: &[u8]) -> RegSet {
        registers.iter().fold(RegSet::NONE, |set, &number| set.with(Reg::new(number)))
    }

    #[test]
    fn a_register_matters_from_where_it_is_written_to_where_it_is_read_last() {
        let unit = unit_of("r2 = 1\nif r1 == 0 goto out\nr2 = r6\nout: r0 = r2\nexit");
        let live = Live::of(&unit);
        assert_eq!(live.before(0), set(&[1, 6]));
        assert_eq!(live.before_end(&unit, 0), set(&[1, 2, 6]));
        assert_eq!(live.after(0), set(&[2, 6]));
        assert_eq!(live.before(1), set(&[6]));
        assert_eq!(live.after(1), set(&[2]));
        assert_eq!(live.before(2), set(&[2]));
        assert_eq!((live.after(2), live.before_end(&unit, 2)), (set(&[]), set(&[0])));
    }

    #[test]
    fn what_a_loop_reads_in_its_next_round_matters_to_its_end() {
        let unit = unit_of("r0 = 0\nr3 = 5\nagain: r0 += r3\nr1 -= 1\nif r1 != 0 goto again\nexit");
        let live = Live::of(&unit);
        assert_eq!(live.after(1), set(&[0, 1, 3]));
        assert_eq!(live.before(0), set(&[1]));
    }

    #[test]
    fn calls_end_the_arguments_of_verified_programs_only() {
        let text = "r6 = r1\nr1 = 1\nr5 = 2\ncall 7\nr0 += r6\nexit";
        let live = Live::of(&unit_of(text));
        assert_eq!(live.before(0), set(&[1, 2, 3, 4]));
        let text = "r5 = 2\ncall 7\nr0 += r5\nexit";
        assert_eq!(Live::of(&checked_unit_of(text)).before(0), set(&[1, 2, 3, 4]));
        let unit = checked_unit_of("r5 = 2\ncall f\nr0 += r5\nexit\nf: r0 = r8\nr4 = 1\nexit");
        let live = Live::of(&unit);
        assert_eq!(live.before(0), set(&[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]));
        assert_eq!(live.before(1), set(&[1, 2, 3, 5, 8]));
    }
    /// What is left of a program.
    fn pruned(text: &str) -> String {
        let mut unit = unit_of(text);
        let shape = Shape::of(&unit);
        let live = Live::prune(&mut unit, &shape);
        let anew = Live::of(&unit);
        assert!(live.holds(&anew) && anew.holds(&live), "{unit}");
        let insts = unit.blocks.iter().flat_map(|block| &block.insts);
        insts.map(|inst| inst.op.to_string()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn what_nobody_needs_goes() {
        assert_eq!(pruned("r2 = 1\nr3 = r2\nr0 = 4\nr0 = 5\nr3 += 1\nexit"), "r0 = 5");
        assert_eq!(
            pruned(
                "r2 = 1\nr3 = 2\nif r1 == 0 goto out\nr3 = r2\nr0 = r3\nexit\nout: r0 = 0\nexit"
            ),
            "r2 = 1|r3 = r2|r0 = r3|r0 = 0"
        );
        assert_eq!(
            pruned("r2 = 7\n*(u8 *)(r1 + 0) = r2\nr2 = 8\nr0 = 0\nexit"),
            "r2 = 7|*(u8 *)(r1) = w2|r0 = 0"
        );
    }

    #[test]
    fn what_a_loop_needs_only_for_itself_goes() {
        let text = "r2 = 0\nr0 = 9\nagain: r2 += 1\nr3 = r0\nr0 -= 1\nif r0 != 0 goto again\nexit";
        assert_eq!(pruned(text), "r0 = 9|r0 = r0 - 1");
        // What a later round needs stays.
        let text = "r2 = 0\nr0 = 9\nr4 = 0\nagain: r2 += r4\nr4 += 3\nr0 -= 1\nif r2 < 50 goto again\nexit";
        assert_eq!(pruned(text).matches('|').count(), 5);
    }
}
