//! Helpers that change the length and the headers of socket buffers (`net/core/filter.c`,
//! `net/core/skbuff.c`).

use super::skb::{
    ETH_8021AD, ETH_8021Q, ETH_IP, ETH_IPV6, IPV4_BYTES, IPV6_BYTES, change, clear_hash, field,
    packet, protocol, push_front, set_field, set_protocol,
};
use super::{Call, Outcome, Stop};
use crate::packet::SKB_MAX_BYTES;
use crate::skb::Checksum;
use ebpfvm_spec::{Errno, ProgType};

/// The longest packet that helpers make (`SKB_MAX_ALLOC`: four pages less the kernel's own part).
const MAX_BYTES: usize = 16384 - 320;

/// Bytes of an Ethernet header, of its two addresses, and of a VLAN tag.
const ETH_BYTES: usize = crate::packet::MIN_BYTES;
const ADDRESSES_BYTES: usize = 12;
const VLAN_BYTES: usize = 4;

fn is_vlan(protocol: u16) -> bool {
    matches!(protocol, ETH_8021Q | ETH_8021AD)
}

/// The tag that the kernel keeps beside the packet, as a device would have found it: protocol in
/// host order and TCI.
fn tag(call: &mut Call<'_, '_>) -> Result<Option<(u16, u16)>, Stop> {
    let ctx = call.ctx(1)?;
    let protocol = u16::from_be(field(ctx, "vlan_proto") as u16);
    let present = field(ctx, "vlan_present") != 0;
    Ok(present.then_some((protocol, field(ctx, "vlan_tci") as u16)))
}

fn set_tag(call: &mut Call<'_, '_>, tag: Option<(u16, u16)>) -> Result<(), Stop> {
    let ctx = call.ctx(1)?;
    let (protocol, tci) = tag.unwrap_or_default();
    set_field(ctx, "vlan_present", tag.is_some().into());
    set_field(ctx, "vlan_proto", protocol.to_be().into());
    set_field(ctx, "vlan_tci", tci.into());
    Ok(())
}

/// `skb_vlan_push(skb, vlan_proto, vlan_tci)`: the new tag is kept beside the packet, an older one
/// goes into it.
pub(super) fn vlan_push(call: &mut Call<'_, '_>) -> Outcome {
    let new = match u16::from_be(call.arg(2) as u16) {
        protocol if is_vlan(protocol) => protocol,
        _ => ETH_8021Q,
    };
    let tci = call.arg(3) as u16;
    packet(call, 1)?;
    if let Some((protocol, tci)) = tag(call)? {
        if packet(call, 1)?.data().len() + VLAN_BYTES > SKB_MAX_BYTES {
            return Err(Errno::ENOMEM.into());
        }
        change(call, 1, |packet| {
            packet.insert(ADDRESSES_BYTES, VLAN_BYTES);
            let data = packet.data_mut();
            data[12..14].copy_from_slice(&protocol.to_be_bytes());
            data[14..16].copy_from_slice(&tci.to_be_bytes());
        })?;
        set_protocol(call.ctx(1)?, protocol);
    }
    set_tag(call, Some((new, tci)))?;
    Ok(0)
}

/// Takes the outermost tag out of the packet.
fn take_tag(call: &mut Call<'_, '_>) -> Result<(u16, u16), Stop> {
    let outer = protocol(call.ctx(1)?);
    let (tci, inner) = change(call, 1, |packet| {
        let data = packet.data();
        let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
        let (tci, field) = word(ETH_BYTES).zip(word(ETH_BYTES + 2)).ok_or(Errno::ENOMEM)?;
        let inner = ethernet_protocol(field, word(ETH_BYTES + VLAN_BYTES));
        packet.remove(ADDRESSES_BYTES, VLAN_BYTES);
        Ok::<_, Errno>((tci, inner))
    })??;
    let ctx = call.ctx(1)?;
    set_protocol(ctx, inner);
    ctx.skb.network = ctx.skb.network.saturating_sub(VLAN_BYTES).max(ETH_BYTES);
    Ok((outer, tci))
}

