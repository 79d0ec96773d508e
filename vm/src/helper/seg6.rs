//! Segment routing: headers with the addresses that a packet visits (`net/core/filter.c`,
//! `net/ipv6/seg6_iptunnel.c`, `net/ipv6/seg6_local.c`).
//!
//! Where a packet goes next is asked of the host's routes; the answer is all that the helpers give.
//! A header is checked before it goes into a packet; of one that a packet has, nothing is taken for
//! granted.

use super::skb::{ETH_IPV6, change, field, packet, protocol, push_front, reshape};
use super::{Call, Outcome, Stop};
use crate::host::{RouteKind, RouteQuery};
use crate::packet::SKB_MAX_BYTES;
use crate::segments::{
    HEADER_BYTES, IPV6, IPV6_BYTES, ROUTING, SEGMENT_BYTES, SegmentHeader, find_header, is_valid,
};
use ebpfvm_spec::Errno;
use std::net::{IpAddr, Ipv6Addr};

/// The device that packets to this machine take, whose number is the first.
const LOOPBACK: u32 = 1;

/// Where a header of segments goes (`BPF_LWT_ENCAP_SEG6`, `BPF_LWT_ENCAP_SEG6_INLINE`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    /// Before the packet, behind a new IPv6 header.
    Before,
    /// Behind the packet's own IPv6 header.
    Inside,
}

/// The address at a place of a packet.
fn address(data: &[u8], at: usize) -> Result<Ipv6Addr, Errno> {
    let octets = data.get(at..).and_then(|rest| rest.first_chunk::<16>());
    octets.map(|octets| Ipv6Addr::from(*octets)).ok_or(Errno::EBADMSG)
}

/// Asks the host whether there is a way to an address or, without one, to where the packet goes; in
/// a table or, with 0, by the rules (`seg6_lookup_nexthop`). What is for this machine has none.
fn next_hop(call: &mut Call<'_, '_>, to: Option<Ipv6Addr>, table: u32) -> Outcome {
    let data = packet(call, 1)?.data();
    let (from, own) = (address(data, 8)?, address(data, 24)?);
    let ctx = call.ctx(1)?;
    let query = RouteQuery {
        table: (table != 0).then_some(table),
        to: IpAddr::V6(to.unwrap_or(own)),
        from: IpAddr::V6(from),
        arrives: field(ctx, "ifindex") as u32,
        leaves: None,
        mark: field(ctx, "mark") as u32,
    };
    let route = call.host().route(&query).ok_or(Errno::ENETUNREACH)?;
    match route.kind {
        RouteKind::Unicast if route.ifindex != LOOPBACK => Ok(0),
        RouteKind::Unicast | RouteKind::Local | RouteKind::Blackhole => Err(Errno::EINVAL.into()),
        RouteKind::Unreachable => Err(Errno::EHOSTUNREACH.into()),
        RouteKind::Prohibit => Err(Errno::EACCES.into()),
        RouteKind::Throw => Err(Errno::EAGAIN.into()),
    }
}

/// Puts a header of segments into or before the packet, which then goes to the first of them
/// (`bpf_push_seg6_encap`).
pub(super) fn push(call: &mut Call<'_, '_>, how: Push, header: &[u8]) -> Outcome {
    if !is_valid(header, false) {
        return Err(Errno::EINVAL.into());
    }
    let is_ipv6 = protocol(call.ctx(1)?) == ETH_IPV6;
    if how == Push::Inside && !is_ipv6 {
        return Err(Errno::EBADMSG.into());
    }
    let bytes = packet(call, 1)?.data().len();
    if is_ipv6 && bytes < IPV6_BYTES {
        return Err(Errno::EBADMSG.into());
    }
    if bytes + IPV6_BYTES + header.len() > SKB_MAX_BYTES {
        return Err(Errno::ENOMEM.into());
    }
    match how {
        Push::Inside => push_inside(call, header)?,
        Push::Before => push_before(call, header, is_ipv6)?,
    }
    seal(call, header.len())?;
    let ctx = call.ctx(1)?;
    (ctx.skb.network, ctx.skb.transport) = (0, Some(IPV6_BYTES));
    next_hop(call, None, 0)
}

/// `seg6_do_srh_inline`: the packet's destination becomes the last segment.
fn push_inside(call: &mut Call<'_, '_>, header: &[u8]) -> Result<(), Stop> {
    make_room(call, header.len())?;
    change(call, 1, |packet| {
        let data = packet.data_mut();
        data.copy_within(header.len()..header.len() + IPV6_BYTES, 0);
        let (ip, rest) = data.split_at_mut(IPV6_BYTES);
        rest[..header.len()].copy_from_slice(header);
        rest[0] = std::mem::replace(&mut ip[6], ROUTING);
        rest[HEADER_BYTES..][..SEGMENT_BYTES].copy_from_slice(&ip[24..40]);
        ip[24..40].copy_from_slice(first_segment(&rest[..header.len()]));
    })
}

