//! How instructions name maps (`resolve_pseudo_ldimm64`).

use crate::reject::{Reason, StructureReason};
use ebpfvm_asm::{Imm64, Insn};
use ebpfvm_spec::map::{MapDef, MapType};
use ebpfvm_spec::program::Program;

/// Offsets into a map value are below this (`BPF_MAX_VAR_OFF`).
const MAX_OFFSET: u32 = 1 << 29;
/// The most maps of a program (`MAX_USED_MAPS`).
const MAX_MAPS: usize = 64;

/// Checks that the maps that instructions name exist, and that places in values do.
///
/// # Errors
/// The first name that is wrong.
pub(crate) fn check(program: &Program) -> Result<(), Reason> {
    let mut used = vec![false; program.maps.len()];
    for (pc, insn) in program.code.iter() {
        let Insn::LoadImm { value, .. } = *insn else { continue };
        let (index, offset) = match value {
            Imm64::MapIdx(index) => (index, None),
            Imm64::MapIdxValue { index, offset } => (index, Some(offset)),
            Imm64::MapFd(fd) | Imm64::MapFdValue { fd, .. } => {
                return Err(StructureReason::NoMap { fd: fd.into() }.into());
            }
            Imm64::Value(_) | Imm64::Variable { .. } | Imm64::Func { .. } => continue,
        };
        let Some(map) = program.maps.get(index as usize) else {
            return Err(StructureReason::NoMap { fd: index.into() }.into());
        };
        used[index as usize] = true;
        if let Some(offset) = offset {
            check_place(map, offset)?;
        }
        if used.iter().filter(|u| **u).count() > MAX_MAPS {
            return Err(StructureReason::TooManyMaps { pc: pc.0 }.into());
        }
    }
    Ok(())
}

/// Checks that a map has values with addresses, and one at this offset (`map_direct_value_addr`).
fn check_place(map: &MapDef, offset: u32) -> Result<(), Reason> {
    if offset >= MAX_OFFSET {
        return Err(StructureReason::MapOffset { offset }.into());
    }
    let bytes = map.value_bytes;
    match map.map_type {
        MapType::Array if map.max_entries == 1 && offset < bytes => Ok(()),
        MapType::Array => Err(StructureReason::NoPlaceInValue { bytes, offset }.into()),
        MapType::Arena => Err(Reason::unsupported("addresses in arenas")),
        _ => Err(StructureReason::NoDirectValue.into()),
    }
}
