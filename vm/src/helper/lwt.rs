//! Programs at routes put headers before packets (`net/core/lwt_bpf.c`, `net/core/filter.c`).

use super::seg6::{self, Push};
use super::skb::{
    ETH_IP, ETH_IPV6, IPV4_BYTES, IPV6_BYTES, change, clear_hash, field, packet, push_front,
    set_protocol,
};
use super::{Call, Outcome};
use ebpfvm_spec::{Errno, ProgType};

/// `BPF_LWT_ENCAP_*`
const SEG6: u32 = 0;
const SEG6_INLINE: u32 = 1;
const IP: u32 = 2;

/// The longest header (`LWT_BPF_MAX_HEADROOM`).
const MAX_BYTES: usize = 256;

/// `lwt_push_encap(skb, type, hdr, len)`: an IP header, with what follows it, goes before the packet,
/// or where packets arrive a header of segment routing.
pub(super) fn push_encap(call: &mut Call<'_, '_>) -> Outcome {
    let mut header = call.memory(3)?;
    packet(call, 1)?;
    let kind = call.arg_u32(2);
    if call.prog_type() == ProgType::LwtIn {
        match kind {
            SEG6 => return seg6::push(call, Push::Before, &header),
            SEG6_INLINE => return seg6::push(call, Push::Inside, &header),
            _ => {}
        }
    }
    if kind != IP || !(IPV4_BYTES..=MAX_BYTES).contains(&header.len()) {
        return Err(Errno::EINVAL.into());
    }
    let (protocol, needed) = match header[0] >> 4 {
        4 => (ETH_IP, usize::from(header[0] & 0xf) * 4),
        6 => (ETH_IPV6, IPV6_BYTES),
        _ => return Err(Errno::EINVAL.into()),
    };
    if header.len() < needed {
        return Err(Errno::EINVAL.into());
    }
    if protocol == ETH_IP && header[10..12] == [0; 2] {
        let sum = super::checksum::of_header(&header[..needed]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let gso = field(call.ctx(1)?, "gso_size") != 0;
    push_front(call, 1, header.len())?;
    change(call, 1, |packet| packet.data_mut()[..header.len()].copy_from_slice(&header))?;
    let ctx = call.ctx(1)?;
    ctx.skb.network = 0;
    ctx.skb.encapsulated = true;
    clear_hash(ctx);
    set_protocol(ctx, protocol);
    // What kind of segments a packet stands for is not known here, as in a test-run.
    if gso { Err(Errno::ENOTSUPP.into()) } else { Ok(0) }
}
