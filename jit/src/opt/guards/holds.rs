//! What registers are known to hold, where memory is told from numbers.
//!
//! Invariant: registers that are known by the same call, and are not known not to be zero, have
//! the result of the same execution of it. So another execution ends what is known by the one before.

use crate::ir::{self, Address, Binary, Block, Cond, Fill, Op, Operand, Reg, RegSet, Unit};
use crate::link::{Callee, Lookup};
use crate::opt::forward::Fact;
use crate::state::FRAME_BYTES;
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
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
pub(super) enum Place {
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
pub(super) struct Known([Holds; Reg::COUNT]);

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
    pub(super) fn of(&self, reg: Reg) -> Holds {
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
    pub(super) fn address(&self, at: Address) -> Holds {
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

    pub(super) fn step(&mut self, op: &Op) {
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
    pub(super) fn is_inside(&self, unit: &Unit, at: Address, bytes: u32, writes: bool) -> bool {
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
