//! SYN cookies: connections that a listener accepts without having kept their request
//! (`net/ipv4/syncookies.c`).
//!
//! The cookie is made as the kernel makes it, of two keyed hashes, the time in minutes and the
//! segment size; the hash function and its key are ours, as the kernel's key is a secret of its own.

use super::{Call, Outcome, Stop};
use crate::socket::facts::Fact;
use crate::socket::{AF_INET6, IPPROTO_TCP, Socket, state};
use ebpfvm_spec::Errno;
use std::sync::Arc;

/// Bytes of headers without options.
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;

/// Segment sizes that fit a cookie.
const SEGMENTS4: [u16; 4] = [536, 1300, 1440, 1460];
const SEGMENTS6: [u16; 4] = [1220, 1420, 1440, 8940];

/// Flags of a TCP header.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Who talks to whom, in the segment that is looked at.
struct Flow<'a> {
    ip: &'a [u8],
    tcp: &'a [u8],
}

/// A word in network order.
fn word(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| <[u8; 4]>::try_from(part).ok());
    part.map_or(0, u32::from_be_bytes)
}

impl Flow<'_> {
    fn is_v6(&self) -> bool {
        self.ip[0] >> 4 == 6
    }

    fn segments(&self) -> [u16; 4] {
        if self.is_v6() { SEGMENTS6 } else { SEGMENTS4 }
    }

    fn flags(&self) -> u8 {
        self.tcp[13]
    }

    /// A keyed hash of addresses, ports and what else goes into it.
    fn hash(&self, key: u64, count: u32, which: u32) -> u32 {
        let addresses = if self.is_v6() { &self.ip[8..40] } else { &self.ip[12..20] };
        let mut hash = key ^ u64::from(which) << 32 ^ u64::from(count);
        for byte in addresses.iter().chain(&self.tcp[..4]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            hash ^= hash >> 29;
        }
        hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as u32
    }

    /// `secure_tcp_syn_cookie`
    fn cookie(&self, key: u64, sequence: u32, minutes: u32, segment: u32) -> u32 {
        let secret = self.hash(key, minutes, 1).wrapping_add(segment) & 0xff_ffff;
        self.hash(key, 0, 0).wrapping_add(sequence).wrapping_add(minutes << 24).wrapping_add(secret)
    }

    /// The index of the segment size in a cookie that is not older than two minutes; none if it is
    /// no cookie of ours (`check_tcp_syn_cookie`).
    fn check(&self, key: u64, cookie: u32, sequence: u32, minutes: u32) -> Option<usize> {
        const MAX_AGE_MINUTES: u32 = 2;
        let cookie = cookie.wrapping_sub(self.hash(key, 0, 0)).wrapping_sub(sequence);
        let age = minutes.wrapping_sub(cookie >> 24) & 0xff;
        if age >= MAX_AGE_MINUTES {
            return None;
        }
        let made = minutes.wrapping_sub(age);
        let index = cookie.wrapping_sub(self.hash(key, made, 1)) & 0xff_ffff;
        (index < 4).then_some(index as usize)
    }

    /// The segment size that the options of a SYN ask for (`tcp_parse_mss_option`).
    fn segment_size(&self) -> Option<u16> {
        const MSS: u8 = 2;
        let mut options = self.tcp.get(TCP_BYTES..)?;
        loop {
            match options {
                [] | [0, ..] => return None,
                [1, rest @ ..] => options = rest,
                [kind, bytes, ..] => {
                    let bytes = usize::from(*bytes);
                    let option = options.get(..bytes).filter(|option| option.len() >= 2)?;
                    if let (MSS, [_, _, high, low]) = (*kind, option) {
                        return Some(u16::from_be_bytes([*high, *low])).filter(|size| *size > 0);
                    }
                    options = &options[bytes..];
                }
                [_] => return None,
            }
        }
    }
}

/// The key and the time.
fn secret(call: &Call<'_, '_>) -> (u64, u32) {
    const TICKS_IN_MINUTE: u64 = 60_000_000_000 / crate::host::TICK_NS;
    let host = call.host();
    (host.map_seed().unwrap_or(0x5eed), (host.jiffies() / TICKS_IN_MINUTE) as u32)
}

/// The listener that argument 1 points to.
fn listener(call: &Call<'_, '_>) -> Result<Arc<Socket>, Stop> {
    let null = || call.bad_arg(1, "is not a socket");
    let socket = call.socket(1)?.ok_or_else(null)?;
    let listens = socket.known("state") == state::LISTEN && socket.known("protocol") == IPPROTO_TCP;
    Ok(Some(socket).filter(|_| listens).ok_or(Errno::EINVAL)?)
}

/// Whether the listener takes packets of the version that the header says.
fn check_version(listener: &Socket, ip: &[u8]) -> Result<(), Errno> {
    let v6 = listener.known("family") == AF_INET6;
    match ip[0] >> 4 {
        4 if v6 && listener.fact(Fact::OnlyIpv6) != 0 => Err(Errno::EINVAL),
        4 => Ok(()),
        6 if ip.len() < IPV6_BYTES || !v6 => Err(Errno::EINVAL),
        6 => Ok(()),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

/// `tcp_check_syncookie(sk, iph, iph_len, th, th_len)`
pub(super) fn check(call: &mut Call<'_, '_>) -> Outcome {
    let (ip, tcp) = (call.memory(2)?, call.memory(4)?);
    let listener = listener(call);
    if tcp.len() < TCP_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let listener = listener?;
    let flow = Flow { ip: &ip, tcp: &tcp };
    if flow.flags() & (ACK | RST | SYN) != ACK {
        return Err(Errno::ENOENT.into());
    }
    if ip.len() < IPV4_BYTES {
        return Err(Errno::EINVAL.into());
    }
    if listener.fact(Fact::Overflows) == 0 {
        return Err(Errno::ENOENT.into());
    }
    check_version(&listener, &ip)?;
    let (key, minutes) = secret(call);
    let (cookie, sequence) = (word(&tcp, 8).wrapping_sub(1), word(&tcp, 4).wrapping_sub(1));
    match flow.check(key, cookie, sequence, minutes) {
        Some(_) => Ok(0),
        None => Err(Errno::ENOENT.into()),
    }
}

/// `tcp_gen_syncookie(sk, iph, iph_len, th, th_len)`: the cookie, and above it the segment size.
pub(super) fn generate(call: &mut Call<'_, '_>) -> Outcome {
    let (ip, tcp) = (call.memory(2)?, call.memory(4)?);
    let listener = listener(call);
    if tcp.len() < TCP_BYTES || tcp.len() != usize::from(tcp[12] >> 4) * 4 {
        return Err(Errno::EINVAL.into());
    }
    let listener = listener?;
    let flow = Flow { ip: &ip, tcp: &tcp };
    if flow.flags() & (SYN | ACK | FIN | RST) != SYN || ip.len() < IPV4_BYTES {
        return Err(Errno::EINVAL.into());
    }
    check_version(&listener, &ip)?;
    if listener.fact(Fact::Overflows) == 0 {
        return Err(Errno::ENOENT.into());
    }
    // What is assumed of a peer that says nothing.
    let default = if flow.is_v6() { SEGMENTS6[0] } else { SEGMENTS4[0] };
    let wanted = flow.segment_size().unwrap_or(default);
    let segments = flow.segments();
    let index = segments.iter().rposition(|size| wanted >= *size).unwrap_or(0);
    let (key, minutes) = secret(call);
    let cookie = flow.cookie(key, word(&tcp, 4), minutes, index as u32);
    Ok(u64::from(cookie) | u64::from(segments[index]) << 32)
}
