//! Events for the host: perf event arrays and ring buffers (`kernel/trace/bpf_trace.c`,
//! `net/core/filter.c`, `kernel/bpf/ringbuf.c`).

use super::{Bytes, Call, Outcome, Stop, skb};
use crate::map::perf_event_array::INDEX_MASK;
use crate::map::{PerfEventArray, Ringbuf};
use ebpfvm_spec::Errno;

/// `perf_event_output(ctx, map, flags, data, size)`: the data, and after it as many bytes of the
/// packet as the flags' bits from 32 say.
pub(super) fn perf_event(call: &mut Call<'_, '_>) -> Outcome {
    const PACKET_BYTES_SHIFT: u32 = 32;
    const PACKET_BYTES_MASK: u64 = 0xfffff << PACKET_BYTES_SHIFT;
    let map = call.map(2)?;
    let array: &PerfEventArray =
        map.as_kind().ok_or_else(|| call.bad_arg(2, "is not a perf_event_array"))?;
    let mut data = Bytes::new();
    call.memory_into(4, &mut data)?;
    let has_packet = call.ctx(1)?.visible_packet().is_some();
    let known = if has_packet { INDEX_MASK | PACKET_BYTES_MASK } else { INDEX_MASK };
    let flags = call.flags(3, known)?;
    let packet = match ((flags & PACKET_BYTES_MASK) >> PACKET_BYTES_SHIFT) as usize {
        0 => Bytes::new(),
        bytes => {
            let packet = skb::packet(call, 1)?;
            // Before memory of that size is taken.
            if bytes > packet.total_bytes() {
                return Err(Errno::EFAULT.into());
            }
            let mut out = Bytes::from_elem(0, bytes);
            packet.read(0, &mut out);
            out
        }
    };
    array.output(flags & INDEX_MASK, call.cpu(), &[&data, &packet])?;
    Ok(0)
}

/// The ring buffer that argument 1 is.
pub(super) fn ring<'c>(call: &Call<'c, '_>) -> Result<&'c Ringbuf, Stop> {
    let ring = call.map(1)?.as_kind();
    Ok(ring.ok_or_else(|| call.bad_arg(1, "is not a ring buffer"))?)
}

/// `ringbuf_output(map, data, size, flags)`
pub(super) fn ringbuf_output(call: &mut Call<'_, '_>) -> Outcome {
    let ring = ring(call)?;
    let mut data = Bytes::new();
    call.memory_into(2, &mut data)?;
    ring.output(&data, call.arg(4))?;
    Ok(0)
}

/// `ringbuf_reserve(map, size, flags)`: the address of the record, or 0.
pub(super) fn ringbuf_reserve(call: &mut Call<'_, '_>) -> Outcome {
    let (ring, bytes) = (ring(call)?, call.arg(2));
    if call.arg(3) != 0 {
        return Ok(0);
    }
    let Some(record) = ring.reserve(bytes) else { return Ok(0) };
    let address = record.as_ptr() as u64;
    call.grant(address, bytes);
    Ok(address)
}

/// What ends a reservation: [`Ringbuf::submit`] or [`Ringbuf::discard`].
pub(super) type End = fn(&Ringbuf, usize, u64) -> Result<(), Errno>;

/// Ends the reservation of the record at an address, with the flags of argument 2; argument 1
/// stands for the record.
pub(super) fn commit(call: &mut Call<'_, '_>, address: u64, end: End) -> Outcome {
    call.revoke(address)?;
    let flags = call.arg(2);
    let mut rings = call.maps().filter_map(|map| map.as_kind::<Ringbuf>());
    let is_ended = rings.any(|ring| end(ring, address as usize, flags).is_ok());
    drop(rings);
    if is_ended {
        return Ok(0);
    }
    // The record is of a map of the program before a tail call; the end of the run takes it back.
    call.grant(address, 0);
    Err(call.bad_arg(1, "is not a record of a ring buffer of the program").into())
}

/// `ringbuf_submit(record, flags)`
pub(super) fn ringbuf_submit(call: &mut Call<'_, '_>) -> Outcome {
    commit(call, call.arg(1), Ringbuf::submit)
}

/// `ringbuf_discard(record, flags)`
pub(super) fn ringbuf_discard(call: &mut Call<'_, '_>) -> Outcome {
    commit(call, call.arg(1), Ringbuf::discard)
}

/// `ringbuf_query(map, flags)`
pub(super) fn ringbuf_query(call: &mut Call<'_, '_>) -> Outcome {
    Ok(ring(call)?.query(call.arg(2)))
}