/// What the field after the addresses means, with what follows it: below 1536 it is a length, and
/// then the next word tells Novell's frames from others (`vlan_set_encap_proto`).
fn ethernet_protocol(field: u16, next: Option<u16>) -> u16 {
    const FIRST_PROTOCOL: u16 = 1536;
    const ETH_802_3: u16 = 1;
    const ETH_802_2: u16 = 4;
    match next {
        _ if field >= FIRST_PROTOCOL => field,
        Some(0xffff) => ETH_802_3,
        _ => ETH_802_2,
    }
}

/// `skb_vlan_pop(skb)`: drops the outermost tag; the next one is then kept beside the packet.
pub(super) fn vlan_pop(call: &mut Call<'_, '_>) -> Outcome {
    packet(call, 1)?;
    if tag(call)?.is_some() {
        set_tag(call, None)?;
    } else if is_vlan(protocol(call.ctx(1)?)) {
        take_tag(call)?;
    } else {
        return Ok(0);
    }
    if is_vlan(protocol(call.ctx(1)?)) {
        let next = take_tag(call)?;
        set_tag(call, Some(next))?;
    }
    Ok(0)
}

/// Whether the packet stands for several of a smaller size (`skb_is_gso`).
fn is_gso(call: &mut Call<'_, '_>) -> Result<bool, Stop> {
    Ok(field(call.ctx(1)?, "gso_size") != 0)
}

/// `skb_change_head(skb, len, flags)`: room for a new Ethernet header.
pub(super) fn change_head(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = packet(call, 1)?.data().len();
    let (room, gso) = (call.arg_u32(2), is_gso(call)?);
    call.flags(3, 0)?;
    let new = (bytes as u32).checked_add(room).ok_or(Errno::EINVAL)? as usize;
    if new > MAX_BYTES && !gso {
        return Err(Errno::EINVAL.into());
    }
    if new > MAX_BYTES {
        // The kernel would try to find that much memory in one piece.
        return Err(Errno::ENOMEM.into());
    }
    push_front(call, 1, room as usize)?;
    let skb = &mut call.ctx(1)?.skb;
    skb.network += room as usize;
    skb.transport = skb.transport.map(|at| at + room as usize);
    Ok(0)
}

/// `skb_change_tail(skb, len, flags)`
pub(super) fn change_tail(call: &mut Call<'_, '_>) -> Outcome {
    packet(call, 1)?;
    let new = call.arg_u32(2) as usize;
    call.flags(3, 0)?;
    let skb = call.ctx(1)?.skb.clone();
    let min = skb.transport.filter(|at| *at > 0).unwrap_or(skb.network);
    if new > MAX_BYTES || new < min {
        return Err(Errno::EINVAL.into());
    }
    if skb.encapsulated {
        return Err(Errno::ENOTSUPP.into());
    }
    change(call, 1, |packet| packet.resize(new))?;
    let ctx = call.ctx(1)?;
    set_field(ctx, "gso_size", 0);
    set_field(ctx, "gso_segs", 0);
    Ok(0)
}

/// `skb_change_proto(skb, proto, flags)`: makes room for an IPv6 header where an IPv4 header is, or
/// the reverse.
pub(super) fn change_proto(call: &mut Call<'_, '_>) -> Outcome {
    const DIFFERENCE: usize = IPV6_BYTES - IPV4_BYTES;
    packet(call, 1)?;
    let to = u16::from_be(call.arg(2) as u16);
    call.flags(3, 0)?;
    let ctx = call.ctx(1)?;
    let at = ctx.skb.network;
    match (protocol(ctx), to) {
        (ETH_IP, ETH_IPV6) => change(call, 1, |packet| packet.insert(at, DIFFERENCE))?,
        (ETH_IPV6, ETH_IP) => {
            if !change(call, 1, |packet| packet.remove(at, DIFFERENCE))? {
                return Err(Errno::ENOMEM.into());
            }
        }
        _ => return Err(Errno::ENOTSUPP.into()),
    }
    let ctx = call.ctx(1)?;
    set_protocol(ctx, to);
    clear_hash(ctx);
    Ok(0)
}

