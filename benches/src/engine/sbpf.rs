//! The crate solana-sbpf: its interpreter in the default configuration, which translates and
//! checks addresses and counts instructions.
//!
//! The programs run as SBPF version 3, the dialect nearest to eBPF: it has 32-bit jumps, relative
//! calls and `lddw`. No version has atomic instructions.

use super::Prepared;
use crate::{code, workload::Workload};
use solana_sbpf::aligned_memory::AlignedMemory;
use solana_sbpf::ebpf::{HOST_ALIGN, MM_INPUT_START, MM_STACK_START};
use solana_sbpf::elf::Executable;
use solana_sbpf::error::ProgramResult;
use solana_sbpf::memory_region::{MemoryMapping, MemoryRegion};
use solana_sbpf::program::{BuiltinProgram, FunctionRegistry, SBPFVersion};
use solana_sbpf::verifier::RequisiteVerifier;
use solana_sbpf::vm::{CallFrame, ContextObject, EbpfVm, ExecutionMode};
use std::ptr::NonNull;
use std::sync::Arc;

/// More than any bench program takes.
const INSTRUCTION_BUDGET: u64 = 1 << 32;

/// Registers that hold the two arguments.
const R1: usize = 1;
const R2: usize = 2;

struct Meter {
    remaining: u64,
    mapping: MemoryMapping,
}

impl ContextObject for Meter {
    fn consume(&mut self, amount: u64) {
        self.remaining = self.remaining.saturating_sub(amount);
    }

    fn get_remaining(&self) -> u64 {
        self.remaining
    }

    fn active_mapping_ptr(&mut self) -> NonNull<MemoryMapping> {
        NonNull::from(&mut self.mapping)
    }
}

struct Sbpf {
    // Before what it points to: fields drop in this order.
    vm: EbpfVm<'static, Meter>,
    executable: Executable<Meter>,
    call_frames: Vec<CallFrame>,
    registers: [u64; 12],
    memory: Box<[u8]>,
    _stack: AlignedMemory<HOST_ALIGN>,
}

pub(super) fn prepare(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    let program = code::link(workload.object_file)?;
    let loader = Arc::new(BuiltinProgram::new_mock());
    let version = SBPFVersion::V3;
    let executable = Executable::<Meter>::from_text_bytes(
        &program,
        Arc::clone(&loader),
        version,
        FunctionRegistry::default(),
    )
    .map_err(|error| error.to_string())?;
    executable.verify::<RequisiteVerifier>().map_err(|error| error.to_string())?;

    let config = executable.get_config();
    let mut stack = AlignedMemory::<HOST_ALIGN>::zero_filled(config.stack_size());
    let stack_bytes = stack.len();
    let mut memory = (workload.memory)().into_boxed_slice();
    let memory_bytes = memory.len() as u64;
    let regions = vec![
        executable.get_ro_region(),
        MemoryRegion::new(&mut stack, MM_STACK_START),
        MemoryRegion::new(&raw mut *memory, MM_INPUT_START),
    ];
    // SAFETY: the regions' host memory is owned by the same struct as the machine that uses the
    // mapping, is never moved (both are on the heap) and dropped after it.
    let mapping = unsafe { MemoryMapping::new(regions, config, version) }
        .map_err(|error| error.to_string())?;
    // The machine borrows its meter for life; a handful of small ones may stay.
    let meter = Box::leak(Box::new(Meter { remaining: 0, mapping }));
    let call_frames = vec![CallFrame::default(); config.max_call_depth];
    let mut vm = EbpfVm::new(loader, version, meter, stack_bytes);
    vm.registers[R1] = MM_INPUT_START;
    vm.registers[R2] = memory_bytes;
    let registers = vm.registers;
    Ok(Box::new(Sbpf { vm, executable, call_frames, registers, memory, _stack: stack }))
}

impl Prepared for Sbpf {
    fn run(&mut self) -> Result<u64, String> {
        self.vm.registers = self.registers;
        self.vm.context().remaining = INSTRUCTION_BUDGET;
        let mut mode = ExecutionMode::Interpreted;
        let (_, result) =
            self.vm.execute_program(&self.executable, &mut mode, &mut self.call_frames);
        match result {
            ProgramResult::Ok(answer) => Ok(answer),
            ProgramResult::Err(error) => Err(error.to_string()),
        }
    }

    fn memory(&self) -> &[u8] {
        &self.memory
    }
}
