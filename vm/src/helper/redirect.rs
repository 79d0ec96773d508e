//! Sending packets elsewhere: recorded, not performed (`net/core/filter.c`).

use super::{Call, Outcome, skb};
use crate::run::{NextHop, PacketClone, Redirect};
use ebpfvm_spec::{Errno, MapType, ProgType};

const XDP_ABORTED: u64 = 0;
const XDP_REDIRECT: u64 = 4;
const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;

/// `redirect(ifindex, flags)`
pub(super) fn redirect(call: &mut Call<'_, '_>) -> Outcome {
    const INGRESS: u64 = 1 << 0;
    let (known, refused, done) = match call.prog_type() {
        ProgType::Xdp => (0, XDP_ABORTED, XDP_REDIRECT),
        _ => (INGRESS, TC_ACT_SHOT, TC_ACT_REDIRECT),
    };
    to_interface(call, 2, known, 0, refused, done)
}

/// `clone_redirect(skb, ifindex, flags)`: a copy of the packet, with its link-layer header, goes to
/// a device.
pub(super) fn clone(call: &mut Call<'_, '_>) -> Outcome {
    const INGRESS: u64 = 1 << 0;
    skb::packet(call, 1)?;
    let (ifindex, flags) = (call.arg_u32(2), call.flags(3, INGRESS)?);
    // What kind of segments a packet stands for is not known here, as in a test-run.
    if skb::field(call.ctx(1)?, "gso_size") != 0 {
        return Err(Errno::EBADMSG.into());
    }
    call.host().device(ifindex).ok_or(Errno::EINVAL)?;
    let packet = call.ctx(1)?.packet_data().unwrap_or_default().to_vec();
    call.send_clone(PacketClone { ifindex, flags, packet })?;
    call.packet_changed();
    Ok(0)
}

/// Records a redirect to the interface of argument 1 if the flags of argument `number` are known.
fn to_interface(
    call: &mut Call<'_, '_>,
    number: usize,
    known: u64,
    internal: u64,
    refused: u64,
    done: u64,
) -> Outcome {
    let Ok(flags) = call.flags(number, known) else { return Ok(refused) };
    let ifindex = call.arg_u32(1);
    let flags = flags | internal;
    call.set_redirect(Some(Redirect::Interface { ifindex, flags, next_hop: None }));
    Ok(done)
}

/// `redirect_peer(ifindex, flags)`: to the other end of a pair of devices (`BPF_F_PEER`).
pub(super) fn redirect_peer(call: &mut Call<'_, '_>) -> Outcome {
    const PEER: u64 = 1 << 2;
    to_interface(call, 2, 0, PEER, TC_ACT_SHOT, TC_ACT_REDIRECT)
}

/// `redirect_neigh(ifindex, params, plen, flags)`: with the link-layer addresses of the neighbour
/// (`BPF_F_NEIGH`), or of the next hop that is given (`BPF_F_NEXTHOP`).
pub(super) fn redirect_neigh(call: &mut Call<'_, '_>) -> Outcome {
    const NEIGH: u64 = 1 << 16;
    const NEXTHOP: u64 = 1 << 17;
    let params = call.memory(2)?;
    let next_hop = match params.len() {
        0 => None,
        _ => match next_hop(&params) {
            Some(next_hop) => Some(next_hop),
            None => return Ok(TC_ACT_SHOT),
        },
    };
    if call.flags(4, 0).is_err() {
        return Ok(TC_ACT_SHOT);
    }
    let flags = if next_hop.is_some() { NEIGH | NEXTHOP } else { NEIGH };
    let ifindex = call.arg_u32(1);
    call.set_redirect(Some(Redirect::Interface { ifindex, flags, next_hop }));
    Ok(TC_ACT_REDIRECT)
}

/// The first bytes of `struct bpf_redir_neigh`; more may follow.
fn next_hop(params: &[u8]) -> Option<NextHop> {
    let (family, rest) = params.split_first_chunk::<4>()?;
    let (bytes, _) = rest.split_first_chunk::<16>()?;
    Some(NextHop { family: u32::from_ne_bytes(*family), bytes: *bytes })
}

/// `redirect_map(map, key, flags)`: the low bits of the flags are the verdict when the map has no
/// such entry.
pub(super) fn redirect_map(call: &mut Call<'_, '_>) -> Outcome {
    const ACTION: u64 = 3;
    const BROADCAST: u64 = 1 << 3;
    const EXCLUDE_INGRESS: u64 = 1 << 4;
    let map = call.map(1)?;
    let known = match map.def().map_type {
        MapType::Devmap | MapType::DevmapHash => ACTION | BROADCAST | EXCLUDE_INGRESS,
        MapType::Cpumap | MapType::Xskmap => ACTION,
        _ => return Err(call.bad_arg(1, "is not a map of devices, CPUs or sockets").into()),
    };
    let index = call.arg(2);
    let Ok(flags) = call.flags(3, known) else { return Ok(XDP_ABORTED) };
    let found = map.target(index as u32).is_some();
    if !found && flags & BROADCAST == 0 {
        call.set_redirect(None);
        return Ok(flags & ACTION);
    }
    let flags = if flags & BROADCAST != 0 { flags } else { 0 };
    let map = map.def().name.clone();
    call.set_redirect(Some(Redirect::Map { map, index, flags }));
    Ok(XDP_REDIRECT)
}
