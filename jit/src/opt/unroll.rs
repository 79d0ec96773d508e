//! Several rounds at once of loops that count and are one block.
//!
//! ```text
//! B: t = [a]; x += t; a += 2; i += 1; if i < n goto B     ->
//!
//!    if n < 3 goto B; m = n - 3; if i < m goto U else B
//! U: t = [a]; s = [a + 2]; s += t; x += s; t = [a + 4]; s = [a + 6]; s += t; x += s;
//!    a += 8; i += 4; if i < m goto U; if i < n goto B
//! ```
//!
//! Sound: only ways into the loop are changed, and `i < m` says that the next rounds all go on, for
//! counting them does not wrap: then their tests need not be made. A register that only counts, and is
//! read in addresses only, is counted up once, with what it lacks in the addresses. What is summed up
//! may be summed up in another order, if nobody sees a sum in between.

use super::Given;
use crate::ir::{
    Address, Binary, Block, Check, Cond, Edge, End, Inst, Op, Operand, Place, Reg, RegSet, Unit,
};
use ebpfvm_asm::{AluOp, JmpOp, Pc, Size, Width};

/// Rounds at once.
const ROUNDS: u32 = 4;

/// Most operations of a loop.
const MOST: usize = 6;

/// The pass.
pub(super) fn run(unit: &mut Unit, given: &Given<'_>) {
    // Loads may move, and nobody sees what rounds cost.
    if unit.is_checked || !given.has_spare || !unit.shape().has_loops {
        unit.keeps_shape();
        unit.keeps_live();
        return;
    }
    let count = unit.blocks.len();
    let mut live = None;
    let mut fronts = Vec::new();
    for number in 0..count {
        let Some(counting) = Counting::of(&unit.blocks[number], number) else { continue };
        let live = live.get_or_insert_with(|| unit.live());
        let taken = live.before(number) | live.after(number);
        let Some(front) = unroll(unit, number, &counting, taken) else { continue };
        fronts.push((number as u32, front));
    }
    if fronts.is_empty() {
        unit.keeps_shape();
        unit.keeps_live();
        return;
    }
    let mut front_of = vec![None; count];
    for (block, front) in fronts {
        front_of[block as usize] = Some(front);
    }
    for (from, block) in (0..).zip(&mut unit.blocks) {
        for edge in block.end.edges_mut() {
            let front = front_of.get(edge.to as usize).copied().flatten();
            // The loop itself, and the new blocks around it, go to the old one.
            let is_inside = |front: u32| from == edge.to || (front..front + ADDED).contains(&from);
            edge.to = front.filter(|front| !is_inside(*front)).unwrap_or(edge.to);
        }
    }
}

/// Blocks that are added for a loop, at most.
const ADDED: u32 = 4;

/// How a loop counts.
struct Counting {
    /// What a round adds.
    by: i32,
    cond: Cond,
    /// How the counter is compared with [`Counting::last`], or a register less what rounds add.
    op: JmpOp,
    /// Where the last of the rounds begin; none if a register says.
    last: Option<i32>,
}

impl Counting {
    /// Of a block that goes on with itself as long as a counter is on one side of a bound.
    fn of(block: &Block, number: usize) -> Option<Counting> {
        let End::Branch { cond, then, .. } = block.end else { return None };
        let Place::Reg(reg) = cond.lhs else { return None };
        if then.to as usize != number || block.insts.len() > MOST || !block.guards.is_empty() {
            return None;
        }
        let mut steps = block.insts.iter().filter(|inst| inst.op.writes().has(reg));
        let (_, width, by) = step(&steps.next()?.op)?;
        let fits = width == Width::W64 || cond.size == Size::W;
        if steps.next().is_some() || !fits || !block.insts.iter().all(|inst| is_simple(&inst.op)) {
            return None;
        }
        let ahead = by.checked_mul(ROUNDS as i32 - 1)?;
        let op = match (cond.op, by > 0) {
            (JmpOp::Ne, true) => JmpOp::Lt,
            (JmpOp::Ne, false) => JmpOp::Gt,
            (op @ (JmpOp::Lt | JmpOp::Le | JmpOp::Slt | JmpOp::Sle), true) => op,
            (op @ (JmpOp::Gt | JmpOp::Ge | JmpOp::Sgt | JmpOp::Sge), false) => op,
            _ => return None,
        };
        let is_signed = matches!(op, JmpOp::Slt | JmpOp::Sle | JmpOp::Sgt | JmpOp::Sge);
        let last = match cond.rhs {
            Operand::Imm(imm) => {
                let last = imm.checked_sub(ahead)?;
                // Above 0, unsigned and signed are the same. Few rounds are not worth it.
                if !is_signed && (imm < 0 || last < 0) || by > 0 && last < ahead {
                    return None;
                }
                Some(last)
            }
            Operand::Reg(bound) => {
                let is_same = block.insts.iter().all(|inst| !inst.op.writes().has(bound));
                if !is_same || is_signed || by < 0 {
                    return None;
                }
                None
            }
        };
        Some(Counting { by, cond, op, last })
    }
}

