//! Registers that a loop counts with, and how far it goes.

use super::loops::{Loop, test};
use crate::ir::{Address, Binary, Cond, End, Op, Operand, Place, Reg, RegSet, Unit};
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

/// What a loop does to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Kept,
    /// Adds this once a round, at this operation of this block.
    By(i64, usize, usize),
    /// Something else, first at this operation if it is in the first block; none if only in others.
    Other,
}

/// What a loop does to all registers.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    steps: [Step; Reg::COUNT],
    latch: usize,
    /// Registers written in the blocks before the last one.
    written_early: RegSet,
    /// The operations of the last block that write each register first.
    first_late: [usize; Reg::COUNT],
}

impl Steps {
    /// Of a loop.
    pub(super) fn of(unit: &Unit, found: &Loop) -> Steps {
        let mut all = Steps {
            steps: [Step::Kept; Reg::COUNT],
            latch: found.latch,
            written_early: RegSet::NONE,
            first_late: [usize::MAX; Reg::COUNT],
        };
        for &block in &found.body {
            for (at, inst) in unit.blocks[block].insts.iter().enumerate() {
                for reg in inst.op.writes().iter() {
                    let step = &mut all.steps[reg.index()];
                    // These two blocks are gone through once in every round.
                    let is_once = block == found.header || block == found.latch;
                    *step = match added(&inst.op, reg) {
                        Some(by) if *step == Step::Kept && is_once => Step::By(by, block, at),
                        _ => Step::Other,
                    };
                    if block == found.latch {
                        let first = &mut all.first_late[reg.index()];
                        *first = (*first).min(at);
                    } else {
                        all.written_early = all.written_early.with(reg);
                    }
                }
            }
        }
        all
    }

    fn of_reg(&self, reg: Reg) -> Step {
        self.steps[reg.index()]
    }

    /// By how much an address grows from round to round, if evenly.
    pub(super) fn of_address(&self, at: Address) -> Option<i64> {
        let by = |reg: Reg| match self.of_reg(reg) {
            Step::Kept => Some(0),
            Step::By(by, ..) => Some(by),
            Step::Other => None,
        };
        let index = match at.index {
            Some((index, scale)) => by(index)? << scale,
            None => 0,
        };
        Some(by(at.base)? + index)
    }

    /// By how much an address is ahead of what it would be at the beginning of the round, at this
    /// operation; none if that is not known.
    pub(super) fn phase(&self, at: Address, block: usize, number: usize) -> Option<i64> {
        let ahead = |reg: Reg| match self.of_reg(reg) {
            Step::Kept => Some(0),
            Step::By(by, in_block, place) => {
                let is_after = match (in_block == block, in_block == self.latch) {
                    (true, _) => number > place,
                    // In the last block: all others come before.
                    (false, true) => false,
                    // In the first block: all others come after.
                    (false, false) => true,
                };
                Some(if is_after { by } else { 0 })
            }
            // As it was at the beginning of the round, if it is written in the last block only.
            Step::Other => {
                let is_early = block != self.latch || number < self.first_late[reg.index()];
                (is_early && !self.written_early.has(reg)).then_some(0)
            }
        };
        let index = match at.index {
            Some((index, scale)) => ahead(index)? << scale,
            None => 0,
        };
        Some(ahead(at.base)? + index)
    }
}

/// What an operation adds to a register, if it does nothing else.
fn added(op: &Op, reg: Reg) -> Option<i64> {
    match *op {
        Op::Binary {
            op: Binary::Alu(op @ (AluOp::Add | AluOp::Sub)),
            width: Width::W64,
            lhs,
            rhs: Operand::Imm(imm),
            ..
        } if lhs == reg => {
            let imm = i64::from(imm);
            Some(if op == AluOp::Sub { -imm } else { imm })
        }
        Op::Lea { width: Width::W64, at, .. } if at.base == reg && at.index.is_none() => {
            Some(at.offset.into())
        }
        _ => None,
    }
}

/// What a counter is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Imm(i32),
    Reg(Reg),
}

/// A loop that goes on while its counter compares with a bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) counter: Reg,
    pub(super) bound: Bound,
    /// The comparison that goes on.
    op: JmpOp,
    /// What is added to the counter in each round; none if that is not always the same.
    by: Option<i64>,
}

/// How the register with the distance is made.
pub(super) struct Distance {
    /// Operations, and the condition on which the loop does not go that way.
    pub(super) tests: Vec<(Vec<Op>, Cond)>,
    /// What is done after them.
    pub(super) last: Option<Op>,
}

impl Counted {
    /// Of a loop, if its last block goes back on a comparison.
    pub(super) fn of(unit: &Unit, found: &Loop, steps: &Steps) -> Option<Counted> {
        let End::Branch { cond, then, other } = unit.blocks[found.latch].end else { return None };
        let Cond { op, size: Size::Dw, lhs: Place::Reg(counter), rhs } = cond else { return None };
        let op = match (then.to as usize == found.header, other.to as usize == found.header) {
            (true, false) => op,
            (false, true) => opposite(op)?,
            _ => return None,
        };
        let bound = match rhs {
            Operand::Imm(imm) => Bound::Imm(imm),
            Operand::Reg(reg) if steps.of_reg(reg) == Step::Kept => Bound::Reg(reg),
            Operand::Reg(_) => return None,
        };
        let by = match steps.of_reg(counter) {
            Step::By(by, ..) => Some(by),
            Step::Kept => return None,
            Step::Other => None,
        };
        Some(Counted { counter, bound, op, by })
    }

