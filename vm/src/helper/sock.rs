//! What sockets are: other views of them, their numbers (`net/core/filter.c`).

use super::{Call, Outcome, Stop};
use crate::context::Context;
use crate::host::FIRST_NETNS_COOKIE;
use crate::socket::facts::Fact;
use crate::socket::{Socket, state};
use ebpfvm_spec::ProgType;
use ebpfvm_spec::context::Pointee;
use std::sync::Arc;

/// The socket that an argument points to, which must not be null.
fn socket(call: &Call<'_, '_>, number: usize) -> Result<Arc<Socket>, Stop> {
    let null = || call.bad_arg(number, "is not a socket");
    Ok(call.socket(number)?.ok_or_else(null)?)
}

/// `sk_fullsock(sk)`
pub(super) fn full(call: &mut Call<'_, '_>) -> Outcome {
    let socket = socket(call, 1)?;
    Ok(call.show_socket(Pointee::Sock, &socket)?)
}

/// `tcp_sock(sk)`
pub(super) fn tcp(call: &mut Call<'_, '_>) -> Outcome {
    let socket = socket(call, 1)?;
    Ok(call.show_socket(Pointee::TcpSock, &socket)?)
}

/// `get_listener_sock(sk)`
pub(super) fn listener(call: &mut Call<'_, '_>) -> Outcome {
    let full = socket(call, 1)?.full();
    match full.filter(|socket| socket.known("state") == state::LISTEN) {
        Some(listener) => Ok(call.show_socket(Pointee::Sock, &listener)?),
        None => Ok(0),
    }
}

/// `get_socket_cookie(ctx)`, or of a socket that may be null
pub(super) fn cookie(call: &mut Call<'_, '_>) -> Outcome {
    let by_pointer = matches!(
        call.prog_type(),
        ProgType::SkReuseport | ProgType::Tracing | ProgType::Lsm | ProgType::Syscall
    );
    let socket = if by_pointer { call.socket(1)? } else { of_context(call.ctx(1)?) };
    Ok(socket.map_or(0, |socket| socket.cookie()))
}

fn of_context(ctx: &Context) -> Option<Arc<Socket>> {
    ctx.socket("sk")
}

/// `get_socket_uid(skb)`: 65534, nobody, if there is no socket that has an owner (`overflowuid`).
pub(super) fn uid(call: &mut Call<'_, '_>) -> Outcome {
    const NOBODY: u64 = 65534;
    let full = of_context(call.ctx(1)?).and_then(|socket| socket.full());
    Ok(full.map_or(NOBODY, |socket| socket.fact(Fact::Uid)))
}

/// `get_netns_cookie(ctx)`: of the socket, or of the first namespace without one.
pub(super) fn netns_cookie(call: &mut Call<'_, '_>) -> Outcome {
    let socket = if call.arg(1) == 0 { None } else { of_context(call.ctx(1)?) };
    Ok(socket.map_or(FIRST_NETNS_COOKIE, |socket| socket.fact(Fact::Netns)))
}

/// The numbers of the cgroups of a socket, from the root on; none if it is no full one.
fn cgroups(call: &Call<'_, '_>) -> Result<Option<Vec<u64>>, Stop> {
    const ROOT: u64 = 1;
    let full = socket(call, 1)?.full();
    Ok(full.map(|socket| {
        let mut all = socket.cgroups();
        if all.is_empty() {
            all.push(ROOT);
        }
        all
    }))
}

/// `sk_cgroup_id(sk)`
pub(super) fn cgroup_id(call: &mut Call<'_, '_>) -> Outcome {
    let all = cgroups(call)?;
    Ok(all.and_then(|all| all.last().copied()).unwrap_or(0))
}

/// `sk_ancestor_cgroup_id(sk, ancestor_level)`
pub(super) fn ancestor_cgroup_id(call: &mut Call<'_, '_>) -> Outcome {
    let level = usize::try_from(call.arg(2) as i32);
    let all = cgroups(call)?;
    let id = level.ok().zip(all).and_then(|(level, all)| all.get(level).copied());
    Ok(id.unwrap_or(0))
}