/// An operation that only adds a number to a register.
fn step(op: &Op) -> Option<(Reg, Width, i32)> {
    match *op {
        Op::Binary {
            op: Binary::Alu(AluOp::Add),
            width,
            dst,
            lhs,
            rhs: Operand::Imm(by @ -4096..=4096),
        } if dst == lhs && by != 0 => Some((dst, width, by)),
        _ => None,
    }
}

/// Whether an operation is one of few cycles, without calls. Of others loops wait for results.
fn is_simple(op: &Op) -> bool {
    use AluOp::{Add, And, Arsh, Lsh, Or, Rsh, Sub, Xor};
    match op {
        Op::Binary { op: Binary::Alu(op), .. } => {
            matches!(op, Add | And | Arsh | Lsh | Or | Rsh | Sub | Xor)
        }
        Op::Const { .. } | Op::Move { .. } | Op::Extend { .. } | Op::Bits { .. } => true,
        Op::Load { check, .. } | Op::Store { check, .. } => *check == Check::None,
        _ => false,
    }
}

/// Whether an operation reads a register in its address only, or not at all.
fn is_in_address(op: &Op, reg: Reg) -> bool {
    match *op {
        Op::Load { .. } => true,
        Op::Store { src, .. } => src != Operand::Reg(reg),
        _ => !op.uses(&[]).has(reg),
    }
}

/// Values that are loaded and summed up.
struct Summed {
    /// The load, and the operation right behind it or later that nobody else reads.
    load: usize,
    add: usize,
    sum: Reg,
    /// Where every second value goes.
    second: Reg,
}

/// What a loop adds up from memory, if it does.
fn summed(insts: &[Inst], cond: &Cond, taken: RegSet, free: Reg) -> Option<Summed> {
    let touches = |op: &Op, reg: Reg| (op.uses(&[]) | op.writes()).has(reg);
    insts.iter().enumerate().find_map(|(add, inst)| {
        let Op::Binary { op: Binary::Alu(op), dst: sum, lhs, rhs: Operand::Reg(rhs), .. } = inst.op
        else {
            return None;
        };
        let commutes = matches!(op, AluOp::Add | AluOp::And | AluOp::Or | AluOp::Xor);
        let value = if lhs == sum { rhs } else { lhs };
        let is_load = |inst: &Inst| matches!(inst.op, Op::Load { dst, .. } if dst == value);
        let load = insts[..add].iter().position(is_load)?;
        let others = |reg: Reg, mine: &[usize]| {
            cond.uses().has(reg)
                || insts
                    .iter()
                    .enumerate()
                    .any(|(at, inst)| !mine.contains(&at) && touches(&inst.op, reg))
        };
        let is_own = commutes
            && value != sum
            && (lhs == sum || rhs == sum)
            && !insts[load].op.uses(&[]).has(value)
            && !taken.has(value)
            && !others(value, &[load, add])
            && !others(sum, &[add]);
        is_own.then_some(Summed { load, add, sum, second: free })
    })
}

