//! The cgroup of the socket that a packet belongs to (`net/core/filter.c`). As in a test-run it is
//! the current task's unless the context says otherwise.

use super::{Call, Outcome, Stop, task};

/// The cgroups of the packet's socket from the root on, if the context has them.
fn given(call: &mut Call<'_, '_>, number: usize) -> Result<Option<Vec<u64>>, Stop> {
    let bytes = call.ctx(number)?.bytes("cgroup_ids");
    Ok(bytes.map(|bytes| bytes.as_chunks().0.iter().map(|id| u64::from_ne_bytes(*id)).collect()))
}

/// `skb_cgroup_id(skb)`
pub(super) fn id(call: &mut Call<'_, '_>) -> Outcome {
    Ok(match given(call, 1)? {
        Some(ids) => ids.last().copied().unwrap_or(0),
        None => call.host().cgroup_id(),
    })
}

/// `skb_ancestor_cgroup_id(skb, ancestor_level)`: 0 if there is none at that level.
pub(super) fn ancestor_id(call: &mut Call<'_, '_>) -> Outcome {
    let level = call.arg_u32(2);
    Ok(match given(call, 1)? {
        Some(ids) => ids.get(level as usize).copied().unwrap_or(0),
        None => call.host().ancestor_cgroup_id(level).unwrap_or(0),
    })
}

/// `skb_under_cgroup(skb, map, index)`: 1 if the socket is in the cgroup of a slot or below it.
pub(super) fn under(call: &mut Call<'_, '_>) -> Outcome {
    let array = task::cgroup_array(call, 2)?;
    let cgroups = match given(call, 1)? {
        Some(ids) => ids,
        None => task::cgroups(call),
    };
    Ok(array.contains(call.arg_u32(3), &cgroups)?.into())
}

/// `get_cgroup_classid()` of the current task, and `get_cgroup_classid(skb)` of the task that sends
/// the packet.
pub(super) fn task_classid(call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.host().cgroup_classid().into())
}

/// `skb_cgroup_classid(skb)`
pub(super) fn classid(call: &mut Call<'_, '_>) -> Outcome {
    let given = call.ctx(1)?.given("cgroup_classid");
    Ok(given.unwrap_or_else(|| call.host().cgroup_classid().into()))
}
