//! Bytes and properties of socket buffers (`net/core/filter.c`). What changes their shape is in
//! `skb_shape.rs`.

use super::{Call, Outcome, Stop};
use crate::context::Context;
use crate::packet::Packet;
use ebpfvm_spec::{Direction, Errno, ProgType};

/// `ETH_P_IP`, `ETH_P_IPV6` and the tags of VLANs (`ETH_P_8021Q`, `ETH_P_8021AD`).
pub(super) const ETH_IP: u16 = 0x0800;
pub(super) const ETH_IPV6: u16 = 0x86dd;
pub(super) const ETH_8021Q: u16 = 0x8100;
pub(super) const ETH_8021AD: u16 = 0x88a8;

/// Bytes of headers without options.
pub(super) const IPV4_BYTES: usize = 20;
pub(super) const IPV6_BYTES: usize = 40;

/// The packet behind the context that an argument is.
///
/// # Errors
/// A trap if the argument is no context or has no packet.
pub(super) fn packet<'a>(call: &'a mut Call<'_, '_>, number: usize) -> Result<&'a Packet, Stop> {
    let trap = call.bad_arg(number, "is a context without a packet");
    call.ctx(number)?.visible_packet().ok_or_else(|| trap.into())
}

/// Changes the packet behind the context that an argument is; its addresses are taken anew.
///
/// # Errors
/// As [`packet`].
pub(super) fn change<R>(
    call: &mut Call<'_, '_>,
    number: usize,
    change: impl FnOnce(&mut Packet) -> R,
) -> Result<R, Stop> {
    let trap = call.bad_arg(number, "is a context without a packet");
    let result = call.ctx(number)?.change_packet(change).ok_or(trap)?;
    call.packet_changed();
    Ok(result)
}

/// Puts zeros before the first byte that programs see; a header that they do not see stays before
/// that.
pub(super) fn push_front(call: &mut Call<'_, '_>, number: usize, bytes: usize) -> Result<(), Stop> {
    reshape(call, number, |packet, hidden| packet.insert(hidden, bytes))
}

/// Changes the packet together with the header that programs do not see, whose length the change
/// is told; it stays before the first byte that they see.
pub(super) fn reshape<R>(
    call: &mut Call<'_, '_>,
    number: usize,
    reshape: impl FnOnce(&mut Packet, usize) -> R,
) -> Result<R, Stop> {
    let hidden = call.ctx(number)?.hidden_bytes();
    change(call, number, |packet| {
        // What was hidden can always be shown.
        let hidden = if packet.shift_start(-(hidden as i32)) { hidden } else { 0 };
        let result = reshape(packet, hidden);
        packet.shift_start(hidden as i32);
        result
    })
}

/// A field of the context; 0 if it has none of that name.
pub(super) fn field(ctx: &Context, name: &str) -> u64 {
    ctx.field(name).unwrap_or(0)
}

/// Sets a field of the context that a helper maintains. The names are those of `__sk_buff`, the
/// only context that these helpers are called with; one without the field has nothing to keep.
pub(super) fn set_field(ctx: &mut Context, name: &str, value: u64) {
    let _ = ctx.set_field(name, value);
}

/// The protocol of the packet after its Ethernet header, in host order (`skb->protocol`).
pub(super) fn protocol(ctx: &Context) -> u16 {
    u16::from_be(field(ctx, "protocol") as u16)
}

/// Sets the protocol.
pub(super) fn set_protocol(ctx: &mut Context, protocol: u16) {
    set_field(ctx, "protocol", protocol.to_be().into());
}

/// Forgets the hash of the flow (`skb_clear_hash`).
pub(super) fn clear_hash(ctx: &mut Context) {
    ctx.skb.hash_known = false;
    set_field(ctx, "hash", 0);
}

/// Copies `len` bytes at `offset` of `data` to argument `to`; zeros if they are not all there.
fn load(
    call: &mut Call<'_, '_>,
    to: usize,
    len: usize,
    data: impl FnOnce(&mut Call<'_, '_>) -> Result<Option<super::Bytes>, Stop>,
) -> Outcome {
    call.check(to, len, Direction::Write)?;
    match data(call)? {
        Some(data) => {
            call.write(to, &data)?;
            Ok(0)
        }
        None => {
            call.write(to, &vec![0; len])?;
            Err(Errno::EFAULT.into())
        }
    }
}

/// The part of `data` with `len` bytes at `offset`.
fn part(data: &[u8], offset: usize, len: usize) -> Option<super::Bytes> {
    data.get(offset..offset.checked_add(len)?).map(Into::into)
}

/// `skb_load_bytes(skb, offset, to, len)`. A flow dissector has a window of bytes but no socket
/// buffer, as in a test-run (`bpf_flow_dissector_load_bytes`).
pub(super) fn load_bytes(call: &mut Call<'_, '_>) -> Outcome {
    let (offset, len) = (call.arg_u32(2) as usize, call.size(4)?);
    let has_buffer = call.prog_type() != ProgType::FlowDissector;
    load(call, 3, len, |call| {
        let data = packet(call, 1)?.data();
        Ok(if has_buffer { part(data, offset, len) } else { None })
    })
}

