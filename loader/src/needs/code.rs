//! What instructions need.

use super::{Collector, NOT_LOADED, NeedKind, Site, helper};
use crate::functions::Function;
use crate::object::{LinkOptions, Object};
use crate::resolve::{Resolver, Target};
use ebpfvm_asm::table::{Cpu, Encoding, Op, row};
use ebpfvm_asm::{
    AluOp, AtomicOp, CallTarget, Code, EndianOp, Insn, JmpOp, Pc, RmwOp, Width, encode,
};
use std::collections::BTreeSet;

/// Number of the helper `tail_call`.
const TAIL_CALL: u32 = 12;
/// The most instructions of a program before Linux 5.2 (c04c0d2b968a).
const OLD_LIMIT: u64 = 4096;

/// Which functions each other function refers to, and who needs them.
pub(super) struct Reach<'a> {
    object: &'a Object,
    /// Of aliases of the same code only the first has any.
    callees: Vec<BTreeSet<usize>>,
    /// The functions that call `tail_call`.
    tail_calls: BTreeSet<usize>,
    /// Functions whose address is taken, with the place where.
    callbacks: Vec<(usize, u32)>,
}

impl<'a> Reach<'a> {
    pub(super) fn of(object: &'a Object) -> Reach<'a> {
        let resolver = Resolver { object, options: LinkOptions::default() };
        let (mut callees, mut callbacks) = (Vec::new(), Vec::new());
        let mut tail_calls = BTreeSet::new();
        for (index, f) in object.functions.list.iter().enumerate() {
            let section = &object.functions.sections[&f.section];
            let mut found = BTreeSet::new();
            let code = if first(object, index) == index { code(object, f) } else { None };
            for (slot, insn) in code.iter().flat_map(Code::iter) {
                if let Insn::Call { target: CallTarget::Helper(TAIL_CALL) } = insn {
                    tail_calls.insert(index);
                }
                let place = f.start + slot.0;
                let is_load = matches!(insn, Insn::LoadImm { .. });
                let target = match (section.reloc_at(place), insn.function_offset()) {
                    (Some(reloc), _) => {
                        let raw = section.slots[place as usize];
                        resolver.target(section, raw, place, reloc).ok()
                    }
                    (None, Some(offset)) => {
                        let to = i64::from(place) + 1 + i64::from(offset);
                        resolver.callee(f.section, to).ok()
                    }
                    (None, None) => None,
                };
                if let Some(Target::Function(callee)) = target {
                    found.insert(callee);
                    if is_load {
                        callbacks.push((index, place));
                    }
                }
            }
            callees.push(found);
        }
        Reach { object, callees, tail_calls, callbacks }
    }

    /// A function with all that it refers to, directly or not.
    fn from(&self, entry: usize) -> BTreeSet<usize> {
        let (mut reached, mut pending) = (BTreeSet::from([entry]), vec![entry]);
        while let Some(f) = pending.pop() {
            pending
                .extend(self.callees[f].iter().copied().filter(|callee| reached.insert(*callee)));
        }
        reached
    }

    /// Adds what the instructions of all functions need; gives their level.
    pub(super) fn collect(&self, found: &mut Collector) -> Cpu {
        let functions = &self.object.functions;
        let (mut loaded, mut asked) = (BTreeSet::new(), BTreeSet::new());
        for ((entry, _), info) in functions.programs().zip(self.object.programs()) {
            let entry = first(self.object, entry);
            let reached = self.from(entry);
            let optional = (!info.autoload).then_some(NOT_LOADED);
            self.program((entry, &reached), &info.name, optional, found);
            if info.autoload { loaded.extend(reached) } else { asked.extend(reached) }
        }
        // Functions that nothing refers to are told of as well: something may that is not known here.
        let optional = |f: &usize| (asked.contains(f) && !loaded.contains(f)).then_some(NOT_LOADED);
        let mut cpu = Cpu::V1;
        for (index, f) in functions.list.iter().enumerate() {
            if first(self.object, index) != index {
                continue;
            }
            let Some(code) = code(self.object, f) else { continue };
            let optional = optional(&index);
            for (pc, insn) in code.iter() {
                let site = || self.object.site(f, f.start + pc.0);
                if optional.is_none() {
                    cpu = cpu.max(encoding(insn).map_or(Cpu::V1, |e| e.cpu));
                }
                if let Insn::Call { target: CallTarget::Helper(id) } = insn {
                    let (name, since) = helper(*id);
                    found.add(NeedKind::Helper, name, since, optional, site());
                }
                if let Some((name, since)) = newer(insn) {
                    found.add(NeedKind::Insns, name, since, optional, site());
                }
            }
            if let Some(pc) = back_edge(&code) {
                let site = self.object.site(f, f.start + pc.0);
                found.add(NeedKind::Feature, "bounded loops", "5.3", optional, site);
            }
        }
        for (index, place) in &self.callbacks {
            let site = self.object.site(&functions.list[*index], *place);
            found.add(NeedKind::Feature, "callbacks", "5.13", optional(index), site);
        }
        cpu
    }

    /// Adds what a program needs because of all its functions together.
    fn program(
        &self,
        (entry, reached): (usize, &BTreeSet<usize>),
        name: &str,
        optional: Option<&'static str>,
        found: &mut Collector,
    ) {
        let site = || Site::Program(name.into());
        let functions = || reached.iter().map(|f| &self.object.functions.list[*f]);
        let slots: u64 = functions().map(|f| u64::from(f.slots)).sum();
        if slots > OLD_LIMIT {
            found.add(
                NeedKind::Feature,
                "programs of more than 4096 slots",
                "5.2",
                optional,
                site(),
            );
        }
        if reached.len() == 1 {
            return;
        }
        // Commits cc8b0b92a169 and ebf7d1f508a7 of the kernel.
        found.add(NeedKind::Feature, "bpf-to-bpf calls", "4.16", optional, site());
        if reached.iter().any(|f| self.tail_calls.contains(f)) {
            let what = "tail calls beside bpf-to-bpf calls";
            found.add(NeedKind::Feature, what, "5.10", optional, site());
        }
        let is_global = |f: &usize| *f != entry && self.object.functions.list[*f].is_global;
        if reached.iter().any(is_global) {
            let why = "loaders make them static for kernels without";
            found.add(NeedKind::Feature, "global functions", "5.6", Some(why), site());
        }
    }
}

/// The first of the functions that are the same code under several names.
fn first(object: &Object, index: usize) -> usize {
    let f = &object.functions.list[index];
    object.functions.at(f.section, f.start).unwrap_or(index)
}

/// The instructions of a function as they stand in the file; none if they are no instructions.
fn code(object: &Object, f: &Function) -> Option<Code> {
    let slots = &object.functions.sections[&f.section].slots;
    Code::decode(&slots[f.start as usize..][..f.slots as usize]).ok()
}

/// What an instruction is called that the first release did not have, and the first that has it.
/// Loads of addresses and calls are features of their own.
fn newer(insn: &Insn) -> Option<(&'static str, &'static str)> {
    let op = insn.op();
    let name = match op {
        Op::JumpIf(_) if matches!(insn, Insn::JumpIf { width: Width::W32, .. }) => {
            // Not the row's: the jump is older than its 32-bit form (092ed0968bb6).
            return Some(("32-bit jumps", "5.1"));
        }
        Op::Jump if encoding(insn).is_some_and(|e| e.cpu == Cpu::V4) => {
            // As above (4cd58e9af8b9).
            return Some(("jumps with 32-bit distances", "6.6"));
        }
        Op::JumpIf(JmpOp::Lt | JmpOp::Le | JmpOp::Slt | JmpOp::Sle) => "jumps if less",
        Op::Alu(AluOp::Sdiv | AluOp::Smod) => "signed division",
        Op::Movsx => "moves with sign extension",
        Op::LoadSx => "loads with sign extension",
        Op::Endian(EndianOp::Bswap) => "byte swaps",
        Op::MayGoto => "may_goto",
        Op::AddrSpaceCast => "casts between address spaces",
        Op::Atomic(AtomicOp::Rmw(RmwOp::Add)) => return None,
        Op::Atomic(_) => "atomic operations other than addition",
        Op::LoadAcquire | Op::StoreRelease => "load-acquire and store-release",
        Op::CallReg => "calls through registers",
        _ => return None,
    };
    Some((name, row(op).since))
}

/// The row's encoding that an instruction has.
fn encoding(insn: &Insn) -> Option<&'static Encoding> {
    let (slot, _) = encode(insn).ok()?;
    row(insn.op()).encodings.iter().find(|e| {
        e.opcode == slot.opcode
            && e.src.accepts(slot.src.into())
            && e.offset.accepts(slot.offset.into())
            && e.imm.accepts(slot.imm)
    })
}

