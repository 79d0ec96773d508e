//! Accesses to packets and their metadata (`check_packet_access`).

use super::region::{Range, Region};
use crate::reject::{AccessReason, Area, Reason};
use crate::state::{Kind, Value};
use ebpfvm_asm::Reg;

/// Whether bytes were compared with the end of the packet. The range that a comparison gave counts
/// from the variable part of the offset.
///
/// # Errors
/// If they were not.
pub(crate) fn packet(value: &Value, reg: Reg, range: Range) -> Result<(), Reason> {
    let (Kind::Packet { range: known } | Kind::PacketMeta { range: known }) = value.kind else {
        return Err(Reason::internal("an access to a packet through something else"));
    };
    let number = reg.number();
    if value.scalar.full.smin < 0 {
        return Err(AccessReason::NegativeIndex { reg: number }.into());
    }
    let Ok(limit) = u32::try_from(known) else {
        return Err(AccessReason::BeyondPacket { reg: number }.into());
    };
    let region = Region { area: Area::Packet { reg: number, id: value.id }, limit };
    let outside = |access| AccessReason::OutsidePacket { access, reg: number };
    range.within(0, region).map_err(outside)?;
    Ok(())
}
