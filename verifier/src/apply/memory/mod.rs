//! Loads and stores (`check_load_mem`, `check_store_reg`, `check_mem_access`), and memory that
//! helpers are given.
//!
//! Which memory may be accessed how is for [`crate::check`] to say; here is what follows from an
//! access.
//!
//! - [`mod@stack`]: loads and stores of stacks, at places known and unknown
//! - [`mod@slot`]: what they make of eight bytes
//! - [`mod@helper`]: memory that is given to helpers

mod helper;
mod slot;
mod stack;

pub(crate) use helper::{Buffer, fill, helper_memory, helper_memory_sized};

use crate::check::{self, Access, By, Region};
use crate::explore::Pointer;
use crate::facts::Target;
use crate::reject::{AccessReason, Area, Reason};
use crate::state::{Flags, Kind, Value};
use crate::step::{Flow, Step};
use ebpfvm_asm::{Operand, Reg, Size};
use ebpfvm_spec::context::{Direction, FieldKind, Pointee};
use ebpfvm_spec::platform::PacketAccess;

/// The parts of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Register that is loaded.
    pub(crate) dst: Reg,
    /// Address.
    pub(crate) base: Reg,
    /// Added to the address.
    pub(crate) offset: i16,
    /// Size of the access.
    pub(crate) size: Size,
    /// Whether the sign is extended.
    pub(crate) sign_extends: bool,
}

impl Load {
    /// As an access, aligned if so.
    pub(super) fn access(&self, aligned: bool) -> Access {
        Access {
            base: self.base,
            offset: self.offset.into(),
            bytes: self.size.bytes(),
            direction: Direction::Read,
            aligned,
        }
    }
}

/// What an access does with the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Loads them into a register.
    Load {
        /// The register.
        dst: Reg,
        /// Whether the sign is extended.
        sign_extends: bool,
    },
    /// Reads them, to change them in place.
    Read,
    /// Stores the value of a register.
    Store(Reg),
    /// Stores a number.
    StoreImm(i32),
    /// Stores what is not known.
    StoreUnknown,
}

impl Use {
    /// The register whose value is stored.
    const fn stored(self) -> Option<Reg> {
        match self {
            Use::Store(reg) => Some(reg),
            _ => None,
        }
    }
}

/// `dst = *(size *)(base + offset)`
pub(crate) fn load(step: &mut Step<'_, '_>, load: Load) -> Result<Flow, Reason> {
    load_as(step, load, false)
}

/// A load whose address must be aligned if `aligned`.
pub(super) fn load_as(step: &mut Step<'_, '_>, load: Load, aligned: bool) -> Result<Flow, Reason> {
    let pointer = step.read(load.base)?;
    step.check_writable(load.dst)?;
    let usage = Use::Load { dst: load.dst, sign_extends: load.sign_extends };
    access(step, &load.access(aligned), usage)?;
    note_pointer(step, &pointer)?;
    Ok(Flow::Next)
}

/// `*(size *)(base + offset) = src`
pub(crate) fn store(
    step: &mut Step<'_, '_>,
    base: Reg,
    offset: i16,
    size: Size,
    src: Operand,
) -> Result<Flow, Reason> {
    store_as(step, base, offset, size, src, false)
}

/// A store whose address must be aligned if `aligned`.
pub(super) fn store_as(
    step: &mut Step<'_, '_>,
    base: Reg,
    offset: i16,
    size: Size,
    src: Operand,
    aligned: bool,
) -> Result<Flow, Reason> {
    let usage = match src {
        Operand::Reg(src) => {
            step.read(src)?;
            Use::Store(src)
        }
        Operand::Imm(imm) => Use::StoreImm(imm),
    };
    let pointer = step.read(base)?;
    let direction = Direction::Write;
    let place = Access { base, offset: offset.into(), bytes: size.bytes(), direction, aligned };
    access(step, &place, usage)?;
    note_pointer(step, &pointer)?;
    Ok(Flow::Next)
}

/// Whether what a helper is given is aligned to so many bytes (`MEM_ALIGNED`).
///
/// # Errors
/// If it is not.
pub(crate) fn aligned(step: &Step<'_, '_>, base: Reg, bytes: u32) -> Result<(), Reason> {
    let access = Access { base, offset: 0, bytes, direction: Direction::Read, aligned: true };
    check::alignment(step.subject, step.reg(base), &access)
}

