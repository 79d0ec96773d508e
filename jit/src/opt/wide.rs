//! Wide accesses in place of many narrow ones, byte orders included.
//!
//! Compilers load memory that may be unaligned byte by byte, and put the bytes together with shifts
//! and `or`. The operation that completes the bytes of a [`Run`](super::parts::Run) becomes the load
//! of all of them. Stores of the bytes of one value become one store.
//!
//! Sound: every byte of a wide load was loaded before in the same block, without a check, and memory
//! was not written since ([`Values::epoch`]); the address is the same, its registers still have their
//! values. Narrow stores are put off until the last of them; nothing between them reads or writes
//! memory, or leaves the block. Accesses with checks are left alone.

use super::Given;
use super::kinds::{Kinds, Summary};
use super::local::Values;
use super::parts::{From, Parts, Run, Table, ZERO, low_mask, size_of_bytes};
use crate::ir::{Address, Binary, Check, Fill, Inst, Op, Operand, Reg, Unit};
use ebpfvm_asm::{AluOp, Size, Width};

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    let live = unit.live();
    let rules = live.rules();
    let (mut values, mut table) = (Values::new(unit), Table::new());
    for number in 0..unit.blocks.len() {
        let mut insts = std::mem::take(&mut unit.blocks[number].insts);
        if has_any(&insts) {
            let end = rules.end(&unit.blocks[number].end);
            let uses = |op: &Op| rules.uses(unit, op);
            values.enter_counting(&insts, uses, end, live.after(number));
            table.enter(insts.len());
            block(&mut values, &mut table, &mut insts);
        }
        unit.blocks[number].insts = insts;
    }
    unit.keeps_shape();
    unit.keeps_live();
}

/// Whether there are stores to be joined, or accesses to bytes that something is made of.
fn has_any(insts: &[Inst]) -> bool {
    const MAKERS: Kinds =
        Kinds::LEFT.or(Kinds::RIGHT).or(Kinds::MASK).or(Kinds::EXTEND).or(Kinds::SWAP);
    let all = Summary::of(insts);
    all.has(Kinds::LOAD.or(Kinds::STORE)) && all.has(MAKERS) || all.twice.has(Kinds::NARROW_STORE)
}

fn block(values: &mut Values, table: &mut Table, insts: &mut [Inst]) {
    let mut pending = Pending::default();
    for at in 0..insts.len() {
        let parts = table.made(values, &insts[at].op);
        table.set(at, parts);
        if let Some(parts) = parts {
            rewrite(values, table, insts, at, &parts);
        }
        pending.step(values, table, insts, at);
        values.step(at, &insts[at].op);
    }
}

/// Replaces an operation by a load, a swap or a copy that makes the same value.
fn rewrite(values: &mut Values, table: &mut Table, insts: &mut [Inst], at: usize, parts: &Parts) {
    let (dst, src, joins) = match insts[at].op {
        Op::Binary { dst, lhs, rhs: Operand::Reg(_), .. } => (dst, lhs, true),
        Op::Binary { dst, lhs, .. } => (dst, lhs, false),
        Op::Move { dst, src, .. }
        | Op::Extend { dst, src, .. }
        | Op::Swap { dst, src, .. }
        | Op::Bits { dst, src, .. } => (dst, src, false),
        _ => return,
    };
    if !joins && parts.same(&table.of(values, values.of(src))) {
        insts[at].op = match dst == src {
            true => Op::Nop,
            false => Op::Move { width: Width::W64, dst, src },
        };
        values.becomes_copy(at, src);
        return;
    }
    let Some(run) = parts.run() else { return };
    let is_full = parts.is_full(run.size);
    match parts.from {
        From::Value(value) => {
            if !joins || !is_full || run.offset != 0 {
                return;
            }
            let Some(src) = values.find(value, dst) else { return };
            insts[at].op = match (run.swap, run.size) {
                (true, size) => Op::Swap { size, dst, src },
                (false, Size::Dw) => Op::Move { width: Width::W64, dst, src },
                (false, Size::W) => Op::Move { width: Width::W32, dst, src },
                (false, size) => Op::Extend { size, fill: Fill::Zero, dst, src },
            };
        }
        From::Memory { base, index, epoch } => {
            if epoch != values.epoch() || !(joins && run.size != Size::B || parts.is_alone) {
                return;
            }
            let hint = Address {
                base: dst,
                index: index.map(|(_, scale)| (dst, scale)),
                offset: run.offset,
            };
            let index = index.map_or(0, |(index, _)| index);
            match values.address_of(base, index, hint) {
                Some(at_here) if is_full => insts[at].op = load(run, dst, at_here),
                _ if joins => early(values, table, insts, at, parts, run),
                _ => {}
            }
        }
    }
}