/// An instruction from which control comes back to one before it on the path: a depth-first search
/// finds it (`check_cfg` of kernels before bounded loops). `may_goto` is no loop of this kind.
fn back_edge(code: &Code) -> Option<Pc> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; code.len()];
    let next = |pc: Pc, which: usize| -> Option<Pc> {
        let insn = code.get(pc)?;
        let after = (!insn.ends_block()).then(|| Pc(pc.0 + insn.slots() as u32));
        let jump = insn.jump_offset().and_then(|offset| pc.jump(offset));
        [after, jump].into_iter().flatten().filter(|to| code.get(*to).is_some()).nth(which)
    };
    for (root, _) in code.iter() {
        let mut path = if marks[root.index()] == Mark::New { vec![(root, 0)] } else { Vec::new() };
        while let Some((pc, which)) = path.last_mut() {
            marks[pc.index()] = Mark::OnPath;
            match next(*pc, *which) {
                Some(to) if marks[to.index()] == Mark::OnPath => return Some(*pc),
                Some(to) => {
                    *which += 1;
                    if marks[to.index()] == Mark::New {
                        path.push((to, 0));
                    }
                }
                None => {
                    marks[pc.index()] = Mark::Done;
                    path.pop();
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm_asm::Slot;
    use ebpfvm_asm::table::TABLE;
    use ebpfvm_asm::text::{Dialect, assemble};
    use ebpfvm_spec::linux::Release;

    fn assembled(text: &str) -> Code {
        assemble(text, Dialect::PseudoC).unwrap()
    }

    #[test]
    fn loops_are_not_backward_jumps() {
        let has_loop = |text| back_edge(&assembled(text)).is_some();
        assert!(has_loop("r0 = 1\nagain: r0 += 1\nif r0 < 5 goto again\nexit"));
        assert!(has_loop("goto -1"));
        // Code laid out backwards, and two ways to one place.
        assert!(!has_loop("goto a\nb: r0 = 0\nexit\na: if r1 == 0 goto b\ngoto b"));
        assert!(!has_loop("if r1 == 0 goto b\nr0 = 1\nb: exit"));
        // Jumps out of the program are not followed.
        assert!(!has_loop("goto +7\nexit"));
    }

    #[test]
    fn the_highest_level_counts() {
        let cpu = |text: &str| {
            let code = assembled(text);
            code.iter().filter_map(|(_, insn)| encoding(insn)).map(|e| e.cpu).max().unwrap()
        };
        assert!(cpu("r0 = 1\nexit") == Cpu::V1);
        assert!(cpu("r0 = 1\nif r0 < 2 goto +0\nexit") == Cpu::V2);
        assert!(cpu("r0 = 1\nif w0 == 2 goto +0\nexit") == Cpu::V3);
        assert!(cpu("r0 s/= 2\nif w0 == 2 goto +0\nexit") == Cpu::V4);
    }

    #[test]
    fn newer_instructions_have_names_and_releases() {
        let of = |text: &str| newer(assembled(text).get(Pc(0)).unwrap());
        assert_eq!(of("r0 += 1\nexit"), None);
        assert_eq!(of("if r0 == 1 goto +0\nexit"), None);
        assert_eq!(of("if r0 < 1 goto +0\nexit"), Some(("jumps if less", "4.14")));
        assert_eq!(of("if w0 < 1 goto +0\nexit"), Some(("32-bit jumps", "5.1")));
        assert_eq!(of("goto +0\nexit"), None);
        assert_eq!(of("gotol +0\nexit"), Some(("jumps with 32-bit distances", "6.6")));
        assert_eq!(of("lock *(u64 *)(r1 + 0) += r2\nexit"), None);
        let other = Some(("atomic operations other than addition", "5.12"));
        assert_eq!(of("lock *(u64 *)(r1 + 0) |= r2\nexit"), other);
        assert_eq!(of("may_goto +0\nexit"), Some(("may_goto", "6.9")));
    }

    /// An instruction with this encoding.
    fn example(e: &Encoding) -> Insn {
        let first = |field: &dyn Fn(i32) -> bool| {
            (0..=0x1ff).chain([0x1_0000]).find(|n| field(*n)).expect("a value that fits")
        };
        let slot = Slot {
            opcode: e.opcode,
            dst: 0,
            src: first(&|n| e.src.accepts(n)) as u8,
            offset: first(&|n| e.offset.accepts(n)) as i16,
            imm: first(&|n| e.imm.accepts(n)),
        };
        *Code::decode(&[slot]).unwrap_or_else(|error| panic!("{e:?}: {error}")).get(Pc(0)).unwrap()
    }

    /// Every row of the instruction table that the first release did not have is named, or is a
    /// load of an address or a call, which are features.
    #[test]
    fn every_newer_row_is_named() {
        let mut named = 0;
        for row in TABLE.iter().filter(|row| row.since != "3.18") {
            if matches!(row.op, Op::LoadImm(_) | Op::CallLocal | Op::CallKfunc) {
                continue;
            }
            for encoding in row.encodings {
                let insn = example(encoding);
                let (_, since) = newer(&insn).unwrap_or_else(|| panic!("{insn:?}"));
                assert!(Release::parse(since) >= Release::parse(row.since), "{insn:?}");
                named += 1;
            }
        }
        assert!(named >= 40, "{named} encodings");
    }
}
