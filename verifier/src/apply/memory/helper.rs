//! Memory that helpers are given (`check_helper_mem_access`, `check_mem_size_reg`).

use super::{slot, stack, store_unknown};
use crate::check::{self, Access, By, MAX_VARIABLE_BYTES, Range, Region};
use crate::reject::{AccessReason, Area, Reason};
use crate::state::{Byte, Flags, Kind, Stack};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::ContextDef;
use ebpfvm_spec::context::Direction;
use ebpfvm_spec::helper::MemAccess;

/// Stack that a helper fills and that need not be initialised: its bytes are written when all
/// arguments were looked at ([`fill`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// The register with its address.
    pub(crate) reg: Reg,
    /// Its size in bytes.
    pub(crate) bytes: u32,
}

/// Whether a helper may access `bytes` bytes at a pointer (`check_helper_mem_access`). What it may
/// change on the stack is unknown afterwards. Gives the stack that it fills, if that is to be
/// written at the end.
///
/// # Errors
/// Why it may not.
pub(crate) fn helper_memory(
    step: &mut Step<'_, '_>,
    reg: Reg,
    bytes: u32,
    access: MemAccess,
    zero_allowed: bool,
) -> Result<Option<Buffer>, Reason> {
    let direction = if access.writes() { Direction::Write } else { Direction::Read };
    let value = *step.reg(reg);
    let number = reg.number();
    let found = || value.type_name().to_string();
    let is_read_only = value.flags.has(Flags::READ_ONLY);
    let read_only = || Reason::from(AccessReason::ReadOnly { reg: number, found: found() });
    let writes = direction == Direction::Write;
    let range = Range { offset: value.offset, bytes, zero_allowed };
    match value.kind {
        Kind::Packet { .. } | Kind::PacketMeta { .. } => check::packet(&value, reg, range)?,
        Kind::MapKey(map) => {
            if writes {
                return Err(read_only());
            }
            let limit = step.subject.map(map.map).def.key_bytes;
            let range = Range { zero_allowed: false, ..range };
            check::memory_region(&value, reg, range, Region { area: Area::MapKey, limit })?;
        }
        Kind::MapValue(map) => {
            check::map_direction(step.subject.map(map.map), direction, value.offset, bytes)?;
            check::map_value(step.subject, &value, reg, range, By::Helper)?;
        }
        Kind::Mem { bytes: limit, .. } => {
            if writes && is_read_only {
                return Err(read_only());
            }
            check::memory_region(&value, reg, range, Region { area: Area::Memory, limit })?;
        }
        Kind::Buf => {
            if writes && is_read_only {
                return Err(read_only());
            }
            check::buffer(&value, reg, value.offset, bytes)?;
        }
        Kind::Stack { .. } => {
            // With an offset that is not known, what is filled is not known either.
            let fills = access == MemAccess::Write && value.scalar.tnum.is_const();
            if fills {
                return fill_stack(step, reg, range).map(Some);
            }
            read_stack(step, reg, Range { offset: 0, ..range }, direction)?;
        }
        Kind::Ctx if step.subject.def.context.as_ref().is_some_and(|def| !def.translated) => {
            context(step, reg, bytes, direction, zero_allowed)?;
        }
        _ if zero_allowed && bytes == 0 && value.is_null() => {}
        _ => {
            return Err(AccessReason::NoMemoryArgument { reg: number, found: found() }.into());
        }
    }
    Ok(None)
}

/// A context that is laid out as the program sees it, as memory. Linux looks at the last byte alone;
/// what may be written must here be numbers all over, which the argument of a system call's program
/// is.
fn context(
    step: &mut Step<'_, '_>,
    base: Reg,
    bytes: u32,
    direction: Direction,
    zero_allowed: bool,
) -> Result<(), Reason> {
    let Some(last) = bytes.checked_sub(1) else {
        return if zero_allowed { Ok(()) } else { Err(AccessReason::Nothing.into()) };
    };
    check::fixed_offset(step.reg(base), base, false)?;
    let offset = i32::try_from(last).map_err(|_| Reason::internal("a context of 2 GiB"))?;
    let access = Access { base, offset, bytes: 1, direction, aligned: false };
    check::context(step.subject, &access, false)?;
    let is_memory = |def: &ContextDef| def.is_memory(step.subject.program.prog_type);
    if direction == Direction::Write && !step.subject.def.context.as_ref().is_some_and(is_memory) {
        return Err(Reason::unsupported("contexts with pointers as memory"));
    }
    step.past.facts.give_context(bytes);
    Ok(())
}

