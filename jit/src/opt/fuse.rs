//! Memory operands: loads joined with what needs them, and with the store that follows.
//!
//! Sound: a load without a check moves down to its only reader, with nothing between that writes
//! memory ([`Values::epoch`]), its address in registers that still have their values. A load, an
//! operation and a store of the same bytes become one update, where the store was.

use super::Given;
use super::kinds::{Kinds, Summary};
use super::local::{Value, Values};
use crate::ir::{Address, Binary, Check, Cond, End, Fill, Inst, Op, Operand, Place, RegSet, Unit};
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    let live = unit.live();
    let rules = live.rules();
    let mut values = Values::new(unit);
    for number in 0..unit.blocks.len() {
        let mut insts = std::mem::take(&mut unit.blocks[number].insts);
        let mut end = unit.blocks[number].end;
        let kinds = Summary::of(&insts);
        if has_any(kinds, &insts, &end, live.after(number)) {
            let uses = |op: &Op| rules.uses(unit, op);
            values.enter_counting(&insts, uses, rules.end(&end), live.after(number));
            let stores = if kinds.has(Kinds::STORE) { insts.len() } else { 0 };
            for at in 0..stores {
                if let Some((op, parts)) = update(&values, &insts, &insts[at].op) {
                    insts[at].op = op;
                    for part in parts {
                        insts[part].op = Op::Nop;
                    }
                }
                values.step(at, &insts[at].op);
            }
            values.rewind();
            for at in 0..insts.len() {
                if let Some(op) = operand(&values, &insts, &insts[at].op) {
                    insts[at].op = op;
                }
                values.step(at, &insts[at].op);
            }
            if let End::Branch { cond, .. } = &mut end {
                compare(&values, &mut insts, cond);
            }
            unit.blocks[number].end = end;
        }
        unit.blocks[number].insts = insts;
    }
    unit.keeps_shape();
    unit.keeps_live();
}

/// Whether there is a load and something that may take it in. What matters after the block too is
/// not compared in memory.
fn has_any(all: Summary, insts: &[Inst], end: &End, after: RegSet) -> bool {
    let compares = || {
        let End::Branch { cond, .. } = end else { return false };
        let compared = cond.uses().without(after);
        let is_compared = |inst: &Inst| inst.op.writes() & compared != RegSet::NONE;
        insts.iter().any(is_compared)
    };
    all.has(Kinds::LOAD) && (all.has(Kinds::BINARY.or(Kinds::SIGN)) || compares())
}

/// A load that can be moved here.
struct Loaded {
    size: Size,
    swap: bool,
    at: Address,
}

/// The load that makes a value, if it can be moved here: nobody else reads it.
fn loaded(values: &Values, insts: &[Inst], value: Value) -> Option<Loaded> {
    let (Op::Load { size, fill: Fill::Zero, swap, check: Check::None, at, .. }, _) =
        values.made_by(insts, value)?
    else {
        return None;
    };
    let is_current = values.epoch_of(value) == Some(values.epoch());
    if !values.has_one_reader(value) || !is_current {
        return None;
    }
    Some(Loaded { size: *size, swap: *swap, at: values.address_here(value, *at)? })
}

/// The size that a value was loaded with, if the rest of it is zeros.
fn filled(values: &Values, insts: &[Inst], value: Value) -> Option<Size> {
    match values.made_by(insts, value)? {
        (Op::Load { size, fill: Fill::Zero, .. }, _) => Some(*size),
        _ => None,
    }
}

/// A load, an operation and a store as one; the numbers of the first two.
fn update(values: &Values, insts: &[Inst], op: &Op) -> Option<(Op, [usize; 2])> {
    let Op::Store { size, swap: false, check: Check::None, src: Operand::Reg(src), at } = *op
    else {
        return None;
    };
    let result = values.of(src);
    let (Op::Binary { op: Binary::Alu(op), width, rhs, .. }, [lhs, second]) =
        values.made_by(insts, result)?
    else {
        return None;
    };
    let commutes = matches!(op, AluOp::Add | AluOp::And | AluOp::Or | AluOp::Xor);
    if !(commutes || *op == AluOp::Sub)
        || !values.has_one_reader(result)
        || size == Size::Dw && *width == Width::W32
    {
        return None;
    }
    let is_same = |value: Value| {
        loaded(values, insts, value).is_some_and(|loaded| {
            let place = |at: Address| {
                let index = at.index.map(|(index, scale)| (values.of(index), scale));
                (values.of(at.base), index, at.offset)
            };
            loaded.size == size && !loaded.swap && place(loaded.at) == place(at)
        })
    };
    let (old, rhs) = match *rhs {
        Operand::Imm(imm) if is_same(lhs) => (lhs, Operand::Imm(cut(size, imm))),
        Operand::Reg(hint) if lhs != second && is_same(lhs) => {
            (lhs, Operand::Reg(values.find(second, hint)?))
        }
        Operand::Reg(hint) if lhs != second && commutes && is_same(second) => {
            (second, Operand::Reg(values.find(lhs, hint)?))
        }
        _ => return None,
    };
    let parts = [values.maker(old)?, values.maker(result)?];
    Some((Op::Update { op: Binary::Alu(*op), size, at, rhs }, parts))
}

