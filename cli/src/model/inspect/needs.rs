//! What an object's programs need of a kernel.
//!
//! Releases: of helpers, map kinds and instructions from the tables of the language and the
//! platform; of features from the kernel's history, beside each.

use ebpfvm_asm::table::{Cpu, Encoding, row};
use ebpfvm_asm::{CallTarget, Code, Imm64, Insn, Pc, Width, encode};
use ebpfvm_loader::core_relo::POISON;
use ebpfvm_loader::{Object, POISON_KFUNC};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{Effect, Program};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a kernel must have.
#[derive(Serialize)]
pub(crate) struct Needs {
    pub(crate) program_types: BTreeSet<&'static str>,
    pub(crate) helpers: Vec<HelperNeed>,
    pub(crate) map_types: Vec<Need>,
    pub(crate) features: Vec<Need>,
    /// The `-mcpu` level of the instructions.
    pub(crate) cpu: &'static str,
    /// Helpers that demand it are called.
    pub(crate) gpl: bool,
    /// The oldest release that has all helpers, map kinds, instructions and features; program types
    /// are not counted.
    pub(crate) linux: String,
}

/// Something with the release that brought it.
#[derive(Serialize)]
pub(crate) struct Need {
    pub(crate) name: &'static str,
    pub(crate) since: &'static str,
}

/// A helper.
#[derive(Serialize)]
pub(crate) struct HelperNeed {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// None for a number that this machine's tables do not have.
    pub(crate) since: Option<&'static str>,
}

/// A feature that instructions or definitions show.
struct Feature {
    name: &'static str,
    since: &'static str,
    used: fn(&Object, &[Program]) -> bool,
}

/// Whether an instruction of a program is one of these.
fn any(programs: &[Program], test: fn(&Insn) -> bool) -> bool {
    programs.iter().any(|p| p.code.iter().any(|(_, insn)| test(insn)))
}

const FEATURES: &[Feature] = &[
    Feature {
        name: "bpf-to-bpf calls",
        since: "4.16",
        used: |_, programs| programs.iter().any(|p| p.funcs.len() > 1),
    },
    Feature {
        name: "32-bit jumps",
        since: "5.1",
        used: |_, programs| {
            any(programs, |insn| matches!(insn, Insn::JumpIf { width: Width::W32, .. }))
        },
    },
    Feature {
        name: "global variables",
        since: "5.2",
        used: |object, _| {
            object.maps().iter().any(|def| matches!(def.origin, MapOrigin::Section { .. }))
        },
    },
    Feature {
        name: "bounded loops",
        since: "5.3",
        used: |_, programs| programs.iter().any(|p| has_loop(&p.code)),
    },
    Feature {
        name: "global functions",
        since: "5.6",
        used: |_, programs| programs.iter().any(|p| p.funcs.iter().skip(1).any(|f| f.is_global)),
    },
    Feature {
        name: "sleepable programs",
        since: "5.10",
        used: |object, _| object.programs().iter().any(|p| p.is_sleepable()),
    },
    Feature {
        name: "callbacks",
        since: "5.13",
        used: |_, programs| {
            any(programs, |i| matches!(i, Insn::LoadImm { value: Imm64::Func { .. }, .. }))
        },
    },
    Feature {
        name: "kernel functions",
        since: "5.13",
        used: |_, programs| {
            any(programs, |i| matches!(i, Insn::Call { target: CallTarget::Kfunc { .. } }))
        },
    },
    Feature {
        name: "XDP packets in several buffers",
        since: "5.18",
        used: |object, _| object.programs().iter().any(|p| p.has_frags()),
    },
];

