//! The host's own code: the same C source through the host's compiler.

use super::Prepared;
use crate::bench_program::BenchProgram;
use crate::host::HostMaps;
use crate::workload::{NativeEntry, Workload};

struct Native {
    entry: NativeEntry,
    memory: Vec<u8>,
    maps: HostMaps,
}

pub(super) fn prepare(workload: &Workload) -> Result<Box<dyn Prepared>, String> {
    let entry = workload.native.ok_or("the build found no C compiler")?;
    let maps = HostMaps::new(workload, &BenchProgram::plain(workload)?.maps)?;
    Ok(Box::new(Native { entry, memory: (workload.memory)(), maps }))
}

impl Prepared for Native {
    fn run(&mut self) -> Result<u64, String> {
        let bytes = self.memory.len() as u64;
        let maps = self.maps.pointers().as_ptr();
        // SAFETY: a bench program accesses nothing but its own stack, its maps and the `bytes` bytes
        // from the pointer on; every engine that checks accesses runs the same source and agrees.
        Ok(unsafe { (self.entry)(self.memory.as_mut_ptr(), bytes, maps) })
    }

    fn memory(&self) -> Vec<u8> {
        self.memory.clone()
    }
}
