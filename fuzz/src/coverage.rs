//! How often each pass of the compiler's optimiser changes a program.

use crate::generate::{Case, MIX, tables};
use ebpfvm::jit::ir::Check;
use ebpfvm::jit::opt::{Given, PASSES};
use ebpfvm::jit::{Array, Callee, Link, Lookup, Runtime, Source, Way, lower};
use ebpfvm_asm::{CallTarget, Imm64, Insn, Pc, Size};
use ebpfvm_spec::{MapDef, MapType, ProgType, Program};
use ebpfvm_verifier::{Options, VerifiedProgram};
use std::collections::BTreeMap;

/// Binds programs that are never run: to addresses where nothing is.
struct Nowhere;

const RUNTIME: Runtime =
    Runtime { helper: 1, tail_call: 1, by_number: 1, find: 1, commit: 1, packet: 1 };

/// How elements are found.
fn way(def: &MapDef) -> Way {
    let (stride, entries) = (def.value_bytes.next_multiple_of(8), def.max_entries);
    let array = Array { base: 0x7000_0000_2000, stride, entries, lane_bytes: 0 };
    match def.map_type {
        MapType::Array => Way::Array(array),
        MapType::PercpuArray => Way::Array(Array { lane_bytes: 64, ..array }),
        _ => Way::Table { address: 1, table: 1 },
    }
}

impl Link for Nowhere {
    fn imm64(&self, _: Pc, value: Imm64) -> Result<u64, String> {
        Ok(match value {
            Imm64::Value(value) => value,
            _ => 0x7000_0000_1000,
        })
    }

    fn callee(&self, _: Pc, target: CallTarget, map: Option<u32>) -> Result<Callee, String> {
        Ok(match (target, map) {
            (CallTarget::Helper(1), Some(map)) => way(&tables()[map as usize]).into(),
            (CallTarget::Helper(MIX), _) => Callee::Direct { address: 1, args: 3 },
            _ => Callee::Helper { site: 0, args: 5, takes_unnamed: false },
        })
    }

    fn lookup(&self, pc: Pc, target: CallTarget, map: u32) -> Option<Lookup> {
        let def = &tables()[map as usize];
        (target == CallTarget::Helper(1)).then_some(Lookup {
            way: way(def),
            map: self.imm64(pc, Imm64::MapIdx(map)).ok()?,
            is_map_known: false,
            key_bytes: def.key_bytes,
            key: Check::Window,
            value_bytes: def.value_bytes,
            is_writable: true,
            site: 0,
        })
    }

    fn context(&self, _: &Insn) -> Option<(u16, Size)> {
        None
    }

    fn runtime(&self) -> &Runtime {
        &RUNTIME
    }
}

/// How many programs each pass changes, of those that are checked and, if they were accepted, of
/// those that are not. All passes run, in their order.
///
/// # Panics
/// If a program cannot be compiled.
pub fn passes(cases: impl Iterator<Item = (Case, Option<VerifiedProgram>)>) -> Changes {
    let mut changes: Changes = PASSES.iter().map(|pass| (pass.name, [0; 2])).collect();
    for (case, accepted) in cases {
        let mut program = Program::from_code("fuzz", ProgType::Raw, case.code.clone());
        program.maps = tables();
        let checked = (Source::checked(&program), None);
        let verified = accepted.as_ref().map(|accepted| {
            (Source::verified(accepted, &accepted.program().code), Some(accepted.facts()))
        });
        for (source, facts) in [Some(checked), verified].into_iter().flatten() {
            let mut unit = lower(&source, &Nowhere).expect("a program that can be compiled");
            let given = Given { facts, has_spare: facts.is_some() };
            for pass in PASSES {
                let before = unit.clone();
                (pass.run)(&mut unit, &given);
                let changed =
                    &mut changes.entry(pass.name).or_default()[usize::from(facts.is_some())];
                *changed += u64::from(unit != before);
            }
        }
    }
    changes
}

/// By name of a pass: how many programs with checks it changed, and how many without.
pub type Changes = BTreeMap<&'static str, [u64; 2]>;

/// The verdict on a program for the compiler's target.
pub fn accepted(case: &Case) -> Option<VerifiedProgram> {
    let mut program = Program::from_code("fuzz", ProgType::Raw, case.code.clone());
    program.maps = tables();
    let options = Options { memory_bytes: case.memory.len() as u32, ..Options::default() };
    let platform = crate::oracle::compiled::platform();
    ebpfvm_verifier::verify(program, platform, &options).verdict.ok()
}
