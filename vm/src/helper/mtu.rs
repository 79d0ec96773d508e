//! What devices can send (`bpf_skb_check_mtu`, `bpf_xdp_check_mtu` in `net/core/filter.c`).

use super::skb::{field, packet};
use super::{Call, Outcome};
use ebpfvm_spec::{Direction, Errno, ProgType};

/// `check_mtu(ctx, ifindex, mtu_len, len_diff, flags)`: 0 if the packet, changed by `len_diff`
/// bytes, can be sent, 1 if not. The length at `mtu_len`, if not 0, stands for the packet's without
/// its Ethernet header; the device's limit is written there.
pub(super) fn check(call: &mut Call<'_, '_>) -> Outcome {
    const SEGMENTS: u64 = 1 << 0;
    const TOO_LONG: u64 = 1;
    const HEADER_BYTES: i64 = crate::packet::MIN_BYTES as i64;
    call.check(3, 4, Direction::Write)?;
    let given = call.read(3, 4)?;
    let given = i64::from(u32::from_ne_bytes([given[0], given[1], given[2], given[3]]));
    let difference = call.arg(4) as i32;
    let is_xdp = call.prog_type() == ProgType::Xdp;
    let flags = call.flags(5, if is_xdp { 0 } else { SEGMENTS })?;
    if flags & SEGMENTS != 0 && (difference != 0 || given != 0) {
        return Err(Errno::EINVAL.into());
    }
    let bytes = packet(call, 1)?.data().len() as i64;
    let ctx = call.ctx(1)?;
    let own = field(ctx, if is_xdp { "ingress_ifindex" } else { "ifindex" }) as u32;
    let gso = field(ctx, "gso_size") != 0;
    let ifindex = if call.arg_u32(2) == 0 { own } else { call.arg_u32(2) };
    let mtu = call.host().mtu(ifindex).ok_or(Errno::ENODEV)?;
    let bytes = if given == 0 { bytes } else { given + HEADER_BYTES } + i64::from(difference);
    let fits = bytes <= i64::from(mtu) + HEADER_BYTES;
    call.write(3, &mtu.to_ne_bytes())?;
    // A packet that stands for several is cut into pieces that fit.
    Ok(if fits || gso { 0 } else { TOO_LONG })
}
