//! Accesses that are inside for certain, and lookups whose map and key are.
//!
//! A register is known to point into the frame at an offset, or into what a call gave. If that call is a
//! lookup in a map that is known, and a comparison has found its result not to be zero, then what is
//! accessed is a value of the map as long as the offset is inside. Values stay where they are: what was
//! removed from a map is memory of its values still.
//!
//! Invariant: registers that are known by the same call, and are not known not to be zero, have
//! the result of the same execution of it. So another execution ends what is known by the one before.

use super::access::{access, check_of};
use crate::ir::{Address, Binary, Block, Check, Cond, Inst, Op, Operand, Place, Reg, RegSet, Unit};
use crate::link::{Callee, Lookup};
use crate::opt::forward::{self, Fact};
use crate::state::FRAME_BYTES;
use ebpfvm_asm::{AluOp, JmpOp, Size, Width};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Unknown,
    Number(u64),
    /// The address after the frame's last byte, and so much more.
    Frame(i32),
    /// What this callee gave, and so much more; not zero, or perhaps zero.
    Given {
        callee: u32,
        offset: i32,
        may_be_zero: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known([Holds; Reg::COUNT]);

impl Fact for Known {
    const NOTHING: Known = {
        let mut all = [Holds::Unknown; Reg::COUNT];
        all[Reg::FP.index()] = Holds::Frame(0);
        Known(all)
    };

    fn meet(&mut self, other: &Known) -> bool {
        let both = std::array::from_fn(|i| match (self.0[i], other.0[i]) {
            (one, other) if one == other => one,
            (
                Holds::Given { callee, offset, .. },
                Holds::Given { callee: other, offset: by, .. },
            ) if (callee, offset) == (other, by) => {
                Holds::Given { callee, offset, may_be_zero: true }
            }
            _ => Holds::Unknown,
        });
        std::mem::replace(&mut self.0, both) != both
    }

    fn through(&mut self, block: &Block) {
        block.insts.iter().for_each(|inst| self.step(&inst.op));
    }

    /// A result is not zero where a comparison has found that.
    fn assume(&mut self, cond: &Cond, holds: bool) {
        if let Cond { op, size: Size::Dw, lhs: Place::Reg(reg), rhs: Operand::Imm(0) } = *cond
            && op == if holds { JmpOp::Ne } else { JmpOp::Eq }
            && let Holds::Given { callee: tested, offset: 0, .. } = self.of(reg)
        {
            for holds in &mut self.0 {
                if let Holds::Given { callee, may_be_zero, .. } = holds
                    && *callee == tested
                {
                    *may_be_zero = false;
                }
            }
        }
    }
}

impl Known {
    fn of(&self, reg: Reg) -> Holds {
        self.0[reg.index()]
    }

    /// What a register holds and so much more.
    fn sum(&self, reg: Reg, by: i32) -> Holds {
        match self.of(reg) {
            Holds::Frame(offset) => offset.checked_add(by).map(Holds::Frame),
            Holds::Given { callee, offset, may_be_zero } => {
                offset.checked_add(by).map(|offset| Holds::Given { callee, offset, may_be_zero })
            }
            number if by == 0 => Some(number),
            _ => None,
        }
        .unwrap_or(Holds::Unknown)
    }

    fn step(&mut self, op: &Op) {
        let (dst, holds) = match *op {
            Op::Const { dst, value } => (dst, Holds::Number(value)),
            Op::Move { width: Width::W64, dst, src } => (dst, self.of(src)),
            Op::Binary {
                op: Binary::Alu(op @ (AluOp::Add | AluOp::Sub)),
                width: Width::W64,
                dst,
                lhs,
                rhs: Operand::Imm(imm),
            } => {
                let by = if op == AluOp::Sub { imm.checked_neg() } else { Some(imm) };
                (dst, by.map_or(Holds::Unknown, |by| self.sum(lhs, by)))
            }
            Op::Lea { width: Width::W64, dst, at: Address { base, index: None, offset } } => {
                (dst, self.sum(base, offset))
            }
            Op::Select { dst, then, other, .. } if self.of(then) == self.of(other) => {
                (dst, self.of(then))
            }
            Op::Call { callee: number } => {
                for holds in &mut self.0 {
                    if matches!(*holds, Holds::Given { callee, .. } if callee == number) {
                        *holds = Holds::Unknown;
                    }
                }
                self.forget(op.writes());
                (Reg::R0, Holds::Given { callee: number, offset: 0, may_be_zero: true })
            }
            _ => return self.forget(op.writes()),
        };
        self.0[dst.index()] = holds;
    }

    fn forget(&mut self, regs: RegSet) {
        regs.iter().for_each(|reg| self.0[reg.index()] = Holds::Unknown);
    }

    /// Whether so many bytes from where a register points to, and so much further, are inside.
    fn is_inside(&self, unit: &Unit, at: Address, bytes: u32, writes: bool) -> bool {
        if at.index.is_some() {
            return false;
        }
        let is_in = |offset: i32, low: i64, high: i64| {
            let first = i64::from(offset) + i64::from(at.offset);
            low <= first && first + i64::from(bytes) <= high
        };
        match self.of(at.base) {
            Holds::Frame(offset) => is_in(offset, -(FRAME_BYTES as i64), 0),
            Holds::Given { callee, offset, may_be_zero: false } => {
                matches!(
                    unit.callees[callee as usize],
                    Callee::Lookup(Lookup { is_map_known: true, value_bytes, is_writable, .. })
                        if (is_writable || !writes) && is_in(offset, 0, value_bytes.into())
                )
            }
            _ => false,
        }
    }
}

/// Takes the checks away that pass for certain.
pub(super) fn run(unit: &mut Unit) {
    let starts = forward::solve::<Known>(unit);
    lookups(unit, &starts);
    let mut certain = Vec::new();
    each(unit, &starts, |known, block, at, inst| {
        if let Some(access) = access(&inst.op)
            && known.is_inside(unit, access.at, access.bytes, access.writes)
        {
            certain.push((block, at));
        }
    });
    for (block, at) in certain {
        if let Some(check) = check_of(&mut unit.blocks[block].insts[at].op) {
            *check = Check::None;
        }
    }
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

/// Finds out which lookups are in the map that was guessed, and have keys that are readable. Blocks may
/// have copies: a lookup is known if all of its are.
fn lookups(unit: &mut Unit, starts: &[Option<Known>]) {
    let lookup = |unit: &Unit, op: &Op| match *op {
        Op::Call { callee } => match unit.callees[callee as usize] {
            Callee::Lookup(lookup) => Some((callee as usize, lookup)),
            _ => None,
        },
        _ => None,
    };
    let settle =
        |unit: &mut Unit, is_so: &dyn Fn(&Unit, &Known, &Lookup) -> bool, set: fn(&mut Lookup)| {
            let mut is_certain = vec![true; unit.callees.len()];
            each(unit, starts, |known, _, _, inst| {
                if let Some((callee, lookup)) = lookup(unit, &inst.op) {
                    is_certain[callee] &= is_so(unit, known, &lookup);
                }
            });
            for (callee, _) in unit.callees.iter_mut().zip(is_certain).filter(|(_, is)| *is) {
                if let Callee::Lookup(lookup) = callee {
                    set(lookup);
                }
            }
        };
    if !unit.callees.iter().any(|callee| matches!(callee, Callee::Lookup(_))) {
        return;
    }
    let is_map =
        |_: &Unit, known: &Known, lookup: &Lookup| known.of(Reg::R1) == Holds::Number(lookup.map);
    settle(unit, &is_map, |lookup| lookup.is_map_known = true);
    let is_key = |unit: &Unit, known: &Known, lookup: &Lookup| {
        known.is_inside(unit, Address::new(Reg::R2, 0), lookup.key_bytes, false)
    };
    settle(unit, &is_key, |lookup| lookup.key = Check::None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval::{TestLink, checked_unit_of, program};
    use crate::link::{Array, Link, Runtime, Way};
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
            r0 = *(u8 *)(r3 + 0)\nr0 = *(u8 *)(r3 - 1)\nr3 += r0\nr0 = *(u8 *)(r3 + 4)\nexit";
        let mut unit = checked_unit_of(text);
        run(&mut unit);
        assert_eq!(checked(&unit), [3, 6, 8]);
        let text = "r3 = r10\nif r1 == 0 goto other\nr3 += -8\nother: r0 = *(u8 *)(r3 - 8)\nexit";
        let mut unit = checked_unit_of(text);
        run(&mut unit);
        assert_eq!(checked(&unit), [3], "two offsets");
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
