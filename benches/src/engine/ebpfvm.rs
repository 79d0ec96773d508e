//! This project's engines.

use super::Prepared;
use crate::bench_program::{BenchProgram, set_length};
use crate::workload::Workload;
use ebpfvm::map::UpdateFlags;
use ebpfvm::spec::{MapDef, ProgType, Program};
use ebpfvm::verifier::{Limits, Options};
use ebpfvm::{Context, Instance, MapRef, Vm};
use std::sync::Arc;

/// More than any bench program takes.
const FUEL: u64 = 1 << 40;

struct Ours {
    instance: Arc<Instance>,
    context: Context,
}

/// Of a program that the verifier accepted.
pub(super) fn interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, |vm, program, maps, memory_bytes| {
        let judgement = vm.verify(program, &options(memory_bytes));
        let verified = judgement.verdict.map_err(|rejection| rejection.to_string())?;
        vm.link_verified(verified, maps).map_err(|error| error.to_string())
    })
}

/// Of a program that nobody looked at: every access is compared with the memory given.
pub(super) fn checked_interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, |vm, program, maps, _| {
        vm.link(program, maps).map_err(|error| error.to_string())
    })
}

/// How bench programs are judged: as on Linux, which has less patience with long loops.
pub(crate) fn options(memory_bytes: usize) -> Options {
    let limits = Limits { processed: 100_000_000, pending: 1 << 20, ..Limits::default() };
    Options { limits, memory_bytes: memory_bytes as u32, ..Options::default() }
}

type Link = fn(&Vm, Program, &[MapRef], usize) -> Result<Arc<Instance>, String>;

fn prepare(workload: &Workload, link: Link) -> Result<Box<dyn Prepared>, String> {
    let (program, memory) = (BenchProgram::linux(workload)?, (workload.memory)());
    let vm = Vm::linux().build();
    let first = match program.prog_type {
        ProgType::Raw => vec![set_length(&memory)],
        _ => Vec::new(),
    };
    let maps = maps(&vm, workload, &program.maps)?;
    let context = vm.context(program.prog_type, &memory).map_err(|error| error.to_string())?;
    let instance = link(&vm, program.program_behind(&first)?, &maps, memory.len())?;
    Ok(Box::new(Ours { instance, context }))
}

fn maps(vm: &Vm, workload: &Workload, defs: &[MapDef]) -> Result<Vec<MapRef>, String> {
    let made: Result<Vec<MapRef>, _> = defs.iter().map(|def| vm.create_map(def)).collect();
    let made = made.map_err(|error| error.to_string())?;
    for entry in (workload.entries)() {
        let map = made.get(entry.map).ok_or("no such map")?;
        let written = map.write(&entry.key, &entry.value, UpdateFlags::ANY);
        written.map_err(|error| error.to_string())?;
    }
    Ok(made)
}

impl Prepared for Ours {
    fn run(&mut self) -> Result<u64, String> {
        let outcome = self.instance.run(&mut self.context, FUEL);
        outcome.map(|outcome| outcome.retval).map_err(|trap| trap.to_string())
    }

    fn memory(&self) -> Vec<u8> {
        match self.context.memory() {
            Some(memory) => memory.to_vec(),
            None => self.context.data_out(),
        }
    }
}