/// Stores of unknown bytes at `offset` from a pointer, as helpers do.
///
/// # Errors
/// As for every store.
pub(crate) fn store_unknown(
    step: &mut Step<'_, '_>,
    base: Reg,
    offset: i32,
    bytes: u32,
) -> Result<(), Reason> {
    let direction = Direction::Write;
    access(step, &Access { base, offset, bytes, direction, aligned: false }, Use::StoreUnknown)
}

/// Whether code for one kind of pointer would be given another: contexts and sockets are read by
/// code of their own (`save_aux_ptr_type`).
///
/// # Errors
/// If another path came with a pointer that needs other code.
pub(super) fn note_pointer(step: &mut Step<'_, '_>, value: &Value) -> Result<(), Reason> {
    let pointer = match value.kind {
        Kind::Ctx => Pointer::Ctx,
        Kind::Sock => Pointer::Socket(Pointee::Sock),
        Kind::SockCommon => Pointer::Socket(Pointee::SockCommon),
        Kind::TcpSock => Pointer::Socket(Pointee::TcpSock),
        Kind::XdpSock => Pointer::Socket(Pointee::XdpSock),
        _ => Pointer::Memory,
    };
    let seen = step.past.insn_mut(step.pc).pointer.get_or_insert(pointer);
    if *seen == pointer { Ok(()) } else { Err(AccessReason::MixedPointers.into()) }
}

/// Checks an access and applies what it does (`check_mem_access`).
///
/// # Errors
/// Why it is not allowed.
pub(super) fn access(step: &mut Step<'_, '_>, access: &Access, usage: Use) -> Result<(), Reason> {
    let pointer = *step.reg(access.base);
    let (base, bytes) = (access.base, access.bytes);
    check::alignment(step.subject, &pointer, access)?;
    let offset = pointer.offset.wrapping_add(access.offset);
    let range = check::Range { offset, bytes, zero_allowed: false };
    let reg = base.number();
    let found = || pointer.type_name().to_string();
    let no_memory = || Reason::from(AccessReason::NoMemory { reg, found: found() });
    let read_only = || Reason::from(AccessReason::ReadOnly { reg, found: found() });
    // Memory may be read-only or a record of a ring buffer; all else with a modifier is no memory.
    let allowed = match pointer.kind {
        Kind::Mem { .. } | Kind::Buf => Flags::READ_ONLY.and(Flags::RINGBUF),
        _ => Flags::NONE,
    };
    if pointer.flags.without(allowed) != Flags::NONE {
        return Err(no_memory());
    }
    let is_read_only = pointer.flags.has(Flags::READ_ONLY);
    let writes = access.writes();
    let target = match pointer.kind {
        Kind::Stack { .. } => {
            stack::access(step, access, usage)?;
            step.past.facts.access(step.pc, Target::Stack, &pointer, access.offset.into());
            return Ok(());
        }
        Kind::Ctx => {
            check_leak(step, usage, "ctx")?;
            check::fixed_offset(&pointer, base, false)?;
            let sign_extends = matches!(usage, Use::Load { sign_extends: true, .. });
            let field = check::context(step.subject, access, sign_extends)?;
            step.past.facts.access(step.pc, Target::Context, &pointer, access.offset.into());
            return load_field(step, usage, bytes, field);
        }
        Kind::MapValue(map) => {
            check_leak(step, usage, "map")?;
            let map = step.subject.map(map.map);
            check::map_direction(map, access.direction, offset, bytes)?;
            check::map_value(step.subject, &pointer, base, range, By::Insn)?;
            let variable = pointer.scalar.tnum.as_const();
            let known = variable.and_then(|variable| {
                check::known_content(map, (variable as i64).wrapping_add(offset.into()), bytes)
            });
            if let Some(number) = known {
                step.past.facts.access(step.pc, Target::MapValue, &pointer, access.offset.into());
                let precise = step.unknown().precise;
                give(step, usage, bytes, Value { precise, ..Value::constant(number) });
                return Ok(());
            }
            Target::MapValue
        }
        Kind::MapKey(map) => {
            if writes {
                return Err(AccessReason::StoreToKey { reg }.into());
            }
            let limit = step.subject.map(map.map).def.key_bytes;
            check::memory_region(&pointer, base, range, Region { area: Area::MapKey, limit })?;
            Target::Memory
        }
        Kind::Packet { .. } | Kind::PacketMeta { .. } => {
            if writes && step.subject.def.packet < PacketAccess::Store {
                return Err(AccessReason::ReadOnlyPacket.into());
            }
            check_leak(step, usage, "packet")?;
            check::packet(&pointer, base, range)?;
            Target::Packet
        }
        Kind::Mem { bytes: limit, .. } => {
            if writes && is_read_only {
                return Err(read_only());
            }
            check_leak(step, usage, "mem")?;
            check::memory_region(&pointer, base, range, Region { area: Area::Memory, limit })?;
            Target::Memory
        }
        Kind::FlowKeys => {
            check_leak(step, usage, "flow keys")?;
            check::flow_keys(step.subject, &pointer, access)?;
            Target::FlowKeys
        }
        Kind::Sock | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock => {
            if writes {
                return Err(read_only());
            }
            let shown = match pointer.kind {
                Kind::Sock => Pointee::Sock,
                Kind::SockCommon => Pointee::SockCommon,
                Kind::TcpSock => Pointee::TcpSock,
                _ => Pointee::XdpSock,
            };
            check::socket(step.subject, &pointer, access, shown)?;
            Target::Socket
        }
        Kind::TpBuffer => {
            check::buffer(&pointer, base, offset, bytes)?;
            Target::Buffer
        }
        Kind::Buf => {
            if writes && is_read_only {
                return Err(read_only());
            }
            check::buffer(&pointer, base, offset, bytes)?;
            Target::Buffer
        }
        Kind::MapPtr(map) => {
            check::map_struct(step.subject, map.map, base, offset, access)?;
            Target::Map
        }
        Kind::Uninit | Kind::Scalar | Kind::PacketEnd | Kind::Func(_) | Kind::Dynptr { .. } => {
            return Err(no_memory());
        }
    };
    step.past.facts.access(step.pc, target, &pointer, access.offset.into());
    let unknown = step.unknown();
    give(step, usage, bytes, unknown);
    Ok(())
}

