//! Maps (`kernel/bpf/helpers.c`).

use super::{Call, Outcome};
use crate::map::{Cpu, UpdateFlags};

/// `map_lookup_elem(map, key)`: the address of the value, or 0.
pub(super) fn lookup(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let key = call.map_key(2, map)?;
    Ok(map.lookup(&key, call.cpu()).map_or(0, |value| value.as_ptr() as u64))
}

/// `map_update_elem(map, key, value, flags)`
pub(super) fn update(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let key = call.map_key(2, map)?;
    let value = call.read(3, map.def().value_bytes as usize)?;
    map.update(&key, &value, UpdateFlags(call.arg(4)), call.cpu())?;
    Ok(0)
}

/// `map_delete_elem(map, key)`
pub(super) fn delete(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let key = call.map_key(2, map)?;
    map.delete(&key)?;
    Ok(0)
}

/// `map_lookup_percpu_elem(map, key, cpu)`: the address of a CPU's value, or 0.
pub(super) fn lookup_percpu(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    if !map.def().map_type.is_percpu() {
        return Err(call.bad_arg(1, "is not a per-CPU map").into());
    }
    let key = call.map_key(2, map)?;
    let cpu = call.arg_u32(3);
    if cpu >= call.cpus() {
        return Ok(0);
    }
    Ok(map.lookup(&key, Cpu(cpu)).map_or(0, |value| value.as_ptr() as u64))
}
