//! Accesses that are inside for certain, and lookups whose map and key are.
//!
//! A register is known to point into the frame at an offset, or into what a call gave, or to be a small number,
//! which may be added. If that call is a
//! lookup in a map that is known, and a comparison has found its result not to be zero, then what is
//! accessed is a value of the map as long as the offset is inside. Values stay where they are: what was
//! removed from a map is memory of its values still.
//!
//! Invariant: registers that are known by the same call, and are not known not to be zero, have
//! the result of the same execution of it. So another execution ends what is known by the one before.

use super::access::{Access, access, check_of};
use crate::ir::{
    self, Address, Binary, Block, Check, Cond, Fill, Inst, Op, Operand, Reg, RegSet, Unit,
};
use crate::link::{Callee, Lookup, Trusting};
use crate::opt::forward::{self, Fact};
use crate::state::FRAME_BYTES;
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};
use std::collections::BTreeMap;

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Unknown,
    Number(u64),
    /// A number from 0 to this one.
    UpTo(u64),
    /// The address of a place, and at least `offset` more, at most `offset + span`.
    Address {
        of: Place,
        offset: i32,
        span: u32,
    },
}

/// Something with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The end of the frame.
    Frame,
    /// What this callee gave, that is not zero, or perhaps zero.
    Given { callee: u32, may_be_zero: bool },
    /// What this register holds now, whatever it is.
    Register(Reg),
}

/// Places that are farther from their beginning, or numbers that are larger, are not followed.
const MOST: u64 = 0xffff;

impl Holds {
    /// The largest number that it may be.
    fn most(self) -> Option<u64> {
        match self {
            Holds::Number(most) | Holds::UpTo(most) => Some(most),
            Holds::Unknown | Holds::Address { .. } => None,
        }
    }

    /// Some number up to this one, if it is worth knowing.
    fn up_to(most: Option<u64>) -> Holds {
        most.filter(|most| *most <= MOST).map_or(Holds::Unknown, Holds::UpTo)
    }

    /// So much more.
    fn plus(self, by: i32) -> Holds {
        match self {
            Holds::Address { of, offset, span } => offset
                .checked_add(by)
                .map_or(Holds::Unknown, |offset| Holds::Address { of, offset, span }),
            other if by == 0 => other,
            other => match (other.most(), u64::try_from(by)) {
                (Some(most), Ok(by)) => Holds::up_to(most.checked_add(by)),
                _ => Holds::Unknown,
            },
        }
    }

