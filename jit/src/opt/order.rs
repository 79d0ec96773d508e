//! Puts blocks where control falls through into them.
//!
//! Code is written in the order of the blocks. Compilers often write a loop with its test first and jump
//! into the middle:
//!
//! ```text
//! goto M; T: count; if done goto out; M: work; goto T     ->     M: work; T: count; if not done goto M; goto out
//! ```
//!
//! A block that is jumped over, and is only come to from behind, goes behind the last of those that lead to
//! it, if that one would have to jump. So a round has a jump less. Nothing changes but the order.

use super::Given;
use crate::ir::{End, Unit};

/// The pass.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    let count = unit.blocks.len();
    let mut behind = vec![None; count];
    let mut is_moved = vec![false; count];
    let mut last = None;
    for number in (1..count).filter(|number| is_jumped_over(unit, *number)) {
        let last = last.get_or_insert_with(|| Last::of(unit));
        let Some(from) = last.from[number].filter(|_| !last.is_ahead[number]) else { continue };
        // Blocks beside those that move stay where they are.
        if !is_moved[from] && !is_moved[number - 1] && jumps(unit, from, number) {
            behind[from] = Some(number);
            is_moved[number] = true;
        }
    }
    if !is_moved.contains(&true) {
        unit.keeps_shape();
        unit.keeps_live();
        return;
    }
    let mut order = Vec::with_capacity(count);
    for number in (0..count).filter(|number| !is_moved[*number]) {
        order.push(number);
        order.extend(behind[number]);
    }
    let mut new = vec![0; count];
    for (place, number) in order.iter().enumerate() {
        new[*number] = place as u32;
    }
    let mut old: Vec<_> = std::mem::take(&mut unit.blocks).into_iter().map(Some).collect();
    unit.blocks = order.iter().filter_map(|number| old[*number].take()).collect();
    for block in &mut unit.blocks {
        block.end.edges_mut().for_each(|edge| edge.to = new[edge.to as usize]);
        if !block.guards.is_empty() {
            block.otherwise = new[block.otherwise as usize];
        }
    }
    for function in &mut unit.functions {
        function.entry = new[function.entry as usize];
    }
}

/// Whether the block before jumps to the block behind, to which this one leads too if it goes on.
fn is_jumped_over(unit: &Unit, number: usize) -> bool {
    let is_next = |to: u32| to as usize == number + 1;
    let goes_over = matches!(unit.blocks[number - 1].end, End::Jump(edge) if is_next(edge.to));
    let is_test = matches!(unit.blocks[number].end,
        End::Branch { then, other, .. } if is_next(then.to) || is_next(other.to));
    goes_over && is_test && unit.blocks[number].guards.is_empty()
}

/// Where control comes from.
struct Last {
    /// The last block that leads to each.
    from: Vec<Option<usize>>,
    /// Whether one does that is not behind it, or it is where a function begins.
    is_ahead: Vec<bool>,
}

impl Last {
    fn of(unit: &Unit) -> Last {
        let count = unit.blocks.len();
        let mut last = Last { from: vec![None; count], is_ahead: vec![false; count] };
        for (from, block) in unit.blocks.iter().enumerate() {
            for to in block.successors() {
                last.from[to] = Some(from);
                last.is_ahead[to] |= from <= to;
            }
        }
        unit.functions.iter().for_each(|function| last.is_ahead[function.entry as usize] = true);
        last
    }
}

/// Whether the way from one block to another, which is not behind it, is a jump of its own.
fn jumps(unit: &Unit, from: usize, to: usize) -> bool {
    let is_next = |edge: crate::ir::Edge| edge.to as usize == from + 1;
    match unit.blocks[from].end {
        End::Jump(edge) => edge.to as usize == to,
        End::Branch { then, other, .. } => {
            !is_next(then) && !is_next(other) && (then.to as usize == to || other.to as usize == to)
        }
        End::MayGoto { .. } | End::Exit | End::FellOff => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;
    use crate::opt::same;

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&run);
    }

    #[test]
    fn a_test_goes_behind_the_work_of_its_loop() {
        let text = "r0 = 0\ngoto work\nagain: r1 += 1\nif r1 >= r2 goto out\nwork: r0 += r1\n\
                    if r0 != 7 goto again\nr0 = 1\nout: exit";
        let unit = unit_of(text);
        assert_eq!(
            same::text_after(unit, &[run]),
            same::text_after(unit_of(text), &[]),
            "it falls through"
        );
        let text = "r0 = 0\ngoto work\nagain: r1 += 1\nif r1 >= r2 goto out\nwork: r0 += r1\n\
                    r0 ^= 7\ngoto again\nout: exit";
        assert_eq!(
            same::text_after(unit_of(text), &[run]),
            "r0 = 0|goto b1|r0 = r0 + r1|r0 = r0 ^ 7|goto b2 (cost 5)|r1 = r1 + 1|\
             if r1 >= r2 goto b3 else b1|exit"
        );
    }

    #[test]
    fn what_is_fallen_into_or_begins_a_function_stays() {
        for text in [
            "r0 = 0\nagain: r1 += 1\nif r1 >= r2 goto out\nr0 += r1\ngoto again\nout: exit",
            "again: r1 += 1\nif r1 >= r2 goto out\nr0 += r1\ngoto again\nout: exit",
            "r0 = 0\ngoto work\nagain: r1 += 1\ngoto work\nwork: r0 += r1\ngoto again",
            "r0 = 0\ngoto far\nagain: r1 += 1\nif r1 >= r2 goto out\nwork: r0 += r1\ngoto again\n\
             far: r3 = 1\ngoto work\nout: exit",
        ] {
            let same = same::text_after(unit_of(text), &[]);
            assert_eq!(same::text_after(unit_of(text), &[run]), same, "{text}");
        }
    }
}
