//! Selects (conditional moves) in place of branches around one or two cheap operations.
//!
//! Compilers have no select in the language and write what would be one as a branch around a move or
//! an operation: mispredicted, it costs more than both ways together.
//!
//! ```text
//! if c goto J; T: d = d >> 4; J: ...   ->   t = d >> 4; d = if c then d else t; J: ...
//! ```
//!
//! Sound: what is now done on both ways reads and writes registers only and cannot stop the run; its
//! result goes to a register that nobody reads, and from there on the way on which it was done before.
//! Both ways cost the same, or fuel is not counted.

use super::Given;
use crate::ir::graph::Preds;
use crate::ir::live::{Live, Rules};
use crate::ir::{Binary, Block, Cond, Edge, End, Inst, Op, Operand, Place, Reg, RegSet, Unit};
use ebpfvm_asm::{AluOp, Pc, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, given: &Given<'_>) {
    let live = Live::of(unit);
    let rules = Rules::of(unit);
    let mut entries: Vec<u32> = {
        let preds = Preds::of(unit);
        (0..unit.blocks.len()).map(|block| preds.of_block(block).len() as u32).collect()
    };
    for function in &unit.functions {
        entries[function.entry as usize] += 1;
    }
    for head in 0..unit.blocks.len() {
        while let Some(step) = find(unit, &live, rules, &entries, given, head) {
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

/// Operations on registers that take a cycle or so.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Nop
        | Op::Const { .. }
        | Op::Move { .. }
        | Op::Extend { .. }
        | Op::Neg { .. }
        | Op::Bits { .. }
        | Op::Lea { .. } => true,
        Op::Binary { op: Binary::Alu(op), .. } => matches!(
            op,
            AluOp::Add
                | AluOp::Sub
                | AluOp::And
                | AluOp::Or
                | AluOp::Xor
                | AluOp::Lsh
                | AluOp::Rsh
                | AluOp::Arsh
        ),
        Op::Binary { op: Binary::Rotl, .. } => true,
        _ => false,
    }
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
    let cost = first.cost.max(second.cost);
    let join = Edge { to: first.to, cost };
    Some(Step { insts, join, arms: [first.block, second.block] })
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
            insts.push(Inst { op: renamed(inst.op, names, name)?, ..*inst });
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

/// An operation with other names for the registers that it reads, and this one for its result.
fn renamed(op: Op, names: &[Option<Reg>; Reg::COUNT], dst: Reg) -> Option<Op> {
    let name = |reg: Reg| names[reg.index()].unwrap_or(reg);
    Some(match op {
        Op::Const { value, .. } => Op::Const { dst, value },
        Op::Move { width, src, .. } => Op::Move { width, dst, src: name(src) },
        Op::Extend { size, fill, src, .. } => Op::Extend { size, fill, dst, src: name(src) },
        Op::Neg { width, src, .. } => Op::Neg { width, dst, src: name(src) },
        Op::Bits { shift, bits, src, .. } => Op::Bits { shift, bits, dst, src: name(src) },
        Op::Lea { width, mut at, .. } => {
            at.base = name(at.base);
            at.index = at.index.map(|(index, scale)| (name(index), scale));
            Op::Lea { width, dst, at }
        }
        Op::Binary { op, width, lhs, rhs, .. } => {
            let rhs = match rhs {
                Operand::Reg(reg) => Operand::Reg(name(reg)),
                imm => imm,
            };
            Op::Binary { op, width, dst, lhs: name(lhs), rhs }
        }
        _ => return None,
    })
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
        let text =
            "if r7 < 16 goto +1\nr0 |= 4\nif r7 < 16 goto +2\nr0 += 1\nr7 >>= 4\nr0 += r7\nexit";
        assert_eq!(
            after(run, text).lines().collect::<Vec<_>>(),
            [
                "s0 = r0 | 4",
                "r0 = if r7 < 16 then r0 else s0",
                "s0 = r0 + 1",
                "r5 = r7 >> 4",
                "r0 = if r7 < 16 then r0 else s0",
                "r7 = if r7 < 16 then r7 else r5",
                "r0 = r0 + r7",
                "exit",
                "stop",
                "stop",
                "stop",
                "stop",
            ]
        );
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
