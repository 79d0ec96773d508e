//! What holds at the beginning of blocks, found by going forward through a unit.

use crate::ir::{Block, Unit};

/// What may be known at a place.
pub(super) trait Fact: Copy + PartialEq {
    /// What is known where a function begins: what always holds.
    const NOTHING: Self;

    /// What holds if either does. Repeated for the same place it must come to an end soon.
    fn meet(&self, other: &Self) -> Self;

    /// Goes through a block; tells each successor what is known there.
    fn through(self, block: &Block, tell: &mut impl FnMut(u32, &Self));
}

/// What is known at the beginning of each block; none for those that control does not come to.
///
/// Loops start from what is known before them, and are looked at again while their rounds contradict.
pub(super) fn solve<F: Fact>(unit: &mut Unit) -> Vec<Option<F>> {
    let mut starts: Vec<Option<F>> = vec![None; unit.blocks.len()];
    let shape = unit.shape();
    let order = &shape.order;
    for function in &unit.functions {
        starts[function.entry as usize] = Some(F::NOTHING);
    }
    let mut is_waiting = vec![true; order.len()];
    // Rounds in the visiting order, each from the first block that has to be looked at.
    let mut first = 0;
    while first < order.len() {
        let from = std::mem::replace(&mut first, order.len());
        for index in from..order.len() {
            if !std::mem::take(&mut is_waiting[index]) {
                continue;
            }
            let block = &unit.blocks[order[index] as usize];
            let Some(fact) = starts[order[index] as usize] else { continue };
            let mut tell = |to: u32, fact: &F| {
                let start = &mut starts[to as usize];
                let new = start.map_or(*fact, |start| start.meet(fact));
                if *start != Some(new) {
                    *start = Some(new);
                    let to = shape.place[to as usize] as usize;
                    is_waiting[to] = true;
                    if to <= index {
                        first = first.min(to);
                    }
                }
            };
            if !block.guards.is_empty() {
                tell(block.otherwise, &fact);
            }
            // Nobody asks what holds at the end.
            if block.end.edges().next().is_some() {
                fact.through(block, &mut tell);
            }
        }
    }
    starts
}
