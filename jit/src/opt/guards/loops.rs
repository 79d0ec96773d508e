//! Guards before a loop for what its rounds access.
//!
//! ```text
//! before: t = bound - i ...         -> slow if there are too many rounds
//! guard what the first round accesses  -> slow
//! guard what the last round accesses   -> slow
//! fast: the loop without these checks        slow: the loop as it was
//! ```
//!
//! Sound: the addresses of the rounds go up or down evenly from those of the first to those of the
//! last, over less than 2^40 bytes, so that they do not go around the address space. Both ends are in
//! the same region, which is one piece, so that all between them is. The loop has no call that could
//! change regions, and control comes into it only through its first block, from the guards. A round
//! that leaves early only accesses less.

use super::access::{Access, Range, access, changes_regions, check_of};
use super::counted::{Bound, Counted, Steps};
use super::inside::Nearby;
use crate::ir::graph::Shape;
use crate::ir::{
    Address, Binary, Block, Check, Cond, Edge, End, Guard, Inst, Op, Operand, Place, Reg, RegSet,
    Unit,
};
use ebpfvm_asm::{AluOp, JmpOp, Pc, Size, Width};

/// Guards the innermost loops.
pub(super) fn run(unit: &mut Unit, nearby: &Nearby) {
    let found = find(unit);
    if found.is_empty() {
        return;
    }
    let live = unit.live();
    let mut entered = Vec::new();
    for found in &found {
        // What the loop writes of the registers that are kept for callers is saved anyway.
        let insts = found.body.iter().flat_map(|block| &unit.blocks[*block].insts);
        let written = insts.fold(RegSet::NONE, |set, inst| set | inst.op.writes());
        let free = written.without(FREE) | FREE;
        let free = free.without(live.before(found.header)).without(NEVER_FREE);
        if let Some(plan) = plan(unit, found, free, nearby) {
            entered.push(build(unit, found, plan));
        }
    }
    redirect(unit, &entered);
}

/// Registers that may be used before a loop.
const FREE: RegSet = RegSet(RegSet::CALL.0 & !(1 << Reg::SPARE.index()));

/// Registers with a meaning of their own.
const NEVER_FREE: RegSet = RegSet(1 << Reg::FP.index() | 1 << Reg::SPARE.index());

/// An innermost loop.
pub(super) struct Loop {
    /// Where control comes in.
    pub(super) header: usize,
    /// The only block that goes back there.
    pub(super) latch: usize,
    /// All blocks, these two among them.
    pub(super) body: Vec<usize>,
}

/// Longer loops are left alone.
const MOST_BLOCKS: usize = 32;

/// The innermost loops with one way back, in which regions do not change.
fn find(unit: &mut Unit) -> Vec<Loop> {
    let shape = unit.shape();
    if !shape.has_loops {
        return Vec::new();
    }
    let Shape { order, place, .. } = &*shape;
    let is_back = |from: usize, to: usize| place[to] <= place[from];
    let mut latches: Vec<(usize, usize)> = Vec::new();
    for &block in order {
        let block = block as usize;
        latches.extend(
            unit.blocks[block].successors().filter(|to| is_back(block, *to)).map(|to| (to, block)),
        );
    }
    latches.sort_unstable();
    let preds = shape.preds(unit);
    let mut is_entry = vec![false; unit.blocks.len()];
    unit.functions.iter().for_each(|function| is_entry[function.entry as usize] = true);
    let mut loops = Vec::new();
    // The header of the loop that was last seen to have a block.
    let mut inside = vec![usize::MAX; unit.blocks.len()];
    for group in latches.chunk_by(|a, b| a.0 == b.0) {
        let &[(header, latch)] = group else { continue };
        if is_entry[header] {
            continue;
        }
        let mut body = vec![header];
        inside[header] = header;
        let mut work = vec![latch];
        while let Some(block) = work.pop() {
            if std::mem::replace(&mut inside[block], header) == header {
                continue;
            }
            body.push(block);
            if body.len() > MOST_BLOCKS {
                break;
            }
            work.extend(preds.of_block(block).iter().map(|pred| *pred as usize));
        }
        let fits = body.len() <= MOST_BLOCKS
            && body.iter().all(|&number| {
                let block = &unit.blocks[number];
                let is_plain =
                    shape.reaches(number) && !is_entry[number] && block.guards.is_empty();
                let inner = |to: usize| {
                    inside[to] == header && is_back(number, to) && (number, to) != (latch, header)
                };
                is_plain
                    && !block.successors().any(inner)
                    && !block.insts.iter().any(|inst| changes_regions(&inst.op, &unit.callees))
            });
        if fits {
            loops.push(Loop { header, latch, body });
        }
    }
    loops
}

