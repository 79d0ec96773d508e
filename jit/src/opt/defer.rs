//! Sums and shifts in place that only one address needs: `r2 <<= 3; r1 += r2; r0 = *(u16 *)(r1 + 4)`
//! is a load from `r1 + 8*r2 + 4`.
//!
//! Compilers for two-operand instructions write a sum into one of its parts, so that
//! [`address`](super::address) no longer finds the part where the sum is used. Here the operation itself goes
//! and is done where it is read. Sound: in between nobody reads its result nor writes its parts, and after
//! the reader the result does not matter.

use super::Given;
use crate::ir::live::Live;
use crate::ir::{Address, Binary, Block, Check, Inst, Op, Operand, Reg, Unit};
use ebpfvm_asm::{AluOp, Width};

/// Operations that are looked at for the reader.
const NEAR: usize = 16;
/// Operations that are looked at to see that a result does not matter any more.
const FAR: usize = 64;

/// The pass.
pub(super) fn run(unit: &mut Unit, _given: &Given<'_>) {
    let is_in_place = |inst: &Inst| Part::of(&inst.op).is_some();
    let has_some = |block: &Block| block.insts.iter().any(is_in_place);
    if unit.blocks.iter().any(has_some) {
        let live = unit.live();
        for number in 0..unit.blocks.len() {
            let mut insts = std::mem::take(&mut unit.blocks[number].insts);
            for at in 0..insts.len() {
                if let Some(part) = Part::of(&insts[at].op)
                    && let Some((reader, op)) = part.joined(unit, &live, number, &insts, at)
                {
                    insts[at].op = Op::Nop;
                    insts[reader].op = op;
                }
            }
            unit.blocks[number].insts = insts;
        }
    }
    unit.keeps_shape();
    unit.keeps_live();
}

/// What an operation puts in place of one of its operands.
#[derive(Clone, Copy, Debug)]
struct Part {
    dst: Reg,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `dst << scale`
    Scaled(u8),
    /// A sum.
    Sum(Address),
}

impl Part {
    fn of(op: &Op) -> Option<Part> {
        let (dst, kind) = match *op {
            Op::Binary { op: Binary::Alu(alu), width: Width::W64, dst, lhs, rhs } => {
                let kind = match (alu, rhs) {
                    (AluOp::Lsh, Operand::Imm(scale @ 1..=3)) if dst == lhs => {
                        Kind::Scaled(scale as u8)
                    }
                    (AluOp::Add, Operand::Imm(imm)) => Kind::Sum(Address::new(lhs, imm)),
                    (AluOp::Sub, Operand::Imm(imm)) => {
                        Kind::Sum(Address::new(lhs, imm.checked_neg()?))
                    }
                    (AluOp::Add, Operand::Reg(rhs)) => {
                        Kind::Sum(Address { index: Some((rhs, 0)), ..Address::new(lhs, 0) })
                    }
                    _ => return None,
                };
                (dst, kind)
            }
            Op::Lea { width: Width::W64, dst, at } => (dst, Kind::Sum(at)),
            _ => return None,
        };
        let is_in_place = match kind {
            Kind::Scaled(_) => true,
            Kind::Sum(at) => at.uses().has(dst),
        };
        is_in_place.then_some(Part { dst, kind })
    }

    /// The only reader of the result and what it becomes, if it does the work itself then.
    fn joined(
        self,
        unit: &Unit,
        live: &Live,
        block: usize,
        insts: &[Inst],
        at: usize,
    ) -> Option<(usize, Op)> {
        let rules = live.rules();
        let parts = match self.kind {
            Kind::Scaled(_) => crate::ir::RegSet::of(self.dst),
            Kind::Sum(at) => at.uses(),
        };
        let near = insts[at + 1..].iter().take(NEAR);
        let mut after = near.enumerate();
        let reader = loop {
            let (distance, inst) = after.next()?;
            if rules.uses(unit, &inst.op).has(self.dst) {
                break at + 1 + distance;
            }
            if parts.iter().any(|part| inst.op.writes().has(part)) {
                return None;
            }
        };
        let op = self.read_by(&insts[reader].op)?;
        (rules.kills(&op).has(self.dst) || self.is_over(unit, live, block, insts, reader))
            .then_some((reader, op))
    }

    /// Whether the result does not matter after an operation.
    fn is_over(
        self,
        unit: &Unit,
        live: &Live,
        block: usize,
        insts: &[Inst],
        reader: usize,
    ) -> bool {
        let rules = live.rules();
        let rest = &insts[reader + 1..];
        for inst in rest.iter().take(FAR) {
            if rules.uses(unit, &inst.op).has(self.dst) {
                return false;
            }
            if rules.kills(&inst.op).has(self.dst) {
                return true;
            }
        }
        rest.len() <= FAR && !live.before_end(unit, block).has(self.dst)
    }