    /// A number more, of these.
    fn plus_up_to(self, more: Option<u64>) -> Holds {
        let Some(more) = more else { return Holds::Unknown };
        match self {
            Holds::Address { of, offset, span } => {
                let span = more.checked_add(span.into()).filter(|span| *span <= MOST);
                span.map_or(Holds::Unknown, |span| Holds::Address { of, offset, span: span as u32 })
            }
            other => Holds::up_to(other.most().and_then(|most| most.checked_add(more))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known([Holds; Reg::COUNT]);

impl Fact for Known {
    const NOTHING: Known = {
        let mut all = [Holds::Unknown; Reg::COUNT];
        all[Reg::FP.index()] = Holds::Address { of: Place::Frame, offset: 0, span: 0 };
        Known(all)
    };

    fn meet(&mut self, other: &Known) -> bool {
        let both = std::array::from_fn(|i| match (self.0[i], other.0[i]) {
            (one, other) if one == other => one,
            (
                Holds::Address { of: Place::Given { callee, .. }, offset, span },
                Holds::Address { of: Place::Given { callee: other, .. }, offset: by, span: wide },
            ) if (callee, offset, span) == (other, by, wide) => {
                let of = Place::Given { callee, may_be_zero: true };
                Holds::Address { of, offset, span }
            }
            // In few steps, so that loops that count come to an end.
            (before @ Holds::UpTo(most), other)
                if other.most().is_some_and(|other| other <= most) =>
            {
                before
            }
            (one, other) => match (one.most(), other.most()) {
                (Some(one), Some(other)) => {
                    let most = [0xf, 0x3f, 0xff, 0x3ff, MOST];
                    let most = most.into_iter().find(|most| one.max(other) <= *most);
                    most.map_or(Holds::Unknown, Holds::UpTo)
                }
                _ => Holds::Unknown,
            },
        });
        std::mem::replace(&mut self.0, both) != both
    }

    fn through(&mut self, block: &Block) {
        block.insts.iter().for_each(|inst| self.step(&inst.op));
    }

    fn learns(cond: &Cond) -> bool {
        matches!(cond.rhs, Operand::Imm(_))
    }

    /// What a comparison with a number tells.
    fn assume(&mut self, cond: &Cond, holds: bool) {
        let Cond { op, size: Size::Dw, lhs: ir::Place::Reg(reg), rhs: Operand::Imm(imm) } = *cond
        else {
            return;
        };
        let before = self.of(reg);
        // A result and zero.
        if imm == 0
            && op == if holds { JmpOp::Ne } else { JmpOp::Eq }
            && let Holds::Address { of: Place::Given { callee: tested, .. }, offset: 0, span: 0 } =
                before
        {
            for holds in &mut self.0 {
                if let Holds::Address { of: Place::Given { callee, may_be_zero }, .. } = holds
                    && *callee == tested
                {
                    *may_be_zero = false;
                }
            }
        }
        // A number and its bound, both without sign.
        let bound = u64::try_from(imm).ok();
        let most = match (op, holds) {
            (JmpOp::Lt, true) | (JmpOp::Ge, false) => bound.and_then(|bound| bound.checked_sub(1)),
            (JmpOp::Le, true) | (JmpOp::Gt, false) => bound,
            _ => None,
        };
        if let Some(most) = most.filter(|most| *most <= MOST)
            && !matches!(before, Holds::Address { .. } | Holds::Number(_))
            && before.most().is_none_or(|before| most < before)
        {
            self.0[reg.index()] = Holds::UpTo(most);
        }
    }
}

impl Known {
    fn of(&self, reg: Reg) -> Holds {
        self.0[reg.index()]
    }

    /// The same, by the register itself if nothing else is known.
    fn by(&self, reg: Reg) -> Holds {
        match self.of(reg) {
            Holds::Unknown => Holds::Address { of: Place::Register(reg), offset: 0, span: 0 },
            known => known,
        }
    }

    /// What an address is.
    fn address(&self, at: Address) -> Holds {
        let Some((index, scale)) = at.index else { return self.by(at.base).plus(at.offset) };
        let base = match (self.of(at.base), self.of(index)) {
            // The registers may come in any order.
            (Holds::Number(_) | Holds::UpTo(_), Holds::Unknown) if scale == 0 => {
                return self.by(index).plus(at.offset).plus_up_to(self.of(at.base).most());
            }
            _ => self.by(at.base).plus(at.offset),
        };
        let scaled = |holds: Holds| holds.most().and_then(|most| most.checked_mul(1 << scale));
        match (base, self.of(index)) {
            (base @ Holds::Address { .. }, index) => base.plus_up_to(scaled(index)),
            // The registers may come in any order.
            (_, index @ Holds::Address { .. }) if scale == 0 => {
                index.plus(at.offset).plus_up_to(self.of(at.base).most())
            }
            (base, index) => base.plus_up_to(scaled(index)),
        }
    }

    /// What a result of these operands is.
    fn binary(&self, op: AluOp, width: Width, lhs: Reg, rhs: Operand) -> Holds {
        let most = |reg: Reg| self.of(reg).most();
        // Both halves of the numbers that are followed are the same at any width.
        match (op, rhs) {
            (AluOp::Add, Operand::Imm(imm)) if width == Width::W64 => self.by(lhs).plus(imm),
            (AluOp::Sub, Operand::Imm(imm)) if width == Width::W64 => {
                imm.checked_neg().map_or(Holds::Unknown, |by| self.by(lhs).plus(by))
            }
            (AluOp::Add, Operand::Reg(rhs)) if width == Width::W64 => {
                self.address(Address { base: lhs, index: Some((rhs, 0)), offset: 0 })
            }
            (AluOp::And, Operand::Imm(imm @ 0..)) => {
                Holds::up_to(Some(most(lhs).unwrap_or(u64::MAX).min(imm as u64)))
            }
            (AluOp::And, Operand::Reg(rhs)) => {
                Holds::up_to(most(lhs).into_iter().chain(most(rhs)).min())
            }
            (AluOp::Or | AluOp::Xor, Operand::Reg(rhs)) => {
                let both = most(lhs).zip(most(rhs)).map(|(lhs, rhs)| lhs | rhs);
                Holds::up_to(
                    both.and_then(|both| both.checked_add(1)?.checked_next_power_of_two())
                        .map(|above| above - 1),
                )
            }
            (AluOp::Rsh, Operand::Imm(by)) if (0..width.bits() as i32).contains(&by) => {
                let all = if width == Width::W32 { u32::MAX.into() } else { u64::MAX };
                Holds::up_to(Some(most(lhs).unwrap_or(all).min(all) >> by))
            }
            (AluOp::Lsh, Operand::Imm(by @ 0..=15)) => {
                Holds::up_to(most(lhs).filter(|most| *most <= MOST).map(|most| most << by))
            }
            _ => Holds::Unknown,
        }
    }

    fn step(&mut self, op: &Op) {
        let (dst, holds) = match *op {
            Op::Const { dst, value } => (dst, Holds::Number(value)),
            Op::Move { width, dst, src } => match (width, self.of(src)) {
                (Width::W64, _) => (dst, self.by(src)),
                (Width::W32, holds) => {
                    (dst, Holds::up_to(holds.most().filter(|most| *most <= u32::MAX.into())))
                }
            },
            Op::Binary { op: Binary::Alu(op), width, dst, lhs, rhs } => {
                (dst, self.binary(op, width, lhs, rhs))
            }
            Op::Lea { width: Width::W64, dst, at } => (dst, self.address(at)),
            Op::Load { size, fill: Fill::Zero, dst, .. } | Op::LoadAcquire { size, dst, .. } => {
                (dst, Holds::up_to(Some(u64::MAX >> (64 - size.bits()))))
            }
            Op::Extend { size, fill: Fill::Zero, dst, src } => {
                let all = u64::MAX >> (64 - size.bits());
                (dst, Holds::up_to(Some(self.of(src).most().unwrap_or(all).min(all))))
            }
            Op::Bits { bits: bits @ 1..=16, dst, .. } => (dst, Holds::up_to(Some((1 << bits) - 1))),
            Op::Select { dst, then, other, .. } if self.of(then) == self.of(other) => {
                (dst, self.of(then))
            }
            Op::Call { callee: number } => {
                for holds in &mut self.0 {
                    if let Holds::Address { of: Place::Given { callee, .. }, .. } = *holds
                        && callee == number
                    {
                        *holds = Holds::Unknown;
                    }
                }
                self.forget(op.writes());
                let of = Place::Given { callee: number, may_be_zero: true };
                (Reg::R0, Holds::Address { of, offset: 0, span: 0 })
            }
            _ => return self.forget(op.writes()),
        };
        self.0[dst.index()] = holds;
        self.unroot(RegSet::of(dst));
    }

    fn forget(&mut self, regs: RegSet) {
        regs.iter().for_each(|reg| self.0[reg.index()] = Holds::Unknown);
        self.unroot(regs);
    }

    /// Forgets what was known by registers that hold something else now.
    fn unroot(&mut self, regs: RegSet) {
        for holds in &mut self.0 {
            if matches!(*holds, Holds::Address { of: Place::Register(reg), .. } if regs.has(reg)) {
                *holds = Holds::Unknown;
            }
        }
    }

    /// Whether so many bytes at an address are inside.
    fn is_inside(&self, unit: &Unit, at: Address, bytes: u32, writes: bool) -> bool {
        let Holds::Address { of, offset, span } = self.address(at) else { return false };
        let is_in = |low: i64, high: i64| {
            let first = i64::from(offset);
            low <= first && first + i64::from(span) + i64::from(bytes) <= high
        };
        match of {
            Place::Frame => is_in(-(FRAME_BYTES as i64), 0),
            Place::Given { callee, may_be_zero: false } => {
                matches!(
                    unit.callees[callee as usize],
                    Callee::Lookup(Lookup { is_map_known: true, value_bytes, is_writable, .. })
                        if (is_writable || !writes) && is_in(0, value_bytes.into())
                )
            }
            Place::Given { .. } | Place::Register(_) => false,
        }
    }
}

/// The range that an access is in, by block and number.
pub(super) type Nearby = BTreeMap<(usize, usize), Access>;

/// Takes the checks away that pass for certain. Where an access is made at the sum of a register that is
/// there and a small number, and what numbers these may be: all of that as one access.
pub(super) fn run(unit: &mut Unit) -> Nearby {
    let starts = forward::solve::<Known>(unit);
    callees(unit, &starts);
    let (mut certain, mut nearby) = (Vec::new(), Nearby::new());
    each(unit, &starts, |known, block, at, inst| {
        let Some(access) = access(&inst.op) else { return };
        if known.is_inside(unit, access.at, access.bytes, access.writes) {
            certain.push((block, at));
        } else if let Holds::Address { of: Place::Register(base), offset, span: span @ 1.. } =
            known.address(access.at)
        {
            let bytes = access.bytes + span;
            nearby.insert((block, at), Access { at: Address::new(base, offset), bytes, ..access });
        }
    });
    for (block, at) in certain {
        if let Some(check) = check_of(&mut unit.blocks[block].insts[at].op) {
            *check = Check::None;
        }
    }
    nearby
}

/// Goes through all that is reached, with what is known before each operation.
fn each(unit: &Unit, starts: &[Option<Known>], mut see: impl FnMut(&Known, usize, usize, &Inst)) {
    for (number, (block, start)) in unit.blocks.iter().zip(starts).enumerate() {
        let Some(mut known) = *start else { continue };
        for (at, inst) in block.insts.iter().enumerate() {
            see(&known, number, at, inst);
            known.step(&inst.op);
        }
    }
}

/// Finds out which lookups are in the map that was guessed, and have keys that are readable, and which
/// helpers are given memory that is. Blocks may have copies: what is so for one must be for all.
fn callees(unit: &mut Unit, starts: &[Option<Known>]) {
    let may_gain = |callee: &Callee| matches!(callee, Callee::Lookup(_) | Callee::Trusting(_));
    if !unit.callees.iter().any(may_gain) {
        return;
    }
    settle(unit, starts, |_, known, callee| match callee {
        Callee::Lookup(lookup) if known.of(Reg::R1) == Holds::Number(lookup.map) => {
            Some(Callee::Lookup(Lookup { is_map_known: true, ..lookup }))
        }
        _ => None,
    });
    settle(unit, starts, |unit, known, callee| match callee {
        Callee::Lookup(lookup) => {
            let is_inside =
                known.is_inside(unit, Address::new(Reg::R2, 0), lookup.key_bytes, false);
            is_inside.then_some(Callee::Lookup(Lookup { key: Check::None, ..lookup }))
        }
        Callee::Trusting(helper) => {
            let is_readable = |arg: u8| {
                let bytes = match known.of(Reg::new(arg + 1)) {
                    Holds::Number(0) => return helper.takes_none,
                    Holds::Number(bytes) => u32::try_from(bytes).unwrap_or(u32::MAX),
                    _ => return false,
                };
                known.is_inside(unit, Address::new(Reg::new(arg), 0), bytes, false)
            };
            let Trusting { address, args, memory, .. } = helper;
            let mut pointers = (1..5).filter(|arg| memory & 1 << arg != 0);
            pointers.all(is_readable).then_some(Callee::Direct { address, args })
        }
        _ => None,
    });
}

/// Changes callees as it is said, where the same is said of all their calls.
fn settle(
    unit: &mut Unit,
    starts: &[Option<Known>],
    change: impl Fn(&Unit, &Known, Callee) -> Option<Callee>,
) {
    let mut is_certain = vec![true; unit.callees.len()];
    let mut changed = unit.callees.clone();
    each(unit, starts, |known, _, _, inst| {
        if let Op::Call { callee } = inst.op {
            let callee = callee as usize;
            match change(unit, known, unit.callees[callee]) {
                Some(new) => changed[callee] = new,
                None => is_certain[callee] = false,
            }
        }
    });
    let all = unit.callees.iter_mut().zip(changed).zip(is_certain);
    all.filter(|(_, is)| *is).for_each(|((callee, new), _)| *callee = new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{TestLink, checked_unit_of, program};
    use crate::link::{Array, Link, Runtime, Way};
    use crate::opt::{Given, address};
    use crate::{Source, lower};
    use ebpfvm_asm::text::{Dialect, assemble};
    use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc};

    /// Maps 1 and 2 have values of 16 bytes and keys of 8; those of map 2 are read only.
    struct Maps;

    impl Link for Maps {
        fn imm64(&self, pc: Pc, value: Imm64) -> Result<u64, String> {
            match value {
                Imm64::MapIdx(map) => Ok(0x7000_0000_0000 + u64::from(map)),
                value => TestLink.imm64(pc, value),
            }
        }

        fn callee(&self, pc: Pc, target: CallTarget, map: Option<u32>) -> Result<Callee, String> {
            if target == CallTarget::Helper(28) {
                let (address, args, memory) = (28, 5, 0b1010);
                let helper = Trusting { address, args, memory, takes_none: true, site: 28 };
                return Ok(Callee::Trusting(helper));
            }
            TestLink.callee(pc, target, map)
        }

        fn lookup(&self, pc: Pc, target: CallTarget, map: u32) -> Option<Lookup> {
            let array = Array { base: 0x6000_0000_0000, stride: 16, entries: 4, lane_bytes: 0 };
            (target == CallTarget::Helper(1)).then_some(Lookup {
                way: Way::Array(array),
                map: self.imm64(pc, Imm64::MapIdx(map)).ok()?,
                is_map_known: false,
                key_bytes: 8,
                key: Check::Window,
                value_bytes: 16,
                is_writable: map == 1,
                site: 1,
            })
        }

        fn context(&self, insn: &Insn) -> Option<(u16, Size)> {
            TestLink.context(insn)
        }

        fn runtime(&self) -> &Runtime {
            TestLink.runtime()
        }
    }

    fn unit(text: &str) -> Unit {
        let code = assemble(text, Dialect::PseudoC).unwrap_or_else(|e| panic!("{}", e.render()));
        let mut unit = lower(&Source::checked(&program(code)), &Maps).expect("blocks");
        run(&mut unit);
        unit
    }

    /// The instructions whose accesses are still checked.
    fn checked(unit: &Unit) -> Vec<u32> {
        let insts = unit.blocks.iter().flat_map(|block| &block.insts);
        insts.filter(|inst| access(&inst.op).is_some()).map(|inst| inst.pc.0).collect()
    }

    /// Whether the map of the first lookup is known, and the check of its key.
    fn first_lookup(unit: &Unit) -> (bool, Check) {
        let lookup = unit.callees.iter().find_map(|callee| match callee {
            Callee::Lookup(lookup) => Some((lookup.is_map_known, lookup.key)),
            _ => None,
        });
        lookup.expect("a lookup")
    }

    const LOOKUP: &str = "r1 = map[idx:1]\nr2 = r10\nr2 += -8\n*(u64 *)(r10 - 8) = 1\ncall 1\n";

    fn after_lookup(text: &str) -> Vec<u32> {
        checked(&unit(&format!("{LOOKUP}{text}")))
    }

    #[test]
    fn the_frame_is_there_at_known_offsets() {
        let text = "r3 = r10\nr3 += -8\nr0 = *(u64 *)(r3 + 0)\nr0 = *(u64 *)(r3 + 1)\nr3 -= 504\n\
            r0 = *(u8 *)(r3 + 0)\nr0 = *(u8 *)(r3 - 1)\nr3 += r1\nr0 = *(u8 *)(r3 + 4)\nexit";
        let mut unit = checked_unit_of(text);
        run(&mut unit);
        assert_eq!(checked(&unit), [3, 6, 8]);
        let text = "r3 = r10\nif r1 == 0 goto other\nr3 += -8\nother: r0 = *(u8 *)(r3 - 8)\nexit";
        let mut unit = checked_unit_of(text);
        run(&mut unit);
        assert_eq!(checked(&unit), [3], "two offsets");
    }

    #[test]
    fn small_numbers_lead_to_places_near() {
        let count = |text: &str| {
            let mut unit = checked_unit_of(&format!("{text}\nexit"));
            address::run(&mut unit, &Given { facts: None, has_spare: false });
            run(&mut unit);
            let insts = unit.blocks.iter().flat_map(|block| &block.insts);
            insts.filter(|inst| access(&inst.op).is_some()).count()
        };
        let at = |text: &str, access: &str| {
            count(&format!("r3 = r10\nr3 += -64\n{text}\nr3 += r2\nr0 = *({access})"))
        };
        for (text, access, inside) in [
            ("r2 &= 63", "u8 *)(r3 + 0", true),
            ("r2 &= 63", "u8 *)(r3 + 1", false),
            ("r2 &= 63", "u16 *)(r3 + 0", false),
            ("r2 &= 56", "u64 *)(r3 + 0", true),
            ("r2 &= 57", "u64 *)(r3 + 0", false),
            ("r2 &= -1", "u8 *)(r3 - 300", false),
            ("r2 >>= 58", "u8 *)(r3 + 0", true),
            ("w2 >>= 26", "u8 *)(r3 + 0", true),
            ("w2 >>= 25", "u8 *)(r3 + 0", false),
            ("r2 &= 7\nr2 <<= 3", "u64 *)(r3 + 0", true),
            ("r2 &= 7\nr2 <<= 3", "u64 *)(r3 + 1", false),
            ("r2 &= 7\nr2 += 56", "u8 *)(r3 + 0", true),
            ("r2 &= 7\nr2 += 57", "u8 *)(r3 + 0", false),
            ("r2 &= 7\nr2 -= 1", "u8 *)(r3 + 0", false),
            ("r2 &= 7\nr4 &= 56\nr2 |= r4", "u8 *)(r3 + 0", true),
            ("r2 &= 7\nr4 &= 57\nr2 ^= r4", "u8 *)(r3 + 1", false),
            ("if r2 < 64 goto in\nexit\nin: r4 = 0", "u8 *)(r3 + 0", true),
            ("if r2 < 65 goto in\nexit\nin: r4 = 0", "u8 *)(r3 + 0", false),
            ("if r2 s< 64 goto in\nexit\nin: r4 = 0", "u8 *)(r3 + 0", false),
            ("if w2 < 64 goto in\nexit\nin: r4 = 0", "u8 *)(r3 + 0", false),
            ("if r2 > 63 goto out\nr4 = 0", "u8 *)(r3 + 0)\nout: r0 = *(u8 *)(r10 - 1", true),
            ("if r2 >= 65 goto out\nr4 = 0", "u8 *)(r3 + 0)\nout: r0 = *(u8 *)(r10 - 1", false),
            (
                "if r4 == 0 goto in\nr2 &= 15\ngoto on\nin: r2 = 63\non: r4 = 0",
                "u8 *)(r3 + 0",
                true,
            ),
            ("if r4 == 0 goto in\nr2 &= 15\nin: r4 = 0", "u8 *)(r3 + 0", false),
            ("r2 = *(u8 *)(r10 - 1)\nr3 += -448", "u8 *)(r3 + 192", true),
            ("r2 = *(u8 *)(r10 - 1)\nr3 += -448", "u8 *)(r3 + 256", true),
            ("r2 = *(u8 *)(r10 - 1)\nr3 += -448", "u8 *)(r3 + 257", false),
            ("r2 = *(s8 *)(r10 - 1)\nr3 += -448", "u8 *)(r3 + 192", false),
        ] {
            assert_eq!(at(text, access), usize::from(!inside), "{text}, {access}");
        }
        let round = "r3 = r10\nr3 += -64\nr2 = 0\nagain: r4 = r3\nr4 += r2\n*(u8 *)(r4 + 0) = 1\n\
            r2 += 1\nif r2 < BOUND goto again";
        assert_eq!(count(&round.replace("BOUND", "64")), 0);
        assert_eq!(count(&round.replace("BOUND", "65")), 1);
    }

    #[test]
    fn values_are_inside_once_they_are_not_null() {
        let lines = "if r0 == 0 goto out\nr3 = *(u64 *)(r0 + 8)\n*(u64 *)(r0 + 0) = r3\n\
            r3 = *(u64 *)(r0 + 9)\nr3 = *(u8 *)(r0 - 1)\nout: exit";
        assert_eq!(after_lookup(lines), [9, 10]);
        assert_eq!(after_lookup("r3 = *(u64 *)(r0 + 8)\nexit"), [6], "perhaps null");
        let lines =
            "if r0 != 0 goto in\nr3 = *(u8 *)(r0 + 0)\nexit\nin: r3 = *(u8 *)(r0 + 0)\nexit";
        assert_eq!(after_lookup(lines), [7], "null");
        let lines = "if w0 == 0 goto out\nr3 = *(u8 *)(r0 + 0)\nout: exit";
        assert_eq!(after_lookup(lines), [7], "half of it");
        let lines = "r6 = r0\nr6 += 4\nif r0 == 0 goto out\nr3 = *(u64 *)(r6 + 4)\n\
            r3 = *(u64 *)(r6 + 5)\nout: exit";
        assert_eq!(after_lookup(lines), [10], "a copy");
        let lines = "if r0 == 0 goto out\nout: r3 = *(u8 *)(r0 + 0)\nexit";
        assert_eq!(after_lookup(lines), [7], "on one way only");
        let lines = "if r0 == 0 goto out\nr6 = r0\ncall 7\nr3 = *(u8 *)(r6 + 0)\n\
            r3 = *(u8 *)(r0 + 0)\nout: exit";
        assert_eq!(after_lookup(lines), [10], "after a call");
        let read_only = format!(
            "{LOOKUP}if r0 == 0 goto out\n*(u8 *)(r0 + 0) = 1\nr3 = *(u8 *)(r0 + 0)\nout: exit"
        );
        assert_eq!(checked(&unit(&read_only.replace("map[idx:1]", "map[idx:2]"))), [7]);
    }

    #[test]
    fn helpers_are_called_directly_with_memory_that_is_there() {
        let callee = |text: &str| unit(text).callees[0];
        let text = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = 0\nr5 = r6\ncall 28\nexit";
        let direct = Callee::Direct { address: 28, args: 5 };
        assert_eq!(callee(text), direct);
        for (of, with) in [
            ("r2 = 8", "r2 = 9"),
            ("r2 = 8", "r2 = r7"),
            ("r2 = 8", "r2 = -1"),
            ("r4 = 0", "r4 = 1"),
            ("r1 += -8", "r1 += r7"),
            ("call 28", "if r7 == 0 goto on\nr4 = 1\non: call 28"),
        ] {
            assert_ne!(callee(&text.replace(of, with)), direct, "{with}");
        }
    }

    #[test]
    fn another_round_of_a_lookup_gives_another_value() {
        // r6 has what the lookup gave in the round before.
        let text = format!(
            "r6 = 0\nagain: {LOOKUP}if r0 == 0 goto out\nr3 = *(u8 *)(r6 + 0)\nr3 = *(u8 *)(r0 + 0)\n\
             r6 = r0\ngoto again\nout: exit"
        );
        assert_eq!(checked(&unit(&text)), [8]);
        let text = format!(
            "again: {LOOKUP}if r0 != 0 goto out\nr3 = *(u8 *)(r6 + 0)\nr6 = r0\ngoto again\n\
             out: r3 = *(u8 *)(r6 + 0)\nexit"
        );
        assert_eq!(checked(&unit(&text)).len(), 2);
    }

    #[test]
    fn maps_and_keys_are_known_on_all_ways() {
        assert_eq!(first_lookup(&unit(&format!("{LOOKUP}exit"))), (true, Check::None));
        let text = format!("if r1 == 5 goto here\n{LOOKUP}exit").replace("call 1", "here: call 1");
        assert_eq!(first_lookup(&unit(&text)), (false, Check::Frame));
        let text = format!("{LOOKUP}exit").replace("r2 += -8", "r2 += -4");
        assert_eq!(first_lookup(&unit(&text)), (true, Check::Frame), "over the end");
        let twice = format!(
            "{LOOKUP}if r0 == 0 goto out\nr2 = r0\nr2 += 8\nr1 = map[idx:1]\ncall 1\nout: exit"
        );
        let second = |text: &str| match unit(text).callees[1] {
            Callee::Lookup(lookup) => (lookup.is_map_known, lookup.key),
            callee => panic!("{callee:?}"),
        };
        assert_eq!(second(&twice), (true, Check::None), "a value as a key");
        assert_eq!(second(&twice.replace("r2 += 8", "r2 += 9")), (true, Check::Last));
    }
}