/// `BPF_F_ADJ_ROOM_*`
mod room {
    pub(super) const FIXED_GSO: u64 = 1 << 0;
    pub(super) const ENCAP_L3_IPV4: u64 = 1 << 1;
    pub(super) const ENCAP_L3_IPV6: u64 = 1 << 2;
    pub(super) const ENCAP_L4_GRE: u64 = 1 << 3;
    pub(super) const ENCAP_L4_UDP: u64 = 1 << 4;
    pub(super) const NO_CSUM_RESET: u64 = 1 << 5;
    pub(super) const ENCAP_L2_ETH: u64 = 1 << 6;
    pub(super) const DECAP_L3_IPV4: u64 = 1 << 7;
    pub(super) const DECAP_L3_IPV6: u64 = 1 << 8;
    pub(super) const ENCAP_L2_SHIFT: u32 = 56;
    pub(super) const ENCAP_L3: u64 = ENCAP_L3_IPV4 | ENCAP_L3_IPV6;
    pub(super) const DECAP_L3: u64 = DECAP_L3_IPV4 | DECAP_L3_IPV6;
    pub(super) const SHRINK: u64 = FIXED_GSO | DECAP_L3 | NO_CSUM_RESET;
    pub(super) const ALL: u64 =
        SHRINK | ENCAP_L3 | ENCAP_L4_GRE | ENCAP_L4_UDP | ENCAP_L2_ETH | 0xff << ENCAP_L2_SHIFT;
}

/// `skb_adjust_room(skb, len_diff, mode, flags)`: adds or removes bytes after the Ethernet header
/// or after the network header.
pub(super) fn adjust_room(call: &mut Call<'_, '_>) -> Outcome {
    if call.prog_type() == ProgType::SkSkb {
        return adjust_room_of_stream(call);
    }
    const MODE_NET: u32 = 0;
    const MODE_MAC: u32 = 1;
    const MAX_DIFFERENCE: u32 = 0xfff;
    let bytes = packet(call, 1)?.data().len();
    let (difference, mode) = (call.arg(2) as i32, call.arg_u32(3));
    let flags = call.flags(4, room::ALL)?;
    let (amount, shrink) = (difference.unsigned_abs(), difference < 0);
    if amount > MAX_DIFFERENCE {
        return Err(Errno::EFAULT.into());
    }
    let amount = amount as usize;
    let ctx = call.ctx(1)?;
    let (network, protocol) = (ctx.skb.network, protocol(ctx));
    let header_bytes = match protocol {
        ETH_IP => IPV4_BYTES,
        ETH_IPV6 => IPV6_BYTES,
        _ => return Err(Errno::ENOTSUPP.into()),
    };
    let at = match mode {
        MODE_NET => network + header_bytes,
        MODE_MAC => network,
        _ => return Err(Errno::ENOTSUPP.into()),
    };
    let min = match flags & room::DECAP_L3 {
        0 => header_bytes,
        _ if !shrink => return Err(Errno::EINVAL.into()),
        room::DECAP_L3_IPV4 => IPV4_BYTES,
        room::DECAP_L3_IPV6 => IPV6_BYTES,
        _ => return Err(Errno::EINVAL.into()),
    };
    let gso = is_gso(call)?;
    let left = bytes.saturating_sub(network);
    let refused = match shrink {
        true => amount >= left || left - amount < min,
        false => bytes + amount > MAX_BYTES && !gso,
    };
    if refused {
        return Err(Errno::ENOTSUPP.into());
    }
    if shrink {
        shrink_at(call, at, amount, flags, gso)?;
    } else {
        grow_at(call, at, amount, flags, gso)?;
    }
    if flags & room::NO_CSUM_RESET == 0 {
        call.ctx(1)?.skb.checksum = Checksum::None;
    }
    Ok(0)
}