/// `seg6_do_srh_encap`: traffic class, flow label and hop limit are the inner packet's.
fn push_before(call: &mut Call<'_, '_>, header: &[u8], is_ipv6: bool) -> Result<(), Stop> {
    const HOP_LIMIT: u8 = 64;
    let inner = packet(call, 1)?.data();
    let mut outer = [0; IPV6_BYTES];
    outer[7] = HOP_LIMIT;
    if is_ipv6 {
        outer[..4].copy_from_slice(&inner[..4]);
        outer[7] = inner[7];
    }
    outer[0] = 6 << 4 | (outer[0] & 0xf);
    outer[6] = ROUTING;
    outer[24..].copy_from_slice(first_segment(header));
    let source = source(call, address(&outer, 24)?);
    outer[8..24].copy_from_slice(&source.octets());
    let bytes = IPV6_BYTES + header.len();
    make_room(call, bytes)?;
    call.ctx(1)?.skb.encapsulated = true;
    change(call, 1, |packet| {
        let (ip, rest) = packet.data_mut().split_at_mut(IPV6_BYTES);
        ip.copy_from_slice(&outer);
        rest[..header.len()].copy_from_slice(header);
        rest[0] = IPV6;
    })
}

/// The address at which a packet with this header, which is valid, arrives first.
fn first_segment(header: &[u8]) -> &[u8] {
    &header[HEADER_BYTES + usize::from(header[4]) * SEGMENT_BYTES..][..SEGMENT_BYTES]
}

