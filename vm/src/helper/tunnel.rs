//! Tunnels of packets and what has decrypted them (`net/core/filter.c`).

use super::{Call, Outcome};
use crate::tunnel::{KEY_BYTES, Tunnel};
use ebpfvm_spec::{Direction, Errno};

/// Flags that both directions know, and those of each.
const IPV6: u64 = 1 << 0;
const WITH_FLAGS: u64 = 1 << 4;
const ZERO_CSUM: u64 = 1 << 1;
const DONT_FRAGMENT: u64 = 1 << 2;
const SEQUENCE: u64 = 1 << 3;
const NO_KEY: u64 = 1 << 4;

/// Sizes that `struct bpf_tunnel_key` had before it grew; the smallest knows IPv4 only.
const OLD_BYTES: [usize; 4] = [IPV4_BYTES, 22, 24, 28];
const IPV4_BYTES: usize = 8;

/// Writes an answer to arguments 2 and 3, or zeros.
fn give(call: &mut Call<'_, '_>, answer: Result<Vec<u8>, Errno>, done: u64) -> Outcome {
    let size = call.size(3)?;
    let mut out = vec![0; size];
    if let Ok(bytes) = &answer {
        let taken = bytes.len().min(size);
        out[..taken].copy_from_slice(&bytes[..taken]);
    }
    call.write(2, &out)?;
    answer?;
    Ok(done)
}

/// `skb_get_tunnel_key(skb, key, size, flags)`
pub(super) fn get_key(call: &mut Call<'_, '_>) -> Outcome {
    let (size, flags) = (call.size(3)?, call.arg(4));
    call.check(2, size, Direction::Write)?;
    let answer = match &call.ctx(1)?.skb.tunnel {
        None => Err(Errno::EINVAL),
        Some(_) if flags & !(IPV6 | WITH_FLAGS) != 0 => Err(Errno::EINVAL),
        Some(tunnel) if tunnel.is_ipv6 != (flags & IPV6 != 0) => Err(Errno::EPROTO),
        Some(tunnel) => {
            let known = size == KEY_BYTES || OLD_BYTES.contains(&size);
            match known && !(size == IPV4_BYTES && tunnel.is_ipv6) {
                true => Ok(tunnel.key(flags & WITH_FLAGS != 0).to_vec()),
                false => Err(Errno::EINVAL),
            }
        }
    };
    give(call, answer, 0)
}

/// `skb_set_tunnel_key(skb, key, size, flags)`
pub(super) fn set_key(call: &mut Call<'_, '_>) -> Outcome {
    let given = call.memory(2)?;
    let flags = call.flags(4, IPV6 | ZERO_CSUM | DONT_FRAGMENT | SEQUENCE | NO_KEY)?;
    if given.len() != KEY_BYTES && !OLD_BYTES.contains(&given.len()) {
        return Err(Errno::EINVAL.into());
    }
    let mut key = [0; KEY_BYTES];
    key[..given.len()].copy_from_slice(&given);
    let is_ipv6 = flags & IPV6 != 0;
    let has_label = key[24..28] != [0; 4];
    if (has_label && !is_ipv6) || key[22..24] != [0; 2] {
        return Err(Errno::EINVAL.into());
    }
    let when = |is: bool, bit: u16| if is { bit } else { 0 };
    let bits = Tunnel::NOCACHE
        | when(flags & ZERO_CSUM == 0, Tunnel::CSUM)
        | when(flags & NO_KEY == 0, Tunnel::KEY)
        | when(flags & SEQUENCE != 0, Tunnel::SEQ)
        | when(flags & DONT_FRAGMENT != 0, Tunnel::DONT_FRAGMENT);
    call.ctx(1)?.skb.tunnel = Some(Tunnel { flags: bits, ..Tunnel::parse(&key, is_ipv6) });
    Ok(0)
}

/// `skb_get_tunnel_opt(skb, opt, size)`
pub(super) fn get_options(call: &mut Call<'_, '_>) -> Outcome {
    let size = call.size(3)?;
    call.check(2, size, Direction::Write)?;
    let answer = match &call.ctx(1)?.skb.tunnel {
        Some(tunnel) if tunnel.flags & Tunnel::OPTIONS != 0 => match tunnel.options.len() {
            bytes if size < bytes => Err(Errno::ENOMEM),
            _ => Ok(tunnel.options.clone()),
        },
        _ => Err(Errno::ENOENT),
    };
    let bytes = answer.as_ref().map_or(0, Vec::len) as u64;
    give(call, answer, bytes)
}

/// `skb_set_tunnel_opt(skb, opt, size)`: for a tunnel that the program has set.
pub(super) fn set_options(call: &mut Call<'_, '_>) -> Outcome {
    const MAX_BYTES: usize = 255;
    let options = call.memory(2)?;
    let tunnel = call.ctx(1)?.skb.tunnel.as_mut().filter(|tunnel| tunnel.is_own);
    let tunnel = tunnel.filter(|_| options.len().is_multiple_of(4)).ok_or(Errno::EINVAL)?;
    if options.len() > MAX_BYTES {
        return Err(Errno::ENOMEM.into());
    }
    tunnel.options = options.to_vec();
    tunnel.flags |= Tunnel::OPTIONS;
    Ok(0)
}

/// `skb_get_xfrm_state(skb, index, state, size, flags)`
pub(super) fn xfrm_state(call: &mut Call<'_, '_>) -> Outcome {
    const INET6: u16 = 10;
    let (index, size) = (call.arg_u32(2) as usize, call.size(4)?);
    call.check(3, size, Direction::Write)?;
    let states = call.ctx(1)?.bytes("xfrm_states").unwrap_or_default();
    let state = states.as_chunks::<XFRM_STATE_BYTES>().0.get(index).copied();
    match state.filter(|_| size == XFRM_STATE_BYTES && call.arg(5) == 0) {
        Some(mut state) => {
            // Padding, and what is behind an IPv4 address.
            state[10..12].fill(0);
            if u16::from_ne_bytes([state[8], state[9]]) != INET6 {
                state[16..].fill(0);
            }
            call.write(3, &state)?;
            Ok(0)
        }
        None => {
            call.write(3, &vec![0; size])?;
            Err(Errno::EINVAL.into())
        }
    }
}

/// The size of `struct bpf_xfrm_state`.
pub(crate) const XFRM_STATE_BYTES: usize = 28;
