//! Stacks that the host gives (`kernel/bpf/stackmap.c`).

use super::{Bytes, Call, Outcome};
use crate::host::Space;
use crate::map::StackTrace;
use crate::map::stack_trace::{BUILD_ID_FRAME_BYTES, MAX_FRAMES, SKIP_MASK, USER_STACK, frame};
use ebpfvm_spec::{Direction, Errno};

/// `BPF_F_USER_BUILD_ID`: frames are places in files.
const USER_BUILD_ID: u64 = 1 << 11;

fn space(flags: u64) -> Space {
    if flags & USER_STACK == 0 { Space::Kernel } else { Space::User }
}

/// `get_stack(ctx, buf, size, flags)`: the frames from the innermost out; the bytes that they take.
/// The rest of the buffer is zeroed, and all of it if that fails.
pub(super) fn get_stack(call: &mut Call<'_, '_>) -> Outcome {
    call.ctx(1)?;
    let size = call.size(3)?;
    call.check(2, size, Direction::Write)?;
    let frames = frames(call, size, call.arg(4));
    let mut out = frames.clone().unwrap_or_default();
    out.resize(size, 0);
    call.write(2, &out)?;
    Ok(frames?.len() as u64)
}

fn frames(call: &Call<'_, '_>, size: usize, flags: u64) -> Result<Bytes, Errno> {
    let by_file = flags & USER_BUILD_ID != 0;
    let is_user = flags & USER_STACK != 0;
    let frame_bytes = if by_file { BUILD_ID_FRAME_BYTES } else { size_of::<u64>() };
    let unknown = flags & !(SKIP_MASK | USER_STACK | USER_BUILD_ID) != 0;
    if unknown || by_file && !is_user || !size.is_multiple_of(frame_bytes) {
        return Err(Errno::EINVAL);
    }
    let skip = (flags & SKIP_MASK) as usize;
    let mut ips = call.host().stack(space(flags));
    ips.truncate((size / frame_bytes + skip).min(MAX_FRAMES));
    let ips = ips.get(skip..).ok_or(Errno::EFAULT)?;
    let host = call.host();
    Ok(match by_file {
        true => ips.iter().flat_map(|ip| frame(*ip, host.file_position(*ip))).collect(),
        false => ips.iter().flat_map(|ip| ip.to_ne_bytes()).collect(),
    })
}

/// `get_stackid(ctx, map, flags)`: the stack's number in the map.
pub(super) fn get_stackid(call: &mut Call<'_, '_>) -> Outcome {
    call.ctx(1)?;
    let map = call.map(2)?;
    let stacks: &StackTrace =
        map.as_kind().ok_or_else(|| call.bad_arg(2, "is not a stack_trace"))?;
    let (flags, host) = (call.arg(3), call.host());
    let id = stacks.store_with(&host.stack(space(flags)), flags, |ip| host.file_position(ip))?;
    Ok(id.into())
}