/// Appends the blocks; the one where the loop is entered then. `taken` are registers that matter at the
/// beginning or after the end of the loop.
fn unroll(unit: &mut Unit, number: usize, counting: &Counting, taken: RegSet) -> Option<u32> {
    let block = &unit.blocks[number];
    let all = block.insts.iter().map(|inst| inst.op.uses(&[]) | inst.op.writes());
    let used = all.fold(taken | block.end.uses(), |set, regs| set | regs);
    // What functions keep for their callers would have to be saved.
    let mut free = RegSet::CALL.without(used).iter().collect::<Vec<_>>();
    let limit = match counting.last {
        Some(last) => Operand::Imm(last),
        None => Operand::Reg(free.pop()?),
    };
    let insts = rounds(&block.insts, &counting.cond, taken, free.pop())?;
    let pc = block.end_pc;
    let start = block.start;
    let first = unit.blocks.len() as u32;
    let to = |to: u32| Edge { to, cost: 0 };
    let (front, body, rest) = (first, first + 1, first + 2);
    let cond = Cond { op: counting.op, rhs: limit, ..counting.cond };
    let made = |insts, end| Block { insts, end, end_pc: pc, ..Block::new(start) };
    let enter = End::Branch { cond, then: to(body), other: to(number as u32) };
    let cost = ROUNDS.saturating_mul(block.end.edges().next().map_or(0, |edge| edge.cost));
    let again = End::Branch { cond, then: Edge { to: body, cost }, other: to(rest) };
    let test = made(Vec::new(), block.end);
    let entry = match (counting.cond.rhs, limit) {
        (Operand::Reg(bound), Operand::Reg(limit)) => {
            let ahead = counting.by * (ROUNDS as i32 - 1);
            let width = if cond.size == Size::W { Width::W32 } else { Width::W64 };
            let op = Binary::Alu(AluOp::Add);
            let rhs = Operand::Imm(-ahead);
            let less = Op::Binary { op, width, dst: limit, lhs: bound, rhs };
            let is_less = Cond {
                op: JmpOp::Lt,
                lhs: Place::Reg(bound),
                rhs: Operand::Imm(ahead),
                ..counting.cond
            };
            let few = End::Branch { cond: is_less, then: to(number as u32), other: to(first + 3) };
            unit.blocks.extend([
                made(Vec::new(), few),
                made(insts, again),
                test,
                made(vec![Inst { op: less, pc }], enter),
            ]);
            return Some(front);
        }
        _ => made(Vec::new(), enter),
    };
    // The last one is not used.
    unit.blocks.extend([entry, made(insts, again), test, Block::new(start)]);
    Some(front)
}

/// What is added to a register at the end of all rounds.
#[derive(Clone, Copy)]
struct Late {
    /// The sum up to a place.
    by: i32,
    width: Width,
    pc: Pc,
}

/// The operations of some rounds; none if there is nothing to gain.
fn rounds(insts: &[Inst], cond: &Cond, taken: RegSet, free: Option<Reg>) -> Option<Vec<Inst>> {
    // What is added to a register at the end only.
    let mut late = [None; Reg::COUNT];
    for (at, inst) in insts.iter().enumerate() {
        let Some((reg, width, _)) = step(&inst.op) else { continue };
        let is_read = |op: &Op| match width {
            Width::W64 => !is_in_address(op, reg),
            // Sums of 32 bits wrap elsewhere than addresses do.
            Width::W32 => op.uses(&[]).has(reg),
        };
        let mut others = insts.iter().enumerate().filter(|(other, _)| *other != at);
        if others.all(|(_, i)| !i.op.writes().has(reg) && !is_read(&i.op)) {
            late[reg.index()] = Some(Late { by: 0, width, pc: inst.pc });
        }
    }
    if late.iter().all(Option::is_none) {
        return None;
    }
    let summed = free.and_then(|free| summed(insts, cond, taken, free));
    let mut out = Vec::with_capacity(insts.len() * ROUNDS as usize);
    for round in 0..ROUNDS {
        let is_second = round % 2 == 1;
        for (at, inst) in insts.iter().enumerate() {
            if let Some((reg, _, by)) = step(&inst.op)
                && let Some(late) = &mut late[reg.index()]
            {
                late.by += by;
                continue;
            }
            let mut inst = *inst;
            if let Op::Load { at, .. } | Op::Store { at, .. } = &mut inst.op {
                *at = ahead(*at, &late)?;
            }
            match (&summed, &mut inst.op) {
                (Some(summed), Op::Load { dst, .. }) if at == summed.load && is_second => {
                    *dst = summed.second;
                }
                (Some(summed), Op::Binary { .. }) if at == summed.add && !is_second => continue,
                (Some(summed), Op::Binary { op, width, dst, lhs, rhs: Operand::Reg(rhs) })
                    if at == summed.add =>
                {
                    let first = if *lhs == summed.sum { *rhs } else { *lhs };
                    let (op, width, second) = (*op, *width, summed.second);
                    (*dst, *lhs, *rhs) = (summed.sum, summed.sum, second);
                    let rhs = Operand::Reg(first);
                    let both = Op::Binary { op, width, dst: second, lhs: second, rhs };
                    out.push(Inst { op: both, pc: inst.pc });
                }
                _ => {}
            }
            out.push(inst);
        }
    }
    for (number, late) in (0..).zip(late) {
        if let Some(Late { by, width, pc }) = late {
            let (dst, op) = (Reg::new(number), Binary::Alu(AluOp::Add));
            let op = Op::Binary { op, width, dst, lhs: dst, rhs: Operand::Imm(by) };
            out.push(Inst { op, pc });
        }
    }
    Some(out)
}

