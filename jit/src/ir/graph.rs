//! Where control comes from: predecessors of blocks, and an order in which they are visited.

use super::{Block, End, Unit};
use std::ops::Range;
use std::sync::OnceLock;

impl Block {
    /// The blocks where control may go from here: along edges, and to the block that is taken if a
    /// guard fails.
    pub fn successors(&self) -> impl Iterator<Item = usize> + use<> {
        let otherwise = (!self.guards.is_empty()).then_some(self.otherwise as usize);
        self.end.edges().map(|edge| edge.to as usize).chain(otherwise)
    }

    /// Number so many of the [`Block::successors`].
    fn successor(&self, number: u8) -> Option<usize> {
        let edge = match (&self.end, number) {
            (End::Jump(edge), 0) => edge,
            (End::Branch { then, .. } | End::MayGoto { then, .. }, 0) => then,
            (End::Branch { other, .. } | End::MayGoto { other, .. }, 1) => other,
            (End::Jump(_), 1)
            | (End::Branch { .. } | End::MayGoto { .. }, 2)
            | (End::Exit | End::FellOff, 0)
                if !self.guards.is_empty() =>
            {
                return Some(self.otherwise as usize);
            }
            _ => return None,
        };
        Some(edge.to as usize)
    }
}

/// The predecessors of all blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preds {
    /// Where each block's begin in `from`, and the end of the last.
    first: Vec<u32>,
    from: Vec<u32>,
}

impl Preds {
    /// Of a unit. A block that another reaches along both edges has it twice.
    pub fn of(unit: &Unit) -> Preds {
        let mut first = vec![0; unit.blocks.len() + 1];
        for block in &unit.blocks {
            block.successors().for_each(|to| first[to] += 1);
        }
        let mut sum = 0;
        for end in &mut first {
            sum += *end;
            *end = sum;
        }
        let mut from = vec![0; sum as usize];
        // Backwards, so that `first` comes down from the ends to the beginnings.
        for (number, block) in unit.blocks.iter().enumerate().rev() {
            for to in block.successors() {
                first[to] -= 1;
                from[first[to] as usize] = number as u32;
            }
        }
        Preds { first, from }
    }

    /// Of a block.
    pub fn of_block(&self, block: usize) -> &[u32] {
        &self.from[self.first[block] as usize..self.first[block + 1] as usize]
    }
}

/// How control may go through a unit.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The blocks that control can come to, each after those that come before it on paths without
    /// loops (reverse post-order).
    pub order: Vec<u32>,
    /// The place of each block in the order; [`Shape::NOWHERE`] of those that control does not come
    /// to.
    pub place: Vec<u32>,
    /// Whether control may come to a block again.
    pub has_loops: bool,
    /// The order, cut into loops and what is between them.
    pub parts: Vec<Part>,
    preds: OnceLock<Preds>,
}

/// A part of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its places in the order.
    pub places: Range<usize>,
    /// Whether there are ways back in it. From other parts no way leads back.
    pub is_loop: bool,
}

impl Shape {
    /// The place of blocks that control does not come to.
    pub const NOWHERE: u32 = u32::MAX;

    /// Of a unit.
    pub fn of(unit: &Unit) -> Shape {
        let mut order = Vec::with_capacity(unit.blocks.len());
        // Until it has its place a block has one of these.
        const OPEN: u32 = Shape::NOWHERE - 1;
        let mut place = vec![Shape::NOWHERE; unit.blocks.len()];
        // The edges to blocks that are open.
        let mut back: Vec<(u32, u32)> = Vec::new();
        // A block and how many of its successors were visited.
        let mut path: Vec<(u32, u8)> = Vec::new();
        for function in unit.functions.iter().rev() {
            if place[function.entry as usize] == Shape::NOWHERE {
                place[function.entry as usize] = OPEN;
                path.push((function.entry, 0));
            }
            while let Some((block, done)) = path.last_mut() {
                match unit.blocks[*block as usize].successor(*done) {
                    Some(next) => {
                        *done += 1;
                        match &mut place[next] {
                            place @ &mut Shape::NOWHERE => {
                                *place = OPEN;
                                path.push((next as u32, 0));
                            }
                            place if *place == OPEN => back.push((*block, next as u32)),
                            _ => {}
                        }
                    }
                    None => {
                        place[*block as usize] = 0;
                        order.push(*block);
                        path.pop();
                    }
                }
            }
        }
        order.reverse();
        order.iter().zip(0..).for_each(|(block, at)| place[*block as usize] = at);
        let has_loops = !back.is_empty();
        let place_of = |block: u32| place[block as usize] as usize;
        let mut back: Vec<_> =
            back.into_iter().map(|(from, to)| place_of(to)..place_of(from) + 1).collect();
        back.sort_unstable_by_key(|places| places.end);
        let parts = cut(back, order.len());
        Shape { order, place, has_loops, parts, preds: OnceLock::new() }
    }

