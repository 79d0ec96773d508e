//! XDP packets (`net/core/filter.c`).

use super::skb::{change, packet};
use super::{Call, Outcome};
use ebpfvm_spec::{Direction, Errno};

/// `xdp_adjust_head(xdp, delta)`
pub(super) fn adjust_head(call: &mut Call<'_, '_>) -> Outcome {
    let delta = call.arg(2) as i32;
    let done = change(call, 1, |packet| packet.adjust_head(delta))?;
    if done { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// `xdp_adjust_tail(xdp, delta)`
pub(super) fn adjust_tail(call: &mut Call<'_, '_>) -> Outcome {
    let delta = call.arg(2) as i32;
    let done = change(call, 1, |packet| packet.adjust_tail(delta))?;
    if done { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// `xdp_adjust_meta(xdp, delta)`
pub(super) fn adjust_meta(call: &mut Call<'_, '_>) -> Outcome {
    let delta = call.arg(2) as i32;
    change(call, 1, |packet| packet.adjust_meta(delta))??;
    Ok(0)
}

/// `xdp_get_buff_len(xdp)`
pub(super) fn buff_len(call: &mut Call<'_, '_>) -> Outcome {
    Ok(packet(call, 1)?.total_bytes() as u64)
}

/// The offset that argument 2 gives, if `len` bytes are there (`bpf_xdp_pointer`).
fn offset(call: &mut Call<'_, '_>, len: usize) -> Result<usize, super::Stop> {
    let offset = call.arg_u32(2) as usize;
    if offset > 0xffff || len > 0xffff {
        return Err(Errno::EFAULT.into());
    }
    if offset + len > packet(call, 1)?.total_bytes() {
        return Err(Errno::EINVAL.into());
    }
    Ok(offset)
}

/// `xdp_load_bytes(xdp, offset, buf, len)`
pub(super) fn load_bytes(call: &mut Call<'_, '_>) -> Outcome {
    let len = call.size(4)?;
    call.check(3, len, Direction::Write)?;
    let offset = offset(call, len)?;
    let mut data = super::Bytes::from_elem(0, len);
    packet(call, 1)?.read(offset, &mut data);
    call.write(3, &data)?;
    Ok(0)
}

/// `xdp_store_bytes(xdp, offset, buf, len)`
pub(super) fn store_bytes(call: &mut Call<'_, '_>) -> Outcome {
    let mut from = super::Bytes::new();
    call.memory_into(3, &mut from)?;
    let offset = offset(call, from.len())?;
    change(call, 1, |packet| packet.write(offset, &from))?;
    Ok(0)
}