fn load(run: Run, dst: Reg, at: Address) -> Op {
    let Run { size, swap, .. } = run;
    Op::Load { size, fill: Fill::Zero, swap, check: Check::None, dst, at }
}

/// Most operations from a load to where its bytes are joined with others.
const MOST_STEPS: usize = 8;

/// Makes one of the loads that are joined at an operation the wide one: there the address is what it
/// was. What is between the two, and read by nobody else, copies it.
fn early(
    values: &mut Values,
    table: &mut Table,
    insts: &mut [Inst],
    at: usize,
    parts: &Parts,
    run: Run,
) {
    let Op::Binary { dst, lhs, rhs: Operand::Reg(rhs), .. } = insts[at].op else { return };
    let way =
        [lhs, rhs].into_iter().find_map(|reg| Some((reg, way(values, insts, values.of(reg))?)));
    let Some((reg, way)) = way else { return };
    let is_full = parts.is_full(run.size);
    let last = match mask(parts.mask, dst) {
        _ if is_full && dst == reg => Op::Nop,
        _ if is_full => Op::Move { width: Width::W64, dst, src: reg },
        Some(and) => and(reg),
        None => return,
    };
    let Some((&first, steps)) = way.split_last() else { return };
    let Op::Load { dst: loaded, at: address, .. } = insts[first].op else { return };
    insts[first].op = load(run, loaded, Address { offset: run.offset, ..address });
    for &step in steps {
        let copy = match insts[step].op {
            Op::Binary { dst, lhs: src, .. }
            | Op::Extend { dst, src, .. }
            | Op::Swap { dst, src, .. }
            | Op::Bits { dst, src, .. }
            | Op::Move { dst, src, .. }
                if dst != src =>
            {
                Op::Move { width: Width::W64, dst, src }
            }
            _ => Op::Nop,
        };
        insts[step].op = copy;
    }
    let whole = Parts { mask: low_mask(run.size), ..*parts };
    for step in way {
        table.set(step, Some(whole));
        values.remake(step, run.size != Size::Dw);
    }
    insts[at].op = last;
    if is_full {
        values.becomes_copy(at, reg);
    }
}

/// The operations from a value back to the load that it is made of, if each is read by the next one
/// alone.
fn way(values: &Values, insts: &[Inst], mut value: u32) -> Option<Vec<usize>> {
    let mut way = Vec::new();
    while way.len() < MOST_STEPS && values.has_one_reader(value) {
        let at = values.maker(value)?;
        way.push(at);
        match insts[at].op {
            Op::Load { fill: Fill::Zero, check: Check::None, .. } => return Some(way),
            Op::Binary {
                op: Binary::Alu(AluOp::And | AluOp::Lsh | AluOp::Rsh),
                rhs: Operand::Imm(_),
                ..
            }
            | Op::Extend { fill: Fill::Zero, .. }
            | Op::Swap { .. }
            | Op::Bits { .. }
            | Op::Move { width: Width::W32, .. } => {
                (_, [value, _]) = values.made_by(insts, value)?;
            }
            _ => return None,
        }
    }
    None
}

/// `dst = src & mask` for a mask that an immediate can be.
fn mask(mask: u64, dst: Reg) -> Option<impl Fn(Reg) -> Op> {
    let (width, imm) = match i32::try_from(mask) {
        Ok(imm) => (Width::W64, imm),
        Err(_) => (Width::W32, u32::try_from(mask).ok()? as i32),
    };
    Some(move |lhs| Op::Binary {
        op: Binary::Alu(AluOp::And),
        width,
        dst,
        lhs,
        rhs: Operand::Imm(imm),
    })
}