    /// Whether it is the shape of a unit still.
    pub(super) fn is_of(&self, unit: &Unit) -> bool {
        let Shape { order, place, has_loops, parts: _, preds } = Shape::of(unit);
        let is_same = |own: &Preds| own == preds.get_or_init(|| Preds::of(unit));
        (&self.order, &self.place, self.has_loops) == (&order, &place, has_loops)
            && self.preds.get().is_none_or(is_same)
    }

    /// The blocks of a part, in order.
    pub fn blocks(&self, part: &Part) -> impl DoubleEndedIterator<Item = usize> {
        self.order[part.places.clone()].iter().map(|block| *block as usize)
    }

    /// Goes backwards through the blocks of a part that is a loop: first those that lead back in it, and
    /// then those before each for which `see` says that something new holds at its beginning.
    pub fn go_round(&self, unit: &Unit, part: &Part, mut see: impl FnMut(usize) -> bool) {
        if !part.is_loop {
            return;
        }
        let preds = self.preds(unit);
        let first = part.places.start;
        let leads_back = |at: &usize| {
            let mut successors = unit.blocks[self.order[*at] as usize].successors();
            successors.any(|to| self.place[to] as usize <= *at)
        };
        let mut work: Vec<usize> = part.places.clone().filter(leads_back).collect();
        let mut is_waiting = vec![false; part.places.len()];
        work.iter().for_each(|at| is_waiting[*at - first] = true);
        while let Some(at) = work.pop() {
            is_waiting[at - first] = false;
            let block = self.order[at] as usize;
            if !see(block) {
                continue;
            }
            for &pred in preds.of_block(block) {
                let at = self.place[pred as usize] as usize;
                if part.places.contains(&at)
                    && !std::mem::replace(&mut is_waiting[at - first], true)
                {
                    work.push(at);
                }
            }
        }
    }

    /// Whether control can come to a block.
    pub fn reaches(&self, block: usize) -> bool {
        self.place[block] != Shape::NOWHERE
    }

    /// The predecessors of all blocks of the unit.
    pub fn preds(&self, unit: &Unit) -> &Preds {
        self.preds.get_or_init(|| Preds::of(unit))
    }
}

/// Cuts an order of so many blocks into parts, by the places between the two ends of each edge that leads
/// back; those that end first come first.
fn cut(back: Vec<Range<usize>>, count: usize) -> Vec<Part> {
    let mut loops: Vec<Range<usize>> = Vec::new();
    for Range { mut start, end } in back {
        // Loops with a block in common are one.
        while let Some(last) = loops.pop_if(|last| last.end > start) {
            start = start.min(last.start);
        }
        loops.push(start..end);
    }
    let mut parts = Vec::with_capacity(2 * loops.len() + 1);
    let mut end = 0;
    for places in loops {
        if end < places.start {
            parts.push(Part { places: end..places.start, is_loop: false });
        }
        end = places.end;
        parts.push(Part { places, is_loop: true });
    }
    if end < count {
        parts.push(Part { places: end..count, is_loop: false });
    }
    parts
}

impl Unit {
    /// How many edges lead to each block, one more for the beginning of a function.
    pub fn entries(&self) -> Vec<u32> {
        let mut entries = vec![0; self.blocks.len()];
        for block in &self.blocks {
            block.successors().for_each(|to| entries[to] += 1);
        }
        self.functions.iter().for_each(|function| entries[function.entry as usize] += 1);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;

    #[test]
    fn predecessors_are_those_with_an_edge() {
        let unit = unit_of(
            "r0 = 0\nagain: r0 += 1\nif r0 < 9 goto again\nif r1 == 0 goto out\nr0 = 1\nout: exit",
        );
        let preds = Preds::of(&unit);
        let all: Vec<&[u32]> = (0..unit.blocks.len()).map(|block| preds.of_block(block)).collect();
        assert_eq!(all, [&[][..], &[0, 1], &[1], &[2], &[2, 3], &[]]);
        let shape = Shape::of(&unit);
        assert_eq!(shape.order, [0, 1, 2, 3, 4]);
        assert_eq!(shape.place, [0, 1, 2, 3, 4, Shape::NOWHERE]);
        assert!(shape.has_loops && shape.reaches(4) && !shape.reaches(5));
        let part = |places, is_loop| Part { places, is_loop };
        assert_eq!(shape.parts, [part(0..1, false), part(1..2, true), part(2..5, false)]);
        assert!(!Shape::of(&unit_of("if r1 == 0 goto out\nr0 = 1\nout: exit")).has_loops);
    }

    #[test]
    fn loops_with_a_block_in_common_are_one_part() {
        let parts = |text: &str| {
            let shape = Shape::of(&unit_of(text));
            shape.parts.into_iter().map(|part| (part.places, part.is_loop)).collect::<Vec<_>>()
        };
        assert_eq!(parts("r0 = 1\nexit"), [(0..1, false)]);
        // A loop in a loop, and one after it.
        let text = "r0 = 0\nouter: r1 += 1\ninner: r0 += 1\nif r0 < 9 goto inner\n\
            if r1 < 5 goto outer\nlast: r2 += 1\nif r2 < 5 goto last\nexit";
        assert_eq!(parts(text), [(0..1, false), (1..4, true), (4..5, true), (5..6, false)]);
    }
}