/// What is done before a loop.
struct Plan {
    pc: Pc,
    /// Operations and a condition on which the slow loop is taken, in order.
    tests: Vec<(Vec<Inst>, Cond)>,
    /// Operations, and guards after them.
    steps: Vec<(Vec<Inst>, Vec<Guard>)>,
    /// Where accesses without a check are then: block and number.
    unchecked: Vec<(usize, usize)>,
}

fn plan(unit: &Unit, found: &Loop, mut free: RegSet, nearby: &Nearby) -> Option<Plan> {
    let steps = Steps::of(unit, found);
    let counted = Counted::of(unit, found, &steps);
    let mut ranges: Vec<Range> = Vec::new();
    let mut accesses = Vec::new();
    for &number in &found.body {
        for (at, inst) in unit.blocks[number].insts.iter().enumerate() {
            let Some(mut access) = access(&inst.op) else { continue };
            // At a number that is not counted, but small.
            if let Some(near) = nearby.get(&(number, at))
                && steps.of_address(access.at).is_none()
                && counted.is_none_or(|counted| counted.ends(&steps, access.at).is_none())
                && steps.of_address(near.at).is_some()
            {
                access = Access { check: access.check, ..*near };
            }
            let Some(by) = steps.phase(access.at, number, at) else { continue };
            let offset = i64::from(access.at.offset).checked_add(by);
            let Some(offset) = offset.and_then(|offset| i32::try_from(offset).ok()) else {
                continue;
            };
            access.at.offset = offset;
            accesses.push((number, at, Range::of(&access)));
            let range = Range::of(&access);
            range.gather(&mut ranges, MOST_RANGES);
        }
    }
    let pc = unit.blocks[found.header].start;
    let inst = |op| Inst { op, pc };
    let mut tests: Vec<(Vec<Inst>, Cond)> = Vec::new();
    let mut first_guards = Vec::new();
    let mut rest: Vec<(Vec<Inst>, Vec<Guard>)> = Vec::new();
    // The register with how far the counter goes, once it is needed.
    let mut distance: Option<Reg> = None;
    let mut is_bounded = false;
    let mut kept = Vec::new();
    for range in ranges {
        let Some(step) = steps.of_address(range.at) else {
            // An index below the bound.
            let Some(counted) = &counted else { continue };
            let Some((low, high)) = counted.ends(&steps, range.at) else { continue };
            let (Some(low), Some(high)) = (range.guard(low, 0), range.guard(high, 0)) else {
                continue;
            };
            if !std::mem::replace(&mut is_bounded, true) {
                tests.extend(counted.below().map(|cond| (Vec::new(), cond)));
            }
            first_guards.extend([low, high]);
            kept.push(range);
            continue;
        };
        let Some(first) = range.guard(range.at, 0) else { continue };
        if step == 0 {
            first_guards.push(first);
            kept.push(range);
            continue;
        }
        let Some(counted) = &counted else { continue };
        if let Some((low, high)) = counted.ends(&steps, range.at)
            && let (Some(low), Some(high)) = (range.guard(low, 0), range.guard(high, 0))
        {
            if !std::mem::replace(&mut is_bounded, true) {
                tests.extend(counted.below().map(|cond| (Vec::new(), cond)));
            }
            first_guards.extend([low, high]);
            kept.push(range);
            continue;
        }
        let Some(times) = counted.times(step) else { continue };
        let (mut free_now, mut tests_now, mut ops_now) = (free, Vec::new(), Vec::new());
        let far = match distance {
            Some(far) => far,
            None => {
                let Some(far) = free_now.iter().next() else { continue };
                free_now = free_now.without(RegSet::of(far));
                let Some(new) = counted.distance(far) else { continue };
                tests_now = new
                    .tests
                    .into_iter()
                    .map(|(ops, cond)| (ops.into_iter().map(inst).collect(), cond))
                    .collect();
                ops_now.extend(new.last.map(inst));
                far
            }
        };
        // Where the last round is: in one address, or with a register for the sum.
        let last = match (range.at.index, times) {
            (None, 1 | 2 | 4 | 8) => {
                let scale = times.trailing_zeros() as u8;
                Address { index: Some((far, scale)), ..range.at }
            }
            _ => {
                let Some(sum) = free_now.iter().next() else { continue };
                let binary = |op, lhs, rhs| {
                    let op = Binary::Alu(op);
                    inst(Op::Binary { op, width: Width::W64, dst: sum, lhs, rhs })
                };
                if times != 1 {
                    ops_now.push(binary(AluOp::Mul, far, Operand::Imm(times)));
                }
                let product = if times == 1 { far } else { sum };
                ops_now.push(binary(AluOp::Add, product, Operand::Reg(range.at.base)));
                Address { base: sum, ..range.at }
            }
        };
        let Some(guard) = range.guard(last, 0) else { continue };
        if distance.is_none() {
            free = free.without(RegSet::of(far));
            distance = Some(far);
            tests.extend(tests_now);
        }
        first_guards.push(first);
        rest.push((ops_now, vec![guard]));
        kept.push(range);
    }
    let unchecked: Vec<(usize, usize)> = accesses
        .iter()
        .filter(|(_, _, range)| kept.iter().any(|other| other.holds(range)))
        .map(|(block, at, _)| (*block, *at))
        .collect();
    if unchecked.is_empty() {
        return None;
    }
    let mut all = vec![(Vec::new(), first_guards)];
    all.extend(rest);
    Some(Plan { pc, tests, steps: all, unchecked })
}