/// An immediate as it is at a size.
fn cut(size: Size, imm: i32) -> i32 {
    match size {
        Size::B => (imm as i8).into(),
        Size::H => (imm as i16).into(),
        Size::W | Size::Dw => imm,
    }
}

/// An operation with a loaded operand as one with memory.
fn operand(values: &Values, insts: &[Inst], op: &Op) -> Option<Op> {
    match *op {
        Op::Binary { op: Binary::Alu(alu), width, dst, lhs, rhs: Operand::Reg(rhs) } => {
            let commutes =
                matches!(alu, AluOp::Add | AluOp::And | AluOp::Or | AluOp::Xor | AluOp::Mul);
            let (left, right) = (values.of(lhs), values.of(rhs));
            if !(commutes || alu == AluOp::Sub) || left == right {
                return None;
            }
            let fits = |value| {
                loaded(values, insts, value)
                    .filter(|loaded| !loaded.swap && loaded.size.bits() == width.bits())
            };
            let (lhs, at) = match fits(right) {
                Some(loaded) => (lhs, loaded.at),
                None if commutes => (rhs, fits(left)?.at),
                None => return None,
            };
            Some(Op::BinaryLoad { op: Binary::Alu(alu), width, dst, lhs, at })
        }
        Op::Extend { size, fill: Fill::Sign(width), dst, src } => {
            let loaded = loaded(values, insts, values.of(src))?;
            if loaded.swap || loaded.size.bytes() < size.bytes() {
                return None;
            }
            let fill = Fill::Sign(width);
            Some(Op::Load { size, fill, swap: false, check: Check::None, dst, at: loaded.at })
        }
        _ => None,
    }
}

/// A comparison of what was loaded as one with memory.
fn compare(values: &Values, insts: &mut [Inst], cond: &mut Cond) {
    let Place::Reg(reg) = cond.lhs else { return };
    let imm = match cond.rhs {
        Operand::Imm(imm) => imm,
        Operand::Reg(rhs) => {
            // A loaded right side becomes the left one.
            let (left, right) = (values.of(reg), values.of(rhs));
            let fits = |value, other| {
                let loaded = loaded(values, insts, value).filter(|loaded| !loaded.swap)?;
                let is_whole = loaded.size == cond.size;
                // What is filled up with zeros is compared without them.
                let is_narrow = loaded.size.bytes() < cond.size.bytes()
                    && filled(values, insts, other).is_some_and(|size| size == loaded.size);
                (is_whole || is_narrow).then_some(loaded)
            };
            let (found, other) = match (left == right, fits(left, right)) {
                (true, _) => return,
                (false, Some(loaded)) => (Some(loaded), rhs),
                (false, None) => {
                    cond.op = mirrored(cond.op);
                    (fits(right, left), reg)
                }
            };
            match found {
                None => cond.op = mirrored(cond.op),
                Some(loaded) => {
                    if loaded.size != cond.size {
                        (cond.op, cond.size) = (unsigned(cond.op), loaded.size);
                    }
                    (cond.lhs, cond.rhs) = (Place::Memory(loaded.at), Operand::Reg(other));
                }
            }
            return;
        }
    };
    let value = values.of(reg);
    let Some(Loaded { size, swap, mut at }) = loaded(values, insts, value) else { return };
    let Some(new) = narrowed(cond, size, swap, imm) else { return };
    let Some(maker) = values.maker(value) else { return };
    let Narrowed { op, mut size, mut imm } = new;
    if op == JmpOp::Set {
        // Bits of one byte are looked at alone.
        let mask = imm as u32 & (u64::MAX >> (64 - size.bits())) as u32;
        let first = mask.trailing_zeros() / 8;
        let byte = mask.unbounded_shr(8 * first);
        if (size != Size::Dw || imm > 0)
            && byte <= 0xff
            && let Some(offset) = at.offset.checked_add(first as i32)
        {
            (size, at.offset, imm) = (Size::B, offset, cut(Size::B, byte as i32));
        }
    }
    // An immediate of 16 bits makes instructions slow to decode, so that the load stays.
    let is_slow = size == Size::H && (op == JmpOp::Set || i8::try_from(imm).is_err());
    if !is_slow {
        *cond = Cond { op, size, lhs: Place::Memory(at), rhs: Operand::Imm(imm) };
    } else if swap && let Op::Load { swap, .. } = &mut insts[maker].op {
        *swap = false;
        let imm = i32::from(imm as u16);
        *cond = Cond { op, size: Size::W, lhs: cond.lhs, rhs: Operand::Imm(imm) };
    }
}

