//! Atomic operations (`check_atomic`).

use super::memory::{self, Load, Use};
use crate::check::Access;
use crate::reject::{AccessReason, Reason};
use crate::state::{Flags, Kind, Value};
use crate::step::{Flow, Step};
use ebpfvm_asm::{AtomicOp, Operand, Reg, Size};
use ebpfvm_spec::context::Direction;

/// A read-modify-write operation (`check_atomic_rmw`).
pub(crate) fn read_modify_write(
    step: &mut Step<'_, '_>,
    op: AtomicOp,
    size: Size,
    base: Reg,
    offset: i16,
    src: Reg,
) -> Result<Flow, Reason> {
    if !matches!(size, Size::W | Size::Dw) {
        return Err(AccessReason::AtomicSize.into());
    }
    let operand = step.read(src)?;
    step.read(base)?;
    if op == AtomicOp::Cmpxchg {
        let expected = step.read(Reg::R0)?;
        check_leak(step, &expected, Reg::R0)?;
    }
    check_leak(step, &operand, src)?;
    if !takes_atomics(step.reg(base)) {
        return Err(
            AccessReason::AtomicStore { reg: base.number(), found: name(step, base) }.into()
        );
    }
    let fetched = op.fetches_into(src);
    if let Some(dst) = fetched {
        step.check_writable(dst)?;
        step.write_unknown(dst);
    }
    let direction = Direction::Read;
    let read =
        Access { base, offset: offset.into(), bytes: size.bytes(), direction, aligned: true };
    memory::access(step, &read, Use::Read)?;
    if let Some(dst) = fetched {
        memory::access(step, &read, Use::Load { dst, sign_extends: false })?;
    }
    let pointer = *step.reg(base);
    memory::note_pointer(step, &pointer)?;
    let write = Access { direction: Direction::Write, ..read };
    memory::access(step, &write, Use::StoreUnknown)?;
    Ok(Flow::Next)
}

/// A load with acquire order (`check_atomic_load`).
pub(crate) fn load_acquire(
    step: &mut Step<'_, '_>,
    size: Size,
    dst: Reg,
    base: Reg,
    offset: i16,
) -> Result<Flow, Reason> {
    let pointer = *step.reg(base);
    memory::load_as(step, Load { dst, base, offset, size, sign_extends: false }, true)?;
    if takes_atomics(&pointer) {
        Ok(Flow::Next)
    } else {
        let found = pointer.type_name().to_string();
        Err(AccessReason::AtomicLoad { reg: base.number(), found }.into())
    }
}

/// A store with release order (`check_atomic_store`).
pub(crate) fn store_release(
    step: &mut Step<'_, '_>,
    size: Size,
    base: Reg,
    offset: i16,
    src: Reg,
) -> Result<Flow, Reason> {
    memory::store_as(step, base, offset, size, Operand::Reg(src), true)?;
    if takes_atomics(step.reg(base)) {
        Ok(Flow::Next)
    } else {
        Err(AccessReason::AtomicStore { reg: base.number(), found: name(step, base) }.into())
    }
}

/// Whether atomic operations on what a value points to are allowed (`atomic_ptr_type_ok`). Whether it
/// is memory at all is for the access to say.
fn takes_atomics(value: &Value) -> bool {
    let is_other = matches!(
        value.kind,
        Kind::Ctx
            | Kind::Packet { .. }
            | Kind::PacketMeta { .. }
            | Kind::FlowKeys
            | Kind::Sock
            | Kind::SockCommon
            | Kind::TcpSock
            | Kind::XdpSock
    );
    !is_other || value.flags != Flags::NONE
}

fn name(step: &Step<'_, '_>, reg: Reg) -> String {
    step.reg(reg).type_name().to_string()
}

fn check_leak(step: &Step<'_, '_>, value: &Value, reg: Reg) -> Result<(), Reason> {
    if step.is_secret(value) {
        Err(AccessReason::Leak { reg: reg.number(), into: "mem" }.into())
    } else {
        Ok(())
    }
}
