//! The crate solana-sbpf: interpreter and JIT in the default configuration, which translates and
//! checks addresses and counts instructions; and the JIT with all that switched off.
//!
//! The programs run as SBPF version 3, the dialect nearest to eBPF: it has 32-bit jumps, relative
//! calls and `lddw`. No version has atomic instructions.

use super::Prepared;
use crate::bench_program::{BenchProgram, set_length};
use crate::workload::Workload;
use solana_sbpf::aligned_memory::AlignedMemory;
use solana_sbpf::ebpf::{HOST_ALIGN, MM_INPUT_START, MM_STACK_START};
use solana_sbpf::elf::Executable;
use solana_sbpf::error::ProgramResult;
use solana_sbpf::memory_region::{MemoryMapping, MemoryRegion};
use solana_sbpf::program::{BuiltinProgram, FunctionRegistry, SBPFVersion};
use solana_sbpf::verifier::RequisiteVerifier;
use solana_sbpf::vm::{CallFrame, Config, ContextObject, EbpfVm, ExecutionMode};
use std::ptr::NonNull;
use std::sync::Arc;

const VERSION: SBPFVersion = SBPFVersion::V3;

/// More than any bench program takes.
const INSTRUCTION_BUDGET: u64 = 1 << 32;

/// Registers that hold the memory's address and the top of the stack.
const R1: usize = 1;
const R10: usize = 10;

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
    mode: ExecutionMode,
    call_frames: Vec<CallFrame>,
    registers: [u64; 12],
    memory: Box<[u8]>,
    _stack: AlignedMemory<HOST_ALIGN>,
}

pub(super) fn interpreter(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(prepare(workload, Config::default(), ExecutionMode::Interpreted)?))
}

pub(super) fn jit(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(prepare(workload, Config::default(), ExecutionMode::Jit)?))
}

/// Addresses are the host's and nothing is counted or blinded.
pub(super) fn jit_unchecked(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    interpreter(workload)?.run()?;
    let config = Config {
        enable_address_translation: false,
        enable_instruction_meter: false,
        noop_instruction_rate: 0,
        sanitize_user_provided_values: false,
        ..Config::default()
    };
    Ok(Box::new(prepare(workload, config, ExecutionMode::Jit)?))
}

/// Verifies and compiles instructions and throws the code away.
pub(crate) fn compile(instructions: &[u8]) -> Result<(), String> {
    let executable = executable(instructions, Config::default())?;
    executable.jit_compile().map_err(|error| error.to_string())
}

/// An executable of instructions, verified.
fn executable(instructions: &[u8], config: Config) -> Result<Executable<Meter>, String> {
    let executable = Executable::from_text_bytes(
        instructions,
        Arc::new(BuiltinProgram::new_loader(config)),
        VERSION,
        FunctionRegistry::default(),
    )
    .map_err(|error| error.to_string())?;
    executable.verify::<RequisiteVerifier>().map_err(|error| error.to_string())?;
    Ok(executable)
}

fn prepare(workload: &Workload, config: Config, mode: ExecutionMode) -> Result<Sbpf, String> {
    let (program, memory) = (BenchProgram::plain(workload)?, (workload.memory)());
    if !program.maps.is_empty() {
        return Err("it has no maps".into());
    }
    let mut memory = memory.into_boxed_slice();
    let executable = executable(&program.behind(&[set_length(&memory)])?, config)?;
    if matches!(mode, ExecutionMode::Jit) {
        executable.jit_compile().map_err(|error| error.to_string())?;
    }

    let config = executable.get_config();
    let mut stack = AlignedMemory::<HOST_ALIGN>::zero_filled(config.stack_size());
    let stack_bytes = stack.len();
    let hosts = (stack.as_slice().as_ptr() as u64, memory.as_ptr() as u64);
    let regions = vec![
        executable.get_ro_region(),
        MemoryRegion::new(&mut stack, MM_STACK_START),
        MemoryRegion::new(&raw mut *memory, MM_INPUT_START),
    ];
    // SAFETY: the regions' host memory is owned by the same struct as the machine that uses the
    // mapping, is never moved (both are on the heap) and dropped after it.
    let mapping = unsafe { MemoryMapping::new(regions, config, VERSION) }
        .map_err(|error| error.to_string())?;
    // The machine borrows its meter for life; a handful of small ones may stay.
    let meter = Box::leak(Box::new(Meter { remaining: 0, mapping }));
    let call_frames = vec![CallFrame::default(); config.max_call_depth];
    let translated = config.enable_address_translation;
    let mut vm = EbpfVm::new(Arc::clone(executable.get_loader()), VERSION, meter, stack_bytes);
    vm.registers[R1] = MM_INPUT_START;
    if !translated {
        vm.registers[R1] = hosts.1;
        vm.registers[R10] = vm.registers[R10] - MM_STACK_START + hosts.0;
    }
    let registers = vm.registers;
    Ok(Sbpf { vm, executable, mode, call_frames, registers, memory, _stack: stack })
}

impl Prepared for Sbpf {
    fn run(&mut self) -> Result<u64, String> {
        self.vm.registers = self.registers;
        self.vm.context().remaining = INSTRUCTION_BUDGET;
        let (_, result) =
            self.vm.execute_program(&self.executable, &mut self.mode, &mut self.call_frames);
        match result {
            ProgramResult::Ok(answer) => Ok(answer),
            ProgramResult::Err(error) => Err(error.to_string()),
        }
    }

    fn memory(&self) -> Vec<u8> {
        self.memory.to_vec()
    }
}