/// The same with a size that another register holds (`check_mem_size_reg`). The size matters
/// exactly then.
///
/// # Errors
/// Why it may not, for the greatest size.
pub(crate) fn helper_memory_sized(
    step: &mut Step<'_, '_>,
    reg: Reg,
    size_reg: Reg,
    access: MemAccess,
    zero_allowed: bool,
) -> Result<Option<Buffer>, Reason> {
    let size = step.reg(size_reg).scalar;
    let number = size_reg.number();
    // What a helper may fill in part must have been initialised.
    let access = match access {
        MemAccess::Write if !size.tnum.is_const() => MemAccess::ReadWrite,
        access => access,
    };
    if size.full.smin < 0 {
        return Err(AccessReason::NegativeSize { reg: number }.into());
    }
    if size.full.umin == 0 && !zero_allowed {
        let (min, max) = (size.full.umin as i64, size.full.umax as i64);
        return Err(AccessReason::ZeroSize { reg: number, min, max }.into());
    }
    if size.full.umax >= MAX_VARIABLE_BYTES {
        return Err(AccessReason::UnboundedSize { reg: number }.into());
    }
    let buffer = helper_memory(step, reg, size.full.umax as u32, access, zero_allowed)?;
    step.mark_precise(size_reg)?;
    Ok(buffer)
}

/// Stack that a helper fills: it must lie on the stack and hold no dynptr.
fn fill_stack(step: &mut Step<'_, '_>, reg: Reg, range: Range) -> Result<Buffer, Reason> {
    let Range { bytes, zero_allowed, .. } = range;
    if bytes == 0 && !zero_allowed {
        return Err(AccessReason::Nothing.into());
    }
    let place = stack::locate(step, reg, 0, bytes, Direction::Write)?;
    let owner = step.state.frames.get(place.frame);
    let is_dynptr = |offset: &i32| {
        let slot = owner.and_then(|owner| owner.stack.at(*offset));
        slot.is_some_and(|slot| slot.byte(*offset) == Byte::Dynptr)
    };
    if let Some(offset) = place.touched(bytes).find(is_dynptr) {
        return Err(AccessReason::DynptrInBuffer { offset }.into());
    }
    Ok(Buffer { reg, bytes })
}

/// Writes what a helper filled.
///
/// # Errors
/// As for stores of bytes.
pub(crate) fn fill(step: &mut Step<'_, '_>, buffer: Buffer) -> Result<(), Reason> {
    (0..buffer.bytes as i32).try_for_each(|at| store_unknown(step, buffer.reg, at, 1))
}

/// Reads stack from `range.offset` beyond the fixed offset of a pointer on, at every place where it
/// may be; a helper that writes may change all of it (`check_stack_range_initialized`).
///
/// # Errors
/// If a byte holds nothing, or a pointer in a program that must not show it.
pub(super) fn read_stack(
    step: &mut Step<'_, '_>,
    reg: Reg,
    range: Range,
    direction: Direction,
) -> Result<(), Reason> {
    let Range { offset, bytes, zero_allowed } = range;
    if bytes == 0 && !zero_allowed {
        return Err(AccessReason::Nothing.into());
    }
    let place = stack::locate(step, reg, offset, bytes, direction)?;
    let value = *step.reg(reg);
    let bits = || value.scalar.tnum.to_string();
    let number = reg.number();
    if !value.scalar.tnum.is_const() && step.subject.is_speculation_followed() {
        return Err(AccessReason::SecretStackIndex { reg: number, bits: bits() }.into());
    }
    let clobbers = direction == Direction::Write;
    let may_leak = step.subject.options.privileges.may_leak_pointers();
    let reads_anything = check::reads_anything(step.subject);
    let frame = place.frame;
    let mut read = 0u64;
    let mut failed = None;
    for at in place.touched(bytes) {
        let index = Stack::place(at).0;
        let Some(slot) = step.state.frames.get(frame).and_then(|f| f.stack.get(index)) else {
            return Err(Reason::internal("the stack does not reach to memory of a helper"));
        };
        let is_bytes = match slot.byte(at) {
            Byte::Misc => None,
            Byte::Zero => Some(true),
            Byte::Invalid if reads_anything => Some(true),
            _ if slot.is_spilled() && (slot.value.is_number() || may_leak) => Some(false),
            _ => {
                failed = Some(at);
                break;
            }
        };
        read |= 1 << index;
        let Some(is_bytes) = is_bytes.filter(|_| clobbers) else { continue };
        let unknown = step.unknown();
        let stack = &mut step.state.frame_at_mut(frame).stack;
        let Some(slot) = stack.get_mut(index) else { continue };
        if is_bytes {
            slot::put(slot, at, 1, Byte::Misc);
        } else {
            slot.value = unknown;
            slot::scrub_bytes(slot);
        }
    }
    step.past.liveness.read(step.state, step.pc, frame, read);
    let Some(at) = failed else { return Ok(()) };
    let byte = (at - place.lowest) as u32;
    Err(if value.scalar.tnum.is_const() {
        AccessReason::StackArgument { reg: number, offset: place.lowest, byte, bytes }
    } else {
        AccessReason::VariableStackArgument { reg: number, bits: bits(), byte, bytes }
    }
    .into())
}
