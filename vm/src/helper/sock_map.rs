//! Maps of sockets: filling them and sending data to what is in them (`net/core/sock_map.c`).

use super::{Call, Outcome, Stop};
use crate::map::UpdateFlags;
use crate::run::Redirect;
use crate::socket::{Socket, state};
use ebpfvm_spec::{Errno, ProgType};
use std::sync::Arc;

const SK_DROP: u64 = 0;
const SK_PASS: u64 = 1;
const INGRESS: u64 = 1 << 0;

/// `sock_map_update(skops, map, key, flags)` and `sock_hash_update`: only when a connection is
/// there or a socket begins to listen (`sock_map_op_okay`).
pub(super) fn update(call: &mut Call<'_, '_>) -> Outcome {
    const ACTIVE_ESTABLISHED: u64 = 4;
    const PASSIVE_ESTABLISHED: u64 = 5;
    const TCP_LISTEN: u64 = 11;
    let map = call.map(2)?;
    let key = call.map_key(3, map)?;
    let flags = UpdateFlags(call.arg(4));
    let ctx = call.ctx(1)?;
    let op = ctx.field("op").unwrap_or(0);
    if !matches!(op, ACTIVE_ESTABLISHED | PASSIVE_ESTABLISHED | TCP_LISTEN) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let socket = ctx.socket("sk").ok_or(Errno::EOPNOTSUPP)?;
    map.update_socket(&key, socket, flags)?;
    Ok(0)
}

/// `sk_redirect_map(skb, map, key, flags)` and `msg_redirect_map(msg, map, key, flags)`
pub(super) fn redirect_map(call: &mut Call<'_, '_>) -> Outcome {
    let key = call.arg_u32(3).to_ne_bytes();
    redirect(call, &key)
}

/// `sk_redirect_hash(skb, map, key, flags)` and `msg_redirect_hash(msg, map, key, flags)`
pub(super) fn redirect_hash(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(2)?;
    let key = call.map_key(3, map)?;
    redirect(call, &key)
}

fn redirect(call: &mut Call<'_, '_>, key: &[u8]) -> Outcome {
    let map = call.map(2)?;
    call.ctx(1)?;
    let Ok(flags) = call.flags(4, INGRESS) else { return Ok(SK_DROP) };
    let is_message = call.prog_type() == ProgType::SkMsg;
    let target = map.socket(key).filter(|socket| takes(socket, is_message, flags));
    let Some(target) = target else { return Ok(SK_DROP) };
    let (map, cookie) = (map.def().name.clone(), target.cookie());
    call.set_redirect(Some(Redirect::Socket { map, cookie, flags }));
    Ok(SK_PASS)
}

/// Whether a socket takes redirected data (`sock_map_redirect_allowed`).
fn takes(socket: &Arc<Socket>, is_message: bool, flags: u64) -> bool {
    const AF_VSOCK: u64 = 40;
    let allowed = match socket.is_tcp() {
        true => socket.known("state") != state::LISTEN,
        false => socket.known("state") == state::ESTABLISHED,
    };
    let vsock = socket.known("family") == AF_VSOCK;
    match is_message {
        true => allowed && (flags & INGRESS != 0 || socket.is_tcp()) && !vsock,
        false => allowed && !(flags & INGRESS != 0 && vsock),
    }
}

/// `msg_apply_bytes(msg, bytes)`
pub(super) fn apply_bytes(call: &mut Call<'_, '_>) -> Outcome {
    number(call, "apply_bytes")
}

/// `msg_cork_bytes(msg, bytes)`
pub(super) fn cork_bytes(call: &mut Call<'_, '_>) -> Outcome {
    number(call, "cork_bytes")
}

fn number(call: &mut Call<'_, '_>, name: &str) -> Outcome {
    let bytes = call.arg_u32(2);
    super::skb::set_field(call.ctx(1)?, name, bytes.into());
    Ok(0)
}

/// Changes the message behind the context; its addresses are taken anew.
fn change(
    call: &mut Call<'_, '_>,
    change: impl FnOnce(&mut crate::context::Message) -> Result<(), Errno>,
) -> Outcome {
    let trap = call.bad_arg(1, "is a context without a message");
    let changed = call.ctx(1)?.change_message(change).ok_or(Stop::Trap(trap))?;
    call.packet_changed();
    changed?;
    Ok(0)
}

/// The two positions of a helper without flags.
fn positions(call: &Call<'_, '_>) -> Result<(u32, u32), Errno> {
    call.flags(4, 0)?;
    Ok((call.arg_u32(2), call.arg_u32(3)))
}

/// `msg_pull_data(msg, start, end, flags)`
pub(super) fn pull_data(call: &mut Call<'_, '_>) -> Outcome {
    let (start, end) = positions(call)?;
    change(call, |message| message.pull(start, end))
}

/// `msg_push_data(msg, start, len, flags)`
pub(super) fn push_data(call: &mut Call<'_, '_>) -> Outcome {
    let (start, bytes) = positions(call)?;
    change(call, |message| message.push(start, bytes))
}

/// `msg_pop_data(msg, start, len, flags)`
pub(super) fn pop_data(call: &mut Call<'_, '_>) -> Outcome {
    let (start, bytes) = positions(call)?;
    change(call, |message| message.pop(start, bytes))
}
