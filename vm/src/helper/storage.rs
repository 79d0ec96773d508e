//! Storage that belongs to a socket or a cgroup (`net/core/bpf_sk_storage.c`,
//! `kernel/bpf/cgroup.c`).

use super::{Call, Outcome, Stop};
use crate::map::{CgroupStorage, LocalStorage, OwnerId};
use crate::socket::Socket;
use ebpfvm_spec::{Errno, MapFlags, ProgType};
use std::sync::Arc;

/// The storage that argument 1 is.
fn local<'c>(call: &Call<'c, '_>) -> Result<&'c LocalStorage, Stop> {
    let storage = call.map(1)?.as_kind();
    Ok(storage.ok_or_else(|| call.bad_arg(1, "is not a storage of sockets"))?)
}

/// The full socket that argument 2 is: programs of type `cgroup_sock` give their context. None if it
/// is null or another socket.
fn owner(call: &mut Call<'_, '_>) -> Result<Option<OwnerId>, Stop> {
    let socket = match call.prog_type() {
        ProgType::CgroupSock => call.ctx(2)?.socket("sk"),
        _ => call.socket(2)?,
    };
    let full = socket.as_ref().filter(|socket: &&Arc<Socket>| socket.is_full());
    Ok(full.map(|socket| OwnerId(socket.cookie())))
}

/// `sk_storage_get(map, sk, value, flags)`: the address of the socket's value, or 0. With
/// `BPF_SK_STORAGE_GET_F_CREATE` it is made if there is none, with the bytes of `value`, or zeros.
///
/// A context of type `cgroup_sock` that was given no socket has none here.
pub(super) fn sk_get(call: &mut Call<'_, '_>) -> Outcome {
    const CREATE: u64 = 1;
    let storage = local(call)?;
    let initial = match call.arg(3) {
        0 => None,
        _ => Some(call.read(3, storage.value_bytes())?),
    };
    let flags = call.arg(4);
    let Some(owner) = owner(call)?.filter(|_| flags <= CREATE) else { return Ok(0) };
    let value = match flags {
        CREATE => storage.get_or_create(owner, initial.as_deref()).ok(),
        _ => storage.get(owner),
    };
    let Some(value) = value else { return Ok(0) };
    let address = value.as_ptr() as u64;
    call.lend("value of a socket's storage", address, storage.value_bytes() as u64, true);
    Ok(address)
}

/// `sk_storage_delete(map, sk)`
pub(super) fn sk_delete(call: &mut Call<'_, '_>) -> Outcome {
    let storage = local(call)?;
    let owner = owner(call)?.ok_or(Errno::EINVAL)?;
    storage.delete(owner)?;
    Ok(0)
}

/// `get_local_storage(map, flags)`: the address of the value of the current task's cgroup, for the
/// attach type of the program that was entered. It is never 0: programs do not ask.
pub(super) fn cgroup(call: &mut Call<'_, '_>) -> Outcome {
    let map = call.map(1)?;
    let storage: &CgroupStorage =
        map.as_kind().ok_or_else(|| call.bad_arg(1, "is not a storage of cgroups"))?;
    if call.arg(2) != 0 {
        return Err(call.bad_arg(2, "is not 0").into());
    }
    let value = storage.get_or_create(call.host().cgroup_id(), call.attach_type().0, call.cpu());
    let value =
        value.map_err(|_| call.bad_arg(1, "has no memory for the value of another cgroup"))?;
    let address = value.as_ptr() as u64;
    let writable = !map.def().flags.has(MapFlags::RDONLY_PROG);
    call.lend("value of a cgroup's storage", address, map.def().value_bytes.into(), writable);
    Ok(address)
}