/// An address in a later round.
fn ahead(at: Address, late: &[Option<Late>; Reg::COUNT]) -> Option<Address> {
    let by = |reg: Reg| late[reg.index()].map_or(0, |late| late.by);
    let index = at.index.map_or(0, |(index, scale)| by(index) << scale);
    let offset = at.offset.checked_add(by(at.base))?.checked_add(index)?;
    Some(Address { offset, ..at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{Input, run as eval, unit_of};
    use crate::opt::same::{keeps_meaning, text_after};

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }

    /// Runs a loop before and after the pass on memory of different lengths; whether it was changed.
    fn is_same(text: &str) -> bool {
        let unit = unit_of(text);
        let mut after = unit.clone();
        run(&mut after, &Given { facts: None, has_spare: true });
        for salt in [1, 2] {
            let window: Vec<u8> = (0..64).map(|byte: u8| byte.wrapping_mul(0x9d)).collect();
            let input = Input { window, fuel: 1 << 20, salt };
            let expected = eval(&unit, &input);
            if expected.result.is_ok() {
                let got = eval(&after, &Input { salt: salt + 7, ..input });
                assert_eq!(got.result, expected.result, "{text}\n{after}");
                assert_eq!(got.window, expected.window, "{text}\n{after}");
            }
        }
        after != unit
    }

    /// What a round does beside counting.
    const WORK: [&str; 7] = [
        "r5 = *(u8 *)(r1 + 0)\nr0 += r5\nr1 += 1",
        "r5 = *(u8 *)(r1 + 0)\nw0 ^= w5\nr1 += 1",
        "r5 = *(u8 *)(r1 + 0)\nr5 += r0\nr0 = r5\nr1 += 1",
        "*(u8 *)(r1 + 3) = r0\nr0 += 3\nr1 += 1",
        "r5 = *(u8 *)(r1 + 0)\n*(u8 *)(r1 + 1) = r5\nr0 += r5\nr1 += 1",
        "r1 += 1\nr5 = *(u8 *)(r1 - 1)\nr0 |= r5",
        "r0 += r3\nr0 <<= 1\nr1 += 1",
    ];

    #[test]
    fn loops_count_as_far_as_before() {
        let mut changed = 0;
        for work in WORK {
            for (op, step) in [
                ("<", 1),
                ("<", 3),
                ("<=", 2),
                ("!=", 1),
                ("!=", 2),
                ("s<", 1),
                ("s<=", 5),
                (">", -1),
                (">=", -2),
                ("!=", -1),
                ("s>", -1),
                ("s>=", -3),
            ] {
                for (start, bound) in
                    (0..14).map(|n| (n, 13)).chain((0..30).map(|n| (0, n))).chain([
                        (20, 0),
                        (19, 0),
                        (18, 1),
                        (17, 4),
                        (40, 13),
                        (-2, 3),
                        (-9, 8),
                        (-1, 24),
                    ])
                {
                    for name in ["r", "w"] {
                        for by_register in [false, true] {
                            let right = match by_register {
                                true => format!("{name}4"),
                                false => bound.to_string(),
                            };
                            let text = format!(
                                "r0 = 0\nr3 = {start}\nr4 = {bound}\nagain: {work}\n\
                                 {name}3 += {step}\nif {name}3 {op} {right} goto again\n\
                                 r0 += r3\nr0 += r1\nexit"
                            );
                            changed += u32::from(is_same(&text));
                        }
                    }
                }
            }
        }
        assert!(changed > 500, "{changed}");
    }

    #[test]
    fn bounds_at_the_edge_do_not_wrap() {
        for bound in ["0", "1", "2", "3", "4", "-1", "-2", "0x7fffffff", "-0x80000000"] {
            for start in ["0", "1", "-1", "-2", "-3", "-4", "-5", "0x7ffffffc"] {
                for op in ["<", "<=", "!=", "s<", "s<="] {
                    for name in ["r", "w"] {
                        // Loops that run out of the memory are not compared.
                        let text = format!(
                            "r0 = 0\nr3 = {start}\nr4 = {bound}\n\
                             again: r5 = *(u8 *)(r1 + 0)\nr0 += r5\nr1 += 1\n{name}3 += 1\n\
                             if {name}3 {op} {name}4 goto again\nr0 += r3\nexit"
                        );
                        is_same(&text);
                    }
                }
            }
        }
    }

    #[test]
    fn rounds_are_summed_in_pairs() {
        let text = "r0 = 0\nr3 = 0\nagain: r5 = *(u8 *)(r1 + 0)\nr0 += r5\nr1 += 1\nr3 += 1\n\
                    if r3 < 30 goto again\nexit";
        let text = text_after(unit_of(text), &[run]);
        let body = "r5 = *(u8 *)(r1)|s0 = *(u8 *)(r1 + 1)|s0 = s0 + r5|r0 = r0 + s0|\
                    r5 = *(u8 *)(r1 + 2)|s0 = *(u8 *)(r1 + 3)|s0 = s0 + r5|r0 = r0 + s0|\
                    r1 = r1 + 4|r3 = r3 + 4|if r3 < 27 goto";
        assert!(text.contains(body), "{text}");
    }

    #[test]
    fn a_counter_of_32_bits_that_is_no_index_is_counted_once() {
        let after = |work: &str| {
            let text = format!(
                "r0 = 0\nr3 = 0\nagain: {work}\nr1 += 1\nw3 += 1\nif w3 < 30 goto again\nexit"
            );
            assert!(is_same(&text));
            text_after(unit_of(&text), &[run])
        };
        let alone = after("r5 = *(u8 *)(r1 + 0)\nr0 += r5");
        assert!(alone.contains("|r1 = r1 + 4|w3 = w3 + 4|if w3 < 27 goto"), "{alone}");
        let read = after("r0 += r3");
        assert_eq!(read.matches("w3 = w3 + 1|").count(), 5, "{read}");
    }

    #[test]
    fn what_is_seen_between_rounds_is_not_moved() {
        for work in [
            // The sum is stored.
            "r5 = *(u8 *)(r1 + 0)\nr0 += r5\n*(u64 *)(r10 - 8) = r0\nr1 += 1",
            // What was loaded matters behind the loop.
            "r9 = *(u8 *)(r1 + 0)\nr0 += r9\nr1 += 1",
            // It is loaded with its own help.
            "r1 = *(u64 *)(r1 + 0)\nr0 += r1",
        ] {
            let text = format!(
                "r0 = 0\nr9 = 0\nr3 = 0\nagain: {work}\nr3 += 1\nif r3 < 30 goto again\nr0 += r9\nexit"
            );
            is_same(&text);
            let text = text_after(unit_of(&text), &[run]);
            assert!(!text.contains("s0 = s0"), "{text}");
        }
    }

    #[test]
    fn loops_that_call_or_are_large_stay() {
        for work in
            ["call 7", "r0 *= r3\nr1 += 1", "r1 += 1\nr5 = 1\nr6 = 1\nr7 = 1\nr8 = 1\nr9 = 1"]
        {
            let text =
                format!("r3 = 0\nagain: {work}\nr3 += 1\nif r3 < 30 goto again\nr0 = 0\nexit");
            assert!(!is_same(&text), "{work}");
        }
    }
}