    /// The lowest and the highest address that one can be in which the counter is a register, if the
    /// loop goes on only while it is below the bound: those with 0 and with the bound less 1. The
    /// register has its value from the beginning of the round ([`Steps::phase`] is 0), or one step
    /// more, which the offset then has.
    pub(super) fn ends(&self, steps: &Steps, at: Address) -> Option<(Address, Address)> {
        let is_kept = |reg: Reg| steps.of_reg(reg) == Step::Kept;
        let (base, scale) = match at.index {
            Some((index, scale)) if index == self.counter && is_kept(at.base) => (at.base, scale),
            Some((index, 0)) if at.base == self.counter && is_kept(index) => (index, 0),
            _ => return None,
        };
        if self.op != JmpOp::Lt {
            return None;
        }
        let size = 1 << scale;
        let high = match self.bound {
            Bound::Reg(bound) => {
                Address { base, index: Some((bound, scale)), offset: at.offset.checked_sub(size)? }
            }
            // The comparison is without sign.
            Bound::Imm(imm @ 1..=0xfff_ffff) => {
                Address::new(base, at.offset.checked_add((imm - 1).checked_mul(size)?)?)
            }
            Bound::Imm(_) => return None,
        };
        Some((Address::new(base, at.offset), high))
    }

    /// How many steps of an address there are in one step of the counter, with sign.
    pub(super) fn times(&self, step: i64) -> Option<i32> {
        let by = self.by.filter(|by| *by != 0)?.unsigned_abs();
        let by = i64::try_from(by).ok()?;
        if step % by != 0 {
            return None;
        }
        i32::try_from(step / by).ok().filter(|times| (-MOST_TIMES..=MOST_TIMES).contains(times))
    }

    /// Puts into a register how far the counter goes from the first round to the last, or more:
    /// without sign and below 2^31, or the test says so.
    pub(super) fn distance(&self, dst: Reg) -> Option<Distance> {
        let by = self.by?;
        let step = by.unsigned_abs();
        let is_up = by > 0;
        let is_power = step.is_power_of_two();
        // What is the distance to the bound, whatever the numbers are, if it is below 2^31:
        let fits = match self.op {
            // Past the bound there is room for another step.
            JmpOp::Lt => is_up && (step == 1 || !matches!(self.bound, Bound::Imm(imm) if imm < 0)),
            JmpOp::Slt => is_up && (step == 1 || matches!(self.bound, Bound::Imm(_))),
            JmpOp::Sgt => !is_up && matches!(self.bound, Bound::Imm(_)),
            // Below the bound there is another step, or the counter would go around.
            JmpOp::Gt => {
                !is_up && matches!(self.bound, Bound::Imm(imm) if i64::from(imm) >= step as i64 - 1)
            }
            JmpOp::Ne => is_power,
            _ => false,
        };
        if !fits || step == 0 || step > MOST_STEP {
            return None;
        }
        let sub =
            |lhs, rhs| Op::Binary { op: Binary::Alu(AluOp::Sub), width: Width::W64, dst, lhs, rhs };
        let add = |by| Op::Binary {
            op: Binary::Alu(AluOp::Add),
            width: Width::W64,
            dst,
            lhs: dst,
            rhs: Operand::Imm(by),
        };
        let mut ops = match (is_up, self.bound) {
            (true, Bound::Reg(bound)) => vec![sub(bound, Operand::Reg(self.counter))],
            (true, Bound::Imm(imm)) => vec![
                Op::Const { dst, value: i64::from(imm) as u64 },
                sub(dst, Operand::Reg(self.counter)),
            ],
            (false, Bound::Reg(bound)) => vec![sub(self.counter, Operand::Reg(bound))],
            (false, Bound::Imm(imm)) => vec![sub(self.counter, Operand::Imm(imm))],
        };
        let mut tests = Vec::new();
        if let (JmpOp::Lt, Bound::Reg(bound), 2..) = (self.op, self.bound, step) {
            let last = Operand::Imm(-(MOST_STEP as i32) - 1);
            tests.push((Vec::new(), test(JmpOp::Gt, bound, last)));
        }
        // A counter that steps over its bound goes around.
        if self.op == JmpOp::Ne && step > 1 {
            let cond = test(JmpOp::Set, dst, Operand::Imm(step as i32 - 1));
            tests.push((std::mem::take(&mut ops), cond));
        }
        ops.push(add(-1));
        tests.push((ops, test(JmpOp::Gt, dst, Operand::Imm(i32::MAX - 1))));
        let last = (is_power && step > 1).then(|| Op::Binary {
            op: Binary::Alu(AluOp::And),
            width: Width::W64,
            dst,
            lhs: dst,
            rhs: Operand::Imm(-(step as i32)),
        });
        Some(Distance { tests, last })
    }
}

/// Longer steps are left alone, so that no sum gets far.
const MOST_STEP: u64 = 1 << 16;

/// How much faster than the counter an address may go.
const MOST_TIMES: i32 = 256;

/// The comparison that holds where the other one does not.
fn opposite(op: JmpOp) -> Option<JmpOp> {
    Some(match op {
        JmpOp::Eq => JmpOp::Ne,
        JmpOp::Ne => JmpOp::Eq,
        JmpOp::Gt => JmpOp::Le,
        JmpOp::Ge => JmpOp::Lt,
        JmpOp::Lt => JmpOp::Ge,
        JmpOp::Le => JmpOp::Gt,
        JmpOp::Sgt => JmpOp::Sle,
        JmpOp::Sge => JmpOp::Slt,
        JmpOp::Slt => JmpOp::Sge,
        JmpOp::Sle => JmpOp::Sgt,
        JmpOp::Set => return None,
    })
}
