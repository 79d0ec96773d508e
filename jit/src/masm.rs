//! What a target does for `emit`: the seam between the blocks of a program and a processor.
//!
//! `emit` says what comes in which order and where control goes; a target writes it. Code that is
//! rarely run is put aside by the target until [`Masm::finish`].

use crate::features::Features;
use crate::ir::{Cond, End, Guard, Inst, Op};
use crate::plan::{Frame, Plan};
use ebpfvm_asm::Pc;

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) u32);

/// Where an operation stands.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) pc: Pc,
    pub(crate) frame: &'a Frame,
    /// What follows it in its block.
    pub(crate) rest: &'a [Inst],
    /// The end of the block.
    pub(crate) end: &'a End,
}

/// Writes code for a target.
pub(crate) trait Masm<'a>: Sized {
    /// Begins; so many labels are `emit`'s, and about so many operations come.
    fn new(plan: &'a Plan<'a>, features: Features, labels: usize, operations: usize) -> Self;

    /// How many bytes are written.
    fn offset(&self) -> u32;

    /// One more label.
    fn label(&mut self) -> Label;

    /// The label is here.
    fn bind(&mut self, label: Label);

    /// How the machine enters a function. It is in line with the function's code if
    /// [`Plan::enters_in_line`], otherwise it calls the function.
    fn enter(&mut self, frame: &'a Frame, function: Label);

    /// The beginning of a function.
    fn prologue(&mut self, frame: &'a Frame);

    /// Returns from a function.
    fn leave(&mut self, frame: &'a Frame);

    /// An operation.
    fn op(&mut self, op: &Op, site: Site<'a>);

    /// Goes to a place.
    fn jump(&mut self, to: Label);

    /// Goes to a place if the condition holds, or if it does not hold.
    fn branch(&mut self, cond: &Cond, holds: bool, to: Label);

    /// Goes to a place if the rounds of the function are used up, and counts one otherwise.
    fn count_round(&mut self, to: Label);

    /// Takes from the fuel and goes to a place; if the fuel is used up the run stops at an instruction.
    fn pay_and_jump(&mut self, cost: u32, stops_at: Pc, to: Label);

    /// Goes to a place if the range of memory is not one that may be accessed.
    fn guard(&mut self, guard: &Guard, frame: &'a Frame, otherwise: Label);

    /// Stops the run at an instruction: why is one of the constants of [`State`](crate::State).
    fn stop(&mut self, pc: Pc, why: u32);

    /// Writes what was put aside, and completes the code: the code, and where each label is. The marks
    /// are offsets in order, which move with the code.
    fn finish(self, marks: &mut Marks) -> (Vec<u8>, Vec<u32>);
}

/// Which instruction code belongs to, from an offset on; nothing if that is not asked for.
#[derive(Debug)]
pub(crate) struct Marks {
    map: Vec<(u32, Pc)>,
    are_kept: bool,
}

impl Marks {
    /// With room for so many, if they are kept.
    pub(crate) fn new(are_kept: bool, room: usize) -> Marks {
        Marks { map: Vec::with_capacity(if are_kept { room } else { 0 }), are_kept }
    }

    /// From this offset on code belongs to an instruction.
    #[inline]
    pub(crate) fn mark(&mut self, offset: u32, pc: Pc) {
        if self.are_kept && self.map.last().is_none_or(|(_, last)| *last != pc) {
            self.map.push((offset, pc));
        }
    }

    /// The offsets, in order, to change them.
    pub(crate) fn offsets(&mut self) -> impl Iterator<Item = &mut u32> {
        self.map.iter_mut().map(|(offset, _)| offset)
    }

    pub(crate) fn into_map(self) -> Vec<(u32, Pc)> {
        self.map
    }
}
