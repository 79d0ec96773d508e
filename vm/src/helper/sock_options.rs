//! Options, addresses and callbacks of the socket that a context is about (`net/core/filter.c`).

use super::tcp_options::{self, Syn};
use super::{Call, Outcome, Stop};
use crate::context::socket::LAST_LOCKED_OP;
use crate::socket::facts::Fact;
use crate::socket::options::SOL_TCP;
use crate::socket::{AF_INET, AF_INET6, Socket, state};
use ebpfvm_spec::{Errno, ProgType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The socket of argument 1: the context's, or the one that it points to.
///
/// # Errors
/// `EOPNOTSUPP` where `sock_ops` is called without the socket's lock, `EINVAL` without a socket.
fn subject(call: &mut Call<'_, '_>) -> Result<Arc<Socket>, Stop> {
    match call.prog_type() {
        ProgType::SockOps | ProgType::CgroupSockAddr => {
            let ctx = call.ctx(1)?;
            if ctx.field("op").is_ok_and(|op| op > LAST_LOCKED_OP) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            Ok(ctx.socket("sk").ok_or(Errno::EINVAL)?)
        }
        _ => {
            let null = call.bad_arg(1, "is not a socket");
            Ok(call.socket(1)?.ok_or(null)?)
        }
    }
}

/// `setsockopt(ctx or sk, level, optname, optval, optlen)`
pub(super) fn set(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.memory(4)?;
    let (level, name) = (call.arg(2) as i32, call.arg(3) as i32);
    let socket = subject(call)?;
    let host = call.host();
    socket.set_option(level, name, &value, |name| host.device_index(name))?;
    call.refresh_socket(&socket);
    Ok(0)
}

/// `getsockopt(ctx or sk, level, optname, optval, optlen)`
pub(super) fn get(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = call.size(5)?;
    call.check(4, bytes, ebpfvm_spec::Direction::Write)?;
    let (level, name) = (call.arg(2) as i32, call.arg(3) as i32);
    let socket = subject(call)?;
    let mut out = vec![0; bytes];
    let syn = Syn::of_option(name).filter(|_| level == SOL_TCP);
    let result = match syn.filter(|_| call.prog_type() == ProgType::SockOps) {
        Some(syn) => match tcp_options::syn(call.ctx(1)?, syn) {
            Ok(header) => {
                let copied = header.len().min(bytes);
                out[..copied].copy_from_slice(&header[..copied]);
                if copied < header.len() { Err(Errno::ENOSPC) } else { Ok(copied as u64) }
            }
            Err(errno) => Err(errno),
        },
        None => socket.option(level, name, &mut out).map(|()| 0),
    };
    call.write(4, &out)?;
    Ok(result?)
}

/// `sock_ops_cb_flags_set(skops, argval)`
pub(super) fn set_callback_flags(call: &mut Call<'_, '_>) -> Outcome {
    let flags = call.arg_u32(2);
    let socket = subject(call)?;
    if !socket.is_full() {
        return Err(Errno::EINVAL.into());
    }
    let unknown = socket.set_callback_flags(flags);
    call.refresh_socket(&socket);
    // An `int`, whose sign is extended.
    Ok(i64::from(unknown as i32) as u64)
}

/// `bind(ctx, addr, addr_len)`: port 0 leaves the port open until the connection is made.
pub(super) fn bind(call: &mut Call<'_, '_>) -> Outcome {
    let given = call.memory(2)?;
    let socket = call.ctx(1)?.socket("sk").ok_or(Errno::EINVAL)?;
    let address = address(&given)?;
    let local = call.host().is_local_address(address.ip());
    let free = socket.known("state") == state::CLOSE && !socket.is_bound();
    let check = || -> Result<(), Errno> {
        match address.ip() {
            IpAddr::V6(ip) => {
                const SOCK_STREAM: u64 = 1;
                if ip.is_multicast() && socket.known("type") == SOCK_STREAM || !free {
                    return Err(Errno::EINVAL);
                }
                if ip.to_ipv4_mapped().is_some() && socket.fact(Fact::OnlyIpv6) != 0 {
                    return Err(Errno::EINVAL);
                }
                if local { Ok(()) } else { Err(Errno::EADDRNOTAVAIL) }
            }
            IpAddr::V4(_) if !local => Err(Errno::EADDRNOTAVAIL),
            IpAddr::V4(_) if !free => Err(Errno::EINVAL),
            IpAddr::V4(_) => Ok(()),
        }
    };
    check()?;
    socket.set_local(address);
    socket.bound_to(address.ip());
    call.refresh_socket(&socket);
    Ok(0)
}

/// A `struct sockaddr_in` or `sockaddr_in6`, which may lack its last field.
fn address(given: &[u8]) -> Result<SocketAddr, Errno> {
    const IN_BYTES: usize = 16;
    const IN6_BYTES: usize = 24;
    let half = |at: usize| Some([*given.get(at)?, *given.get(at + 1)?]);
    let family = u16::from_ne_bytes(half(0).ok_or(Errno::EINVAL)?);
    let port = half(2).map(u16::from_be_bytes);
    let ip = match u64::from(family) {
        AF_INET if given.len() < IN_BYTES => return Err(Errno::EINVAL),
        AF_INET6 if given.len() < IN6_BYTES => return Err(Errno::EINVAL),
        AF_INET => given.get(4..8).and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from),
        AF_INET6 => given.get(8..24).and_then(|ip| <[u8; 16]>::try_from(ip).ok()).map(IpAddr::from),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    Ok(SocketAddr::new(ip.ok_or(Errno::EINVAL)?, port.ok_or(Errno::EINVAL)?))
}
