//! The current task as its surroundings see it: namespaces, cgroups, what a probe hit.

use super::{Call, Outcome};
use crate::map::CgroupArray;
use crate::trap::TrapKind;
use ebpfvm_spec::{Direction, Errno};

/// `get_ns_current_pid_tgid(dev, ino, nsdata, size)`: the task's numbers in the namespace with this
/// file, into a `struct bpf_pidns_info` (two 4-byte numbers), which is zeroed if that fails.
pub(super) fn ns_pid_tgid(call: &mut Call<'_, '_>) -> Outcome {
    const INFO_BYTES: usize = 8;
    let bytes = call.size(4)?;
    call.check(3, bytes, Direction::Write)?;
    // `dev_t` has 32 bits.
    let dev = Some(call.arg(1)).filter(|dev| u32::try_from(*dev).is_ok() && bytes == INFO_BYTES);
    match dev.and_then(|dev| call.host().ns_pid_tgid(dev, call.arg(2))) {
        Some(id) => {
            call.write(3, &[id.pid.to_ne_bytes(), id.tgid.to_ne_bytes()].concat())?;
            Ok(0)
        }
        None => {
            call.write(3, &vec![0; bytes])?;
            Err(Errno::EINVAL.into())
        }
    }
}

/// `get_current_ancestor_cgroup_id(level)`: 0 if the task's cgroup is less deep.
pub(super) fn ancestor_cgroup_id(call: &mut Call<'_, '_>) -> Outcome {
    let level = u32::try_from(call.arg(1) as i32).ok();
    Ok(level.and_then(|level| call.host().ancestor_cgroup_id(level)).unwrap_or(0))
}

/// `current_task_under_cgroup(map, index)`: 1 if the task is in the cgroup of a slot or below it.
pub(super) fn under_cgroup(call: &mut Call<'_, '_>) -> Outcome {
    let array = cgroup_array(call, 1)?;
    Ok(array.contains(call.arg_u32(2), &cgroups(call))?.into())
}

/// The array of cgroups that an argument is.
pub(super) fn cgroup_array<'c>(
    call: &Call<'c, '_>,
    number: usize,
) -> Result<&'c CgroupArray, TrapKind> {
    let array = call.map(number)?.as_kind();
    array.ok_or_else(|| call.bad_arg(number, "is not a cgroup_array"))
}

/// The cgroups of the current task from the root on.
pub(super) fn cgroups(call: &Call<'_, '_>) -> Vec<u64> {
    let host = call.host();
    (0..).map_while(|level| host.ancestor_cgroup_id(level)).collect()
}

/// `get_func_ip(ctx)`: where the probed function begins; 0 if the probe is not at a beginning.
pub(super) fn func_ip(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.ctx(1)?.number("func_ip"))
}

/// `get_attach_cookie(ctx)`: what the program was attached with.
pub(super) fn attach_cookie(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.ctx(1)?.number("cookie"))
}
