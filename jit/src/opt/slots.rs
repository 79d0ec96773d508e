//! Stack slots kept in registers.
//!
//! - Within a block, what was stored to the frame is not loaded again while a register has it.
//! - A slot of a function that calls nothing gets a register of its own, if one is free: compilers keep on the
//!   stack what their ten registers have no room for.
//!
//! Sound: a slot gets a register only if nobody has the frame's address and every access that touches it is a
//! load or store of just its bytes. A block's knowledge ends with whatever else may write to the frame.

use super::Given;
use super::frame::{Touch, owners, touch, touch_end};
use crate::ir::{Address, Block, Check, Fill, Inst, Op, Operand, Reg, RegSet, Unit};
use ebpfvm_asm::{Size, Width};
use std::collections::BTreeMap;

/// The pass.
pub(super) fn run(unit: &mut Unit, given: &Given<'_>) {
    let has_slots = |block: &Block| block.insts.iter().any(|inst| Access::of(&inst.op).is_some());
    let mut is_live_kept = true;
    if unit.blocks.iter().any(has_slots) {
        if !unit.is_checked && !unit.crosses {
            is_live_kept = !give_registers(unit, given.has_spare);
        }
        unit.blocks.iter_mut().for_each(forward);
    }
    unit.keeps_shape();
    if is_live_kept {
        unit.keeps_live();
    }
}

/// A place in the frame, from its end, and its size.
type Slot = (i32, Size);

/// A load or store of a slot.
enum Access {
    Load { slot: Slot, fill: Fill, dst: Reg },
    Store { slot: Slot, src: Operand },
}

impl Access {
    fn of(op: &Op) -> Option<Access> {
        match *op {
            Op::Load { size, fill, swap: false, check: Check::None, dst, at } => {
                Some(Access::Load { slot: slot(at, size)?, fill, dst })
            }
            Op::Store { size, swap: false, check: Check::None, src, at }
                if src != Operand::Reg(Reg::FP) =>
            {
                Some(Access::Store { slot: slot(at, size)?, src })
            }
            _ => None,
        }
    }
}

fn slot(at: Address, size: Size) -> Option<Slot> {
    (at.base == Reg::FP && at.index.is_none()).then_some((at.offset, size))
}

/// Whether two accesses touch the same byte.
fn overlap((one, size): Slot, (other, other_size): Slot) -> bool {
    let end = |at: i32, size: Size| i64::from(at) + i64::from(size.bytes());
    i64::from(one) < end(other, other_size) && i64::from(other) < end(one, size)
}

/// The number that is stored when an immediate is: its lower bytes.
fn number(imm: i32, size: Size) -> u64 {
    i64::from(imm) as u64 & (u64::MAX >> (64 - size.bits()))
}

/// `dst = the lower bytes of src`, filled up.
fn take(size: Size, fill: Fill, dst: Reg, src: Reg) -> Op {
    match (size, fill) {
        (Size::Dw, _) => Op::Move { width: Width::W64, dst, src },
        (Size::W, Fill::Zero) => Op::Move { width: Width::W32, dst, src },
        (size, fill) => Op::Extend { size, fill, dst, src },
    }
}

/// Loads of what a register still has, or of numbers, in a block.
fn forward(block: &mut Block) {
    let mut known: BTreeMap<Slot, Operand> = BTreeMap::new();
    for inst in &mut block.insts {
        let mut loaded = None;
        match Access::of(&inst.op) {
            Some(Access::Load { slot, fill, dst }) => match known.get(&slot) {
                Some(Operand::Reg(src)) => inst.op = take(slot.1, fill, dst, *src),
                Some(Operand::Imm(imm)) if fill == Fill::Zero => {
                    inst.op = Op::Const { dst, value: number(*imm, slot.1) };
                }
                _ if fill == Fill::Zero => loaded = Some((slot, Operand::Reg(dst))),
                _ => {}
            },
            Some(Access::Store { slot, src }) => {
                known.retain(|other, _| !overlap(slot, *other));
                known.insert(slot, src);
            }
            None if inst.op.writes_memory() => known.clear(),
            None => {}
        }
        let writes = inst.op.writes();
        known.retain(|_, src| !matches!(src, Operand::Reg(src) if writes.has(*src)));
        known.extend(loaded);
    }
}

/// What an access in a loop weighs; elsewhere 1.
const IN_LOOP: u32 = 8;