/// That a store does not show a pointer to those who see the memory.
fn check_leak(step: &Step<'_, '_>, usage: Use, into: &'static str) -> Result<(), Reason> {
    match usage.stored() {
        Some(reg) if step.is_secret(step.reg(reg)) => {
            Err(AccessReason::Leak { reg: reg.number(), into }.into())
        }
        _ => Ok(()),
    }
}

/// Puts what was loaded into its register, a number cut to the size of the load; nothing if it is no
/// load into one.
fn give(step: &mut Step<'_, '_>, usage: Use, bytes: u32, mut value: Value) {
    let Use::Load { dst, sign_extends } = usage else { return };
    if bytes < 8 && value.is_number() {
        let bits = 8 * bytes;
        value.scalar = if sign_extends {
            value.scalar.sign_extend(bits)
        } else {
            value.scalar.zero_extend(bits)
        };
    }
    if value.is_number() {
        value.scalar.settle();
    }
    step.write(dst, value);
}

/// Puts what a field of the context holds into the register that is loaded.
fn load_field(
    step: &mut Step<'_, '_>,
    usage: Use,
    bytes: u32,
    field: FieldKind,
) -> Result<(), Reason> {
    let value = match field {
        FieldKind::Scalar => step.unknown(),
        FieldKind::PacketStart => Value::pointer(Kind::Packet { range: 0 }),
        FieldKind::PacketEnd => Value::pointer(Kind::PacketEnd),
        FieldKind::PacketMeta => Value::pointer(Kind::PacketMeta { range: 0 }),
        FieldKind::Pointer(pointee) => Value::pointer(check::pointee(pointee)),
        FieldKind::PointerOrNull(pointee) => {
            let pointer = Value::pointer(check::pointee(pointee)).with(Flags::MAYBE_NULL);
            match usage {
                Use::Load { .. } => pointer.with_id(step.new_id()),
                _ => pointer,
            }
        }
    };
    give(step, usage, bytes, value);
    Ok(())
}
