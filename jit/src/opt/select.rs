//! Selects (conditional moves) in place of branches around copies and constants.
//!
//! Compilers have no select in the language and write what would be one as a branch around a move:
//! mispredicted, it costs more than both ways together.
//!
//! ```text
//! t = 1; if c goto J; T: t = 0; J: ...   ->   t = 1; s = 0; t = if c then t else s; J: ...
//! ```
//!
//! Guessed right, a branch costs next to nothing, and what comes after it waits for nothing; a select
//! waits for its condition and both values. So it has to cost next to nothing too:
//!
//! - Ways that compute stay behind their branch. As selects they cost a copy, the computation and the
//!   move every time; loops over packets that branch around one operation took a fifth longer.
//! - So do ways whose results decide the next branch: in a row of selects each waits for the one before
//!   (logarithms by halving), where branches are all guessed at once.
//!
//! Sound: what is now done on both ways reads and writes registers only and cannot stop the run; its
//! result goes to a register that nobody reads, and from there on the way on which it was done before.
//! Both ways cost the same, or fuel is not counted.

use super::Given;
use crate::ir::live::{Live, Rules};
use crate::ir::{Block, Cond, Edge, End, Inst, Op, Place, Reg, RegSet, Unit};
use ebpfvm_asm::{Pc, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, given: &Given<'_>) {
    let live = unit.live();
    let rules = live.rules();
    let mut entries = unit.entries();
    let mut found = false;
    for head in 0..unit.blocks.len() {
        while let Some(step) = find(unit, &live, rules, &entries, given, head) {
            found = true;
            apply(unit, &mut entries, head, step);
            // What follows is taken in if nothing else goes there.
            let End::Jump(Edge { to, cost: 0 }) = unit.blocks[head].end else { break };
            let next = to as usize;
            if entries[next] != 1 || next == head || !unit.blocks[next].guards.is_empty() {
                break;
            }
            let end_pc = unit.blocks[next].end_pc;
            let start = unit.blocks[next].start;
            let taken = std::mem::replace(&mut unit.blocks[next], Block::new(start));
            entries[next] = 0;
            let block = &mut unit.blocks[head];
            block.insts.extend(taken.insts);
            (block.end, block.end_pc) = (taken.end, end_pc);
        }
    }
    if !found {
        unit.keeps_shape();
        unit.keeps_live();
    }
}

/// A branch that becomes selects.
struct Step {
    insts: Vec<Inst>,
    /// Where both ways go on.
    join: Edge,
    /// The blocks that are then not entered from here.
    arms: [Option<usize>; 2],
}

/// One of the two ways of a branch: the operations of a block of its own, and where it goes on.
struct Way {
    block: Option<usize>,
    to: u32,
    cost: u32,
}

/// Most operations on one way.
const MOST: usize = 2;

fn way(unit: &Unit, entries: &[u32], edge: Edge) -> Option<Way> {
    let number = edge.to as usize;
    let block = &unit.blocks[number];
    let End::Jump(next) = block.end else { return None };
    let is_cheap = block.guards.is_empty()
        && entries[number] == 1
        && block.insts.iter().filter(|inst| inst.op != Op::Nop).count() <= MOST
        && block.insts.iter().all(|inst| is_cheap(&inst.op));
    is_cheap.then(|| Way {
        block: Some(number),
        to: next.to,
        cost: edge.cost.saturating_add(next.cost),
    })
}

/// Nothing is computed: a constant waits for nothing, a copy is only another name.
fn is_cheap(op: &Op) -> bool {
    matches!(op, Op::Nop | Op::Const { .. } | Op::Move { width: Width::W64, .. })
}

