//! Which kinds of operations a block has, so that passes go past those with nothing for them.

use crate::ir::{Address, Binary, Check, Fill, Inst, Op, Operand, Reg};
use ebpfvm_asm::{AluOp, Size, Width};

/// A set of kinds. An operation can be of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// Loads without a check.
    pub(super) const LOAD: Kinds = Kinds(1);
    /// Stores without a check.
    pub(super) const STORE: Kinds = Kinds(1 << 1);
    /// Those of less than a register.
    pub(super) const NARROW_STORE: Kinds = Kinds(1 << 2);
    /// Accesses whose base is not the frame pointer.
    pub(super) const ACCESS: Kinds = Kinds(1 << 3);
    /// Sums and differences of 64 bits.
    pub(super) const SUM: Kinds = Kinds(1 << 4);
    /// Differences, and what is zero where two numbers are equal.
    pub(super) const DIFFERENCE: Kinds = Kinds(1 << 5);
    /// Shifts to the left.
    pub(super) const LEFT: Kinds = Kinds(1 << 6);
    /// Shifts to the right without a sign, alone or with a mask.
    pub(super) const RIGHT: Kinds = Kinds(1 << 7);
    /// What joins bits of two registers.
    pub(super) const JOIN: Kinds = Kinds(1 << 8);
    /// Masks.
    pub(super) const MASK: Kinds = Kinds(1 << 9);
    /// Extensions with zeros.
    pub(super) const EXTEND: Kinds = Kinds(1 << 10);
    /// Extensions with the sign.
    pub(super) const SIGN: Kinds = Kinds(1 << 11);
    /// Swapped bytes.
    pub(super) const SWAP: Kinds = Kinds(1 << 12);
    /// Selects.
    pub(super) const SELECT: Kinds = Kinds(1 << 13);
    /// Operations with two operands.
    pub(super) const BINARY: Kinds = Kinds(1 << 14);

    const NONE: Kinds = Kinds(0);

    /// All of both.
    pub(super) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Whether one of these is in it.
    pub(super) const fn has(self, any: Kinds) -> bool {
        self.0 & any.0 != 0
    }

    /// The kinds of an operation.
    fn of(op: &Op) -> Kinds {
        let access = |at: Address| if at.base == Reg::FP { Kinds::NONE } else { Kinds::ACCESS };
        match *op {
            Op::Load { check: Check::None, at, .. } => access(at).or(Kinds::LOAD),
            Op::Store { check: Check::None, at, size, .. } => match size {
                Size::Dw => access(at).or(Kinds::STORE),
                _ => access(at).or(Kinds::STORE).or(Kinds::NARROW_STORE),
            },
            Op::Load { at, .. }
            | Op::Store { at, .. }
            | Op::Atomic { at, .. }
            | Op::LoadAcquire { at, .. }
            | Op::StoreRelease { at, .. }
            | Op::BinaryLoad { at, .. }
            | Op::Update { at, .. } => access(at),
            Op::Binary { op: Binary::Alu(op), width, rhs, .. } => {
                let is_wide = width == Width::W64;
                let kinds = match op {
                    AluOp::Add if is_wide => Kinds::SUM,
                    AluOp::Sub if is_wide => Kinds::SUM.or(Kinds::DIFFERENCE),
                    AluOp::Sub | AluOp::Xor => Kinds::DIFFERENCE,
                    AluOp::And => Kinds::MASK,
                    AluOp::Lsh => Kinds::LEFT,
                    AluOp::Rsh => Kinds::RIGHT,
                    _ => Kinds::NONE,
                };
                let joins = matches!(op, AluOp::Or | AluOp::Xor | AluOp::Add)
                    && matches!(rhs, Operand::Reg(_));
                kinds.or(Kinds::BINARY).or(if joins { Kinds::JOIN } else { Kinds::NONE })
            }
            Op::Lea { width: Width::W64, .. } => Kinds::SUM,
            Op::Bits { .. } => Kinds::RIGHT,
            Op::Move { width: Width::W32, .. } | Op::Extend { fill: Fill::Zero, .. } => {
                Kinds::EXTEND
            }
            Op::Extend { fill: Fill::Sign(_), .. } => Kinds::SIGN,
            Op::Swap { .. } => Kinds::SWAP,
            Op::Select { .. } => Kinds::SELECT,
            _ => Kinds::NONE,
        }
    }
}

/// The kinds of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Those that occur.
    pub(super) once: Kinds,
    /// Those that occur more than once.
    pub(super) twice: Kinds,
}

impl Summary {
    /// Of the operations of a block.
    pub(super) fn of(insts: &[Inst]) -> Summary {
        let mut all = Summary { once: Kinds::NONE, twice: Kinds::NONE };
        for inst in insts {
            let kinds = Kinds::of(&inst.op);
            all.twice = all.twice.or(Kinds(all.once.0 & kinds.0));
            all.once = all.once.or(kinds);
        }
        all
    }

    /// Whether there is an operation of one of these kinds.
    pub(super) fn has(self, any: Kinds) -> bool {
        self.once.has(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::unit_of;

    #[test]
    fn kinds_are_counted_to_two() {
        let unit = unit_of("r3 = r1\nr3 += 4\nr4 = *(u8 *)(r3 + 0)\nr3 += r4\nw0 = w4\nexit");
        let all = Summary::of(&unit.blocks[0].insts);
        let once = Kinds::LOAD.or(Kinds::ACCESS).or(Kinds::SUM).or(Kinds::BINARY);
        assert_eq!(all.once, once.or(Kinds::JOIN).or(Kinds::EXTEND));
        assert_eq!(all.twice, Kinds::SUM.or(Kinds::BINARY));
        assert!(all.has(Kinds::JOIN.or(Kinds::LEFT)) && !all.has(Kinds::LEFT));
    }
}
