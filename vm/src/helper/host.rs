//! What the host says: time, chance, CPU, the current task.

use super::{Call, Outcome};
use ebpfvm_spec::Direction;

/// `ktime_get_ns()`
pub(super) fn ktime_get(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().monotonic_ns())
}

/// `ktime_get_boot_ns()`
pub(super) fn ktime_get_boot(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().boot_ns())
}

/// `ktime_get_tai_ns()`
pub(super) fn ktime_get_tai(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().tai_ns())
}

/// `ktime_get_coarse_ns()`
pub(super) fn ktime_get_coarse(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().coarse_ns())
}

/// `jiffies64()`
pub(super) fn jiffies(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().jiffies())
}

/// `get_prandom_u32()`
pub(super) fn prandom(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().random_u32().into())
}

/// `get_smp_processor_id()`
pub(super) fn cpu(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.cpu().0.into())
}

/// `get_numa_node_id()`
pub(super) fn numa_node(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().numa_node().into())
}

/// `get_current_pid_tgid()`
pub(super) fn pid_tgid(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().pid_tgid())
}

/// `get_current_uid_gid()`
pub(super) fn uid_gid(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().uid_gid())
}

/// `get_current_cgroup_id()`
pub(super) fn cgroup_id(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().cgroup_id())
}

/// `get_route_realm(skb)`
pub(super) fn route_realm(call: &mut Call<'_, '_>) -> Outcome {
    call.ctx(1)?;
    Ok(call.host().route_realm().into())
}

/// `get_current_comm(buf, size)`: the task's name, cut to the buffer with its terminating zero and
/// padded with zeros (`strscpy_pad`).
pub(super) fn comm(call: &mut Call<'_, '_>) -> Outcome {
    let size = call.size(2)?;
    // Before memory of that size is taken.
    call.check(1, size, Direction::Write)?;
    let comm = call.host().comm();
    let name = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    let bytes = name.len().min(size.saturating_sub(1));
    let mut out = vec![0; size];
    out[..bytes].copy_from_slice(&name[..bytes]);
    call.write(1, &out)?;
    Ok(0)
}