impl Needs {
    pub(crate) fn of(object: &Object, programs: &[Program]) -> Needs {
        let insns = || programs.iter().flat_map(|p| p.code.iter().map(|(_, insn)| insn));
        let helper_ids: BTreeSet<u32> = insns()
            .filter_map(|insn| match insn {
                Insn::Call { target: CallTarget::Helper(id) } if !is_poison(*id) => Some(*id),
                _ => None,
            })
            .collect();
        let table = ebpfvm_spec::linux::HELPERS;
        let protos = || helper_ids.iter().map(|id| (*id, table.iter().find(|h| h.id == *id)));
        let kinds: BTreeMap<u32, _> =
            object.maps().iter().map(|def| (def.map_type as u32, def.map_type)).collect();
        let features = FEATURES.iter().filter(|feature| (feature.used)(object, programs));
        let mut needs = Needs {
            program_types: object
                .programs()
                .iter()
                .filter_map(|p| Some(p.prog_type?.name()))
                .collect(),
            helpers: protos()
                .map(|(id, proto)| HelperNeed {
                    id,
                    name: proto.map_or(format!("helper {id}"), |p| format!("bpf_{}", p.name)),
                    since: proto.map(|p| p.since),
                })
                .collect(),
            map_types: kinds.values().map(|k| Need { name: k.name(), since: k.since() }).collect(),
            features: features.map(|f| Need { name: f.name, since: f.since }).collect(),
            cpu: level(insns().filter_map(encoding).map(|e| e.cpu).max().unwrap_or(Cpu::V1)),
            gpl: protos().any(|(_, p)| p.is_some_and(|p| p.effects.has(Effect::GPL_ONLY))),
            linux: String::new(),
        };
        let releases = (needs.map_types.iter().chain(&needs.features).map(|need| need.since))
            .chain(needs.helpers.iter().filter_map(|helper| helper.since))
            .chain(insns().filter(|insn| !names_map(insn)).map(|insn| row(insn.op()).since));
        needs.linux = releases.max_by_key(|release| numbers(release)).unwrap_or("3.18").into();
        needs
    }
}

/// Whether a call stands for something that the target does not have; it is never reached.
fn is_poison(helper: u32) -> bool {
    helper == POISON as u32 || helper >= POISON_KFUNC as u32
}

/// Whether an instruction names a map. Here it does so by index, which only newer kernels take; all
/// others are given a file descriptor.
fn names_map(insn: &Insn) -> bool {
    use Imm64::{MapIdx, MapIdxValue};
    matches!(insn, Insn::LoadImm { value: MapIdx(_) | MapIdxValue { .. }, .. })
}

/// Whether control can come back to an instruction within its function: a depth-first search finds
/// an edge to an instruction on its own path (`check_cfg` of kernels before bounded loops).
fn has_loop(code: &Code) -> bool {
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
                Some(to) if marks[to.index()] == Mark::OnPath => return true,
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
    false
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

fn level(cpu: Cpu) -> &'static str {
    match cpu {
        Cpu::V1 => "v1",
        Cpu::V2 => "v2",
        Cpu::V3 => "v3",
        Cpu::V4 => "v4",
    }
}

/// A release as numbers, which can be compared.
fn numbers(release: &str) -> (u32, u32) {
    let (major, minor) = release.split_once('.').unwrap_or((release, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpfvm_asm::text::{Dialect, assemble};

    #[test]
    fn loops_are_not_backward_jumps() {
        let code = |text| assemble(text, Dialect::PseudoC).unwrap();
        assert!(has_loop(&code("r0 = 1\nagain: r0 += 1\nif r0 < 5 goto again\nexit")));
        assert!(has_loop(&code("goto -1")));
        // Code laid out backwards, and two ways to one place.
        assert!(!has_loop(&code("goto a\nb: r0 = 0\nexit\na: if r1 == 0 goto b\ngoto b")));
        assert!(!has_loop(&code("if r1 == 0 goto b\nr0 = 1\nb: exit")));
        // Jumps out of the program are not followed.
        assert!(!has_loop(&code("goto +7\nexit")));
    }

    #[test]
    fn the_highest_level_counts() {
        let cpu = |text| {
            let code = assemble(text, Dialect::PseudoC).unwrap();
            code.iter().filter_map(|(_, insn)| encoding(insn)).map(|e| e.cpu).max().map(level)
        };
        assert_eq!(cpu("r0 = 1\nexit"), Some("v1"));
        assert_eq!(cpu("r0 = 1\nif r0 < 2 goto +0\nexit"), Some("v2"));
        assert_eq!(cpu("r0 = 1\nif w0 == 2 goto +0\nexit"), Some("v3"));
        assert_eq!(cpu("r0 s/= 2\nif w0 == 2 goto +0\nexit"), Some("v4"));
    }

    #[test]
    fn releases_compare_as_numbers() {
        assert!(numbers("5.10") > numbers("5.9"));
        assert!(numbers("6.1") > numbers("5.18"));
    }
}
