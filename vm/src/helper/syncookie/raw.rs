//! Cookies of headers that a program has at hand.

use super::{Segment, TCP_BYTES, Version, is_whole};
use crate::helper::{Call, Outcome};
use ebpfvm_spec::Errno;

fn make(call: &mut Call<'_, '_>, version: Version) -> Outcome {
    let (ip, tcp) = (call.read(1, version.header_bytes())?, call.memory(2)?);
    if !is_whole(&tcp) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Segment { version, ip: &ip, tcp: &tcp }.make_cookie(call))
}

fn check(call: &mut Call<'_, '_>, version: Version) -> Outcome {
    let (ip, tcp) = (call.read(1, version.header_bytes())?, call.read(2, TCP_BYTES)?);
    match (Segment { version, ip: &ip, tcp: &tcp }).has_cookie(call) {
        true => Ok(0),
        false => Err(Errno::EACCES.into()),
    }
}

/// `tcp_raw_gen_syncookie_ipv4(iph, th, th_len)`
pub(in crate::helper) fn make_ipv4(call: &mut Call<'_, '_>) -> Outcome {
    make(call, Version::Four)
}

/// `tcp_raw_gen_syncookie_ipv6(iph, th, th_len)`
pub(in crate::helper) fn make_ipv6(call: &mut Call<'_, '_>) -> Outcome {
    make(call, Version::Six)
}

/// `tcp_raw_check_syncookie_ipv4(iph, th)`: of an ACK.
pub(in crate::helper) fn check_ipv4(call: &mut Call<'_, '_>) -> Outcome {
    check(call, Version::Four)
}

/// `tcp_raw_check_syncookie_ipv6(iph, th)`
pub(in crate::helper) fn check_ipv6(call: &mut Call<'_, '_>) -> Outcome {
    check(call, Version::Six)
}
