//! Which region accesses are compared with first: guesses that follow control, where those of the
//! instructions' order are wrong. A wrong guess costs time only.

use super::access::check_of;
use crate::ir::{Address, Binary, Check, Op, Operand, Reg, RegSet, Unit};
use ebpfvm_asm::{AluOp, Width};

/// Registers that probably point into the frame, and into what a call gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shapes {
    frame: RegSet,
    given: RegSet,
}

impl Shapes {
    fn set(&mut self, dst: Reg, frame: bool, given: bool) {
        let only = RegSet::of(dst);
        let with = |set: RegSet, is_in: bool| if is_in { set.with(dst) } else { set.without(only) };
        (self.frame, self.given) = (with(self.frame, frame), with(self.given, given));
    }

    /// The sum of registers points where one of them does.
    fn sum(&mut self, dst: Reg, parts: RegSet) {
        let any = |set: RegSet| set.0 & parts.0 != 0;
        self.set(dst, any(self.frame), any(self.given));
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Move { width: Width::W64, dst, src } => self.sum(dst, RegSet::of(src)),
            Op::Lea { width: Width::W64, dst, at } => self.sum(dst, at.uses()),
            Op::Binary {
                op: Binary::Alu(AluOp::Add | AluOp::Sub),
                width: Width::W64,
                dst,
                lhs,
                rhs,
            } => {
                let other = match rhs {
                    Operand::Reg(rhs) => RegSet::of(rhs),
                    Operand::Imm(_) => RegSet::NONE,
                };
                self.sum(dst, RegSet::of(lhs) | other);
            }
            _ => {
                for reg in op.writes().iter() {
                    let is_given = reg == Reg::R0 && matches!(op, Op::Call { .. });
                    self.set(reg, false, is_given);
                }
            }
        }
    }

    /// A guess; none to leave it at one by the instructions' order, which knows data of maps.
    fn check(&self, at: Address, before: Check) -> Option<Check> {
        let any = |set: RegSet| set.0 & at.uses().0 != 0;
        match (any(self.frame), any(self.given)) {
            (true, _) => Some(Check::Frame),
            (false, true) => Some(Check::Last),
            (false, false) => (before == Check::Frame).then_some(Check::Window),
        }
    }
}

/// Guesses again, with what comes first on the way to each block.
pub(super) fn run(unit: &mut Unit) {
    let mut before: Vec<Option<Shapes>> = vec![None; unit.blocks.len()];
    for &number in &unit.shape().order {
        let number = number as usize;
        let mut shapes = before[number].unwrap_or_default();
        shapes.frame = shapes.frame.with(Reg::FP);
        let block = &mut unit.blocks[number];
        for inst in &mut block.insts {
            if let Some(access) = super::access::access(&inst.op)
                && let Some(guess) = shapes.check(access.at, access.check)
                && let Some(check) = check_of(&mut inst.op)
            {
                *check = guess;
            }
            shapes.step(&inst.op);
        }
        for next in block.successors() {
            before[next].get_or_insert(shapes);
        }
    }
}