/// Gives free registers to the slots that are used most; whether it did.
fn give_registers(unit: &mut Unit, has_spare: bool) -> bool {
    let (owner, takes) = owners(unit);
    let shape = unit.shape();
    let mut weights = vec![1; unit.blocks.len()];
    for part in shape.parts.iter().filter(|part| part.is_loop) {
        shape.blocks(part).for_each(|block| weights[block] = IN_LOOP);
    }
    let mut has_given = false;
    for (number, takes) in (0..).zip(&takes).take(unit.functions.len()) {
        let entry = unit.functions[number as usize].entry as usize;
        // Registers are set at the entry, so it must be entered once.
        if *takes || !shape.preds(unit).of_block(entry).is_empty() {
            continue;
        }
        let owned = owner.iter().enumerate().filter(|(_, owner)| **owner == number);
        let blocks: Vec<usize> = owned.map(|(block, _)| block).collect();
        let given = registers(unit, &blocks, &weights, has_spare);
        if given.is_empty() {
            continue;
        }
        has_given = true;
        for block in blocks {
            unit.blocks[block].insts.iter_mut().for_each(|inst| replace(&mut inst.op, &given));
        }
        // Frames begin as zeros.
        let block = &mut unit.blocks[entry];
        let pc = block.start;
        let zeros = given.values().map(|reg| Inst { op: Op::Const { dst: *reg, value: 0 }, pc });
        block.insts.splice(0..0, zeros);
    }
    has_given
}

/// Registers for slots of a function that has these blocks.
fn registers(
    unit: &Unit,
    blocks: &[usize],
    weights: &[u32],
    has_spare: bool,
) -> BTreeMap<Slot, Reg> {
    // Those that functions need not keep for their callers. Calls take all of them.
    let mut free = RegSet::CALL;
    if !has_spare {
        free = free.without(RegSet::of(Reg::SPARE));
    }
    let mut weight_of: BTreeMap<Slot, u32> = BTreeMap::new();
    let mut others: Vec<Slot> = Vec::new();
    for &block in blocks {
        let Block { insts, end, .. } = &unit.blocks[block];
        for inst in insts {
            free = free.without(inst.op.uses(&unit.callees) | inst.op.writes());
            match Access::of(&inst.op) {
                Some(Access::Load { slot, .. } | Access::Store { slot, .. }) => {
                    *weight_of.entry(slot).or_default() += weights[block];
                }
                None => others.extend(touched(touch(&inst.op))),
            }
        }
        free = free.without(end.uses());
        others.extend(touched(touch_end(end)));
    }
    let is_shared = |slot: Slot| {
        let rest = weight_of.keys().filter(|other| **other != slot).chain(&others);
        rest.into_iter().any(|other| overlap(slot, *other))
    };
    let mut slots: Vec<(u32, Slot)> = Vec::new();
    if free != RegSet::NONE {
        let wanted = weight_of.iter().filter(|(slot, _)| !is_shared(**slot));
        slots.extend(wanted.map(|(slot, weight)| (*weight, *slot)));
    }
    slots.sort_unstable_by_key(|(weight, slot)| (std::cmp::Reverse(*weight), *slot));
    slots.into_iter().map(|(_, slot)| slot).zip(free.iter()).collect()
}

/// What is touched of the frame, if that is known.
fn touched(touch: Touch) -> Option<Slot> {
    match touch {
        Touch::Reads(at, size) | Touch::Writes(at, size) | Touch::Updates(at, size) => {
            slot(at, size)
        }
        Touch::Nothing | Touch::Takes => None,
    }
}