/// `skb_load_bytes_relative(skb, offset, to, len, start_header)`
pub(super) fn load_bytes_relative(call: &mut Call<'_, '_>) -> Outcome {
    const HDR_START_MAC: u32 = 0;
    const HDR_START_NET: u32 = 1;
    let (offset, len, header) = (call.arg_u32(2) as usize, call.size(4)?, call.arg_u32(5));
    load(call, 3, len, |call| {
        const ETHERNET_BYTES: usize = 14;
        let packet = packet(call, 1)?.data().len();
        let ctx = call.ctx(1)?;
        let whole = ctx.packet_data().unwrap_or_default();
        if let (Some(headers), ProgType::SkReuseport) = (ctx.bytes("headers"), ctx.prog_type()) {
            let start = match header {
                HDR_START_MAC => 0,
                HDR_START_NET => ETHERNET_BYTES,
                _ => return Ok(None),
            };
            let frame = [headers, whole].concat();
            return Ok(if offset > 0xffff { None } else { part(&frame, start + offset, len) });
        }
        let start = match header {
            HDR_START_MAC => 0,
            HDR_START_NET => whole.len() - packet + ctx.skb.network,
            _ => return Ok(None),
        };
        Ok(if offset > 0xffff { None } else { part(whole, start + offset, len) })
    })
}

/// `skb_store_bytes(skb, offset, from, len, flags)`. No packet here has a checksum over all of it
/// that `BPF_F_RECOMPUTE_CSUM` would keep right.
pub(super) fn store_bytes(call: &mut Call<'_, '_>) -> Outcome {
    const RECOMPUTE_CSUM: u64 = 1 << 0;
    const INVALIDATE_HASH: u64 = 1 << 1;
    let mut from = super::Bytes::new();
    call.memory_into(3, &mut from)?;
    let flags = call.flags(5, RECOMPUTE_CSUM | INVALIDATE_HASH)?;
    let offset = call.arg_u32(2) as usize;
    let fits = packet(call, 1)?.data().len().checked_sub(offset).is_some_and(|n| n >= from.len());
    if !fits {
        return Err(Errno::EFAULT.into());
    }
    change(call, 1, |packet| {
        packet.data_mut()[offset..offset + from.len()].copy_from_slice(&from);
    })?;
    if flags & INVALIDATE_HASH != 0 {
        clear_hash(call.ctx(1)?);
    }
    Ok(0)
}

/// `skb_pull_data(skb, len)`: packets here are always in one piece.
pub(super) fn pull_data(call: &mut Call<'_, '_>) -> Outcome {
    let len = call.arg_u32(2) as usize;
    if len > packet(call, 1)?.data().len() {
        return Err(Errno::ENOMEM.into());
    }
    call.packet_changed();
    Ok(0)
}

/// `skb_change_type(skb, type)`
pub(super) fn change_type(call: &mut Call<'_, '_>) -> Outcome {
    /// `PACKET_OTHERHOST`, the last type of received packets.
    const LAST: u64 = 3;
    let new = call.arg_u32(2).into();
    let ctx = call.ctx(1)?;
    if new > LAST || field(ctx, "pkt_type") > LAST {
        return Err(Errno::EINVAL.into());
    }
    set_field(ctx, "pkt_type", new);
    Ok(0)
}

/// `get_hash_recalc(skb)`: the hash of the packet's flow, computed if it is not known. The kernel's
/// has a random key; equal are only those of equal flows.
pub(super) fn get_hash(call: &mut Call<'_, '_>) -> Outcome {
    packet(call, 1)?;
    let ctx = call.ctx(1)?;
    if !ctx.skb.hash_known && field(ctx, "hash") == 0 {
        let network = ctx.visible_packet().map(|p| p.data()).unwrap_or_default();
        let hash = flow_hash(protocol(ctx), network.get(ctx.skb.network..).unwrap_or_default());
        set_field(ctx, "hash", hash.into());
    }
    ctx.skb.hash_known = true;
    Ok(field(ctx, "hash"))
}

