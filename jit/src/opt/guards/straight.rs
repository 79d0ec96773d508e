//! Guards for several accesses of one block that begin from the same registers.

use super::access::{Access, Range, access, changes_regions, check_of};
use crate::ir::{Block, Check, Inst, RegSet, Unit};

/// Guards the ranges of the first so many blocks that have more than one access.
pub(super) fn run(unit: &mut Unit, blocks: usize) {
    for number in 0..blocks {
        let block = &unit.blocks[number];
        if !block.guards.is_empty() || block.insts.len() < 2 {
            continue;
        }
        let mut ranges = Vec::new();
        accesses(&block.insts, |_, access| {
            let range = Range::of(&access);
            range.gather(&mut ranges, MOST_RANGES);
        });
        ranges.retain(|range| range.count > 1);
        let guards = ranges.iter().filter_map(|range| range.guard(range.at, 0)).collect::<Vec<_>>();
        if guards.is_empty() || guards.len() != ranges.len() {
            continue;
        }
        if block.insts.len()
            > MOST_PER_ACCESS * ranges.iter().map(|range| range.count as usize).sum::<usize>()
        {
            continue;
        }
        let copy = Block { guards: Vec::new(), ..block.clone() };
        let otherwise = unit.blocks.len() as u32;
        let block = &mut unit.blocks[number];
        let mut unchecked = Vec::new();
        accesses(&block.insts, |at, access| {
            let range = Range::of(&access);
            if ranges.iter().any(|other| other.holds(&range)) {
                unchecked.push(at);
            }
        });
        for at in unchecked {
            if let Some(check) = check_of(&mut block.insts[at].op) {
                *check = Check::None;
            }
        }
        (block.guards, block.otherwise) = (guards, otherwise);
        unit.blocks.push(copy);
    }
}

/// Blocks that are longer for each access with a guard are not worth a copy.
const MOST_PER_ACCESS: usize = 24;

/// More are not looked for in a block.
const MOST_RANGES: usize = 4;

/// The accesses of a block up to where regions may change, whose addresses are made of registers as
/// they are at its beginning.
fn accesses(insts: &[Inst], mut each: impl FnMut(usize, Access)) {
    let mut written = RegSet::NONE;
    for (at, inst) in insts.iter().enumerate() {
        if changes_regions(&inst.op) {
            return;
        }
        if let Some(access) = access(&inst.op)
            && !access.at.uses().iter().any(|reg| written.has(reg))
        {
            each(at, access);
        }
        written |= inst.op.writes();
    }
}