/// An access to a slot that has a register as one to the register, whose upper bytes are zero.
fn replace(op: &mut Op, given: &BTreeMap<Slot, Reg>) {
    match Access::of(op) {
        Some(Access::Load { slot, fill, dst }) => {
            let Some(src) = given.get(&slot) else { return };
            *op = match fill {
                Fill::Zero => Op::Move { width: Width::W64, dst, src: *src },
                fill => take(slot.1, fill, dst, *src),
            };
        }
        Some(Access::Store { slot, src }) => {
            let Some(dst) = given.get(&slot) else { return };
            *op = match src {
                Operand::Reg(src) => take(slot.1, Fill::Zero, *dst, src),
                Operand::Imm(imm) => Op::Const { dst: *dst, value: number(imm, slot.1) },
            };
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{Input, checked_unit_of, run as eval, unit_of};
    use crate::opt::{dead, same, values};

    fn after(text: &str) -> String {
        same::text_after(unit_of(text), &[run, values::run, dead::run])
    }

    #[test]
    fn programs_do_the_same() {
        same::keeps_meaning(&run);
        same::keeps_meaning(&|unit, given| {
            run(unit, given);
            values::run(unit, given);
            dead::run(unit, given);
        });
    }

    #[test]
    fn what_was_stored_is_not_loaded() {
        // The frame's address is known, so the slot has no register.
        let text = "r3 = r10\n*(u64 *)(r10 - 8) = r1\nr0 = *(u64 *)(r10 - 8)\nr0 += r3\nexit";
        assert_eq!(after(text), "*(u64 *)(r10 - 8) = r1|r0 = r1 + r10|exit");
        for text in [
            // Something else is stored there, or may be.
            "*(u64 *)(r10 - 8) = r1\n*(u32 *)(r10 - 4) = 1\nr0 = *(u64 *)(r10 - 8)\nr0 += r10\nexit",
            "r3 = r10\n*(u64 *)(r10 - 8) = r1\n*(u8 *)(r3 - 8) = 1\nr0 = *(u64 *)(r10 - 8)\nexit",
            "r2 = r10\n*(u64 *)(r10 - 8) = r1\ncall 7\nr0 = *(u64 *)(r10 - 8)\nr0 += r10\nexit",
            // The register has something else.
            "*(u64 *)(r10 - 8) = r1\nr1 = 0\nr0 = *(u64 *)(r10 - 8)\nr0 += r10\nr0 += r1\nexit",
        ] {
            assert!(after(text).contains("r0 = *(u64 *)(r10 - 8)"), "{text}");
        }
        let unit = checked_unit_of("*(u32 *)(r10 - 8) = r1\nr0 = *(u32 *)(r10 - 8)\nexit");
        assert!(same::text_after(unit, &[run]).contains("w0 = w1"));
    }

    #[test]
    fn slots_get_free_registers() {
        let text = "again: *(u64 *)(r10 - 8) = r1\nr1 += 3\nr0 = *(u64 *)(r10 - 8)\nif r0 < 99 goto out\n\
                    r0 += 1\nout: exit";
        assert!(!after(text).contains("r10"), "{}", after(text));
        // In a loop that is not the beginning, from round to round.
        let text = "*(u32 *)(r10 - 12) = 5\nagain: r0 = *(u32 *)(r10 - 12)\nr0 += 7\n\
                    *(u32 *)(r10 - 12) = r0\nif r0 < 99 goto again\nexit";
        assert!(!after(text).contains("r10"), "{}", after(text));
        for text in [
            // Calls take the registers.
            "*(u64 *)(r10 - 8) = r1\ncall 7\nr0 = *(u64 *)(r10 - 8)\nexit",
            // Part of it is loaded.
            "*(u64 *)(r10 - 8) = r1\nif r1 == 0 goto out\nr1 += 1\nout: r0 = *(u32 *)(r10 - 8)\nexit",
            // All are in use.
            "*(u64 *)(r10 - 8) = r1\nif r1 == 0 goto out\nr1 = r2\nr1 += r3\nr1 += r4\nr1 += r5\n\
             out: r0 = *(u64 *)(r10 - 8)\nr0 += r1\nexit",
        ] {
            let mut unit = unit_of(text);
            run(&mut unit, &Given { facts: None, has_spare: false });
            assert!(unit.to_string().contains("(r10 - 8)\n"), "{unit}");
        }
    }

    /// Programs that use their frame only directly.
    #[test]
    fn frames_of_all_shapes_mean_the_same() {
        let mut state = 7_u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        let mut given = 0;
        for _ in 0..1500 {
            let mut text = "r0 = 3\nr2 = *(u64 *)(r1 + 0)\nr6 = 3\n".to_owned();
            let count = 3 + draw(14);
            for at in 0..count {
                let size = ["u8", "u16", "u32", "u64"][draw(4)];
                let offset = [8, 16, 24, 24, 12][draw(5)];
                let reg = ["r0", "r2", "r1"][draw(3)];
                text += &match draw(9) {
                    0 | 1 => format!("*({size} *)(r10 - {offset}) = {reg}\n"),
                    2 => format!("*({size} *)(r10 - {offset}) = {}\n", [-1, 1, 0x1_2345][draw(3)]),
                    3 | 4 => format!("r0 = *({size} *)(r10 - {offset})\n"),
                    5 => "r2 = *(s16 *)(r10 - 8)\n".to_owned(),
                    6 => format!("if {reg} > {} goto l{}\n", draw(9), at + 1 + draw(count - at)),
                    7 => "r2 += r0\n".to_owned(),
                    _ => "r0 ^= r2\nr1 = r0\n".to_owned(),
                };
                text += &format!("l{}:\n", at + 1);
                if draw(6) == 0 {
                    text += &format!("r6 -= 1\nif r6 s> 0 goto l{}\n", 1 + draw(at + 1));
                }
            }
            let text = text + "r0 += r2\nexit";
            let unit = unit_of(&text);
            let mut changed = unit.clone();
            run(&mut changed, &Given { facts: None, has_spare: draw(2) == 0 });
            given += u32::from(changed != unit);
            for salt in [1, 9] {
                let window = (0..64).map(|byte: u8| byte.wrapping_mul(0x9d)).collect();
                let input = Input { window, fuel: 1 << 12, salt };
                let expected = eval(&unit, &input);
                let got = eval(&changed, &input);
                assert_eq!(got.result, expected.result, "{text}\n{changed}");
            }
        }
        assert!(given > 500, "{given}");
    }
}
