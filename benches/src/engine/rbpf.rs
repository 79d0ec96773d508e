//! The crate rbpf: its interpreter, which checks every access.

use super::Prepared;
use crate::{code, workload::Workload};
use rbpf::EbpfVmRaw;

struct Rbpf {
    vm: EbpfVmRaw<'static>,
    memory: Vec<u8>,
}

/// `w2 = imm`. rbpf passes the memory in r1 but not its length in r2: one instruction more does.
const MOV32_R2: [u8; 4] = [0xb4, 0x02, 0x00, 0x00];

pub(super) fn prepare(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    let memory = (workload.memory)();
    let bytes = u32::try_from(memory.len()).map_err(|error| error.to_string())?;
    let mut program = [MOV32_R2, bytes.to_le_bytes()].concat();
    program.extend(code::link(workload.object_file)?);
    // The machine borrows its program for life; a handful of small programs may stay.
    let vm = EbpfVmRaw::new(Some(program.leak())).map_err(|error| error.to_string())?;
    Ok(Box::new(Rbpf { vm, memory }))
}

impl Prepared for Rbpf {
    fn run(&mut self) -> Result<u64, String> {
        // The machine is covariant in its lifetime: seen as a shorter one, it takes the memory
        // for this run only.
        let vm: &EbpfVmRaw<'_> = &self.vm;
        vm.execute_program(&mut self.memory).map_err(|error| error.to_string())
    }

    fn memory(&self) -> &[u8] {
        &self.memory
    }
}
