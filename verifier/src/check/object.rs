//! Accesses to contexts and to objects that the host shows field by field: sockets, flow keys,
//! buffers.

use super::access::Access;
use crate::reject::{AccessReason, Reason};
use crate::state::{Flags, Kind, Value};
use crate::subject::Subject;
use ebpfvm_asm::Reg;
use ebpfvm_spec::context::{ContextAccess, ContextDef, FieldKind, Pointee};

/// What an access to the context gives (`check_ctx_access`).
///
/// `sign_extends` says whether it is a load that extends the sign.
///
/// # Errors
/// If the context of the program does not allow it.
pub(crate) fn context(
    subject: &Subject<'_>,
    access: &Access,
    sign_extends: bool,
) -> Result<FieldKind, Reason> {
    let Some(context) = &subject.def.context else {
        return Err(Reason::unsupported("the context of this program type"));
    };
    match field(subject, context, access, access.offset, sign_extends) {
        Some(kind) => Ok(kind),
        None => {
            let (offset, bytes) = (access.offset.into(), access.bytes.into());
            Err(AccessReason::Context { offset, bytes }.into())
        }
    }
}

fn field(
    subject: &Subject<'_>,
    layout: &ContextDef,
    access: &Access,
    offset: i32,
    sign_extends: bool,
) -> Option<FieldKind> {
    let access = ContextAccess {
        prog_type: subject.program.prog_type,
        attach_type: subject.attach_type,
        offset: u32::try_from(offset).ok()?,
        bytes: access.bytes,
        direction: access.direction,
        sign_extends,
    };
    layout.access(&access).map(|field| field.kind)
}

/// What a pointer in a context points to.
pub(crate) const fn pointee(pointee: Pointee) -> Kind {
    match pointee {
        Pointee::SockCommon => Kind::SockCommon,
        Pointee::Sock => Kind::Sock,
        Pointee::TcpSock => Kind::TcpSock,
        Pointee::XdpSock => Kind::XdpSock,
        Pointee::FlowKeys => Kind::FlowKeys,
        Pointee::TpBuffer => Kind::TpBuffer,
    }
}

/// Whether a load from a socket is one of a field that it shows (`check_sock_access`).
///
/// # Errors
/// If it is not.
pub(crate) fn socket(
    subject: &Subject<'_>,
    value: &Value,
    access: &Access,
    shown: Pointee,
) -> Result<(), Reason> {
    let reg = access.base.number();
    if value.scalar.full.smin < 0 {
        return Err(AccessReason::NegativeIndex { reg }.into());
    }
    if value.scalar.tnum.as_const() != Some(0) {
        return Err(Reason::internal("a socket at a variable offset"));
    }
    let offset = value.offset.wrapping_add(access.offset);
    let layout = subject.platform.object(shown).map(|object| &object.layout);
    match layout.and_then(|layout| field(subject, layout, access, offset, false)) {
        Some(_) => Ok(()),
        None => {
            let found = value.type_name().to_string();
            Err(AccessReason::Socket { reg, found, offset, bytes: access.bytes }.into())
        }
    }
}

/// Whether an access to flow keys lies in them (`check_flow_keys_access`).
///
/// # Errors
/// If it does not.
pub(crate) fn flow_keys(
    subject: &Subject<'_>,
    value: &Value,
    access: &Access,
) -> Result<(), Reason> {
    if value.scalar.tnum.as_const() != Some(0) {
        return Err(Reason::internal("flow keys at a variable offset"));
    }
    let (offset, bytes) = (value.offset.wrapping_add(access.offset), access.bytes);
    let keys = subject.platform.object(Pointee::FlowKeys);
    let limit = keys.map_or(0, |keys| keys.layout.bytes);
    let end = u32::try_from(offset).ok().and_then(|start| start.checked_add(bytes));
    if end.is_some_and(|end| end <= limit) {
        Ok(())
    } else {
        Err(AccessReason::FlowKeys { offset, bytes }.into())
    }
}

/// Whether an access to a buffer of unknown length is at a fixed place that is not before it
/// (`__check_buffer_access`). `offset` includes the fixed offset of the pointer.
///
/// # Errors
/// If it is not.
pub(crate) fn buffer(value: &Value, reg: Reg, offset: i32, bytes: u32) -> Result<(), Reason> {
    let reg = reg.number();
    if offset < 0 {
        let what = match value.kind {
            Kind::TpBuffer => "tracepoint",
            _ if value.flags.has(Flags::READ_ONLY) => "rdonly",
            _ => "rdwr",
        };
        return Err(AccessReason::BeforeBuffer { reg, what, offset, bytes }.into());
    }
    if value.scalar.tnum.as_const() != Some(0) {
        let bits = value.scalar.tnum.to_string();
        return Err(AccessReason::VariableBuffer { reg, offset, bits }.into());
    }
    Ok(())
}
