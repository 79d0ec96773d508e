//! Where the host's routes lead a packet (`bpf_ipv4_fib_lookup`, `bpf_ipv6_fib_lookup` in
//! `net/core/filter.c`).

use super::skb::{field, packet};
use super::{Bytes, Call, Outcome, Stop};
use crate::host::{Device, Route, RouteKind, RouteQuery};
use ebpfvm_spec::{Direction, Errno, ProgType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `BPF_FIB_LOOKUP_*`
mod flag {
    pub(super) const DIRECT: u64 = 1 << 0;
    pub(super) const OUTPUT: u64 = 1 << 1;
    pub(super) const SKIP_NEIGH: u64 = 1 << 2;
    pub(super) const TBID: u64 = 1 << 3;
    pub(super) const SRC: u64 = 1 << 4;
    pub(super) const MARK: u64 = 1 << 5;
    pub(super) const ALL: u64 = DIRECT | OUTPUT | SKIP_NEIGH | TBID | SRC | MARK;
}

/// `BPF_FIB_LKUP_RET_*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Success = 0,
    Blackhole = 1,
    Unreachable = 2,
    Prohibit = 3,
    NotForwarded = 4,
    ForwardingDisabled = 5,
    UnsupportedEncap = 6,
    NoNeighbour = 7,
    FragmentationNeeded = 8,
    NoSource = 9,
}

/// `AF_INET` and `AF_INET6`
const INET: u8 = 2;
const INET6: u8 = 10;

/// `struct bpf_fib_lookup`, in which what goes in and what comes out share places.
struct Params(Bytes);

impl Params {
    const BYTES: usize = 64;
    const FAMILY: usize = 0;
    const LENGTH: usize = 6;
    const IFINDEX: usize = 8;
    const METRIC: usize = 12;
    const FROM: usize = 16;
    const TO: usize = 32;
    const VLAN_OR_TABLE: usize = 48;
    const MARK: usize = 52;
    const SMAC: usize = 52;
    const DMAC: usize = 58;

    fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.0[at], self.0[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn address(&self, at: usize, is_ipv6: bool) -> IpAddr {
        let octets = |i: usize| self.0[at + i];
        match is_ipv6 {
            true => Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(octets)).into(),
            false => Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(octets)).into(),
        }
    }

    fn put_address(&mut self, at: usize, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.put(at, &address.octets()),
            IpAddr::V6(address) => self.put(at, &address.octets()),
        }
    }
}

