//! Dynptrs (`kernel/bpf/helpers.c`, `kernel/bpf/ringbuf.c`).

use super::{Call, Outcome, output};
use crate::dynptr::{Dynptr, DynptrKind};
use crate::map::Ringbuf;
use ebpfvm_spec::{Direction, Errno};

/// Makes the dynptr that an argument points to, or one without memory if there is an error.
fn make(call: &mut Call<'_, '_>, number: usize, made: Result<Dynptr, Errno>) -> Outcome {
    call.set_dynptr(number, made.ok())?;
    made?;
    Ok(0)
}

/// `dynptr_from_mem(data, size, flags, dynptr)`
pub(super) fn from_mem(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = call.size(2)? as u32;
    call.check(1, bytes as usize, Direction::Write)?;
    let made = Dynptr::check_size(bytes)
        .and_then(|()| call.flags(3, 0))
        .map(|_| Dynptr::new(DynptrKind::Local, call.arg(1), bytes));
    make(call, 4, made)
}

/// `ringbuf_reserve_dynptr(map, size, flags, dynptr)`
pub(super) fn reserve(call: &mut Call<'_, '_>) -> Outcome {
    let ring = output::ring(call)?;
    // Nothing is reserved for what is no place of a dynptr.
    call.set_dynptr(4, None)?;
    let bytes = call.arg_u32(2);
    let record = call.flags(3, 0).and_then(|_| {
        Dynptr::check_size(bytes)?;
        ring.reserve(bytes.into()).ok_or(Errno::EINVAL)
    });
    let made = record.map(|record| {
        let address = record.as_ptr() as u64;
        call.grant(address, bytes.into());
        Dynptr::new(DynptrKind::Ringbuf, address, bytes)
    });
    make(call, 4, made)
}

/// Ends the reservation of the dynptr that argument 1 is. One without memory has none.
fn commit(call: &mut Call<'_, '_>, end: output::End) -> Outcome {
    let Some(dynptr) = call.dynptr(1)? else { return Ok(0) };
    if dynptr.kind != DynptrKind::Ringbuf {
        return Err(call.bad_arg(1, "is not a dynptr of a ring buffer's record").into());
    }
    output::commit(call, dynptr.data(), end)?;
    call.set_dynptr(1, None)?;
    Ok(0)
}

/// `ringbuf_submit_dynptr(dynptr, flags)`
pub(super) fn submit(call: &mut Call<'_, '_>) -> Outcome {
    commit(call, Ringbuf::submit)
}

/// `ringbuf_discard_dynptr(dynptr, flags)`
pub(super) fn discard(call: &mut Call<'_, '_>) -> Outcome {
    commit(call, Ringbuf::discard)
}

/// `dynptr_read(dst, len, dynptr, offset, flags)`
pub(super) fn read(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = call.size(2)?;
    call.check(1, bytes, Direction::Write)?;
    let dynptr = call.dynptr(3)?.ok_or(Errno::EINVAL);
    call.flags(5, 0)?;
    let slice = dynptr?.slice(call.arg_u32(4), bytes as u32)?;
    let data = call.read_slice(3, slice)?;
    call.write(1, &data)?;
    Ok(0)
}

/// `dynptr_write(dynptr, offset, src, len, flags)`
pub(super) fn write(call: &mut Call<'_, '_>) -> Outcome {
    let data = call.memory(3)?;
    let dynptr = call.dynptr(1)?.ok_or(Errno::EINVAL)?;
    let slice = dynptr.slice(call.arg_u32(2), data.len() as u32)?;
    call.flags(5, 0)?;
    call.write_slice(1, slice, &data)?;
    Ok(0)
}

/// `dynptr_data(dynptr, offset, len)`: the address of a part of the memory, or 0.
pub(super) fn data(call: &mut Call<'_, '_>) -> Outcome {
    let dynptr = call.dynptr(1)?;
    let slice = dynptr.and_then(|d| d.slice(call.arg_u32(2), call.arg_u32(3)).ok());
    Ok(slice.map_or(0, |slice| slice.address()))
}
