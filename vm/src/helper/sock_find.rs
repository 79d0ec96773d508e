//! Finding sockets and choosing one for a packet (`net/core/filter.c`).

use super::{Call, Outcome, Stop};
use crate::socket::facts::Fact;
use crate::socket::query::{Netns, SocketQuery};
use crate::socket::{AF_INET, IPPROTO_TCP, IPPROTO_UDP, Socket, state};
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{Errno, MapType, ProgType};
use std::net::SocketAddr;
use std::sync::Arc;

/// `sk_lookup_tcp(ctx, tuple, tuple_size, netns, flags)`
pub(super) fn lookup_tcp(call: &mut Call<'_, '_>) -> Outcome {
    let found = find(call, IPPROTO_TCP)?.and_then(|socket| socket.full());
    give(call, Pointee::Sock, found)
}

/// `sk_lookup_udp(ctx, tuple, tuple_size, netns, flags)`
pub(super) fn lookup_udp(call: &mut Call<'_, '_>) -> Outcome {
    let found = find(call, IPPROTO_UDP)?;
    give(call, Pointee::Sock, found)
}

/// `skc_lookup_tcp(ctx, tuple, tuple_size, netns, flags)`: requests and the rests of connections
/// too.
pub(super) fn common_lookup_tcp(call: &mut Call<'_, '_>) -> Outcome {
    let found = find(call, IPPROTO_TCP)?;
    give(call, Pointee::SockCommon, found)
}

fn give(call: &mut Call<'_, '_>, pointee: Pointee, found: Option<Arc<Socket>>) -> Outcome {
    match found {
        Some(socket) => Ok(call.acquire_socket(pointee, &socket)?),
        None => Ok(0),
    }
}

/// The socket that the tuple says (`__bpf_skc_lookup`).
fn find(call: &mut Call<'_, '_>, protocol: u64) -> Result<Option<Arc<Socket>>, Stop> {
    let tuple = call.memory(2)?;
    // XDP takes the low half of the number only.
    let netns = match call.prog_type() {
        ProgType::Xdp => u64::from(call.arg_u32(4)),
        _ => call.arg(4),
    };
    let flags = call.arg(5);
    let ctx = call.ctx(1)?;
    let (ifindex, current) = match ctx.prog_type() {
        ProgType::Xdp => (ctx.field("ingress_ifindex"), Netns::Current),
        ProgType::CgroupSockAddr => {
            let cookie = ctx.socket("sk").map(|socket| socket.fact(Fact::Netns));
            (Ok(0), cookie.map_or(Netns::Current, Netns::Cookie))
        }
        _ => (ctx.field("ifindex"), Netns::Current),
    };
    let Some((remote, local)) = ends(&tuple) else { return Ok(None) };
    let netns = match (netns as i32, u32::try_from(netns)) {
        (..0, _) => current,
        (_, Ok(id)) => Netns::Id(id),
        (_, Err(_)) => return Ok(None),
    };
    if flags != 0 {
        return Ok(None);
    }
    let ifindex = ifindex.unwrap_or(0) as u32;
    Ok(call.host().find_socket(&SocketQuery { protocol, remote, local, netns, ifindex }))
}

/// Source and destination of a `struct bpf_sock_tuple`; none if it has the size of neither family.
fn ends(tuple: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    const IPV4_BYTES: usize = 12;
    const IPV6_BYTES: usize = 36;
    let (source, destination, ports) = match tuple.len() {
        IPV4_BYTES => {
            let ip = |at: usize| Some(<[u8; 4]>::try_from(tuple.get(at..at + 4)?).ok()?.into());
            (ip(0)?, ip(4)?, tuple.get(8..)?)
        }
        IPV6_BYTES => {
            let ip = |at: usize| Some(<[u8; 16]>::try_from(tuple.get(at..at + 16)?).ok()?.into());
            (ip(0)?, ip(16)?, tuple.get(32..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
    Some((SocketAddr::new(source, port(0)?), SocketAddr::new(destination, port(2)?)))
}

/// `sk_release(sk)`
pub(super) fn release(call: &mut Call<'_, '_>) -> Outcome {
    call.release_socket(1)?;
    Ok(0)
}

/// `sk_assign(ctx, sk, flags)`
pub(super) fn assign(call: &mut Call<'_, '_>) -> Outcome {
    match call.prog_type() {
        ProgType::SkLookup => assign_to_lookup(call),
        _ => assign_to_packet(call),
    }
}

/// Of a classifier: the packet goes to the socket (`bpf_sk_assign`).
fn assign_to_packet(call: &mut Call<'_, '_>) -> Outcome {
    let (socket, flags) = (call.socket(2)?, call.arg(3));
    let here = call.host().netns_cookie();
    let ingress = call.ctx(1)?.field("at_ingress").is_ok_and(|at| at != 0);
    let socket = socket.filter(|_| flags == 0).ok_or(Errno::EINVAL)?;
    if !ingress {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if socket.fact(Fact::Netns) != here {
        return Err(Errno::ENETUNREACH.into());
    }
    if !socket.is_bound() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    call.set_context_socket("sk", Some(socket))?;
    Ok(0)
}

/// Of a lookup: the socket is its result; null for none (`bpf_sk_lookup_assign`).
fn assign_to_lookup(call: &mut Call<'_, '_>) -> Outcome {
    const REPLACE: u64 = 1 << 0;
    const NO_REUSEPORT: u64 = 1 << 1;
    let socket = call.socket(2)?;
    let flags = call.flags(3, REPLACE | NO_REUSEPORT)?;
    let ctx = call.ctx(1)?;
    if let Some(socket) = &socket {
        let listens = socket.known("state") == state::LISTEN;
        let closed = socket.known("state") == state::CLOSE;
        let wrong_state = socket.is_tcp() && !listens || socket.is_udp() && !closed;
        if socket.is_counted() || wrong_state {
            return Err(Errno::ESOCKTNOSUPPORT.into());
        }
        if ctx.field("protocol") != Ok(socket.known("protocol")) {
            return Err(Errno::EPROTOTYPE.into());
        }
        let family = socket.known("family");
        let only = family == AF_INET || socket.fact(Fact::OnlyIpv6) != 0;
        if ctx.field("family") != Ok(family) && only {
            return Err(Errno::EAFNOSUPPORT.into());
        }
    }
    if ctx.selected_socket().is_some() && flags & REPLACE == 0 {
        return Err(Errno::EEXIST.into());
    }
    super::skb::set_field(ctx, "no_reuseport", (flags & NO_REUSEPORT != 0).into());
    call.set_context_socket("sk", socket)?;
    Ok(0)
}

/// `sk_select_reuseport(reuse, map, key, flags)`: flags are not looked at.
pub(super) fn select_reuseport(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(2)?;
    let key = call.map_key(3, map)?;
    let ctx = call.ctx(1)?;
    let selected = map.socket(&key).ok_or(Errno::ENOENT)?;
    let group = selected.fact(Fact::Group);
    if group == 0 {
        let of_groups = map.def().map_type == MapType::ReuseportSockarray;
        return Err(if of_groups { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let asked = ctx.socket("sk");
    if asked.as_ref().map(|socket| socket.fact(Fact::Group)) != Some(group) {
        let same = |name| asked.as_ref().is_some_and(|a| a.known(name) == selected.known(name));
        return Err(match (same("protocol"), same("family")) {
            (false, _) => Errno::EPROTOTYPE,
            (true, false) => Errno::EAFNOSUPPORT,
            (true, true) => Errno::EBADFD,
        }
        .into());
    }
    ctx.select(Some(selected));
    Ok(0)
}