/// A store that may be joined with later ones.
#[derive(Clone, Copy, Debug)]
struct Stored {
    at: usize,
    offset: i32,
    size: Size,
    /// None for constants, which have their bytes as they are.
    from: Option<From>,
    bytes: [i32; 8],
}

/// Stores with the same base and index between which nothing else touches memory.
#[derive(Debug, Default)]
struct Pending {
    base: u32,
    index: Option<(u32, u8)>,
    stores: Vec<Stored>,
}

/// More stores in a row are not looked at.
const MOST: usize = 8;

impl Pending {
    fn step(&mut self, values: &Values, table: &Table, insts: &mut [Inst], at: usize) {
        let op = &insts[at].op;
        let Op::Store { size, swap: false, check: Check::None, src, at: address } = *op else {
            let is_load_aside = match *op {
                Op::Load { size, check: Check::None, at, .. } => self.is_aside(values, at, size),
                _ => false,
            };
            if (op.reads_memory() || op.writes_memory() || op.may_leave()) && !is_load_aside {
                self.stores.clear();
            }
            return;
        };
        let base = values.of(address.base);
        let index = address.index.map(|(index, scale)| (values.of(index), scale));
        let is_same = (self.base, self.index) == (base, index);
        if !is_same || !self.is_aside(values, address, size) || self.stores.len() == MOST {
            self.stores.clear();
        }
        (self.base, self.index) = (base, index);
        let Some(mut stored) = stored(values, table, size, src, address.offset, at) else {
            self.stores.clear();
            return;
        };
        while let Some(joined) = self.join(values, table, insts, &stored, address) {
            stored = joined;
        }
        self.stores.push(stored);
    }

    /// Whether an access touches none of the bytes stored.
    fn is_aside(&self, values: &Values, at: Address, size: Size) -> bool {
        let index = at.index.map(|(index, scale)| (values.of(index), scale));
        if (self.base, self.index) != (values.of(at.base), index) {
            return self.stores.is_empty();
        }
        let start = i64::from(at.offset);
        self.stores.iter().all(|stored| {
            let other = i64::from(stored.offset);
            start + i64::from(size.bytes()) <= other
                || other + i64::from(stored.size.bytes()) <= start
        })
    }

    /// Joins a store, not yet among the pending ones, with some of those, if that makes one store.
    fn join(
        &mut self,
        values: &Values,
        table: &Table,
        insts: &mut [Inst],
        stored: &Stored,
        address: Address,
    ) -> Option<Stored> {
        let own = stored.size.bytes() as i32;
        for size in [Size::Dw, Size::W, Size::H] {
            let bytes = size.bytes() as i32;
            if bytes <= own {
                return None;
            }
            for offset in [stored.offset, stored.offset.wrapping_sub(bytes - own)] {
                if let Some((src, swap, all)) = self.joined(values, table, stored, offset, size) {
                    let inside = |other: &Stored| {
                        let start = i64::from(other.offset) - i64::from(offset);
                        (0..i64::from(bytes)).contains(&start)
                    };
                    for other in self.stores.iter().filter(|other| inside(other)) {
                        insts[other.at].op = Op::Nop;
                    }
                    self.stores.retain(|other| !inside(other));
                    let at = Address { offset, ..address };
                    insts[stored.at].op = Op::Store { size, swap, check: Check::None, src, at };
                    return Some(Stored { offset, size, bytes: all, ..*stored });
                }
            }
        }
        None
    }