    /// An operation that reads the result as one that computes it.
    fn read_by(self, op: &Op) -> Option<Op> {
        if let Op::Binary { op: Binary::Alu(AluOp::Add), width: Width::W64, dst, lhs, rhs } = *op
            && let (Kind::Scaled(scale), Operand::Reg(rhs)) = (self.kind, rhs)
            && lhs != rhs
        {
            let base = if lhs == self.dst { rhs } else { lhs };
            let at = Address { base, index: Some((self.dst, scale)), offset: 0 };
            return Some(Op::Lea { width: Width::W64, dst, at });
        }
        let mut new = *op;
        let at = address(&mut new)?;
        let given = std::mem::replace(at, Address::new(Reg::FP, 0));
        if new.uses(&[]).has(self.dst) {
            return None;
        }
        *address(&mut new)? = self.address(given)?;
        Some(new)
    }

    /// An address that has the result in it as one that has its parts.
    fn address(self, at: Address) -> Option<Address> {
        let Address { base, index, offset } = at;
        match (self.kind, index) {
            (Kind::Scaled(by), Some((index, scale))) if index == self.dst && base != self.dst => {
                let scale = scale + by;
                (scale <= 3).then_some(Address { index: Some((index, scale)), ..at })
            }
            // The sum, the other way round.
            (Kind::Scaled(scale), Some((other, 0))) if base == self.dst && other != self.dst => {
                Some(Address { base: other, index: Some((base, scale)), offset })
            }
            (Kind::Sum(sum), index) if base == self.dst => {
                let other = index.filter(|(index, _)| *index != self.dst);
                let index = match (sum.index, index) {
                    (inner, None) => inner,
                    (None, Some(_)) => Some(other?),
                    (Some(_), Some(_)) => return None,
                };
                Some(Address { base: sum.base, index, offset: sum.offset.checked_add(offset)? })
            }
            (Kind::Sum(Address { base: inner, index: None, offset: more }), Some((index, 0)))
                if index == self.dst =>
            {
                Some(Address { base, index: Some((inner, 0)), offset: offset.checked_add(more)? })
            }
            _ => None,
        }
    }
}

/// The address of an operation that may be any.
fn address(op: &mut Op) -> Option<&mut Address> {
    let (at, check) = op.access_mut()?;
    matches!(check, None | Some(Check::None)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opt::local::tests::after;
    use crate::opt::same::keeps_meaning;

    #[test]
    fn what_is_added_in_place_is_part_of_the_address() {
        let text = "r2 <<= 3\nr1 += r2\nr0 = *(u16 *)(r1 + 4)\nexit";
        assert_eq!(after(run, text), "r0 = *(u16 *)(r1 + 8*r2 + 4)\nexit");
        let text = "r1 += r2\nr1 += 8\nr0 = *(u64 *)(r1 - 8)\nexit";
        assert_eq!(after(run, text), "r1 = r1 + r2\nr0 = *(u64 *)(r1)\nexit");
        let text = "r1 += -8\nr0 = 1\n*(u64 *)(r1 + 8) = r0\nexit";
        assert_eq!(after(run, text), "r0 = 1\n*(u64 *)(r1) = r0\nexit");
    }

    #[test]
    fn what_is_read_twice_or_changed_stays() {
        for text in [
            "r1 = r1 + r2\nr0 = *(u64 *)(r1)\nr0 = r0 + r1\nexit",
            "r1 = r1 + r2\nr2 = r3\nr0 = *(u64 *)(r1)\nr0 = r0 + r2\nexit",
            "r1 = r1 + r2\n*(u64 *)(r1) = r1\nr0 = r2\nexit",
        ] {
            let source = text.replace("r1 = r1 + r2", "r1 += r2");
            let source = source.replace("r0 = r0 + r", "r0 += r").replace("(r1)", "(r1 + 0)");
            assert_eq!(after(run, &source), text);
        }
        // The next round needs it.
        let text = "again: r1 += 8\nr0 = *(u64 *)(r1 + 0)\nif r0 == 0 goto again\nexit";
        assert!(after(run, text).contains("r1 = r1 + 8\nr0 = *(u64 *)(r1)"));
        // There is no address with two indexes or a scale of 16.
        let text = "r2 <<= 2\nr2 <<= 2\nr1 += r2\nr0 = *(u64 *)(r1 + 0)\nexit";
        assert_eq!(after(run, text), "r2 = r2 << 2\nr0 = *(u64 *)(r1 + 4*r2)\nexit");
    }

    #[test]
    fn programs_do_the_same() {
        keeps_meaning(&run);
    }
}
