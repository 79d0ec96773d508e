//! A bench program's object file as programs that engines can take.

use crate::workload::Workload;
use ebpfvm::asm::{ByteOrder, Code, Imm64, Insn, Reg};
use ebpfvm::loader::Object;
use ebpfvm::spec::{MapDef, Platform, ProgType, Program};
use std::sync::Arc;

/// The entry that works on memory and its length.
const PLAIN: &str = "entry";
/// The entry of a packet program for hooks of Linux.
const PACKET: &str = "packet";

/// The instructions of one entry, with the maps that they name.
pub struct BenchProgram {
    /// Type.
    pub prog_type: ProgType,
    /// The instructions as bytes, 8 a slot, maps named by index.
    pub bytes: Vec<u8>,
    /// The maps.
    pub maps: Arc<[MapDef]>,
}

impl BenchProgram {
    /// The entry that Linux would run: on a packet if the program is about packets, or else the one
    /// on plain memory.
    ///
    /// # Errors
    /// What is wrong with the file, in words. The files are this crate's own.
    pub fn linux(workload: &Workload) -> Result<BenchProgram, String> {
        let object = parse(workload)?;
        let is_packet = object.programs().iter().any(|info| info.name == PACKET);
        link(&object, if is_packet { PACKET } else { PLAIN })
    }

    /// The entry on plain memory.
    ///
    /// # Errors
    /// As [`BenchProgram::linux`].
    pub fn plain(workload: &Workload) -> Result<BenchProgram, String> {
        link(&parse(workload)?, PLAIN)
    }

    /// The program with `first` before it. Jumps and calls are relative, so they stay right.
    pub fn behind(&self, first: &[Insn]) -> Result<Vec<u8>, String> {
        let first: Code = first.iter().copied().collect();
        let first = first.to_bytes(ByteOrder::Little).map_err(|error| error.to_string())?;
        Ok([first, self.bytes.clone()].concat())
    }

    /// As [`BenchProgram::behind`], as a program of this project.
    pub fn program_behind(&self, first: &[Insn]) -> Result<Program, String> {
        let code = Code::from_bytes(&self.behind(first)?, ByteOrder::Little);
        let code = code.map_err(|error| error.to_string())?;
        let program = Program::from_code("bench", self.prog_type, code);
        Ok(Program { maps: self.maps.clone(), ..program })
    }

    /// As [`BenchProgram::behind`], with numbers in the place of maps: what engines without maps give
    /// to their helpers.
    pub fn with_addresses(&self, first: &[Insn], maps: &[u64]) -> Result<Vec<u8>, String> {
        let mut code = self.program_behind(first)?.code;
        let loads: Vec<_> = code
            .iter()
            .filter_map(|(pc, insn)| match *insn {
                Insn::LoadImm { dst, value: Imm64::MapIdx(index) } => Some((pc, dst, index)),
                _ => None,
            })
            .collect();
        for (pc, dst, index) in loads {
            let address = *maps.get(index as usize).ok_or("a map that is not there")?;
            code.replace(pc, Insn::LoadImm { dst, value: Imm64::Value(address) });
        }
        code.to_bytes(ByteOrder::Little).map_err(|error| error.to_string())
    }
}

/// What tells a program on plain memory the memory's length where an engine gives its address only:
/// one instruction to go before it.
pub fn set_length(memory: &[u8]) -> Insn {
    Insn::LoadImm { dst: Reg::R2, value: Imm64::Value(memory.len() as u64) }
}

fn parse(workload: &Workload) -> Result<Object, String> {
    Object::parse(workload.object_file, workload.name).map_err(|error| error.to_string())
}

fn link(object: &Object, name: &str) -> Result<BenchProgram, String> {
    let program = object.program(name, &Platform::linux()).map_err(|error| error.to_string())?;
    let bytes = program.code.to_bytes(ByteOrder::Little).map_err(|error| error.to_string())?;
    Ok(BenchProgram { prog_type: program.prog_type, bytes, maps: program.maps })
}