/// A hash of addresses, protocol and ports, the same in both directions and never 0.
fn flow_hash(protocol: u16, header: &[u8]) -> u32 {
    let (source, target, transport, rest) = match (protocol, header) {
        (ETH_IP, [first, ..]) if header.len() >= IPV4_BYTES => {
            let rest = header.get(usize::from(first & 0xf) * 4..).unwrap_or_default();
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            let rest = if fragment { &[] } else { rest };
            (&header[12..16], &header[16..20], header[9], rest)
        }
        (ETH_IPV6, _) if header.len() >= IPV6_BYTES => {
            (&header[8..24], &header[24..40], header[6], &header[IPV6_BYTES..])
        }
        _ => (&[][..], &[][..], 0, &[][..]),
    };
    let has_ports = matches!(transport, 6 | 17 | 33 | 132) && rest.len() >= 4;
    let (a, b) = if has_ports { (&rest[..2], &rest[2..4]) } else { (&rest[..0], &rest[..0]) };
    let mut ends = [(source, a), (target, b)];
    ends.sort();
    let bytes = ends.iter().flat_map(|(address, port)| address.iter().chain(*port));
    let start = u32::from(protocol) << 8 | u32::from(transport);
    // FNV-1a.
    let hash = bytes.fold(0x811c_9dc5 ^ start, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

/// `set_hash_invalid(skb)`
pub(super) fn set_hash_invalid(call: &mut Call<'_, '_>) -> Outcome {
    clear_hash(call.ctx(1)?);
    Ok(0)
}

/// `set_hash(skb, hash)`
pub(super) fn set_hash(call: &mut Call<'_, '_>) -> Outcome {
    let hash = call.arg_u32(2).into();
    let ctx = call.ctx(1)?;
    set_field(ctx, "hash", hash);
    ctx.skb.hash_known = true;
    Ok(0)
}

/// `skb_set_tstamp(skb, tstamp, tstamp_type)`
pub(super) fn set_tstamp(call: &mut Call<'_, '_>) -> Outcome {
    /// After it come the monotonic and the atomic clock.
    const REALTIME: u32 = 0;
    const LAST: u32 = 2;
    let (tstamp, clock) = (call.arg(2), call.arg_u32(3));
    let ctx = call.ctx(1)?;
    if !matches!(protocol(ctx), ETH_IP | ETH_IPV6) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if clock > LAST || (clock != REALTIME && tstamp == 0) {
        return Err(Errno::EINVAL.into());
    }
    set_field(ctx, "tstamp", tstamp);
    set_field(ctx, "tstamp_type", clock.into());
    Ok(0)
}

/// `skb_ecn_set_ce(skb)`: 1 if the packet then says that there is congestion.
pub(super) fn ecn_set_ce(call: &mut Call<'_, '_>) -> Outcome {
    packet(call, 1)?;
    let ctx = call.ctx(1)?;
    let at = ctx.skb.network;
    let data = ctx.visible_packet().map(|p| p.data()).unwrap_or_default();
    // The header is looked for behind the Ethernet header even when a tag is there.
    let (set_ce, header_bytes): (fn(&mut [u8]) -> bool, _) =
        match network_protocol(protocol(ctx), data) {
            ETH_IP => (set_ce_ipv4, IPV4_BYTES),
            ETH_IPV6 => (set_ce_ipv6, IPV6_BYTES),
            _ => return Ok(0),
        };
    if at + header_bytes > data.len() {
        return Ok(0);
    }
    change(call, 1, |packet| set_ce(&mut packet.data_mut()[at..])).map(u64::from)
}

/// The protocol below VLAN tags of the packet (`vlan_get_protocol`).
fn network_protocol(protocol: u16, data: &[u8]) -> u16 {
    let mut protocol = protocol;
    let mut at = crate::packet::MIN_BYTES;
    while matches!(protocol, ETH_8021Q | ETH_8021AD) {
        let Some(tag) = data.get(at..at + 4) else { return 0 };
        protocol = u16::from_be_bytes([tag[2], tag[3]]);
        at += 4;
    }
    protocol
}

/// The bits of an IP header about congestion: both, and none if its sender does not know of them.
const CE: u8 = 3;
const NOT_ECT: u8 = 0;

/// Marks congestion in an IPv4 header, if its sender can take it, and corrects the checksum; returns
/// whether it is marked (`IP_ECN_set_ce`).
fn set_ce_ipv4(header: &mut [u8]) -> bool {
    let old = u16::from_be_bytes([header[0], header[1]]);
    match header[1] & CE {
        NOT_ECT => return false,
        CE => return true,
        _ => header[1] |= CE,
    }
    let new = u16::from_be_bytes([header[0], header[1]]);
    let sum = u32::from(!u16::from_be_bytes([header[10], header[11]]));
    let sum = sum + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// The same for an IPv6 header (`IP6_ECN_set_ce`).
fn set_ce_ipv6(header: &mut [u8]) -> bool {
    match header[1] >> 4 & CE {
        NOT_ECT => return false,
        CE => return true,
        _ => header[1] |= CE << 4,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_flow_have_one_hash() {
        let mut header = [0u8; 24];
        header[0] = 0x45;
        header[9] = 6;
        header[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        header[20..24].copy_from_slice(&[0x30, 0x39, 0, 80]);
        let there = flow_hash(ETH_IP, &header);
        header[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
        header[20..24].copy_from_slice(&[0, 80, 0x30, 0x39]);
        assert_eq!(flow_hash(ETH_IP, &header), there);
        header[23] = 58;
        assert_ne!(flow_hash(ETH_IP, &header), there);
        assert_ne!(flow_hash(0, &[]), 0);
    }
}