/// More are not looked for in a loop.
const MOST_RANGES: usize = 6;

/// A loop that is entered through other blocks now.
struct Entered {
    header: usize,
    latch: usize,
    /// The first of these blocks; they are one after the other, up to the second number.
    before: std::ops::Range<usize>,
}

/// Adds the slow loop and the blocks before.
fn build(unit: &mut Unit, found: &Loop, plan: Plan) -> Entered {
    let slow_of = |block: usize| found.body.iter().position(|other| *other == block);
    let first_slow = unit.blocks.len();
    for &number in &found.body {
        let mut copy = unit.blocks[number].clone();
        for edge in copy.end.edges_mut() {
            if let Some(at) = slow_of(edge.to as usize) {
                edge.to = (first_slow + at) as u32;
            }
        }
        unit.blocks.push(copy);
    }
    for (block, at) in plan.unchecked {
        if let Some(check) = check_of(&mut unit.blocks[block].insts[at].op) {
            *check = Check::None;
        }
    }
    let slow = first_slow as u32 + slow_of(found.header).unwrap_or_default() as u32;
    let before = unit.blocks.len();
    for (insts, cond) in plan.tests {
        let next = unit.blocks.len() as u32 + 1;
        let end = End::Branch {
            cond,
            then: Edge { to: slow, cost: 0 },
            other: Edge { to: next, cost: 0 },
        };
        unit.blocks.push(Block { insts, end, ..Block::new(plan.pc) });
    }
    let empty = || Block { otherwise: slow, ..Block::new(plan.pc) };
    let mut blocks = vec![empty()];
    let mut open = 0;
    for (insts, guards) in plan.steps {
        // A block's guards come before its operations: those of the step are the next block's.
        blocks[open].insts.extend(insts);
        if !guards.is_empty() {
            blocks.push(Block { guards, ..empty() });
            open += 1;
        }
    }
    let last = blocks.len() - 1;
    for (at, mut block) in blocks.into_iter().enumerate() {
        let to = if at == last { found.header as u32 } else { unit.blocks.len() as u32 + 1 };
        block.end = End::Jump(Edge { to, cost: 0 });
        unit.blocks.push(block);
    }
    Entered { header: found.header, latch: found.latch, before: before..unit.blocks.len() }
}

/// Sends what goes to a loop from outside to the blocks before it.
fn redirect(unit: &mut Unit, entered: &[Entered]) {
    let mut by_header = vec![None; unit.blocks.len()];
    for (at, entered) in entered.iter().enumerate() {
        by_header[entered.header] = Some(at);
    }
    for number in 0..unit.blocks.len() {
        let block = &mut unit.blocks[number];
        let otherwise = (!block.guards.is_empty()).then_some(&mut block.otherwise);
        let targets = block.end.edges_mut().map(|edge| &mut edge.to).chain(otherwise);
        for to in targets {
            let Some(at) = by_header.get(*to as usize).copied().flatten() else { continue };
            let entered: &Entered = &entered[at];
            if number != entered.latch && !entered.before.contains(&number) {
                *to = entered.before.start as u32;
            }
        }
    }
}

/// `cond`, for tests before a loop.
pub(super) fn test(op: JmpOp, lhs: Reg, rhs: Operand) -> Cond {
    Cond { op, size: Size::Dw, lhs: Place::Reg(lhs), rhs }
}

impl Counted {
    /// The conditions on which an index is not below a small bound from the first round on.
    fn below(&self) -> impl Iterator<Item = Cond> + use<> {
        let bound = match self.bound {
            Bound::Imm(_) => None,
            Bound::Reg(reg) => Some(test(JmpOp::Gt, reg, Operand::Imm(i32::MAX))),
        };
        let rhs = match self.bound {
            Bound::Imm(imm) => Operand::Imm(imm),
            Bound::Reg(reg) => Operand::Reg(reg),
        };
        bound.into_iter().chain([test(JmpOp::Ge, self.counter, rhs)])
    }
}
