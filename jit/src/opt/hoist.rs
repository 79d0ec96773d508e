//! Moves what is the same in all rounds of a loop in front of it.
//!
//! A loop is what control can pass on its way back to a block that all ways in lead through. In front of
//! it is the one block that goes there from outside; operations are put at its end. Only what can do
//! no harm there is moved: operations on registers, whose result nobody else writes in the loop and
//! nobody reads before; and loads from the function's own frame, if the loop writes no memory.

use super::Given;
use crate::ir::graph::Shape;
use crate::ir::live::Live;
use crate::ir::{Inst, Op, Reg, RegSet, Unit};
use crate::state::FRAME_BYTES;

/// Moves operations out of loops, out of inner ones first.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    let shape = unit.shape();
    if !shape.has_loops {
        unit.keeps_shape();
        unit.keeps_live();
        return;
    }
    let live = unit.live();
    let mut loops = Loops::new(unit, &shape);
    // Loops in loops are walked through again for each around them, up to a limit.
    let mut steps = unit.blocks.len() * 8 + 64;
    for &head in shape.order.iter().rev() {
        let Some(front) = loops.find(unit, head, &mut steps) else { continue };
        move_out(unit, &live, &loops.body, head, front);
    }
    unit.keeps_shape();
}

/// Finds the loops of a unit.
pub(super) struct Loops<'a> {
    shape: &'a Shape,
    /// Which blocks functions begin with.
    is_entry: Vec<bool>,
    /// The head of the loop that a block was seen in last.
    seen: Vec<u32>,
    /// The blocks of the loop that was found last.
    pub(super) body: Vec<u32>,
}

