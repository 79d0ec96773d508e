//! Branches that go one way, jumps to jumps, blocks that control does not come to, and blocks that
//! follow one another are made less.
//!
//! What a way costs stays: an edge with a cost is never joined with the block behind it, and two edges
//! become one only where the first is free, so that fuel runs out at the same place too.

use super::Given;
use crate::ir::graph::Shape;
use crate::ir::{Block, Cond, Edge, End, Place, Unit};
use std::sync::Arc;

/// With the verifier's facts on which ways are gone. The unit's branches must be those of the
/// program's instructions, neither inverted nor exchanged.
pub(super) fn first(unit: &mut Unit, given: &Given<'_>) {
    if let Some(facts) = given.facts {
        for block in &mut unit.blocks {
            let End::Branch { then, other, .. } = block.end else { continue };
            let ways = facts.ways(block.end_pc);
            match (ways.taken, ways.not_taken) {
                (true, false) => block.end = End::Jump(then),
                (false, true) => block.end = End::Jump(other),
                _ => {}
            }
        }
    }
    run(unit, given);
}

/// Without asking the verifier.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    let was_threaded = thread(unit);
    let shape = match was_threaded {
        true => Arc::new(Shape::of(unit)),
        false => unit.shape(),
    };
    let mut is_kept: Vec<bool> = (0..unit.blocks.len()).map(|block| shape.reaches(block)).collect();
    merge(unit, &shape, &mut is_kept);
    if is_kept.iter().any(|is_kept| !is_kept) {
        compact(unit, &is_kept);
    } else if !was_threaded {
        unit.keeps_shape();
        unit.keeps_live();
    }
}

/// How many jumps are followed to where they lead.
const MAX_HOPS: usize = 8;

/// Lets edges lead to where a jump behind them leads; whether any now lead elsewhere.
fn thread(unit: &mut Unit) -> bool {
    let mut found = false;
    for number in 0..unit.blocks.len() {
        let mut end = unit.blocks[number].end;
        for edge in end.edges_mut() {
            for _ in 0..MAX_HOPS {
                let block = &unit.blocks[edge.to as usize];
                match block.end {
                    End::Jump(next)
                        if block.insts.is_empty() && block.guards.is_empty() && edge.cost == 0 =>
                    {
                        *edge = next;
                    }
                    _ => break,
                }
            }
        }
        if let End::Branch { cond: Cond { lhs: Place::Reg(_), .. }, then, other } = end
            && then == other
        {
            end = End::Jump(then);
        }
        if unit.blocks[number].end != end {
            unit.blocks[number].end = end;
            found = true;
        }
    }
    found
}

/// Joins blocks with the only ones that come after them, if those come after no other; they are then
/// not kept.
fn merge(unit: &mut Unit, shape: &Shape, is_kept: &mut [bool]) {
    let mut entries = vec![0; unit.blocks.len()];
    for &block in &shape.order {
        unit.blocks[block as usize].successors().for_each(|to| entries[to] += 1);
    }
    unit.functions.iter().for_each(|function| entries[function.entry as usize] += 1);
    for &number in &shape.order {
        let number = number as usize;
        while let End::Jump(Edge { to, cost: 0 }) = unit.blocks[number].end {
            let to = to as usize;
            if entries[to] != 1 || to == number || !unit.blocks[to].guards.is_empty() {
                break;
            }
            is_kept[to] = false;
            // It is empty, and nothing goes there any more.
            let start = unit.blocks[to].start;
            let next = std::mem::replace(&mut unit.blocks[to], Block::new(start));
            let block = &mut unit.blocks[number];
            match block.insts.is_empty() {
                true => block.insts = next.insts,
                false => block.insts.extend(next.insts),
            }
            (block.end, block.end_pc) = (next.end, next.end_pc);
        }
    }
}

/// Removes blocks that are not kept; the order of the others stays.
fn compact(unit: &mut Unit, is_kept: &[bool]) {
    let number = |count: &mut u32, is_kept: &bool| {
        let number = *count;
        *count += u32::from(*is_kept);
        Some(number)
    };
    let new: Vec<u32> = is_kept.iter().scan(0, number).collect();
    let mut old = is_kept.iter();
    unit.blocks.retain(|_| old.next().is_some_and(|is_kept| *is_kept));
    for block in &mut unit.blocks {
        block.end.edges_mut().for_each(|edge| edge.to = new[edge.to as usize]);
        if !block.guards.is_empty() {
            block.otherwise = new[block.otherwise as usize];
        }
    }
    unit.functions.iter_mut().for_each(|function| function.entry = new[function.entry as usize]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{unit_of, verified_of};
    use crate::opt::same;

    fn after(text: &str) -> String {
        let mut unit = unit_of(text);
        run(&mut unit, &Given { facts: None, has_spare: true });
        unit.to_string()
    }

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&first);
        same::keeps_meaning(&run);
    }

    #[test]
    fn a_jump_to_a_jump_goes_there_at_once() {
        assert_eq!(
            after("if r1 == 0 goto a\nr0 = 1\nexit\na: goto b\nr0 = 3\nb: r0 = 2\nexit"),
            "function 0:\nb0: ; 0\n  if r1 == 0 goto b2 else b1\nb1: ; 1\n  r0 = 1\n  exit\n\
             b2: ; 5\n  r0 = 2\n  exit\n"
        );
        // What costs something is passed.
        assert_eq!(
            after("r0 = 0\nagain: goto on\non: r0 += 1\nif r0 < 5 goto again\nexit"),
            "function 0:\nb0: ; 0\n  r0 = 0\n  goto b2\nb1: ; 1\n  goto b2\nb2: ; 2\n  r0 = r0 + 1\n  \
             if r0 < 5 goto b1 (cost 3) else b3\nb3: ; 4\n  exit\n"
        );
        assert_eq!(after("again: goto again"), "function 0:\nb0: ; 0\n  goto b0 (cost 1)\n");
    }

    #[test]
    fn blocks_in_a_row_are_one() {
        assert_eq!(
            after("r0 = 1\ngoto on\nr0 = 2\non: r0 += 1\ngoto out\nout: exit"),
            "function 0:\nb0: ; 0\n  r0 = 1\n  r0 = r0 + 1\n  exit\n"
        );
    }

    #[test]
    fn ways_that_the_verifier_has_not_gone_are_gone() {
        let (program, mut unit) =
            verified_of("r2 = 5\nif r2 == 5 goto out\nr0 = 1\nexit\nout: r0 = 0\nexit");
        first(&mut unit, &Given { facts: Some(program.facts()), has_spare: true });
        assert_eq!(unit.to_string(), "function 0:\nb0: ; 0\n  r2 = 5\n  r0 = 0\n  exit\n");
    }
}