/// A comparison at the size of what was loaded.
struct Narrowed {
    op: JmpOp,
    size: Size,
    imm: i32,
}

fn narrowed(cond: &Cond, size: Size, swap: bool, imm: i32) -> Option<Narrowed> {
    let mut op = cond.op;
    let mut new = if size.bytes() <= cond.size.bytes() { size } else { cond.size };
    let mut imm = imm;
    if size.bytes() < cond.size.bytes() {
        // What was loaded is not negative at the width of the comparison.
        let limit = 1i64 << size.bits();
        if op == JmpOp::Set {
            imm &= (limit - 1) as i32;
        } else if imm < 0 || i64::from(imm) >= limit {
            return None;
        }
        op = unsigned(op);
    }
    if swap {
        // Only what looks at all bits alike is the same in another order.
        if !matches!(op, JmpOp::Eq | JmpOp::Ne | JmpOp::Set) || size == Size::Dw {
            return None;
        }
        new = size;
        imm = match size {
            Size::H => i32::from((imm as u16).swap_bytes()),
            _ => imm.swap_bytes(),
        };
    }
    if op == JmpOp::Set && imm == 0 {
        return None;
    }
    Some(Narrowed { op, size: new, imm: cut(new, imm) })
}

/// The comparison of numbers that are not negative.
fn unsigned(op: JmpOp) -> JmpOp {
    match op {
        JmpOp::Sgt => JmpOp::Gt,
        JmpOp::Sge => JmpOp::Ge,
        JmpOp::Slt => JmpOp::Lt,
        JmpOp::Sle => JmpOp::Le,
        op => op,
    }
}

