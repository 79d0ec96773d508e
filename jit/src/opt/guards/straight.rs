//! Guards for several accesses that begin from the same registers: of one block, and of those that
//! follow it and are reached from it alone.
//!
//! Sound: a block without checks is reached only over the guards of the first, with nothing between
//! that changes the regions; where a register of the address is changed, it is known by how much. Where they fail, control goes to copies of
//! all these blocks.

use super::access::{Access, Range, access, changes_regions, check_of};
use crate::ir::graph::Shape;
use crate::ir::{Address, Binary, Block, Check, Inst, Op, Operand, Reg, Unit};
use ebpfvm_asm::{AluOp, Width};

/// Guards what the first so many blocks access more than once.
pub(super) fn run(unit: &mut Unit, blocks: usize) {
    let mut entries = unit.entries();
    // So many copies at most, so that code grows in proportion.
    let mut left = 2 * blocks;
    for root in Shape::of(unit).order {
        let root = root as usize;
        if root < blocks
            && let Some(plan) = plan(unit, &entries, root)
            && let Some(rest) = left.checked_sub(plan.members.len())
        {
            left = rest;
            build(unit, &mut entries, root, plan);
        }
    }
}

/// Blocks are not worth a copy that are longer for each access with a guard.
const MOST_PER_ACCESS: usize = 24;

/// More ranges are not looked for.
const MOST_RANGES: usize = 4;

/// More blocks are not looked at.
const MOST_BLOCKS: usize = 8;

/// Blocks with guards before the first.
struct Plan {
    ranges: Vec<Range>,
    /// The first and those of the others that have accesses, or come before one that does.
    members: Vec<usize>,
    /// Accesses that need no check: block and number.
    unchecked: Vec<(usize, usize)>,
}

/// A block, where it is reached from, and what registers hold there.
struct Member {
    block: usize,
    parent: Option<usize>,
    held: Held,
}

fn plan(unit: &Unit, entries: &[u32], root: usize) -> Option<Plan> {
    if !unit.blocks[root].guards.is_empty() {
        return None;
    }
    let mut members = vec![Member { block: root, parent: None, held: Held::new() }];
    let mut ranges: Vec<Range> = Vec::new();
    let mut all: Vec<(usize, usize, Range)> = Vec::new();
    let mut at = 0;
    while let Some(member) = members.get(at) {
        let (number, block) = (member.block, &unit.blocks[member.block]);
        let mut held = member.held;
        let goes_on = accesses(unit, &block.insts, &mut held, |place, access| {
            let range = Range::of(&access);
            all.push((at, place, range));
            // What the first block itself needs, and what others have near it.
            if number == root || ranges.iter().any(|other| other.takes(&range)) {
                range.gather(&mut ranges, MOST_RANGES);
            }
        });
        // Without an access of its own, the first would only be guarded too early.
        if at == 0 && ranges.is_empty() {
            return None;
        }
        for edge in block.end.edges().filter(|_| goes_on) {
            let next = edge.to as usize;
            let is_own = entries[next] == 1 && next != root && unit.blocks[next].guards.is_empty();
            if is_own && members.len() < MOST_BLOCKS {
                members.push(Member { block: next, parent: Some(at), held });
            }
        }
        at += 1;
    }
    ranges.retain(|range| range.count > 1);
    all.retain(|(_, _, range)| ranges.iter().any(|other| other.holds(range)));
    let mut is_kept = vec![false; members.len()];
    for (member, ..) in &all {
        let mut next = Some(*member);
        while let Some(member) = next.filter(|member| !is_kept[*member]) {
            is_kept[member] = true;
            next = members[member].parent;
        }
    }
    let unchecked: Vec<_> =
        all.iter().map(|(member, at, _)| (members[*member].block, *at)).collect();
    let kept = members.iter().zip(&is_kept).filter(|(_, is_kept)| **is_kept);
    let members: Vec<usize> = kept.map(|(member, _)| member.block).collect();
    let insts: usize = members.iter().map(|block| unit.blocks[*block].insts.len()).sum();
    let is_worth_it = !unchecked.is_empty() && insts <= MOST_PER_ACCESS * unchecked.len();
    is_worth_it.then_some(Plan { ranges, members, unchecked })
}

