//! Accesses to values, keys and kernel structs of maps.

use super::access::Access;
use super::region::{Range, Region, memory_region};
use crate::reject::{AccessReason, Area, Reason};
use crate::state::{MapId, Value};
use crate::subject::{MapInfo, Subject};
use ebpfvm_asm::Reg;
use ebpfvm_spec::context::Direction;
use ebpfvm_spec::linux::{kernel_map_struct, shows_number};
use ebpfvm_spec::map::MapFlags;

/// Whether an instruction or a helper accesses a map value (`enum bpf_access_src`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// An instruction.
    Insn,
    /// A helper.
    Helper,
}

/// Whether programs may read or write the values of a map (`check_map_access_type`).
///
/// # Errors
/// If its flags say that they may not.
pub(crate) fn map_direction(
    map: &MapInfo,
    direction: Direction,
    offset: i32,
    bytes: u32,
) -> Result<(), Reason> {
    let value_bytes = map.def.value_bytes;
    match direction {
        Direction::Write if map.def.flags.has(MapFlags::RDONLY_PROG) => {
            Err(AccessReason::ReadOnlyMap { value_bytes, offset, bytes }.into())
        }
        Direction::Read if map.def.flags.has(MapFlags::WRONLY_PROG) => {
            Err(AccessReason::WriteOnlyMap { value_bytes, offset, bytes }.into())
        }
        _ => Ok(()),
    }
}

/// Whether bytes of a map value lie in it and touch no field that only helpers may touch
/// (`check_map_access`).
///
/// # Errors
/// If they may not, or touch a kernel pointer, which is not judged yet.
pub(crate) fn map_value(
    subject: &Subject<'_>,
    value: &Value,
    reg: Reg,
    range: Range,
    by: By,
) -> Result<(), Reason> {
    let Some(map) = value.map() else { return Err(Reason::internal("a map value has no map")) };
    let map = subject.map(map.map);
    let region = Region { area: Area::MapValue, limit: map.def.value_bytes };
    memory_region(value, reg, range, region)?;
    if map.fields().is_empty() {
        return Ok(());
    }
    let full = &value.scalar.full;
    let first = full.smin.wrapping_add(i64::from(range.offset));
    let end = full.umax as i64 + i64::from(range.offset) + i64::from(range.bytes);
    for field in map.fields() {
        let (start, bytes) = (i64::from(field.offset), i64::from(field.bytes));
        if first >= start + bytes || start >= end {
            continue;
        }
        if !field.kind.is_pointer() {
            return Err(AccessReason::SpecialField { name: field.kind.name() }.into());
        }
        if by == By::Helper {
            return Err(AccessReason::KptrArgument.into());
        }
        let Some(variable) = value.scalar.tnum.as_const() else {
            return Err(AccessReason::KptrVariable.into());
        };
        let offset = i64::from(range.offset) + variable as i64;
        if offset != start {
            return Err(AccessReason::KptrMisaligned { expected: field.offset, offset }.into());
        }
        if range.bytes != 8 {
            return Err(AccessReason::KptrSize.into());
        }
        return Err(Reason::unsupported("kernel pointers in map values"));
    }
    Ok(())
}

/// What a load from a map whose contents never change gives (`bpf_map_direct_read`); none if they
/// are not known.
pub(crate) fn known_content(map: &MapInfo, offset: i64, bytes: u32) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let data = map.contents()?.get(start..start.checked_add(bytes as usize)?)?;
    let mut word = [0; 8];
    word.get_mut(..data.len())?.copy_from_slice(data);
    Some(u64::from_le_bytes(word))
}

/// Whether a program may read the kernel's struct of a map at `offset`, which includes the fixed
/// offset of the pointer (`check_ptr_to_map_access`).
///
/// # Errors
/// If it may not, or reads no number: pointers to kernel types are not judged yet.
pub(crate) fn map_struct(
    subject: &Subject<'_>,
    map: MapId,
    reg: Reg,
    offset: i32,
    access: &Access,
) -> Result<(), Reason> {
    let name = kernel_map_struct(subject.map(map).def.map_type);
    if !subject.options.privileges.may_leak_pointers() {
        return Err(AccessReason::MapStruct { name }.into());
    }
    if offset < 0 {
        return Err(AccessReason::BeforeMapStruct { reg: reg.number(), name, offset }.into());
    }
    if access.writes() {
        return Err(AccessReason::StoreToMapStruct { name }.into());
    }
    if shows_number(offset.unsigned_abs(), access.bytes) {
        Ok(())
    } else {
        Err(Reason::unsupported(format!("loads of pointers from the kernel's struct {name}")))
    }
}
