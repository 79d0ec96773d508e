//! The crate rbpf: its interpreter, which checks every access; its JIT, which checks nothing; and its
//! back end with Cranelift, which checks accesses. Maps are helpers of the host's.

use super::Prepared;
use crate::bench_program::{BenchProgram, set_length};
use crate::host::{HELPERS, HostMaps};
use crate::workload::Workload;
use rbpf::EbpfVmRaw;
use std::io::Error;

/// One run on this memory.
type Run = for<'a> fn(&EbpfVmRaw<'a>, &'a mut [u8]) -> Result<u64, Error>;

struct Rbpf {
    vm: EbpfVmRaw<'static>,
    run: Run,
    memory: Vec<u8>,
    maps: HostMaps,
}

pub(super) fn interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(prepare(workload, |vm, memory| vm.execute_program(memory))?))
}

/// Compiled without checks.
pub(super) fn jit(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    interpreter(workload)?.run()?;
    let mut rbpf = prepare(workload, |vm, memory| {
        // SAFETY: the interpreter, which checks, has run the program on equal memory and maps without
        // a complaint, and what a bench program does depends on them alone.
        unsafe { vm.execute_program_jit(memory) }
    })?;
    rbpf.vm.jit_compile().map_err(|error| error.to_string())?;
    Ok(Box::new(rbpf))
}

/// Compiled with checks. What fails one ends the process, so that only programs run whose memory it
/// knows, and that the interpreter ran.
#[cfg(feature = "cranelift")]
pub(super) fn cranelift(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    interpreter(workload)?.run()?;
    let mut rbpf = prepare(workload, |vm, memory| vm.execute_program_cranelift(memory))?;
    if !rbpf.maps.pointers().is_empty() {
        return Err("its checks cannot be told of the memory of maps".into());
    }
    rbpf.vm.cranelift_compile().map_err(|error| error.to_string())?;
    Ok(Box::new(rbpf))
}

fn prepare(workload: &Workload, run: Run) -> Result<Rbpf, String> {
    let (program, memory) = (BenchProgram::plain(workload)?, (workload.memory)());
    let maps = HostMaps::new(workload, &program.maps)?;
    let bytes = program.with_addresses(&[set_length(&memory)], &maps.addresses())?;
    // The machine borrows its program for life; a handful of small programs may stay.
    let mut vm = EbpfVmRaw::new(Some(bytes.leak())).map_err(|error| error.to_string())?;
    for helper in HELPERS {
        let registered = vm.register_helper(helper.number, helper.in_rust);
        registered.map_err(|error| error.to_string())?;
    }
    for values in maps.values() {
        vm.register_allowed_memory(values);
    }
    Ok(Rbpf { vm, run, memory, maps })
}

impl Prepared for Rbpf {
    fn run(&mut self) -> Result<u64, String> {
        (self.run)(&self.vm, &mut self.memory).map_err(|error| error.to_string())
    }

    fn memory(&self) -> Vec<u8> {
        self.memory.clone()
    }
}
