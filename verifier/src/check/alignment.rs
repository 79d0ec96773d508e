//! Whether addresses are multiples of the size of the access (`check_ptr_alignment`).

use super::Access;
use crate::domain::Tnum;
use crate::reject::{AccessReason, Reason};
use crate::state::{Flags, Kind, Value};
use crate::subject::Subject;

/// How far the third byte of a frame, the first behind an odd Ethernet header, is aligned
/// (`NET_IP_ALIGN`).
const PACKET_START: i32 = 2;

/// Whether an access through `value` is aligned, if it must be.
///
/// # Errors
/// If it is not.
pub(crate) fn alignment(
    subject: &Subject<'_>,
    value: &Value,
    access: &Access,
) -> Result<(), Reason> {
    // Spills and fills are followed on aligned slots only.
    let on_stack = matches!(value.kind, Kind::Stack { .. });
    let strict = on_stack || access.aligned || subject.strict_alignment();
    if !strict || access.bytes == 1 {
        return Ok(());
    }
    let Access { offset, bytes, .. } = *access;
    let is_packet = value.is_packet() && value.flags == Flags::NONE;
    let start = if is_packet { PACKET_START } else { 0 };
    let fixed = i64::from(start) + i64::from(value.offset) + i64::from(offset);
    let place = value.scalar.tnum.add(Tnum::constant(fixed as u64));
    if place.is_aligned(u64::from(bytes)) {
        return Ok(());
    }
    let bits = value.scalar.tnum.to_string();
    let fixed = value.offset;
    Err(if is_packet {
        AccessReason::MisalignedPacket { bits, fixed, offset, bytes }
    } else {
        AccessReason::Misaligned { what: description(value), bits, fixed, offset, bytes }
    }
    .into())
}

fn description(value: &Value) -> &'static str {
    if value.flags != Flags::NONE {
        return "";
    }
    match value.kind {
        Kind::FlowKeys => "flow keys ",
        Kind::MapKey(_) => "key ",
        Kind::MapValue(_) => "value ",
        Kind::Ctx => "context ",
        Kind::Stack { .. } => "stack ",
        Kind::Sock => "sock ",
        Kind::SockCommon => "sock_common ",
        Kind::TcpSock => "tcp_sock ",
        Kind::XdpSock => "xdp_sock ",
        _ => "",
    }
}