/// `fib_lookup(ctx, params, plen, flags)`
pub(super) fn lookup(call: &mut Call<'_, '_>) -> Outcome {
    call.ctx(1)?;
    let size = call.size(3)?;
    call.check(2, size, Direction::Write)?;
    if size < Params::BYTES {
        return Err(Errno::EINVAL.into());
    }
    // The flags are a number of 32 bits here.
    let flags = u64::from(call.arg_u32(4));
    if flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut params = Params(call.read(2, Params::BYTES)?);
    let is_ipv6 = match params.0[Params::FAMILY] {
        INET => false,
        INET6 => true,
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    let is_xdp = call.prog_type() == ProgType::Xdp;
    let checks_length = is_xdp || params.u16(Params::LENGTH) != 0;
    let answer = find(call, &mut params, flags, is_ipv6, checks_length);
    let answer = match answer {
        Ok(Answer::Success) if !checks_length => fits(call, &mut params),
        other => other,
    };
    call.write(2, &params.0)?;
    Ok(answer? as u64)
}

/// Without a length the whole packet is measured (`is_skb_forwardable`).
fn fits(call: &mut Call<'_, '_>, params: &mut Params) -> Result<Answer, Stop> {
    /// An Ethernet header and a VLAN tag.
    const HEADERS_BYTES: usize = 14 + 4;
    let Some(device) = call.host().device(params.u32(Params::IFINDEX)) else {
        return Err(Errno::ENODEV.into());
    };
    let bytes = packet(call, 1)?.data().len();
    let gso = field(call.ctx(1)?, "gso_size") != 0;
    params.put(Params::LENGTH, &(device.mtu as u16).to_ne_bytes());
    let fits = gso || bytes <= device.mtu as usize + HEADERS_BYTES;
    Ok(if device.up && fits { Answer::Success } else { Answer::FragmentationNeeded })
}

/// Packets from and to such addresses stay on their link (`rt6_need_strict`).
fn stays_on_link(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { return false };
    address.is_multicast() || address.is_unicast_link_local() || address.is_loopback()
}

fn find(
    call: &mut Call<'_, '_>,
    params: &mut Params,
    flags: u64,
    is_ipv6: bool,
    checks_length: bool,
) -> Result<Answer, Stop> {
    let host = call.host();
    let has = |flag: u64| flags & flag != 0;
    let (to, from) = (params.address(Params::TO, is_ipv6), params.address(Params::FROM, is_ipv6));
    if stays_on_link(to) || stays_on_link(from) {
        return Ok(Answer::NotForwarded);
    }
    let ifindex = params.u32(Params::IFINDEX);
    let arrival = host.device(ifindex).ok_or(Errno::ENODEV)?;
    if !(if is_ipv6 { arrival.forwards_ipv6 } else { arrival.forwards_ipv4 }) {
        return Ok(Answer::ForwardingDisabled);
    }
    let table = has(flag::DIRECT).then(|| match has(flag::TBID) {
        true => params.u32(Params::VLAN_OR_TABLE),
        false => Route::MAIN,
    });
    if table.is_some() && has(flag::TBID) {
        params.put(Params::VLAN_OR_TABLE, &[0; 4]);
    }
    const LOOPBACK: u32 = 1;
    let query = RouteQuery {
        table,
        to,
        from,
        arrives: if has(flag::OUTPUT) { LOOPBACK } else { ifindex },
        leaves: has(flag::OUTPUT).then_some(ifindex),
        mark: if has(flag::MARK) && table.is_none() { params.u32(Params::MARK) } else { 0 },
    };
    let Some(route) = host.route(&query) else { return Ok(Answer::NotForwarded) };
    match route.kind {
        RouteKind::Unicast => {}
        RouteKind::Blackhole => return Ok(Answer::Blackhole),
        RouteKind::Unreachable => return Ok(Answer::Unreachable),
        RouteKind::Prohibit => return Ok(Answer::Prohibit),
        RouteKind::Local | RouteKind::Throw => return Ok(Answer::NotForwarded),
    }
    let Some(device) = host.device(route.ifindex) else { return Ok(Answer::NotForwarded) };
    let mut mtu = 0;
    if checks_length {
        // The length of an IPv4 packet is a number of 16 bits (`IP_MAX_MTU`).
        let most = if is_ipv6 { u32::MAX } else { 0xffff };
        mtu = route.mtu.unwrap_or(device.mtu.min(most));
        if u32::from(params.u16(Params::LENGTH)) > mtu {
            params.put(Params::LENGTH, &(mtu as u16).to_ne_bytes());
            return Ok(Answer::FragmentationNeeded);
        }
    }
    if route.encapsulates {
        return Ok(Answer::UnsupportedEncap);
    }
    forward(call, params, flags, &route, &device, mtu)
}

/// Fills in the way of a packet that is forwarded.
fn forward(
    call: &mut Call<'_, '_>,
    params: &mut Params,
    flags: u64,
    route: &Route,
    device: &Device,
    mtu: u32,
) -> Result<Answer, Stop> {
    let is_ipv6 = params.0[Params::FAMILY] == INET6;
    let to = params.address(Params::TO, is_ipv6);
    params.put(Params::METRIC, &route.metric.to_ne_bytes());
    params.put(Params::IFINDEX, &device.ifindex.to_ne_bytes());
    if flags & flag::SRC != 0 {
        let own = device.addresses.iter().find(|address| address.is_ipv6() == is_ipv6);
        match route.source.as_ref().or(own) {
            Some(source) => params.put_address(Params::FROM, *source),
            None if is_ipv6 => {
                set_gateway(params, route);
                return Ok(Answer::NoSource);
            }
            None => params.put(Params::FROM, &[0; 4]),
        }
    }
    set_gateway(params, route);
    if flags & flag::SKIP_NEIGH == 0 {
        let next = route.gateway.unwrap_or(to);
        let Some(mac) = call.host().neighbour(device.ifindex, next) else {
            return Ok(Answer::NoNeighbour);
        };
        params.put(Params::DMAC, &mac);
        params.put(Params::SMAC, &device.mac);
    }
    params.put(Params::VLAN_OR_TABLE, &[0; 4]);
    if mtu != 0 {
        params.put(Params::LENGTH, &(mtu as u16).to_ne_bytes());
    }
    Ok(Answer::Success)
}

/// An IPv4 packet may have a gateway with an IPv6 address.
fn set_gateway(params: &mut Params, route: &Route) {
    let Some(gateway) = route.gateway else { return };
    if gateway.is_ipv6() {
        params.put(Params::FAMILY, &[INET6]);
    }
    params.put_address(Params::TO, gateway);
}
