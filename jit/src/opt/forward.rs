//! What holds at the beginning of blocks, found by going forward through a unit, and what follows.

use crate::ir::graph::{Part, Shape};
use crate::ir::{Block, Cond, End, Unit};

/// What may be known at a place.
pub(super) trait Fact: Copy {
    /// What is known where a function begins: what always holds.
    const NOTHING: Self;

    /// Keeps what the other one knows too; whether that is less than before. Repeated for the same
    /// place it must come to an end soon.
    fn meet(&mut self, other: &Self) -> bool;

    /// Goes over the operations of a block, without its end.
    fn through(&mut self, block: &Block);

    /// Whether a condition may tell something.
    fn learns(cond: &Cond) -> bool;

    /// Adds what is known where a condition holds, or where it does not.
    fn assume(&mut self, cond: &Cond, holds: bool);
}

/// What blocks can be changed by.
pub(super) trait Improve: Fact {
    /// As [`Fact::through`], while the operations are changed by what is known at each.
    fn improve(&mut self, block: &mut Block, changes: &mut Changes);

    /// Changes the end of a block.
    fn improve_end(&self, end: &mut End, changes: &mut Changes);
}

/// What has changed that others may rely on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    /// A value may be read where it was not, or later.
    pub(super) reads: bool,
    /// A way from one block to another is gone.
    pub(super) edges: bool,
}

/// Changes all blocks by what is known at their beginnings. Those that control does not come to stay.
///
/// Outside of loops, they are changed at once.
pub(super) fn improve<F: Improve>(unit: &mut Unit) {
    let shape = unit.shape();
    let mut starts = Starts::<F>::of(unit);
    let mut changes = Changes::default();
    for part in &shape.parts {
        if part.is_loop {
            starts.solve(unit, &shape, part);
        }
        for number in shape.blocks(part) {
            let Some(mut fact) = starts.take(number as u32) else { continue };
            let block = &mut unit.blocks[number];
            if part.is_loop {
                fact.improve(block, &mut changes);
            } else {
                if !block.guards.is_empty() {
                    starts.meet(block.otherwise, &fact);
                }
                fact.improve(block, &mut changes);
                leave(&fact, &block.end, |to, fact| {
                    starts.meet(to, fact);
                });
            }
            fact.improve_end(&mut block.end, &mut changes);
        }
    }
    if !changes.edges {
        unit.keeps_shape();
    }
    if !changes.edges && !changes.reads {
        unit.keeps_live();
    }
}

/// Tells the blocks behind an end what is known there.
fn leave<F: Fact>(fact: &F, end: &End, mut tell: impl FnMut(u32, &F)) {
    match end {
        End::Branch { cond, then, other } if then.to != other.to && F::learns(cond) => {
            for (edge, holds) in [(then, true), (other, false)] {
                let mut fact = *fact;
                fact.assume(cond, holds);
                tell(edge.to, &fact);
            }
        }
        end => end.edges().for_each(|edge| tell(edge.to, fact)),
    }
}

/// What is known at the beginning of each block; none for those that control does not come to.
pub(super) fn solve<F: Fact>(unit: &mut Unit) -> Vec<Option<F>> {
    let mut starts = Starts::of(unit);
    let shape = unit.shape();
    shape.parts.iter().for_each(|part| starts.solve(unit, &shape, part));
    (0..unit.blocks.len() as u32).map(|block| starts.get(block)).collect()
}

/// What is known at the beginnings of blocks.
struct Starts<F> {
    /// Where it is known of each block, or [`Starts::NOWHERE`].
    places: Vec<u32>,
    facts: Vec<F>,
    /// Places that are free again.
    free: Vec<u32>,
}

impl<F: Fact> Starts<F> {
    const NOWHERE: u32 = u32::MAX;

    /// What is known before anything is looked at.
    fn of(unit: &Unit) -> Starts<F> {
        let places = vec![Self::NOWHERE; unit.blocks.len()];
        let mut starts = Starts { places, facts: Vec::new(), free: Vec::new() };
        for function in &unit.functions {
            starts.meet(function.entry, &F::NOTHING);
        }
        starts
    }

    /// Finds out what is known in a part, and tells those behind it.
    ///
    /// Loops start from what is known before them, and are looked at again while their rounds
    /// contradict.
    fn solve(&mut self, unit: &Unit, shape: &Shape, part: &Part) {
        let (start, end) = (part.places.start, part.places.end);
        let mut is_waiting = vec![true; part.places.len()];
        // Rounds in the visiting order, each from the first block that has to be looked at.
        let mut first = start;
        while first < end {
            let from = std::mem::replace(&mut first, end);
            for index in from..end {
                if !std::mem::take(&mut is_waiting[index - start]) {
                    continue;
                }
                let block = &unit.blocks[shape.order[index] as usize];
                let Some(mut fact) = self.get(shape.order[index]) else { continue };
                let mut tell = |to: u32, fact: &F| {
                    let place = shape.place[to as usize] as usize;
                    if self.meet(to, fact) && place < end {
                        is_waiting[place - start] = true;
                        if place <= index {
                            first = first.min(place);
                        }
                    }
                };
                if !block.guards.is_empty() {
                    tell(block.otherwise, &fact);
                }
                // Nobody asks what holds at the end.
                if block.end.edges().next().is_some() {
                    fact.through(block);
                    leave(&fact, &block.end, tell);
                }
            }
        }
    }

    /// Takes in what is known on one more way to a block; whether that changes what is known there.
    fn meet(&mut self, block: u32, fact: &F) -> bool {
        let place = &mut self.places[block as usize];
        if *place != Self::NOWHERE {
            return self.facts[*place as usize].meet(fact);
        }
        match self.free.pop() {
            Some(free) => {
                *place = free;
                self.facts[free as usize] = *fact;
            }
            None => {
                *place = self.facts.len() as u32;
                self.facts.push(*fact);
            }
        }
        true
    }

    fn get(&self, block: u32) -> Option<F> {
        match self.places[block as usize] {
            Self::NOWHERE => None,
            place => Some(self.facts[place as usize]),
        }
    }

    /// As [`Starts::get`], for the last time.
    fn take(&mut self, block: u32) -> Option<F> {
        let fact = self.get(block)?;
        self.free.push(self.places[block as usize]);
        Some(fact)
    }
}