impl<'a> Loops<'a> {
    pub(super) fn new(unit: &Unit, shape: &'a Shape) -> Loops<'a> {
        let mut is_entry = vec![false; unit.blocks.len()];
        unit.functions.iter().for_each(|function| is_entry[function.entry as usize] = true);
        let seen = vec![u32::MAX; unit.blocks.len()];
        Loops { shape, is_entry, seen, body: Vec::new() }
    }

    /// The blocks of the loop that begins with a block, and the block in front of it.
    pub(super) fn find(&mut self, unit: &Unit, head: u32, steps: &mut usize) -> Option<u32> {
        let Shape { place, .. } = self.shape;
        let preds = self.shape.preds(unit);
        let first = place[head as usize];
        self.body.clear();
        // Calls come to the beginning of a function past the block in front of it.
        if self.is_entry[head as usize] {
            return None;
        }
        let mut front = None;
        for &pred in preds.of_block(head as usize) {
            match place[pred as usize] {
                // Control does not come from there.
                Shape::NOWHERE => {}
                place if place >= first => self.add(pred, head),
                _ if front.is_some() => return None,
                _ => front = Some(pred),
            }
        }
        let front = front?;
        if self.body.is_empty() {
            return None;
        }
        self.add(head, head);
        let mut next = 0;
        while let Some(&block) = self.body.get(next) {
            next += 1;
            *steps = steps.checked_sub(1)?;
            if block == head {
                continue;
            }
            for &pred in preds.of_block(block as usize) {
                match place[pred as usize] {
                    Shape::NOWHERE => {}
                    // There is a way in that does not lead through the head.
                    place if place < first => return None,
                    _ => self.add(pred, head),
                }
            }
        }
        // A guard that fails does not come to the end of its block.
        let block = &unit.blocks[front as usize];
        (block.guards.is_empty() || block.otherwise != head).then_some(front)
    }

    fn add(&mut self, block: u32, head: u32) {
        if std::mem::replace(&mut self.seen[block as usize], head) != head {
            self.body.push(block);
        }
    }
}

/// Moves what a loop does not change to the end of the block in front of it.
fn move_out(unit: &mut Unit, live: &Live, body: &[u32], head: u32, front: u32) {
    let mut writes = [0_u8; Reg::COUNT];
    let mut writes_memory = false;
    for inst in body.iter().flat_map(|block| &unit.blocks[*block as usize].insts) {
        for reg in inst.op.writes().iter() {
            writes[reg.index()] = writes[reg.index()].saturating_add(1);
        }
        writes_memory |= inst.op.writes_memory();
    }
    let taken = live.before(head as usize)
        | live.after(front as usize)
        | unit.blocks[front as usize].end.uses();
    let mut changed: RegSet = set(&writes, |count| count > 0);
    let once = set(&writes, |count| count == 1).without(taken);
    let mut moved = Vec::new();
    // What is moved may let others move that come after it.
    loop {
        let before = moved.len();
        for &block in body {
            for inst in &mut unit.blocks[block as usize].insts {
                let Some(dst) = inst.op.pure_dst().filter(|dst| once.has(*dst)) else { continue };
                let uses = inst.op.uses(&[]);
                let is_same = uses.without(changed) == uses && !uses.has(dst);
                if is_same
                    && changed.has(dst)
                    && (!inst.op.reads_memory() || is_safe(&inst.op, writes_memory))
                {
                    moved.push(Inst { ..*inst });
                    inst.op = Op::Nop;
                    changed = changed.without(RegSet::of(dst));
                }
            }
        }
        if moved.len() == before {
            break;
        }
    }
    if moved.is_empty() {
        return;
    }
    for &block in body {
        unit.blocks[block as usize].insts.retain(|inst| inst.op != Op::Nop);
    }
    unit.blocks[front as usize].insts.extend(moved);
}

fn set(writes: &[u8; Reg::COUNT], is_in: impl Fn(u8) -> bool) -> RegSet {
    let regs = (0..Reg::COUNT as u8).map(Reg::new).filter(|reg| is_in(writes[reg.index()]));
    regs.fold(RegSet::NONE, RegSet::with)
}

/// Whether a load gives the same in front of the loop: from the function's own frame, which others write
/// only when they are called.
fn is_safe(op: &Op, writes_memory: bool) -> bool {
    match *op {
        Op::Load { at, size, .. } => {
            let inside = -(FRAME_BYTES as i32)..=-(size.bytes() as i32);
            !writes_memory
                && at.base == Reg::FP
                && at.index.is_none()
                && inside.contains(&at.offset)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;
    use crate::opt::{dead, same, values};

    fn after(text: &str) -> String {
        same::text_after(unit_of(text), &[run])
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
    fn what_rounds_do_again_is_done_once() {
        let text = "r0 = 0\nagain: r3 = 0x123456789 ll\nr4 = r2\nr4 += r3\nr0 ^= r4\nr1 -= 1\n\
                    if r1 != 0 goto again\nexit";
        assert_eq!(
            same::text_after(unit_of(text), &[values::run, dead::run, run]),
            "r0 = 0|r3 = 0x123456789|r4 = r2 + r3|goto b1|r0 = r0 ^ r4|r1 = r1 + -1|\
             if r1 != 0 goto b1 (cost 7) else b2|exit"
        );
    }

    #[test]
    fn what_matters_before_or_beside_the_loop_stays() {
        // Read in the loop before it is written.
        let text = "r0 = 0\nr3 = 1\nagain: r0 += r3\nr3 = 7\nr1 -= 1\nif r1 != 0 goto again\nexit";
        assert_eq!(after(text), same::text_after(unit_of(text), &[]));
        // Read where the loop is not entered.
        let text = "r0 = 0\nr3 = 1\nif r1 == 0 goto out\nagain: r3 = 7\nr0 += r3\nr1 -= 1\n\
                    if r1 != 0 goto again\nout: r0 += r3\nexit";
        assert_eq!(after(text), same::text_after(unit_of(text), &[]));
        // A call overwrites it.
        let text = "r6 = 9\nagain: r2 = r7\ncall 7\nr6 -= 1\nif r6 != 0 goto again\nr0 = 0\nexit";
        assert_eq!(after(text), same::text_after(unit_of(text), &[]));
    }

    #[test]
    fn loads_are_moved_only_from_the_frame_and_past_no_store() {
        let moved =
            "r0 = 0\nagain: r3 = *(u64 *)(r10 - 8)\nr0 += r3\nr1 -= 1\nif r1 != 0 goto again\nexit";
        assert!(after(moved).starts_with("r0 = 0|r3 = *(u64 *)(r10 - 8)|goto b1|"));
        for other in
            [moved.replace("r10", "r2"), moved.replace("r1 -=", "*(u8 *)(r2 + 0) = 1\nr1 -=")]
        {
            assert_eq!(after(&other), same::text_after(unit_of(&other), &[]));
        }
    }

    #[test]
    fn inner_loops_give_to_outer_ones() {
        let text = "r0 = 0\nouter: r2 = 5\ninner: r3 = 0x123456789 ll\nr0 ^= r3\nr2 -= 1\n\
                    if r2 != 0 goto inner\nr1 -= 1\nif r1 != 0 goto outer\nexit";
        assert!(
            after(text).starts_with("r0 = 0|r3 = 0x123456789|goto b1|r2 = 5|goto b2|r0 = r0 ^ r3")
        );
    }
}
