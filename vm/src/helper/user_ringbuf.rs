//! Samples that the host has put into a ring buffer (`kernel/bpf/ringbuf.c`).

use super::{Call, Outcome};
use crate::cells::Cell;
use crate::dynptr::{DYNPTR_BYTES, Dynptr, DynptrKind};
use crate::map::UserRingbuf;
use crate::map::user_ringbuf::Sample;
use crate::trap::TrapKind;

/// `user_ringbuf_drain(map, callback, ctx, flags)`: calls `callback(dynptr, ctx)` for each sample
/// until it returns other than 0; how many samples it has seen. `EBUSY` while another program, or the
/// callback's own, takes samples out, `E2BIG` at a sample that no dynptr can show.
pub(super) fn drain(call: &mut Call<'_, '_>) -> Outcome {
    let ring: &UserRingbuf =
        call.map(1)?.as_kind().ok_or_else(|| call.bad_arg(1, "is not a user_ringbuf"))?;
    let mut drain = ring.begin_drain(call.arg(4))?;
    let cell = call.take_cell("dynptr", DYNPTR_BYTES)?;
    let outcome = loop {
        match drain.next_sample() {
            Ok(None) => break Ok(drain.seen()),
            Ok(Some(sample)) => match show(call, cell, sample) {
                Ok(0) => {}
                Ok(_) => break Ok(drain.seen()),
                Err(kind) => break Err(kind.into()),
            },
            Err(errno) => break Err(errno.into()),
        }
    };
    call.put_cell_back(cell);
    outcome
}

/// Calls the function with a sample, which is the program's until it returns.
fn show(call: &mut Call<'_, '_>, cell: Cell, sample: Sample) -> Result<u64, TrapKind> {
    let address = sample.address.as_ptr() as u64;
    call.grant(address, sample.bytes.into());
    let dynptr = Dynptr::new(DynptrKind::Local, address, sample.bytes);
    let at = call.fill_cell_with_dynptr(cell, Some(dynptr));
    let outcome = call.callback(2, [at, call.arg(3), 0, 0, 0]);
    call.fill_cell_with_dynptr(cell, None);
    let revoked = call.revoke(address);
    let value = outcome?;
    revoked.map(|()| value)
}
