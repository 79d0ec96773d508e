//! What operations read, write and do: what passes need to know of them.

use super::{Address, Check, Cond, End, Fill, Op, Operand, Place, Reg, RegSet};
use crate::link::Callee;
use ebpfvm_asm::{AluOp, AtomicOp, Size, Width};

impl Op {
    /// The registers that it reads. Of calls: those of the arguments.
    #[inline(always)]
    pub fn uses(&self, callees: &[Callee]) -> RegSet {
        match *self {
            Op::Nop | Op::Const { .. } => RegSet::NONE,
            Op::Move { src, .. }
            | Op::Extend { src, .. }
            | Op::Swap { src, .. }
            | Op::Neg { src, .. }
            | Op::Bits { src, .. } => RegSet::of(src),
            Op::Binary { lhs, rhs, .. } => RegSet::of(lhs) | rhs.uses(),
            Op::BinaryLoad { lhs, at, .. } => at.uses().with(lhs),
            Op::Update { at, rhs, .. } => at.uses() | rhs.uses(),
            Op::Lea { at, .. } | Op::Load { at, .. } | Op::LoadAcquire { at, .. } => at.uses(),
            Op::Store { src, at, .. } => at.uses() | src.uses(),
            Op::Atomic { op, src, at, .. } => {
                let uses = at.uses().with(src);
                if op == AtomicOp::Cmpxchg { uses.with(Reg::R0) } else { uses }
            }
            Op::StoreRelease { src, at, .. } => at.uses().with(src),
            Op::Select { cond, then, other, .. } => cond.uses().with(then).with(other),
            Op::Packet { index, .. } => index.map_or(RegSet::NONE, RegSet::of),
            Op::Call { callee } => callees[callee as usize].uses(),
            Op::CallLocal { .. } => RegSet::ARGS.with(Reg::FP),
        }
    }

    /// The registers that have another value afterwards, or none that one may rely on.
    #[inline(always)]
    pub fn writes(&self) -> RegSet {
        match *self {
            Op::Nop | Op::Update { .. } | Op::Store { .. } | Op::StoreRelease { .. } => {
                RegSet::NONE
            }
            Op::Const { dst, .. }
            | Op::Move { dst, .. }
            | Op::Extend { dst, .. }
            | Op::Swap { dst, .. }
            | Op::Neg { dst, .. }
            | Op::Bits { dst, .. }
            | Op::Binary { dst, .. }
            | Op::BinaryLoad { dst, .. }
            | Op::Lea { dst, .. }
            | Op::Load { dst, .. }
            | Op::LoadAcquire { dst, .. }
            | Op::Select { dst, .. } => RegSet::of(dst),
            Op::Atomic { op, src, .. } => {
                let fetched = match op {
                    AtomicOp::Rmw(_) => None,
                    AtomicOp::Fetch(_) | AtomicOp::Xchg => Some(src),
                    AtomicOp::Cmpxchg => Some(Reg::R0),
                };
                fetched.map_or(RegSet::NONE, RegSet::of)
            }
            // The packet is read by code of the machine.
            Op::Packet { .. } | Op::Call { .. } | Op::CallLocal { .. } => RegSet::CALL,
        }
    }

    /// The register that it writes, if that is all it does: without its result it can go.
    pub fn pure_dst(&self) -> Option<Reg> {
        match *self {
            Op::Const { dst, .. }
            | Op::Move { dst, .. }
            | Op::Extend { dst, .. }
            | Op::Swap { dst, .. }
            | Op::Neg { dst, .. }
            | Op::Bits { dst, .. }
            | Op::Binary { dst, .. }
            | Op::BinaryLoad { dst, .. }
            | Op::Lea { dst, .. }
            | Op::Load { check: Check::None, dst, .. }
            | Op::Select { dst, .. } => Some(dst),
            _ => None,
        }
    }

    /// Its address, and how that is compared if what is there is accessed as the program says. Of those that
    /// have one.
    pub fn access_mut(&mut self) -> Option<(&mut Address, Option<&mut Check>)> {
        match self {
            Op::Lea { at, .. } | Op::BinaryLoad { at, .. } | Op::Update { at, .. } => {
                Some((at, None))
            }
            Op::Load { at, check, .. }
            | Op::Store { at, check, .. }
            | Op::Atomic { at, check, .. }
            | Op::LoadAcquire { at, check, .. }
            | Op::StoreRelease { at, check, .. } => Some((at, Some(check))),
            _ => None,
        }
    }

    /// Whether it may write memory, or run code that may.
    pub fn writes_memory(&self) -> bool {
        matches!(
            self,
            Op::Update { .. }
                | Op::Store { .. }
                | Op::Atomic { .. }
                | Op::StoreRelease { .. }
                | Op::Packet { .. }
                | Op::Call { .. }
                | Op::CallLocal { .. }
        )
    }

    /// Whether it may read memory, or run code that may.
    pub fn reads_memory(&self) -> bool {
        match self {
            Op::BinaryLoad { .. } | Op::Load { .. } | Op::LoadAcquire { .. } => true,
            Op::Select { cond: Cond { lhs: Place::Memory(_), .. }, .. } => true,
            Op::Store { .. } | Op::StoreRelease { .. } => false,
            _ => self.writes_memory(),
        }
    }

    /// Whether it may stop the run or leave the function.
    pub fn may_leave(&self) -> bool {
        match *self {
            Op::Packet { .. } | Op::Call { .. } | Op::CallLocal { .. } => true,
            Op::Load { check, .. }
            | Op::Store { check, .. }
            | Op::Atomic { check, .. }
            | Op::LoadAcquire { check, .. }
            | Op::StoreRelease { check, .. } => check != Check::None,
            _ => false,
        }
    }

    /// The register whose upper half is known to be zero afterwards.
    pub fn zero_extends(&self) -> Option<Reg> {
        use Width::W32;
        match *self {
            Op::Const { dst, value } if value <= u32::MAX.into() => Some(dst),
            Op::Move { width: W32, dst, .. }
            | Op::Extend { fill: Fill::Sign(W32), dst, .. }
            | Op::Neg { width: W32, dst, .. }
            | Op::Binary { width: W32, dst, .. }
            | Op::BinaryLoad { width: W32, dst, .. }
            | Op::Lea { width: W32, dst, .. } => Some(dst),
            Op::Extend { size, fill: Fill::Zero, dst, .. } | Op::Swap { size, dst, .. }
                if size.bytes() <= 4 =>
            {
                Some(dst)
            }
            Op::Load { size, fill: Fill::Zero, dst, check, .. }
            | Op::LoadAcquire { size, dst, check, .. }
                if loaded(size, check).bytes() <= 4 =>
            {
                Some(dst)
            }
            Op::Load { fill: Fill::Sign(W32), dst, .. } => Some(dst),
            Op::Bits { bits, dst, .. } if bits <= 32 => Some(dst),
            Op::Binary {
                op: super::Binary::Alu(AluOp::And), dst, rhs: Operand::Imm(0..), ..
            } => Some(dst),
            _ => None,
        }
    }
}

/// The size of what a load with this check may give. Pointers among the fields of contexts have 4 bytes in
/// the program's view and are given whole.
pub(crate) fn loaded(size: Size, check: Check) -> Size {
    if size == Size::W && check != Check::None { Size::Dw } else { size }
}

impl End {
    /// The registers that it reads.
    pub fn uses(&self) -> RegSet {
        match self {
            End::Branch { cond, .. } => cond.uses(),
            End::Exit => RegSet::of(Reg::R0),
            End::Jump(_) | End::MayGoto { .. } | End::FellOff => RegSet::NONE,
        }
    }
}