fn find(
    unit: &Unit,
    live: &Live,
    rules: Rules,
    entries: &[u32],
    given: &Given<'_>,
    head: usize,
) -> Option<Step> {
    let block = &unit.blocks[head];
    let End::Branch { cond, then, other } = block.end else { return None };
    let Place::Reg(_) = cond.lhs else { return None };
    let direct = |edge: Edge| Way { block: None, to: edge.to, cost: edge.cost };
    let (first, second) = (way(unit, entries, then), way(unit, entries, other));
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) if first.to == second.to => (first, second),
        (Some(first), _) if first.to == other.to => (first, direct(other)),
        (_, Some(second)) if second.to == then.to => (direct(then), second),
        _ => return None,
    };
    // Without counting, nobody sees what an edge costs.
    if first.cost != second.cost && !given.has_spare {
        return None;
    }
    let mut after = live.before(first.to as usize);
    if !given.has_spare {
        after = after.with(Reg::SPARE);
    }
    let ops = |way: &Way| -> Vec<Inst> {
        let insts = way.block.map(|number| &unit.blocks[number].insts[..]).unwrap_or_default();
        insts.iter().filter(|inst| inst.op != Op::Nop).copied().collect()
    };
    let uses = |op: &Op| rules.uses(unit, op);
    let insts = selects(uses, cond, block.end_pc, [ops(&first), ops(&second)], after)?;
    let results = insts.iter().fold(RegSet::NONE, |set, inst| set | inst.op.writes());
    if decides(unit, rules, RegSet(results.0 & after.0), first.to as usize) {
        return None;
    }
    let cost = first.cost.max(second.cost);
    let join = Edge { to: first.to, cost };
    Some(Step { insts, join, arms: [first.block, second.block] })
}

/// Whether the branch at the end of a block depends on these registers.
fn decides(unit: &Unit, rules: Rules, mut results: RegSet, block: usize) -> bool {
    let block = &unit.blocks[block];
    for inst in &block.insts {
        let (uses, writes) = (rules.uses(unit, &inst.op), inst.op.writes());
        results = match uses.0 & results.0 {
            0 => results.without(writes),
            _ => results | writes,
        };
    }
    matches!(block.end, End::Branch { cond, .. } if cond.uses().0 & results.0 != 0)
}

/// The operations that do what two ways do, one of which is taken if the condition holds.
///
/// Each way writes registers that nobody reads. `names` says which has the way's value of a register;
/// the register itself keeps the value from before, until the selects at the end.
fn selects(
    rules: impl Fn(&Op) -> RegSet,
    cond: Cond,
    pc: Pc,
    ways: [Vec<Inst>; 2],
    after: RegSet,
) -> Option<Vec<Inst>> {
    let all = || ways.iter().flatten();
    let writes = all().fold(RegSet::NONE, |set, inst| set | inst.op.writes());
    let reads = all().fold(cond.uses(), |set, inst| set | rules(&inst.op));
    let mut free = FREE.without(after | reads | writes);
    let results = RegSet(writes.0 & after.0);
    // More conditional moves cost as much as a branch that is guessed right most of the time.
    if results.0.count_ones() > 2 {
        return None;
    }
    let mut insts = Vec::new();
    let mut names = [[None::<Reg>; Reg::COUNT]; 2];
    for (way, names) in ways.iter().zip(&mut names) {
        for inst in way {
            let dst = inst.op.pure_dst()?;
            // A copy is another name.
            if let Op::Move { width: Width::W64, src, .. } = inst.op {
                names[dst.index()] = Some(names[src.index()].unwrap_or(src));
                continue;
            }
            let in_use = after | reads | writes;
            let own = names[dst.index()].filter(|name| is_own(names, *name, dst, in_use));
            // Those that a function keeps for its caller would have to be saved.
            let taken = || free.without(RegSet::KEPT).iter().last().or(free.iter().last());
            let name = own.or_else(taken)?;
            free = free.without(RegSet::of(name));
            let Op::Const { value, .. } = inst.op else { return None };
            insts.push(Inst { op: Op::Const { dst: name, value }, ..*inst });
            names[dst.index()] = Some(name);
        }
    }
    let name = |way: usize, reg: Reg| names[way][reg.index()].unwrap_or(reg);
    // A result that another select still reads is written after that.
    let is_read_for = |first: Reg, second: Reg| {
        cond.uses().has(first) || name(0, second) == first || name(1, second) == first
    };
    let mut order: Vec<Reg> = results.iter().collect();
    if let [first, second] = order[..]
        && is_read_for(first, second)
    {
        if is_read_for(second, first) {
            return None;
        }
        order = vec![second, first];
    }
    insts.extend(order.into_iter().map(|dst| {
        let (then, other) = (name(0, dst), name(1, dst));
        let op = match then == other {
            true => Op::Move { width: Width::W64, dst, src: then },
            false => Op::Select { cond, dst, then, other },
        };
        Inst { op, pc }
    }));
    Some(insts)
}

/// Registers that may be free, if nobody reads them.
const FREE: RegSet = RegSet(RegSet::CALL.0 | RegSet::KEPT.0);

