//! Removes operations whose results nobody reads, and stores to the stack that nobody loads.
//!
//! Stores go only in verified programs, in functions that never take the address of their frame: who
//! has it may read any of it, in calls too.

use super::Given;
use super::frame::{self, Touch, touch, touch_end};
use crate::ir::{Address, Block, Op, Reg, Unit};
use crate::state::FRAME_BYTES;
use ebpfvm_asm::Size;

/// Removes what has no effect.
pub(super) fn run(unit: &mut Unit, _: &Given<'_>) {
    unit.prune();
    if !unit.is_checked && !unit.crosses && stores(unit) {
        unit.prune();
    }
    unit.keeps_shape();
    unit.keeps_live();
}

/// A set of bytes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u64; FRAME_BYTES / 64]);

impl Bytes {
    /// The words and bits of an access: of one word and, where it goes on there, of the next.
    fn words(at: Address, size: Size) -> [(usize, u64); 2] {
        const FRAME: i64 = FRAME_BYTES as i64;
        let first = (i64::from(at.offset) + FRAME).clamp(0, FRAME);
        let count = i64::from(size.bytes()).min(FRAME - first);
        let (word, shift) = ((first / 64) as usize, first % 64);
        let bits = ((1 << count) - 1) as u128;
        let bits = bits << shift;
        let last = FRAME_BYTES / 64 - 1;
        [(word.min(last), bits as u64), ((word + 1).min(last), (bits >> 64) as u64)]
    }

    fn add(&mut self, at: Address, size: Size) {
        Bytes::words(at, size).into_iter().for_each(|(word, bits)| self.0[word] |= bits);
    }

    fn remove(&mut self, at: Address, size: Size) {
        Bytes::words(at, size).into_iter().for_each(|(word, bits)| self.0[word] &= !bits);
    }

    fn has_any(&self, at: Address, size: Size) -> bool {
        Bytes::words(at, size).into_iter().any(|(word, bits)| self.0[word] & bits != 0)
    }

    fn union(&mut self, other: &Bytes) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }
}

impl Bytes {
    /// What matters before an access, of what does after it.
    fn before(&mut self, touch: Touch) {
        match touch {
            Touch::Reads(at, size) | Touch::Updates(at, size) => self.add(at, size),
            Touch::Writes(at, size) => self.remove(at, size),
            Touch::Nothing | Touch::Takes => {}
        }
    }
}

/// Removes stores that nobody loads; whether there were any.
fn stores(unit: &mut Unit) -> bool {
    // Few functions store into their frames directly.
    let stores_there = |op: &Op| match op {
        Op::Store { at, .. } | Op::Update { at, .. } => at.base == Reg::FP,
        _ => false,
    };
    if !unit.blocks.iter().any(|block| block.insts.iter().any(|inst| stores_there(&inst.op))) {
        return false;
    }
    let (owner, takes) = frame::owners(unit);
    if takes.iter().all(|takes| *takes) {
        return false;
    }
    let is_open = |block: usize| takes[owner[block] as usize];
    let shape = unit.shape();
    let mut ins = vec![Bytes::default(); unit.blocks.len()];
    let mut found = false;
    for part in shape.parts.iter().rev() {
        let blocks = || shape.blocks(part).rev().filter(|number| !is_open(*number));
        // In loops it is not known at first what matters.
        if part.is_loop {
            for number in blocks() {
                let block = &unit.blocks[number];
                ins[number] = before(block, after(block, &ins));
            }
            shape.go_round(unit, part, |number| {
                let block = &unit.blocks[number];
                let new = before(block, after(block, &ins));
                !is_open(number) && std::mem::replace(&mut ins[number], new) != new
            });
        }
        for number in blocks() {
            let bytes = after(&unit.blocks[number], &ins);
            ins[number] = remove(&mut unit.blocks[number], bytes, &mut found);
        }
    }
    found
}

/// The bytes that matter at the beginning of a block, of those that do before its end.
fn before(block: &Block, mut bytes: Bytes) -> Bytes {
    block.insts.iter().rev().for_each(|inst| bytes.before(touch(&inst.op)));
    bytes
}

/// As [`before`]; takes out stores of bytes that do not matter.
fn remove(block: &mut Block, mut bytes: Bytes, found: &mut bool) -> Bytes {
    for inst in block.insts.iter_mut().rev() {
        match touch(&inst.op) {
            Touch::Writes(at, size) | Touch::Updates(at, size) if !bytes.has_any(at, size) => {
                inst.op = Op::Nop;
                *found = true;
            }
            touch => bytes.before(touch),
        }
    }
    bytes
}

/// The bytes that matter before the end of a block.
fn after(block: &Block, ins: &[Bytes]) -> Bytes {
    let mut bytes = Bytes::default();
    block.successors().for_each(|to| bytes.union(&ins[to]));
    bytes.before(touch_end(&block.end));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{checked_unit_of, unit_of};
    use crate::opt::{same, values};

    fn after(text: &str) -> String {
        same::text_after(unit_of(text), &[run])
    }

    #[test]
    fn programs_keep_what_they_do() {
        same::keeps_meaning(&run);
        same::keeps_meaning(&|unit, given| {
            values::run(unit, given);
            run(unit, given);
        });
    }

    #[test]
    fn results_that_nobody_reads_go() {
        assert_eq!(
            after("r2 = 5\nr2 += 1\nr3 = *(u8 *)(r1 + 0)\nr0 = r1\nr0 = r0\nexit"),
            "r0 = r1|exit"
        );
        // What a checked load stops on stays.
        let unit = checked_unit_of("r3 = *(u8 *)(r1 + 0)\nr0 = 0\nexit");
        assert_eq!(same::text_after(unit, &[run]), "r3 = *(u8 *)(r1) ; window|r0 = 0|exit");
    }

    #[test]
    fn stores_that_nobody_loads_go() {
        let text = "*(u64 *)(r10 - 8) = r1\n*(u32 *)(r10 - 16) = 1\n*(u32 *)(r10 - 12) = 2\n\
                    r0 = *(u32 *)(r10 - 14)\n*(u64 *)(r10 - 16) = 9\nexit";
        assert_eq!(
            after(text),
            "*(u32 *)(r10 - 16) = 1|*(u32 *)(r10 - 12) = 2|r0 = *(u32 *)(r10 - 14)|exit"
        );
        let unit = checked_unit_of(text);
        assert_eq!(same::text_after(unit.clone(), &[run]), same::text_after(unit, &[]));
    }

    #[test]
    fn a_frame_whose_address_is_known_keeps_its_stores() {
        let text = "*(u64 *)(r10 - 8) = 1\nr2 = r10\nr2 += -8\ncall 9\nr0 = 0\nexit";
        assert_eq!(
            after(text),
            "*(u64 *)(r10 - 8) = 1|r2 = r10|r2 = r2 + -8|call callee 0|r0 = 0|exit"
        );
        assert_eq!(
            after("*(u64 *)(r10 - 8) = 1\nr0 = r10\nexit"),
            "*(u64 *)(r10 - 8) = 1|r0 = r10|exit"
        );
    }

    #[test]
    fn a_loop_loads_what_its_last_round_stored() {
        let text = "*(u64 *)(r10 - 8) = 0\nagain: r0 = *(u64 *)(r10 - 8)\nr0 += 1\n\
                    *(u64 *)(r10 - 8) = r0\nif r0 < 9 goto again\nexit";
        assert_eq!(after(text), same::text_after(unit_of(text), &[]));
    }
}
