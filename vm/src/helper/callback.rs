//! Helpers that call functions of the program (`kernel/bpf/bpf_iter.c`).

use super::{Call, Outcome};
use ebpfvm_spec::Errno;
use ebpfvm_spec::linux::ITERABLE;
use std::ops::ControlFlow;

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

/// `for_each_map_elem(map, callback, ctx, flags)`: calls `callback(map, key, value, ctx)` for each
/// element until it returns other than 0; how often it was called (`bpf_for_each_array_elem`,
/// `bpf_for_each_hash_elem`).
///
/// The key is a copy, so that it stays what it is when the element goes.
pub(super) fn for_each(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    if !ITERABLE.contains(map.def().map_type) {
        return Err(call.bad_arg(1, "is not an array or a hash table").into());
    }
    call.flags(4, 0)?;
    let cell = call.take_cell("map key", map.def().key_bytes as usize)?;
    let mut trap = None;
    let seen = map.walk(call.cpu(), |key, value| {
        let key = call.fill_cell(cell, key);
        match call.callback(2, [call.arg(1), key, value.as_ptr() as u64, call.arg(3), 0]) {
            Ok(0) => return ControlFlow::Continue(()),
            Ok(_) => {}
            Err(kind) => trap = Some(kind),
        }
        ControlFlow::Break(())
    });
    call.put_cell_back(cell);
    match trap {
        None => Ok(seen),
        Some(kind) => Err(kind.into()),
    }
}