    /// What to store at an offset in place of the stores that together fill so many bytes there.
    fn joined(
        &self,
        values: &Values,
        table: &Table,
        stored: &Stored,
        offset: i32,
        size: Size,
    ) -> Option<(Operand, bool, [i32; 8])> {
        let count = size.bytes() as usize;
        let mut all = [ZERO; 8];
        let mut filled = 0;
        for other in self.stores.iter().chain([stored]) {
            let Ok(start) = usize::try_from(i64::from(other.offset) - i64::from(offset)) else {
                continue;
            };
            let bytes = other.size.bytes() as usize;
            if start >= count {
                continue;
            }
            if start + bytes > count || other.from != stored.from {
                return None;
            }
            all[start..start + bytes].copy_from_slice(&other.bytes[..bytes]);
            filled += bytes;
        }
        if filled != count {
            return None;
        }
        let (src, swap) = match stored.from {
            Some(from) => {
                let (reg, swap) = table.find(values, from, &all[..count])?;
                (Operand::Reg(reg), swap)
            }
            None => {
                let value =
                    all[..count].iter().rev().fold(0u64, |sum, byte| sum << 8 | *byte as u64);
                let imm = match size {
                    Size::Dw => i32::try_from(value as i64).ok()?,
                    _ => value as u32 as i32,
                };
                (Operand::Imm(imm), false)
            }
        };
        Some((src, swap, all))
    }
}

