//! This project's engines.

use super::Prepared;
use crate::bench_program::{BenchProgram, set_length};
use crate::measure::repeat;
use crate::workload::Workload;
use ebpfvm::jit::opt::Passes;
use ebpfvm::map::UpdateFlags;
use ebpfvm::spec::{MapDef, ProgType};
use ebpfvm::verifier::{Limits, Options};
use ebpfvm::{Context, Engine, Instance, MapRef, NO_FUEL_LIMIT, Vm, jit};
use std::sync::Arc;
use std::time::Duration;

/// Fuel for runs in which it is counted: more than any bench program takes.
const FUEL: u64 = 1 << 40;

/// A way to run programs.
#[derive(Clone, Copy)]
struct Way {
    engine: Engine,
    passes: Passes,
    /// Whether the verifier looks at the program before. Else every access is compared with the memory
    /// given.
    verifies: bool,
    fuel: u64,
}

/// Compiled, of a program that the verifier accepted, without counting fuel.
const JIT: Way =
    Way { engine: Engine::Jit, passes: Passes::ALL, verifies: true, fuel: NO_FUEL_LIMIT };

const INTERPRETER: Way = Way { engine: Engine::Interpreter, ..JIT };

struct Ours {
    instance: Arc<Instance>,
    context: Context,
    fuel: u64,
}

pub(super) fn jit(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, JIT)
}

/// Fuel is counted.
pub(super) fn jit_metered(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, Way { fuel: FUEL, ..JIT })
}

/// Without the optimiser.
pub(super) fn jit_plain(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, Way { passes: Passes::NONE, ..JIT })
}

/// Of a program that nobody looked at.
pub(super) fn checked_jit(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, Way { verifies: false, fuel: FUEL, ..JIT })
}

/// Of a program that the verifier accepted.
pub(super) fn interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, INTERPRETER)
}

/// Of a program that nobody looked at.
pub(super) fn checked_interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    prepare(workload, Way { verifies: false, fuel: FUEL, ..INTERPRETER })
}

/// How bench programs are judged: as on Linux, which has less patience with long loops.
pub(crate) fn options(memory_bytes: usize) -> Options {
    let limits = Limits { processed: 100_000_000, pending: 1 << 20, ..Limits::default() };
    Options { limits, memory_bytes: memory_bytes as u32, ..Options::default() }
}

fn prepare(workload: &Workload, way: Way) -> Result<Box<dyn Prepared>, String> {
    let (program, memory) = (BenchProgram::linux(workload)?, (workload.memory)());
    let vm = machine(way.engine, way.passes);
    let first = match program.prog_type {
        ProgType::Raw => vec![set_length(&memory)],
        _ => Vec::new(),
    };
    let maps = maps(&vm, workload, &program.maps)?;
    let context = vm.context(program.prog_type, &memory).map_err(|error| error.to_string())?;
    let program = program.program_behind(&first)?;
    let linked = if way.verifies {
        let judgement = vm.verify(program, &options(memory.len()));
        let verified = judgement.verdict.map_err(|rejection| rejection.to_string())?;
        vm.link_verified(verified, &maps)
    } else {
        vm.link(program, &maps)
    };
    let instance = linked.map_err(|error| error.to_string())?;
    Ok(Box::new(Ours { instance, context, fuel: way.fuel }))
}

/// A machine with Linux's helpers.
pub(crate) fn machine(engine: Engine, passes: Passes) -> Vm {
    let jit = jit::Options { passes, is_metered: false, ..jit::Options::default() };
    Vm::linux().engine(engine).jit(jit).build()
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

impl Ours {
    /// What can be done once for many runs is done.
    fn prepare(&mut self) -> Result<ebpfvm::Prepared<'_>, String> {
        let prepared = self.instance.prepare(&mut self.context, self.fuel);
        prepared.map_err(|trap| trap.to_string())
    }
}

impl Prepared for Ours {
    fn run(&mut self) -> Result<u64, String> {
        self.prepare()?.run().map_err(|trap| trap.to_string())
    }

    fn time(&mut self, runs: u64) -> Duration {
        let mut prepared = self.prepare().expect("the program ran before");
        repeat(runs, || prepared.run().expect("the program ran before"))
    }

    fn memory(&self) -> Vec<u8> {
        match self.context.memory() {
            Some(memory) => memory.to_vec(),
            None => self.context.data_out(),
        }
    }
}
