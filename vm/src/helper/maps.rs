//! Maps (`kernel/bpf/helpers.c`).

use super::{Bytes, Call, Outcome};
use crate::map::{Cpu, Map, UpdateFlags};
use ebpfvm_spec::context::Pointee;
use ebpfvm_spec::{Direction, Errno, MapType};

/// `map_lookup_elem(map, key)`: the address of the value, or the map or socket that is the value, or
/// 0.
pub(super) fn lookup(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let mut key = Bytes::new();
    call.map_key_into(2, map, &mut key)?;
    if matches!(map.def().map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
        return Ok(map.inner(&key).map_or(0, |inner| call.give_map(inner)));
    }
    if let Some(socket) = map.socket(&key) {
        return Ok(call.acquire_socket(Pointee::Sock, &socket)?);
    }
    Ok(map.lookup(&key, call.cpu_of(map)).map_or(0, |value| value.as_ptr() as u64))
}

/// `map_update_elem(map, key, value, flags)`
pub(super) fn update(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let (mut key, mut value) = (Bytes::new(), Bytes::new());
    call.map_key_into(2, map, &mut key)?;
    call.read_into(3, map.def().value_bytes as usize, &mut value)?;
    let flags = UpdateFlags(call.arg(4));
    // It may be the lock of this very value.
    if call.holds_lock() && flags.0 & UpdateFlags::F_LOCK.0 != 0 {
        return Err(call.bad_arg(4, "asks for a lock while the program holds one").into());
    }
    map.update(&key, &value, flags, call.cpu_of(map))?;
    Ok(0)
}

/// `map_delete_elem(map, key)`
pub(super) fn delete(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let mut key = Bytes::new();
    call.map_key_into(2, map, &mut key)?;
    map.delete(&key)?;
    Ok(0)
}

/// `map_lookup_percpu_elem(map, key, cpu)`: the address of a CPU's value, or 0.
pub(super) fn lookup_percpu(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    if !map.def().map_type.is_percpu() {
        return Err(call.bad_arg(1, "is not a per-CPU map").into());
    }
    let mut key = Bytes::new();
    call.map_key_into(2, map, &mut key)?;
    let cpu = call.arg_u32(3);
    if cpu >= call.cpus() {
        return Ok(0);
    }
    Ok(map.lookup(&key, Cpu(cpu)).map_or(0, |value| value.as_ptr() as u64))
}

/// `map_push_elem(map, value, flags)`
pub(super) fn push(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let mut value = Bytes::new();
    call.read_into(2, map.def().value_bytes as usize, &mut value)?;
    map.push(&value, UpdateFlags(call.arg(3)))?;
    Ok(0)
}

/// `map_pop_elem(map, value)`
pub(super) fn pop(call: &mut Call<'_, '_>) -> Outcome {
    first(call, Map::pop)
}

/// `map_peek_elem(map, value)`: the first value, or whether a Bloom filter has the value.
pub(super) fn peek(call: &mut Call<'_, '_>) -> Outcome {
    first(call, Map::peek)
}

/// Lets the map see and change the value that argument 2 points to.
fn first(call: &mut Call<'_, '_>, take: fn(&Map, &mut [u8]) -> Result<(), Errno>) -> Outcome {
    let map = call.map(1)?;
    let bytes = map.def().value_bytes as usize;
    // Only a Bloom filter reads it, and nothing but that leaves it as it is.
    let asks = map.def().map_type == MapType::BloomFilter;
    if !asks {
        call.check(2, bytes, Direction::Write)?;
    }
    let mut value = Bytes::new();
    call.read_into(2, bytes, &mut value)?;
    let outcome = take(map, &mut value);
    if !asks {
        call.write(2, &value)?;
    }
    outcome?;
    Ok(0)
}
