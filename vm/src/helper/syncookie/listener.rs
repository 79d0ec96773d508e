//! Cookies of connections that a listener accepts without having kept their request.

use super::{Segment, TCP_BYTES, Version, is_whole};
use crate::helper::{Call, Outcome, Stop};
use crate::socket::facts::Fact;
use crate::socket::{AF_INET6, IPPROTO_TCP, Socket, state};
use ebpfvm_spec::Errno;
use std::sync::Arc;

/// Flags of a TCP header.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Where they are in it.
const FLAGS_AT: usize = 13;

/// The listener that argument 1 points to.
fn listener(call: &Call<'_, '_>) -> Result<Arc<Socket>, Stop> {
    let null = || call.bad_arg(1, "is not a socket");
    let socket = call.socket(1)?.ok_or_else(null)?;
    let listens = socket.known("state") == state::LISTEN && socket.known("protocol") == IPPROTO_TCP;
    Ok(Some(socket).filter(|_| listens).ok_or(Errno::EINVAL)?)
}

/// The version that the header says, if the listener takes packets of it.
fn version(listener: &Socket, ip: &[u8]) -> Result<Version, Errno> {
    let v6 = listener.known("family") == AF_INET6;
    match ip[0] >> 4 {
        4 if v6 && listener.fact(Fact::OnlyIpv6) != 0 => Err(Errno::EINVAL),
        4 => Ok(Version::Four),
        6 if ip.len() < Version::Six.header_bytes() || !v6 => Err(Errno::EINVAL),
        6 => Ok(Version::Six),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

/// `tcp_check_syncookie(sk, iph, iph_len, th, th_len)`
pub(in crate::helper) fn check(call: &mut Call<'_, '_>) -> Outcome {
    let (ip, tcp) = (call.memory(2)?, call.memory(4)?);
    let listener = listener(call);
    if tcp.len() < TCP_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let listener = listener?;
    if tcp[FLAGS_AT] & (ACK | RST | SYN) != ACK {
        return Err(Errno::ENOENT.into());
    }
    if ip.len() < Version::Four.header_bytes() {
        return Err(Errno::EINVAL.into());
    }
    if listener.fact(Fact::Overflows) == 0 {
        return Err(Errno::ENOENT.into());
    }
    let version = version(&listener, &ip)?;
    match (Segment { version, ip: &ip, tcp: &tcp }).has_cookie(call) {
        true => Ok(0),
        false => Err(Errno::ENOENT.into()),
    }
}

/// `tcp_gen_syncookie(sk, iph, iph_len, th, th_len)`: the cookie, and above it the segment size.
pub(in crate::helper) fn generate(call: &mut Call<'_, '_>) -> Outcome {
    let (ip, tcp) = (call.memory(2)?, call.memory(4)?);
    let listener = listener(call);
    if !is_whole(&tcp) {
        return Err(Errno::EINVAL.into());
    }
    let listener = listener?;
    let is_request = tcp[FLAGS_AT] & (SYN | ACK | FIN | RST) == SYN;
    if !is_request || ip.len() < Version::Four.header_bytes() {
        return Err(Errno::EINVAL.into());
    }
    let version = version(&listener, &ip)?;
    if listener.fact(Fact::Overflows) == 0 {
        return Err(Errno::ENOENT.into());
    }
    Ok(Segment { version, ip: &ip, tcp: &tcp }.make_cookie(call))
}