/// The address of this machine towards another: that of the route, or the first of its device.
fn source(call: &Call<'_, '_>, to: Ipv6Addr) -> Ipv6Addr {
    let query = RouteQuery {
        table: None,
        to: IpAddr::V6(to),
        from: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        arrives: LOOPBACK,
        leaves: None,
        mark: 0,
    };
    let Some(route) = call.host().route(&query) else { return Ipv6Addr::UNSPECIFIED };
    let device = call.host().device(route.ifindex);
    let all = route.source.into_iter().chain(device.into_iter().flat_map(|d| d.addresses));
    all.into_iter()
        .find_map(|address| match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
        .unwrap_or(Ipv6Addr::UNSPECIFIED)
}

/// Puts zeros before the packet; the header of segments that it has is then further behind.
fn make_room(call: &mut Call<'_, '_>, bytes: usize) -> Result<(), Stop> {
    push_front(call, 1, bytes)?;
    if let Some(header) = &mut call.ctx(1)?.skb.segments {
        header.at += bytes;
    }
    Ok(())
}

/// Sets the length in the IPv6 header once a header of so many bytes is behind it. One that is to
/// be signed is not: there is no key (`seg6_push_hmac`).
fn seal(call: &mut Call<'_, '_>, bytes: usize) -> Result<(), Stop> {
    const FLAG_HMAC: u8 = 1 << 3;
    const HMAC_BYTES: usize = 40;
    const HMAC: [u8; 2] = [5, 38];
    const DIGEST: usize = 8;
    change(call, 1, |packet| {
        let header = &mut packet.data_mut()[IPV6_BYTES..][..bytes];
        if header[5] & FLAG_HMAC != 0 {
            let segments = (usize::from(header[4]) + 1) * SEGMENT_BYTES;
            let (_, rest) = header.split_at_mut(HEADER_BYTES + segments);
            let tlv = rest.last_chunk_mut::<HMAC_BYTES>().ok_or(Errno::EINVAL)?;
            if !tlv.starts_with(&HMAC) {
                return Err(Errno::EINVAL);
            }
            tlv[DIGEST..].fill(0);
            return Err(Errno::ENOENT);
        }
        set_payload(packet.data_mut());
        Ok(())
    })?
    .map_err(Stop::from)
}

/// Sets the length in the IPv6 header.
fn set_payload(data: &mut [u8]) {
    let bytes = data.len().saturating_sub(IPV6_BYTES) as u16;
    if let Some(field) = data.get_mut(4..6) {
        field.copy_from_slice(&bytes.to_be_bytes());
    }
}

/// The packet's header of segments and the bytes of its segments.
fn segments(call: &mut Call<'_, '_>) -> Result<(SegmentHeader, usize), Stop> {
    let header = call.ctx(1)?.skb.segments.ok_or(Errno::EINVAL)?;
    Ok((header, header.segments(packet(call, 1)?.data()).ok_or(Errno::EINVAL)?))
}

/// `lwt_seg6_store_bytes(skb, offset, from, len)`: into flags and tag of the header of segments, or
/// behind its segments. As in Linux this begins 8 bytes before they end.
pub(super) fn store_bytes(call: &mut Call<'_, '_>) -> Outcome {
    const FLAGS: usize = 5;
    let from = call.memory(3)?;
    let at = call.arg_u32(2) as usize;
    packet(call, 1)?;
    let (header, segments) = segments(call)?;
    let end = at + from.len();
    let is_behind = at >= header.at + segments && end <= header.end();
    if !is_behind && (at < header.at + FLAGS || end > header.at + HEADER_BYTES) {
        return Err(Errno::EFAULT.into());
    }
    if is_behind {
        call.ctx(1)?.skb.segments = Some(SegmentHeader { valid: false, ..header });
    }
    change(call, 1, |packet| {
        let to = packet.data_mut().get_mut(at..end).ok_or(Errno::EFAULT)?;
        to.copy_from_slice(&from);
        Ok(0)
    })?
}

/// `lwt_seg6_adjust_srh(skb, offset, delta)`: makes or takes room behind the segments.
pub(super) fn adjust(call: &mut Call<'_, '_>) -> Outcome {
    let (at, delta) = (call.arg_u32(2) as usize, call.arg_u32(3) as i32);
    let bytes = packet(call, 1)?.data().len();
    let (header, segments) = segments(call)?;
    let (start, end) = (header.at + HEADER_BYTES + segments, header.end());
    let amount = delta.unsigned_abs() as usize;
    if at < start || at > end || (delta < 0 && at + amount > end) {
        return Err(Errno::EFAULT.into());
    }
    if at > bytes || (delta > 0 && bytes + amount > SKB_MAX_BYTES) {
        return Err(Errno::ENOMEM.into());
    }
    let is_done = reshape(call, 1, |packet, hidden| match delta {
        1.. => {
            packet.insert(hidden + at, amount);
            true
        }
        _ => packet.remove(hidden + at, amount),
    })?;
    if !is_done {
        return Err(Errno::ENOMEM.into());
    }
    change(call, 1, |packet| set_payload(packet.data_mut()))?;
    let bytes = header.bytes.saturating_add_signed(delta as isize);
    call.ctx(1)?.skb.segments = Some(SegmentHeader { bytes, valid: false, ..header });
    Ok(0)
}

/// What `lwt_seg6_action` knows (`SEG6_LOCAL_ACTION_END_*`).
mod action {
    pub(super) const X: u32 = 2;
    pub(super) const T: u32 = 3;
    pub(super) const DT6: u32 = 7;
    pub(super) const B6: u32 = 9;
    pub(super) const B6_ENCAP: u32 = 10;
}

/// `lwt_seg6_action(skb, action, param, param_len)`
pub(super) fn act(call: &mut Call<'_, '_>) -> Outcome {
    let param = call.memory(3)?;
    packet(call, 1)?;
    let action = call.arg_u32(2);
    let needs_header = match action {
        action::X | action::T | action::DT6 => true,
        action::B6 | action::B6_ENCAP => call.ctx(1)?.skb.segments.is_some(),
        _ => return Err(Errno::EINVAL.into()),
    };
    if needs_header && !call.ctx(1)?.seal_segments() {
        return Err(Errno::EBADMSG.into());
    }
    let table = || <[u8; 4]>::try_from(&param[..]).map_err(|_| Errno::EINVAL);
    match action {
        action::X => {
            let to = <[u8; 16]>::try_from(&param[..]).map_err(|_| Errno::EINVAL)?;
            next_hop(call, Some(to.into()), 0)
        }
        action::T => next_hop(call, None, u32::from_ne_bytes(table()?)),
        action::DT6 => {
            let table = u32::from_ne_bytes(table()?);
            uncover(call)?;
            find_again(call)?;
            next_hop(call, None, table)
        }
        _ => {
            let how = if action == action::B6 { Push::Inside } else { Push::Before };
            push(call, how, &param)?;
            find_again(call)?;
            Ok(0)
        }
    }
}

/// Takes all that is before the inner IPv6 packet away.
fn uncover(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let inner = find_header(packet(call, 1)?.data(), IPV6).ok_or(Errno::EBADMSG)?;
    if !reshape(call, 1, |packet, hidden| packet.remove(hidden, inner))? {
        return Err(Errno::EBADMSG.into());
    }
    let skb = &mut call.ctx(1)?.skb;
    (skb.network, skb.transport, skb.encapsulated) = (0, Some(0), false);
    Ok(())
}

/// Looks for the header of segments in a packet that has changed (`bpf_update_srh_state`).
fn find_again(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let found = SegmentHeader::find(packet(call, 1)?.data());
    call.ctx(1)?.skb.segments = found;
    Ok(())
}
