//! Moves what is needed only where a loop is left out of the loop.
//!
//! ```text
//! B: r = i; if c goto out (else round again, where r is set anew)   ->
//! B: if c goto E (else round again);  E: r = i; goto out
//! ```
//!
//! Sound: what is moved reads and writes registers only, and nothing behind it in its block, the comparison
//! with it, reads its result or writes what it reads. On the other way nobody reads the result. The new block
//! has the cost of the way that it is on.

use super::Given;
use super::hoist::Loops;
use crate::ir::live::Rules;
use crate::ir::{Block, Edge, End, Inst, Op, RegSet, Unit};
use ebpfvm_asm::Width;

/// Moves operations out of loops, each out of the innermost one that it is in.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    let shape = unit.blocks.iter().any(may_move).then(|| unit.shape());
    let shape = shape.filter(|shape| shape.has_loops);
    let Some(shape) = shape else {
        unit.keeps_shape();
        unit.keeps_live();
        return;
    };
    let live = unit.live();
    let count = unit.blocks.len();
    let mut loops = Loops::new(unit, &shape);
    let mut is_done = vec![false; count];
    let mut is_inside = vec![false; count];
    let mut steps = count * 8 + 64;
    for &head in shape.order.iter().rev() {
        if loops.find(unit, head, &mut steps).is_none() {
            continue;
        }
        loops.body.iter().for_each(|block| is_inside[*block as usize] = true);
        for &block in &loops.body {
            let number = block as usize;
            // Of loops in loops the inner ones come first.
            if std::mem::replace(&mut is_done[number], true) {
                continue;
            }
            let End::Branch { then, other, .. } = unit.blocks[number].end else { continue };
            let leaves = |edge: Edge| !is_inside[edge.to as usize];
            let (out, stays) = match (leaves(then), leaves(other)) {
                (true, false) => (then.to, other.to),
                (false, true) => (other.to, then.to),
                _ => continue,
            };
            let (needed, kept) = (live.before(out as usize), live.before(stays as usize));
            let moved = take_out(unit, live.rules(), number, needed, kept);
            if !moved.is_empty() {
                add(unit, number, out, moved);
            }
        }
        loops.body.iter().for_each(|block| is_inside[*block as usize] = false);
    }
    if unit.blocks.len() == count {
        unit.keeps_shape();
        unit.keeps_live();
    }
}

/// Whether a block has something that could be moved, if it is in a loop.
fn may_move(block: &Block) -> bool {
    matches!(block.end, End::Branch { .. }) && block.insts.iter().any(|inst| is_movable(&inst.op))
}

/// Constants and copies: of others the operands would be kept longer, and nothing is gained by less than an
/// operation a round.
fn is_movable(op: &Op) -> bool {
    matches!(op, Op::Const { .. } | Op::Move { width: Width::W64, .. })
}

/// Takes those operations out of a block that only the way to `needed` needs.
fn take_out(
    unit: &mut Unit,
    rules: Rules,
    number: usize,
    mut needed: RegSet,
    kept: RegSet,
) -> Vec<Inst> {
    let mut insts = std::mem::take(&mut unit.blocks[number].insts);
    let (mut reads, mut writes) = (rules.end(&unit.blocks[number].end), RegSet::NONE);
    let mut moved = Vec::new();
    for inst in insts.iter_mut().rev() {
        let (uses, result) = (rules.uses(unit, &inst.op), inst.op.writes());
        let is_free = |set: RegSet| set.without(writes) == set;
        let is_needed = result.without(needed) == RegSet::NONE && result.without(kept) == result;
        if is_movable(&inst.op)
            && is_needed
            && is_free(uses | result)
            && result.without(reads) == result
        {
            needed = needed.without(result) | uses;
            moved.push(*inst);
            inst.op = Op::Nop;
        } else {
            reads |= uses;
            writes |= result;
        }
    }
    moved.reverse();
    insts.retain(|inst| inst.op != Op::Nop);
    unit.blocks[number].insts = insts;
    moved
}

/// Adds a block on the edge from one to another.
fn add(unit: &mut Unit, from: usize, to: u32, insts: Vec<Inst>) {
    let number = unit.blocks.len() as u32;
    let block = &mut unit.blocks[from];
    let (start, end_pc) = (block.start, block.end_pc);
    let mut end = End::Jump(Edge { to, cost: 0 });
    for edge in block.end.edges_mut().filter(|edge| edge.to == to) {
        end = End::Jump(*edge);
        *edge = Edge { to: number, cost: 0 };
    }
    unit.blocks.push(Block { insts, end, end_pc, ..Block::new(start) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;
    use crate::opt::{dead, same, values};

    fn after(text: &str, pass: fn(&mut Unit, &Given<'_>)) -> String {
        same::text_after(unit_of(text), &[pass])
    }

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&run);
        same::keeps_meaning(&|unit, given| {
            values::run(unit, given);
            dead::run(unit, given);
            run(unit, given);
        });
    }

    #[test]
    fn what_the_way_out_needs_is_moved_there() {
        let text = "r3 = 0\nagain: r0 = r3\nr3 += 1\nif r3 == r2 goto again\nexit";
        assert!(after(text, run).contains("|r0 = r3|r3 = r3 + 1|if"), "it is counted on");
        let text =
            "r3 = 0\nagain: r3 += 1\nr0 = r3\nr4 = 7\nif r3 != r2 goto again\nr0 += r4\nexit";
        assert_eq!(
            after(text, run),
            "r3 = 0|goto b1|r3 = r3 + 1|if r3 != r2 goto b1 (cost 4) else b4|r0 = r0 + r4|exit|\
             r0 = r3|r4 = 7|goto b2"
        );
    }

    #[test]
    fn both_ways_out_have_their_own() {
        let text = "r3 = 0\nagain: r5 = *(u8 *)(r1 + 0)\nr0 = r3\nif r5 == 0 goto out\nr0 = 64\n\
                    r3 += 1\nr1 += 1\nif r3 != 64 goto again\nout: exit";
        let text = after(text, run);
        assert!(text.contains("|r5 = *(u8 *)(r1)|if r5 == 0 goto b6 else b2|"), "{text}");
        assert!(text.ends_with("|r0 = 64|goto b3|r0 = r3|goto b3"), "{text}");
    }

    #[test]
    fn what_the_loop_reads_or_calls_overwrite_stays() {
        for body in [
            // Read in the next round.
            "r6 += r4\nr4 = 7",
            // Compared.
            "r4 = 7\nr7 ^= r4\nr6 -= r4",
            // What is copied is changed behind it.
            "r4 = r6",
            // A call overwrites what is copied.
            "r4 = r3\nr1 = r6\ncall 7",
        ] {
            let text = format!(
                "r4 = 1\nr7 = 2\nagain: {body}\nr6 -= 1\nif r6 != 0 goto again\nr0 = r4\nr0 += r7\nexit"
            );
            assert_eq!(after(&text, run), after(&text, |_, _| {}), "{body}");
        }
    }
}