/// The comparison with its sides exchanged.
pub(super) fn mirrored(op: JmpOp) -> JmpOp {
    match op {
        JmpOp::Gt => JmpOp::Lt,
        JmpOp::Ge => JmpOp::Le,
        JmpOp::Lt => JmpOp::Gt,
        JmpOp::Le => JmpOp::Ge,
        JmpOp::Sgt => JmpOp::Slt,
        JmpOp::Sge => JmpOp::Sle,
        JmpOp::Slt => JmpOp::Sgt,
        JmpOp::Sle => JmpOp::Sge,
        op @ (JmpOp::Eq | JmpOp::Ne | JmpOp::Set) => op,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{Input, checked_unit_of, run as evaluate};
    use crate::opt::local::tests::after;
    use crate::opt::same::keeps_meaning;

    #[test]
    fn helpers_leave_arguments_to_be_read_where_nobody_has_verified() {
        let text = "r2 = *(u8 *)(r10 - 8)\nr2 |= 7\n*(u8 *)(r10 - 8) = r2\nCALL\nr0 += r2\nexit";
        for call in ["call 5", "r0 = *(u8 *)skb[1]"] {
            let before = checked_unit_of(&text.replace("CALL", call));
            let mut after = before.clone();
            run(&mut after, &Given { facts: None, has_spare: false });
            let input = Input { window: vec![1, 2, 3], fuel: 10, salt: 7 };
            assert_eq!(evaluate(&after, &input), evaluate(&before, &input), "{call}");
        }
        let mut unit = checked_unit_of(&text.replace("CALL\nr0 += r2", "r2 = 1\ncall 5"));
        run(&mut unit, &Given { facts: None, has_spare: false });
        let updates = unit.blocks[0].insts.iter().filter(|i| matches!(i.op, Op::Update { .. }));
        assert_eq!(updates.count(), 1, "nobody reads what is written again before");
    }

    #[test]
    fn loaded_operands_are_memory_operands() {
        let text = "r3 = *(u64 *)(r1 + 8)\nr2 += r3\nr0 = r2\nexit";
        assert_eq!(after(run, text), "r2 = r2 + *(u64 *)(r1 + 8)\nr0 = r2\nexit");
        let text = "r0 = *(u32 *)(r1 + 8)\nw0 ^= w2\nexit";
        assert_eq!(after(run, text), "w0 = w2 ^ *(u32 *)(r1 + 8)\nexit");
        let text = "r0 = *(u32 *)(r1 + 8)\nr0 += r2\nexit";
        assert!(!after(run, text).contains("+ *("), "half of the operand's size");
        let text = "r3 = *(u64 *)(r1 + 8)\n*(u64 *)(r2 + 0) = 1\nr2 += r3\nr0 = r2\nexit";
        assert!(!after(run, text).contains("+ *("), "it may be written between");
        let text = "r3 = *(u64 *)(r1 + 8)\nr2 += r3\nr0 = r2\nr0 ^= r3\nexit";
        assert!(!after(run, text).contains("+ *("), "it is needed again");
    }

    #[test]
    fn load_operation_and_store_are_an_update() {
        let text = "r3 = *(u64 *)(r1 + 8)\nr3 += 1\n*(u64 *)(r1 + 8) = r3\nexit";
        assert_eq!(after(run, text), "*(u64 *)(r1 + 8) += 1\nexit");
        let text = "r3 = *(u8 *)(r1 + 8)\nr4 = r2\nr4 |= r3\n*(u8 *)(r1 + 8) = r4\nexit";
        assert_eq!(after(run, text), "*(u8 *)(r1 + 8) |= w2\nexit");
        let text = "r3 = *(u64 *)(r1 + 8)\nr3 += 1\n*(u64 *)(r1 + 16) = r3\nexit";
        assert!(!after(run, text).contains("+= 1"), "another place");
        let text = "r3 = *(u64 *)(r1 + 8)\nr3 += 1\n*(u64 *)(r1 + 8) = r3\nr0 = r3\nexit";
        assert!(!after(run, text).contains("+= 1"), "the result is needed");
    }

    #[test]
    fn loaded_values_are_compared_in_memory() {
        let compared = |load: &str, jump: &str| {
            let all = after(run, &format!("r3 = {load}\nif {jump} goto +1\nr0 = 1\nexit"));
            all.lines().filter(|line| line.contains("if")).collect::<String>()
        };
        let at = |jump| compared("*(u8 *)(r1 + 9)", jump);
        assert!(at("r3 == 6").contains("if *(u8 *)(r1 + 9) == 6 goto"));
        assert!(at("r3 s> 6").contains("if *(u8 *)(r1 + 9) > 6 goto"));
        assert!(at("r3 == -6").contains("if r3 == -6 goto"));
        assert!(at("r3 > 256").contains("if r3 > 256 goto"));
        assert!(at("r3 & 255").contains("if *(u8 *)(r1 + 9) & -1 goto"));
        assert!(compared("*(u16 *)(r1 + 9)", "w3 == 300").contains("if w3 == 300"));
        assert!(compared("*(u16 *)(r1 + 8)", "r3 & 512").contains("*(u8 *)(r1 + 9) & 2"));
        assert!(compared("*(u64 *)(r1 + 8)", "w3 s< -5").contains("*(u32 *)(r1 + 8) s< -5"));
        assert!(compared("*(u64 *)(r1 + 8)", "r2 s< r3").contains("*(u64 *)(r1 + 8) s> r2"));
    }

    #[test]
    fn two_loaded_values_are_compared_at_their_size() {
        let compared = |loads: [&str; 2], jump: &str| {
            let [first, second] = loads;
            let text = format!("r3 = *({first} *)(r1 + 9)\nr4 = *({second} *)(r2 + 5)\n");
            let all = after(run, &format!("{text}if {jump} goto +1\nr0 = 1\nexit"));
            all.lines().filter(|line| line.contains("if")).collect::<String>()
        };
        assert!(compared(["u8"; 2], "r3 == r4").contains("if *(u8 *)(r1 + 9) == w4 goto"));
        assert!(compared(["u8"; 2], "w3 s< w4").contains("if *(u8 *)(r1 + 9) < w4 goto"));
        assert!(compared(["u16"; 2], "r3 & r4").contains("if *(u16 *)(r1 + 9) & w4 goto"));
        for sizes in [["u8", "u16"], ["u16", "u8"], ["s8", "u8"], ["s8", "s8"]] {
            let text = compared(sizes, "r3 > r4");
            assert!(!text.contains("*(u"), "{text}");
        }
        // The second one is needed again.
        let text = "r3 = *(u8 *)(r1 + 9)\nr4 = *(u8 *)(r2 + 5)\nr0 = r3\n\
                    if r3 s< r4 goto +1\nr0 = 1\nexit";
        assert!(after(run, text).contains("if *(u8 *)(r2 + 5) > w3 goto"), "{}", after(run, text));
    }

    #[test]
    fn constants_are_swapped_instead_of_what_is_loaded() {
        let both = |unit: &mut Unit, given: &Given<'_>| {
            super::super::wide::run(unit, given);
            run(unit, given);
        };
        let text = "r3 = *(u16 *)(r1 + 12)\nr3 = be16 r3\nif r3 == NUMBER goto +1\nr0 = 1\nexit";
        let near = after(both, &text.replace("NUMBER", "2048"));
        assert!(near.starts_with("if *(u16 *)(r1 + 12) == 8 goto"), "{near}");
        let far = after(both, &text.replace("NUMBER", "34525"));
        assert!(far.starts_with("r3 = *(u16 *)(r1 + 12)\nif w3 == 56710 goto"), "{far}");
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
