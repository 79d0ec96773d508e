//! The running kernel's JIT, by test-runs (`BPF_PROG_TEST_RUN`).
//!
//! Programs on plain memory find it in a map, which two instructions before them say; packet programs
//! run on a packet. What a run of an empty program of the same type costs is subtracted, measured
//! right after.

use super::Prepared;
use crate::bench_program::{BenchProgram, set_length};
use crate::measure;
use crate::workload::Workload;
use ebpfvm::asm::{ByteOrder, Code, Imm64, Insn, Reg};
use ebpfvm::spec::{MapDef, MapType, ProgType};
use ebpfvm_kernel::{Kernel, LoadRequest, Map, MapRequest, Prog, TestRun};
use std::time::Duration;

struct Linux {
    prog: Prog,
    empty: Prog,
    memory: Memory,
    _maps: Vec<Map>,
}

enum Memory {
    /// The only value of a map.
    Map(Map),
    /// A packet, as the runs so far left it.
    Packet(Vec<u8>),
}

/// What programs that do not look at it are given: an Ethernet header's worth.
const NO_PACKET: [u8; 64] = [0; 64];
/// Where the memory lies.
const INDEX: [u8; 4] = [0; 4];

pub(super) fn prepare(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    let kernel = Kernel::probe().map_err(|why| why.to_string())?;
    let (program, bytes) = (BenchProgram::linux(workload)?, (workload.memory)());
    let mut maps = Vec::new();
    for def in program.maps.iter() {
        maps.push(create(&kernel, def)?);
    }
    for entry in (workload.entries)() {
        let map = maps.get(entry.map).ok_or("no such map")?;
        map.update(&entry.key, &entry.value, 0).map_err(|error| error.to_string())?;
    }
    let (prog_type, first, memory) = if program.prog_type == ProgType::Raw {
        let index = maps.len() as u32;
        let def = MapDef::new("memory", MapType::Array, 4, bytes.len() as u32, 1);
        let map = create(&kernel, &def)?;
        map.update(&INDEX, &bytes, 0).map_err(|error| error.to_string())?;
        let value = Imm64::MapIdxValue { index, offset: 0 };
        let first = vec![Insn::LoadImm { dst: Reg::R1, value }, set_length(&bytes)];
        // Of the types that can be test-run, one that has the helpers of packet programs.
        (ProgType::SchedCls, first, Memory::Map(map))
    } else {
        (program.prog_type, Vec::new(), Memory::Packet(bytes))
    };
    let mut fds: Vec<i32> = maps.iter().map(Map::fd).collect();
    if let Memory::Map(map) = &memory {
        fds.push(map.fd());
    }
    let prog = load(&kernel, prog_type, &program.behind(&first)?, &fds)?;
    let empty = load(&kernel, prog_type, &empty()?, &[])?;
    Ok(Box::new(Linux { prog, empty, memory, _maps: maps }))
}

fn create(kernel: &Kernel, def: &MapDef) -> Result<Map, String> {
    let request = MapRequest::new(def.map_type, def.key_bytes, def.value_bytes, def.max_entries);
    kernel.map_create(&request).map_err(|errno| errno.to_string())
}

fn load(kernel: &Kernel, prog_type: ProgType, insns: &[u8], fds: &[i32]) -> Result<Prog, String> {
    let request = LoadRequest { fd_array: fds, ..LoadRequest::new(prog_type, insns) };
    kernel.prog_load(&request).or_else(|_| {
        // Once more for the reason: a log takes three times as long.
        let logged = LoadRequest { log_level: 1, ..request };
        kernel.prog_load(&logged).map_err(|error| error.to_string())
    })
}

/// `r0 = 0; exit`
fn empty() -> Result<Vec<u8>, String> {
    let zero = Insn::LoadImm { dst: Reg::R0, value: Imm64::Value(0) };
    let code: Code = [zero, Insn::Exit].into_iter().collect();
    code.to_bytes(ByteOrder::Little).map_err(|error| error.to_string())
}

impl Linux {
    /// The thread's time for runs of a program, the system call included.
    fn elapsed(&self, prog: &Prog, runs: u64) -> Duration {
        let data_in = match &self.memory {
            Memory::Map(_) => &NO_PACKET[..],
            Memory::Packet(packet) => packet,
        };
        let repeat = u32::try_from(runs).unwrap_or(u32::MAX);
        let request = TestRun { data_in, repeat, ..TestRun::default() };
        measure::repeat(1, || prog.test_run(&request).expect("the program ran before"))
    }
}

impl Prepared for Linux {
    fn run(&mut self) -> Result<u64, String> {
        let request = match &self.memory {
            Memory::Map(_) => TestRun { data_in: &NO_PACKET, ..TestRun::default() },
            Memory::Packet(packet) => {
                TestRun { data_in: packet, data_out_capacity: packet.len(), ..TestRun::default() }
            }
        };
        let result = self.prog.test_run(&request).map_err(|errno| errno.to_string())?;
        if let Memory::Packet(packet) = &mut self.memory {
            *packet = result.data_out;
        }
        Ok(result.retval.into())
    }

    /// The kernel's interface has 32 bits.
    fn answer_bits(&self) -> u64 {
        u32::MAX.into()
    }

    fn time(&mut self, runs: u64) -> Duration {
        let whole = self.elapsed(&self.prog, runs);
        whole.saturating_sub(self.elapsed(&self.empty, runs))
    }

    fn memory(&self) -> Vec<u8> {
        match &self.memory {
            Memory::Map(map) => map.lookup(&INDEX).ok().flatten().unwrap_or_default(),
            Memory::Packet(packet) => packet.clone(),
        }
    }
}