/// Whether a name is that of this register only, and none of the program's registers in use.
fn is_own(names: &[Option<Reg>; Reg::COUNT], name: Reg, of: Reg, in_use: RegSet) -> bool {
    let is_shared =
        |(number, other): (usize, &Option<Reg>)| *other == Some(name) && number != of.index();
    !in_use.has(name) && !names.iter().enumerate().any(is_shared)
}

fn apply(unit: &mut Unit, entries: &mut [u32], head: usize, step: Step) {
    for arm in step.arms.into_iter().flatten() {
        let start = unit.blocks[arm].start;
        unit.blocks[arm] = Block::new(start);
        entries[arm] = 0;
    }
    entries[step.join.to as usize] -= 1;
    let block = &mut unit.blocks[head];
    block.insts.extend(step.insts);
    block.end = End::Jump(step.join);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opt::local::tests::after;
    use crate::opt::same::keeps_meaning;

    #[test]
    fn branches_around_moves_are_selects() {
        let text = "w0 = 1\nif r1 > r2 goto +1\nw0 = 0\nexit";
        assert_eq!(
            after(run, text),
            "r0 = 1\ns0 = 0\nr0 = if r1 > r2 then r0 else s0\nexit\nstop\nstop"
        );
        let text = "r0 = r1\nif r1 s<= r2 goto +1\nr0 = r2\nexit";
        assert_eq!(
            after(run, text),
            "r0 = r1\nr0 = if r1 s<= r2 then r0 else r2\nexit\nstop\nstop"
        );
    }

    #[test]
    fn a_row_of_them_is_one_block() {
        let text = "if r7 < 16 goto +1\nr0 = 4\nif r7 < 16 goto +2\nr1 = r0\nr7 = 9\nr0 += r7\nr0 += r1\nexit";
        assert_eq!(
            after(run, text).lines().collect::<Vec<_>>(),
            [
                "s0 = 4",
                "r0 = if r7 < 16 then r0 else s0",
                "s0 = 9",
                "r1 = if r7 < 16 then r1 else r0",
                "r7 = if r7 < 16 then r7 else s0",
                "r0 = r0 + r7",
                "r0 = r0 + r1",
                "exit",
                "stop",
                "stop",
                "stop",
                "stop",
            ]
        );
    }

    #[test]
    fn ways_that_compute_stay_behind_their_branch() {
        for op in ["r0 |= 4", "r0 += 1", "w0 = w2", "r0 = -r0"] {
            let text = format!("if r1 == 0 goto +1\n{op}\nexit");
            assert!(!after(run, &text).contains("then"), "{op}");
        }
    }

    #[test]
    fn what_decides_the_next_branch_stays_behind_its_own() {
        let row = |last: &str| {
            let text = format!(
                "r2 = 0\nif r1 < 16 goto +1\nr2 = 4\nr0 = r1\nr0 >>= r2\nif {last} goto +1\ncall 5\nexit"
            );
            after(run, &text).contains("then")
        };
        assert!(row("r1 < 4") && !row("r0 < 4") && !row("r1 < r2"));
    }

    #[test]
    fn both_ways_may_do_something() {
        let text = "if r1 == 5 goto +2\nr0 = r2\ngoto +1\nr0 = r3\nexit";
        assert!(after(run, text).starts_with("r0 = if r1 == 5 then r3 else r2\nexit"));
        // Registers that change places.
        let text = "if r1 < r2 goto +3\nr3 = r1\nr1 = r2\nr2 = r3\nr1 -= r2\nr0 = r1\nexit";
        assert!(after(run, text).contains("goto"), "three operations");
        let text = "if r1 < 9 goto +2\nr3 = r4\nr4 = r3\nr0 = r3\nr0 += r4\nexit";
        assert!(after(run, text).starts_with("r3 = if r1 < 9 then r3 else r4"));
    }

    #[test]
    fn another_name_for_a_register_is_not_written() {
        let text = "r0 = 0\nif r0 < r6 goto +2\nr2 = r6\nr2 = 1\nr0 += r2\nexit";
        let text = after(run, text);
        assert!(text.contains("s0 = 1") && !text.contains("r6 = 1"), "{text}");
    }

    #[test]
    fn what_may_stop_the_run_stays_behind_its_branch() {
        for op in ["r0 = *(u8 *)(r2 + 0)", "*(u8 *)(r2 + 0) = 1", "r0 /= r2", "call 5"] {
            let text = format!("if r1 == 0 goto +1\n{op}\nexit");
            assert!(!after(run, &text).contains("then"), "{op}");
        }
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
