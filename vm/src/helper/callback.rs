//! Helpers that call functions of the program (`kernel/bpf/bpf_iter.c`).

use super::{Call, Outcome};
use ebpfvm_spec::Errno;

/// `loop(nr_loops, callback, ctx, flags)`: calls `callback(index, ctx)` until it returns other than
/// 0; how often it was called.
pub(super) fn call_loop(call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_MAX_LOOPS`
    const MAX_LOOPS: u32 = 8 * 1024 * 1024;
    // The kernel has the whole register for a number of 32 bits.
    let rounds = call.arg_u32(1);
    call.flags(4, 0)?;
    if rounds > MAX_LOOPS {
        return Err(Errno::E2BIG.into());
    }
    for index in 0..rounds {
        if call.callback(2, [index.into(), call.arg(3), 0, 0, 0])? != 0 {
            return Ok(u64::from(index) + 1);
        }
    }
    Ok(rounds.into())
}
