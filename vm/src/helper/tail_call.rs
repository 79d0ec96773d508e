//! Going to another program (`bpf_tail_call` in `kernel/bpf/core.c`).

use super::{Call, Outcome};
use crate::map::ProgArray;
use ebpfvm_spec::Errno;

/// `tail_call(ctx, prog_array, index)`: the program goes on after it when the index is beyond the
/// array, the slot is empty or too many tail calls were made.
pub(super) fn tail_call(call: &mut Call<'_, '_>) -> Outcome {
    call.ctx(1)?;
    let map = call.map(2)?;
    let array: &ProgArray = map.as_kind().ok_or_else(|| call.bad_arg(2, "is not a prog_array"))?;
    let index = call.arg_u32(3);
    if index >= array.slots() {
        return Err(Errno::E2BIG.into());
    }
    let Some(program) = array.get(index) else { return Err(Errno::ENOENT.into()) };
    // The kernel does not load a program whose arrays hold another type.
    if !program.takes_context_of(call.instance()) {
        return Err(call.bad_arg(2, "holds programs of another type or machine").into());
    }
    if call.tail_call(program) { Ok(0) } else { Err(Errno::E2BIG.into()) }
}
