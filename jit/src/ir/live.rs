//! Which registers still matter: their values may be read before they are written again.
//!
//! In units with [defined values everywhere](Unit::is_checked) a call leaves `r1` to `r5` readable:
//! a helper does not change them and a function leaves them as they are at its exit. There, calls of
//! functions read all registers, for a callee may read what its caller left in any.

use super::graph::Preds;
use super::{End, Op, Reg, RegSet, Unit};

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
        let calls = |block: &super::Block| {
            block.insts.iter().any(|inst| matches!(inst.op, Op::CallLocal { .. }))
        };
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
        let rules = Rules::of(unit);
        // What each block reads before it writes it, and what it writes.
        let through: Vec<(RegSet, RegSet)> = unit
            .blocks
            .iter()
            .map(|block| {
                let mut uses = rules.end(&block.end);
                let mut kills = RegSet::NONE;
                for inst in block.insts.iter().rev() {
                    uses = rules.before(unit, &inst.op, uses);
                    kills |= rules.kills(&inst.op);
                }
                (uses, kills)
            })
            .collect();
        let guards = |block: usize| {
            let guards = &unit.blocks[block].guards;
            guards.iter().fold(RegSet::NONE, |set, guard| set | guard.at.uses())
        };
        let mut ins: Vec<RegSet> =
            through.iter().enumerate().map(|(block, (uses, _))| *uses | guards(block)).collect();
        let mut outs = vec![RegSet::NONE; ins.len()];
        let preds = Preds::of(unit);
        // A block is looked at again when a set after it has grown, at most once a register and edge.
        let mut work: Vec<u32> = (0..ins.len() as u32).collect();
        let mut is_waiting = vec![true; ins.len()];
        while let Some(number) = work.pop() {
            let number = number as usize;
            is_waiting[number] = false;
            let block = &unit.blocks[number];
            let out = block.end.edges().fold(RegSet::NONE, |set, edge| set | ins[edge.to as usize]);
            outs[number] = out;
            let mut new = ins[number] | out.without(through[number].1);
            if !block.guards.is_empty() {
                new |= ins[block.otherwise as usize];
            }
            if new != ins[number] {
                ins[number] = new;
                for &pred in preds.of_block(number) {
                    if !std::mem::replace(&mut is_waiting[pred as usize], true) {
                        work.push(pred);
                    }
                }
            }
        }
        Live { rules, ins, outs }
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
}
