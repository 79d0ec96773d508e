//! Accesses that are inside for certain, and lookups whose map and key are.
//!
//! A register is known to point into the frame at an offset, or into what a call gave, or to be a small number,
//! which may be added ([`Known`]). If that call is a lookup in a map that is known, and a comparison has found
//! its result not to be zero, then what is accessed is a value of the map as long as the offset is inside.
//! Values stay where they are: what was removed from a map is memory of its values still.

use super::access::{Access, access, check_of};
use super::holds::{Holds, Known, Place};
use crate::ir::{Address, Check, Inst, Op, Reg, Unit};
use crate::link::{Callee, Lookup, Trusting};
use crate::opt::forward;
use std::collections::BTreeMap;

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
    use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc, Size};

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
