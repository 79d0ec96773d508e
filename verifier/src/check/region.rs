//! Whether bytes lie in memory of known size, at every offset that a pointer may have.

use crate::reject::{AccessReason, Area, Outside, Reason};
use crate::state::Value;
use ebpfvm_asm::Reg;

/// Offsets beyond which nothing is accessed (`BPF_MAX_VAR_OFF`).
pub(crate) const MAX_VARIABLE_OFFSET: u64 = 1 << 29;
/// Sizes beyond which nothing is given to helpers (`BPF_MAX_VAR_SIZ`).
pub(crate) const MAX_VARIABLE_BYTES: u64 = 1 << 29;

/// Memory of known size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// What it is.
    pub(crate) area: Area,
    /// Its size in bytes.
    pub(crate) limit: u32,
}

/// Bytes at a distance from the variable part of a pointer's offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The distance, with the fixed part of the pointer's offset.
    pub(crate) offset: i32,
    /// How many.
    pub(crate) bytes: u32,
    /// Whether none is fine too.
    pub(crate) zero_allowed: bool,
}

impl Range {
    /// Whether the bytes lie in the region when the variable part is `variable`
    /// (`__check_mem_access`). The sum is cut to 32 bits, as Linux does.
    pub(super) fn within(&self, variable: u64, region: Region) -> Result<(), Outside> {
        let Range { offset, bytes, zero_allowed } = *self;
        let offset = variable.wrapping_add(i64::from(offset) as u64) as i32;
        let fits = offset >= 0
            && (bytes > 0 || zero_allowed)
            && offset as u64 + u64::from(bytes) <= u64::from(region.limit);
        if fits {
            Ok(())
        } else {
            Err(Outside { area: region.area, limit: region.limit, offset, bytes })
        }
    }
}

/// Whether bytes lie in a region for every value of the pointer's variable offset
/// (`check_mem_region_access`).
///
/// # Errors
/// If they may not.
pub(crate) fn memory_region(
    value: &Value,
    reg: Reg,
    range: Range,
    region: Region,
) -> Result<(), Reason> {
    let number = reg.number();
    let (smin, umax) = (value.scalar.full.smin, value.scalar.full.umax);
    let lowest = smin.wrapping_add(i64::from(range.offset));
    if smin < 0 && (smin == i64::MIN || lowest < 0 || i32::try_from(lowest).is_err()) {
        return Err(AccessReason::NegativeIndex { reg: number }.into());
    }
    let outside_at_min = |access| AccessReason::OutsideAtMin { access, reg: number };
    range.within(smin as u64, region).map_err(outside_at_min)?;
    if umax >= MAX_VARIABLE_OFFSET {
        return Err(AccessReason::UnboundedIndex { reg: number }.into());
    }
    let outside_at_max = |access| AccessReason::OutsideAtMax { access, reg: number };
    range.within(umax, region).map_err(outside_at_max)?;
    Ok(())
}

/// Whether a pointer has the offset that it was given with, or one that is fixed if `may_be_moved`
/// (`__check_ptr_off_reg`).
///
/// # Errors
/// If it has not.
pub(crate) fn fixed_offset(value: &Value, reg: Reg, may_be_moved: bool) -> Result<(), Reason> {
    let (reg, offset) = (reg.number(), value.offset);
    let found = || value.type_name().to_string();
    if offset < 0 {
        return Err(AccessReason::NegativeOffset { found: found(), reg, offset }.into());
    }
    if !may_be_moved && offset != 0 {
        return Err(AccessReason::Moved { found: found(), reg, offset }.into());
    }
    if value.scalar.tnum.as_const() != Some(0) {
        let bits = value.scalar.tnum.to_string();
        return Err(AccessReason::VariableOffset { found: found(), bits }.into());
    }
    Ok(())
}