fn shrink_at(
    call: &mut Call<'_, '_>,
    at: usize,
    amount: usize,
    flags: u64,
    gso: bool,
) -> Result<(), Stop> {
    if flags & !room::SHRINK != 0 {
        return Err(Errno::EINVAL.into());
    }
    // What kind of segments a packet stands for is not known here, as in a test-run.
    if gso {
        return Err(Errno::ENOTSUPP.into());
    }
    if !change(call, 1, |packet| packet.remove(at, amount))? {
        return Err(Errno::ENOMEM.into());
    }
    let ctx = call.ctx(1)?;
    match (protocol(ctx), flags & room::DECAP_L3) {
        (ETH_IP, room::DECAP_L3_IPV6) => set_protocol(ctx, ETH_IPV6),
        (ETH_IPV6, room::DECAP_L3_IPV4) => set_protocol(ctx, ETH_IP),
        _ => {}
    }
    Ok(())
}

fn grow_at(
    call: &mut Call<'_, '_>,
    at: usize,
    amount: usize,
    flags: u64,
    gso: bool,
) -> Result<(), Stop> {
    let has = |flag: u64| flags & flag == flag;
    if gso {
        return Err(Errno::ENOTSUPP.into());
    }
    let encap = flags & room::ENCAP_L3 != 0;
    if encap {
        let inner_mac_bytes = (flags >> room::ENCAP_L2_SHIFT) as usize;
        let contradicts = has(room::ENCAP_L3)
            || has(room::ENCAP_L4_GRE | room::ENCAP_L4_UDP)
            || (has(room::ENCAP_L2_ETH) && inner_mac_bytes < ETH_BYTES);
        if contradicts {
            return Err(Errno::EINVAL.into());
        }
        if call.ctx(1)?.skb.encapsulated {
            return Err(Errno::EALREADY.into());
        }
        if inner_mac_bytes > amount {
            return Err(Errno::EINVAL.into());
        }
    }
    change(call, 1, |packet| packet.insert(at, amount))?;
    let ctx = call.ctx(1)?;
    if !encap {
        return Ok(());
    }
    let (outer, outer_bytes) =
        if has(room::ENCAP_L3_IPV6) { (ETH_IPV6, IPV6_BYTES) } else { (ETH_IP, IPV4_BYTES) };
    ctx.skb.encapsulated = true;
    if has(room::ENCAP_L4_GRE) || has(room::ENCAP_L4_UDP) {
        ctx.skb.transport = Some(ctx.skb.network + outer_bytes);
    }
    set_protocol(ctx, outer);
    Ok(())
}

/// Of a stream: bytes before the first are added, as zeros, or removed (`sk_skb_adjust_room`).
fn adjust_room_of_stream(call: &mut Call<'_, '_>) -> Outcome {
    const MAX_DIFFERENCE: u32 = 0xfff;
    let difference = call.arg(2) as i32;
    if call.arg_u32(3) != 0 || call.arg(4) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if difference.unsigned_abs() > MAX_DIFFERENCE {
        return Err(Errno::EFAULT.into());
    }
    let bytes = difference.unsigned_abs() as usize;
    let done = change(call, 1, |packet| match difference < 0 {
        true => packet.remove(0, bytes),
        false => {
            packet.insert(0, bytes);
            true
        }
    })?;
    if done { Ok(0) } else { Err(Errno::ENOMEM.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_from_protocols() {
        assert_eq!(ethernet_protocol(0x0800, Some(0xffff)), 0x0800);
        assert_eq!(ethernet_protocol(46, Some(0xffff)), 1);
        assert_eq!(ethernet_protocol(46, Some(0xaaaa)), 4);
        assert_eq!(ethernet_protocol(46, None), 4);
    }
}
