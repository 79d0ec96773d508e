//! Options in TCP headers, which programs of type `sock_ops` read, reserve and write
//! (`bpf_sock_ops_*_hdr_opt` of `net/core/filter.c`).

use super::{Call, Outcome};
use crate::context::Context;
use crate::context::socket::LAST_LOCKED_OP;
use crate::socket::facts::{Layer, SavedSyn};
use crate::socket::options::SOL_TCP;
use ebpfvm_spec::{Direction, Errno};

/// Kinds of options.
const EOL: u8 = 0;
const NOP: u8 = 1;
/// Options that are told apart by a magic number behind their length (RFC 6994).
const EXPERIMENTS: [u8; 2] = [253, 254];

/// The TCP header without options.
const HEADER_BYTES: usize = 20;

/// Operations of `sock_ops`.
const OP_RESERVE: u64 = 14;
const OP_WRITE: u64 = 15;

/// From where on the headers of the packet that opened the connection are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syn {
    Tcp,
    Network,
    Link,
}

impl Syn {
    /// `TCP_BPF_SYN` and its like.
    pub(super) fn of_option(name: i32) -> Option<Syn> {
        match name {
            1005 => Some(Syn::Tcp),
            1006 => Some(Syn::Network),
            1007 => Some(Syn::Link),
            _ => None,
        }
    }

    fn layer(self) -> Layer {
        match self {
            Syn::Tcp => Layer::Transport,
            Syn::Network => Layer::Network,
            Syn::Link => Layer::Link,
        }
    }
}

/// The headers of the packet that opened the connection (`bpf_sock_ops_get_syn`): of the request
/// itself, or as the socket has saved it.
///
/// # Errors
/// `ENOENT` if nobody has kept it, or not its link-layer header.
pub(super) fn syn(ctx: &Context, what: Syn) -> Result<Vec<u8>, Errno> {
    const TCP_SAVE_SYN: i32 = 27;
    if let Some(syn) = ctx.bytes("syn").and_then(SavedSyn::parse) {
        return Ok(syn.from(what.layer()).to_vec());
    }
    let socket = ctx.socket("sk").ok_or(Errno::ENOENT)?;
    if what == Syn::Link {
        let mut saves = [0; 4];
        let read = socket.option(SOL_TCP, TCP_SAVE_SYN, &mut saves);
        if read.is_err() || i32::from_ne_bytes(saves) != 2 {
            return Err(Errno::ENOENT);
        }
    }
    socket.syn(what.layer()).ok_or(Errno::ENOENT)
}

/// Where an option is.
enum Found {
    /// At this offset, with its kind and length.
    At(usize),
    /// Nowhere; the list has an end that nothing can follow.
    Ended,
    /// Nowhere.
    Not,
}

/// Looks for an option (`bpf_search_tcp_opt`).
///
/// # Errors
/// `EFAULT` if the options are not well-formed.
fn search(options: &[u8], kind: u8, magic: &[u8]) -> Result<Found, Errno> {
    let mut at = 0;
    while let Some(&found) = options.get(at) {
        if found == EOL {
            return Ok(Found::Ended);
        }
        if found == NOP {
            at += 1;
            continue;
        }
        let bytes = usize::from(*options.get(at + 1).ok_or(Errno::EFAULT)?);
        let option = options.get(at..at + bytes).filter(|o| o.len() >= 2).ok_or(Errno::EFAULT)?;
        if found == kind {
            match option[2..].get(..magic.len()) {
                // Too short for the number that is looked for.
                None => return Ok(Found::Not),
                Some(number) if number == magic => return Ok(Found::At(at)),
                Some(_) => {}
            }
        }
        at += bytes;
    }
    Ok(Found::Not)
}

/// `load_hdr_opt(skops, searchby_res, len, flags)`
pub(super) fn load(call: &mut Call<'_, '_>) -> Outcome {
    const FROM_SYN: u64 = 1 << 0;
    let len = call.size(3)?;
    call.check(2, len, Direction::Write)?;
    let given = call.read(2, len)?;
    let flags = call.arg(4);
    let ctx = call.ctx(1)?;
    let op = ctx.field("op").unwrap_or(0);
    if op > LAST_LOCKED_OP {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if len < 2 || flags & !FROM_SYN != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (kind, bytes) = (given[0], usize::from(given[1]));
    let by_number = EXPERIMENTS.contains(&kind);
    let wrong = if by_number { bytes != 4 && bytes != 6 } else { bytes != 0 };
    if bytes > len || kind == NOP || kind == EOL || wrong {
        return Err(Errno::EINVAL.into());
    }
    let magic = if by_number { &given[2..bytes] } else { &[] };
    let header = if flags & FROM_SYN != 0 {
        syn(ctx, Syn::Tcp)?
    } else {
        let header = ctx.packet_data().filter(|data| !data.is_empty() && op != OP_RESERVE);
        header.ok_or(Errno::EPERM)?.to_vec()
    };
    let options = header.get(HEADER_BYTES..).unwrap_or_default();
    let Found::At(at) = search(options, kind, magic)? else { return Err(Errno::ENOMSG.into()) };
    let option = &options[at..at + usize::from(options[at + 1])];
    let copied = option.len().min(len);
    call.write(2, &option[..copied])?;
    if copied < option.len() { Err(Errno::ENOSPC.into()) } else { Ok(copied as u64) }
}

/// `store_hdr_opt(skops, from, len, flags)`
pub(super) fn store(call: &mut Call<'_, '_>) -> Outcome {
    let given = call.memory(2)?;
    let flags = call.arg(4);
    let ctx = call.ctx(1)?;
    if ctx.field("op") != Ok(OP_WRITE) {
        return Err(Errno::EPERM.into());
    }
    if given.len() < 2 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (kind, bytes) = (given[0], usize::from(given[1]));
    if bytes > given.len() || kind == NOP || kind == EOL {
        return Err(Errno::EINVAL.into());
    }
    let room = ctx.field("remaining_opt_len").unwrap_or(0);
    if bytes as u64 > room {
        return Err(Errno::ENOSPC.into());
    }
    let magic = match EXPERIMENTS.contains(&kind) {
        true if bytes < 4 => return Err(Errno::EINVAL.into()),
        true => &given[2..4],
        false => &[],
    };
    let header = ctx.packet_data().unwrap_or_default();
    match search(header.get(HEADER_BYTES..).unwrap_or_default(), kind, magic)? {
        Found::At(_) => return Err(Errno::EEXIST.into()),
        Found::Ended => return Err(Errno::ENOSPC.into()),
        Found::Not => {}
    }
    super::skb::set_field(ctx, "remaining_opt_len", room - bytes as u64);
    super::skb::change(call, 1, |packet| {
        let end = packet.data().len();
        packet.resize(end + bytes);
        packet.data_mut()[end..].copy_from_slice(&given[..bytes]);
    })?;
    Ok(0)
}

/// `reserve_hdr_opt(skops, len, flags)`
pub(super) fn reserve(call: &mut Call<'_, '_>) -> Outcome {
    let (bytes, flags) = (u64::from(call.arg_u32(2)), call.arg(3));
    let ctx = call.ctx(1)?;
    if ctx.field("op") != Ok(OP_RESERVE) {
        return Err(Errno::EPERM.into());
    }
    if flags != 0 || bytes < 2 {
        return Err(Errno::EINVAL.into());
    }
    let room = ctx.field("remaining_opt_len").unwrap_or(0);
    let left = room.checked_sub(bytes).ok_or(Errno::ENOSPC)?;
    super::skb::set_field(ctx, "remaining_opt_len", left);
    Ok(0)
}