fn stored(
    values: &Values,
    table: &Table,
    size: Size,
    src: Operand,
    offset: i32,
    at: usize,
) -> Option<Stored> {
    offset.checked_add(8)?;
    offset.checked_sub(8)?;
    let count = size.bytes() as usize;
    match src {
        Operand::Imm(imm) => {
            let bytes = i64::from(imm).to_le_bytes().map(i32::from);
            Some(Stored { at, offset, size, from: None, bytes })
        }
        Operand::Reg(reg) => {
            let value = values.of(reg);
            let parts = table.of(values, value);
            let is_whole = parts.mask & low_mask(size) == low_mask(size);
            let parts = match is_whole && parts.bytes[..count].iter().all(|byte| *byte != ZERO) {
                true => parts,
                false => Parts::whole(values, value),
            };
            size_of_bytes(count)?;
            let from = Some(parts.from);
            Some(Stored { at, offset, size, from, bytes: parts.bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opt::local::tests::after;
    use crate::opt::same::keeps_meaning;

    #[test]
    fn loaded_bytes_make_words() {
        let text = "r0 = *(u8 *)(r1 + 12)\nw0 <<= 8\nr2 = *(u8 *)(r1 + 13)\nw0 |= w2\nexit";
        assert_eq!(after(run, text), "r0 = bswap *(u16 *)(r1 + 12)\nexit");
        let text = "r0 = *(u8 *)(r1 + 0)\nr2 = *(u8 *)(r1 + 1)\nr2 <<= 8\nr0 |= r2\n\
            r2 = *(u8 *)(r1 + 2)\nr2 <<= 16\nr0 |= r2\nr2 = *(u8 *)(r1 + 3)\nr2 <<= 24\nr0 |= r2\nexit";
        assert_eq!(after(run, text), "r0 = *(u32 *)(r1)\nexit");
        // One of the bytes goes where the address was.
        let text =
            "r4 = *(u8 *)(r5 + 45)\nr5 = *(u8 *)(r5 + 44)\nr5 <<= 8\nw5 |= w4\nr0 = r5\nexit";
        assert_eq!(after(run, text), "r5 = bswap *(u16 *)(r5 + 44)\nr0 = r5\nexit");
        let text = "r3 = *(u8 *)(r2 + 3)\nr2 = *(u8 *)(r2 + 2)\nw2 <<= 8\nw3 |= w2\nr0 = r3\nexit";
        assert_eq!(after(run, text), "r3 = bswap *(u16 *)(r2 + 2)\nr0 = r3\nexit");
        let text = "r4 = *(u8 *)(r5 + 45)\nr5 = *(u8 *)(r5 + 44)\nr6 = r5\nr5 <<= 8\nw5 |= w4\n\
            r0 = r5\nr0 += r6\nr0 += r4\nexit";
        assert!(after(run, text).contains("u8"), "the bytes are needed too");
        let text = "r0 = *(u32 *)(r1 + 4)\nr0 <<= 32\nr2 = *(u32 *)(r1 + 0)\nr0 |= r2\n\
            r0 = bswap64 r0\nexit";
        assert_eq!(after(run, text), "r0 = bswap *(u64 *)(r1)\nexit");
    }

    #[test]
    fn masks_of_loads_are_narrower_loads() {
        let text = "r2 = *(u32 *)(r1 + 4)\nr2 >>= 16\nr2 &= 255\nr0 = r2\nexit";
        assert_eq!(after(run, text), "r2 = *(u8 *)(r1 + 6)\nr0 = r2\nexit");
        // A word that is needed anyway.
        let text = "r2 = *(u32 *)(r1 + 4)\nr0 = r2\nr0 &= 255\nr0 += r2\nexit";
        assert_eq!(after(run, text).matches("*(").count(), 1);
        // What has no more bits is a copy.
        let text = "r0 = *(u16 *)(r1 + 4)\nr0 &= 65535\nexit";
        assert_eq!(after(run, text), "r0 = *(u16 *)(r1 + 4)\nexit");
    }

    #[test]
    fn masked_bytes_are_a_masked_word() {
        let text = "r3 = *(u8 *)(r1 + 21)\nr4 = *(u8 *)(r1 + 20)\nw4 <<= 8\nw4 &= 7936\n\
            w4 |= w3\nr0 = r4\nexit";
        assert_eq!(after(run, text), "r4 = bswap *(u16 *)(r1 + 20)\nr4 = r4 & 8191\nr0 = r4\nexit");
    }

    #[test]
    fn writes_between_keep_loads_apart() {
        let text = "r0 = *(u8 *)(r1 + 0)\n*(u8 *)(r1 + 1) = r2\nr2 = *(u8 *)(r1 + 1)\nr2 <<= 8\n\
            r0 |= r2\nexit";
        assert_eq!(after(run, text).matches("u8").count(), 3);
        let text = "r0 = *(u8 *)(r1 + 0)\nr1 += 1\nr2 = *(u8 *)(r1 + 0)\nr2 <<= 8\nr0 |= r2\nexit";
        assert_eq!(after(run, text).matches("u8").count(), 2, "another base");
    }

    #[test]
    fn stored_bytes_of_one_value_are_one_store() {
        let text = "*(u8 *)(r1 + 0) = r2\nr3 = r2\nr3 >>= 8\n*(u8 *)(r1 + 1) = r3\nr3 = r2\n\
            r3 >>= 16\n*(u8 *)(r1 + 2) = r3\nr3 = r2\nr3 >>= 24\n*(u8 *)(r1 + 3) = r3\nexit";
        assert_eq!(after(run, text), "*(u32 *)(r1) = w2\nexit");
        let text = "r3 = r2\nr3 >>= 8\n*(u8 *)(r1 + 0) = r3\n*(u8 *)(r1 + 1) = r2\nexit";
        assert_eq!(after(run, text), "*(u16 *)(r1) = bswap w2\nexit");
        let text = "*(u32 *)(r1 + 4) = -1\n*(u32 *)(r1 + 0) = -1\nexit";
        assert_eq!(after(run, text), "*(u64 *)(r1) = -1\nexit");
        let text = "*(u32 *)(r1 + 4) = 1\n*(u32 *)(r1 + 0) = 1\nexit";
        assert_eq!(after(run, text).matches("u32").count(), 2, "no immediate is that long");
    }

    #[test]
    fn reads_between_keep_stores_apart() {
        let store = "r3 = r2\nr3 >>= 8\n*(u8 *)(r1 + 1) = r2\nREAD\n*(u8 *)(r1 + 0) = r3\nexit";
        let joins = |read| after(run, &store.replace("READ", read)).contains("u16");
        assert!(joins("r0 = r2"));
        assert!(joins("r0 = *(u8 *)(r1 + 2)"));
        assert!(!joins("r0 = *(u8 *)(r1 + 1)"));
        assert!(!joins("r0 = *(u8 *)(r10 - 1)"));
        assert!(!joins("*(u8 *)(r1 + 1) = r10"));
        assert!(!joins("call 5"));
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