fn build(unit: &mut Unit, entries: &mut [u32], root: usize, plan: Plan) {
    let guards: Option<Vec<_>> = plan.ranges.iter().map(|range| range.guard(range.at, 0)).collect();
    let Some(guards) = guards else { return };
    let first = unit.blocks.len();
    for &member in &plan.members {
        let mut copy: Block = unit.blocks[member].clone();
        for edge in copy.end.edges_mut() {
            match plan.members.iter().position(|other| *other == edge.to as usize) {
                Some(at) => edge.to = (first + at) as u32,
                // Another way there, past the guards.
                None => {
                    if let Some(entries) = entries.get_mut(edge.to as usize) {
                        *entries += 1;
                    }
                }
            }
        }
        unit.blocks.push(copy);
    }
    for (block, at) in plan.unchecked {
        if let Some(check) = check_of(&mut unit.blocks[block].insts[at].op) {
            *check = Check::None;
        }
    }
    let block = &mut unit.blocks[root];
    (block.guards, block.otherwise) = (guards, first as u32);
}

/// What registers hold: what one held at the beginning and so much more, or something else.
#[derive(Clone, Copy)]
struct Held([Option<(Reg, i32)>; Reg::COUNT]);

impl Held {
    /// At the beginning.
    fn new() -> Held {
        Held(std::array::from_fn(|number| Some((Reg::new(number as u8), 0))))
    }

    fn sum(&self, reg: Reg, by: i32) -> Option<(Reg, i32)> {
        let (from, offset) = self.0[reg.index()]?;
        Some((from, offset.checked_add(by)?))
    }

    /// An address by what registers held at the beginning.
    fn address(&self, at: Address) -> Option<Address> {
        let (base, offset) = self.sum(at.base, at.offset)?;
        let Some((index, scale)) = at.index else { return Some(Address::new(base, offset)) };
        let (index, by) = self.sum(index, 0)?;
        let offset = offset.checked_add(by.checked_mul(1 << scale)?)?;
        Some(Address { base, index: Some((index, scale)), offset })
    }

    fn step(&mut self, op: &Op) {
        let (dst, held) = match *op {
            Op::Move { width: Width::W64, dst, src } => (dst, self.sum(src, 0)),
            Op::Lea { width: Width::W64, dst, at: Address { base, index: None, offset } } => {
                (dst, self.sum(base, offset))
            }
            Op::Binary {
                op: Binary::Alu(op @ (AluOp::Add | AluOp::Sub)),
                width: Width::W64,
                dst,
                lhs,
                rhs: Operand::Imm(imm),
            } => {
                let by = if op == AluOp::Sub { imm.checked_neg() } else { Some(imm) };
                (dst, by.and_then(|by| self.sum(lhs, by)))
            }
            _ => return op.writes().iter().for_each(|reg| self.0[reg.index()] = None),
        };
        self.0[dst.index()] = held;
    }
}

/// The accesses of a block whose addresses are made of what registers held at the beginning, by these, up
/// to where regions may change; whether that is nowhere in it.
fn accesses(
    unit: &Unit,
    insts: &[Inst],
    held: &mut Held,
    mut each: impl FnMut(usize, Access),
) -> bool {
    for (at, inst) in insts.iter().enumerate() {
        if changes_regions(&inst.op, &unit.callees) {
            return false;
        }
        if let Some(access) = access(&inst.op)
            && let Some(address) = held.address(access.at)
        {
            each(at, Access { at: address, ..access });
        }
        held.step(&inst.op);
    }
    true
}
