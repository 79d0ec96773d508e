//! Helpers of programs at a cgroup (`kernel/bpf/cgroup.c`): the value that the system call gives
//! back, and system parameters.

use super::{Call, Outcome, Stop};
use ebpfvm_spec::{Direction, Errno};

/// `get_retval()`
pub(super) fn get_retval(call: &mut Call<'_, '_>) -> Outcome {
    let retval = call.own_ctx().field("retval").unwrap_or(0);
    Ok(i64::from(retval as u32 as i32) as u64)
}

/// `set_retval(retval)`
pub(super) fn set_retval(call: &mut Call<'_, '_>) -> Outcome {
    let retval = call.arg_u32(1);
    call.own_ctx().put("retval", retval.into());
    Ok(0)
}

/// A page, which no value of a parameter exceeds.
const PAGE_BYTES: usize = 4096;

/// `sysctl_get_name(ctx, buf, buf_len, flags)`: the path of the parameter below `/proc/sys` or its
/// last part, cut to the buffer. Returns its length without the terminating zero.
pub(super) fn sysctl_name(call: &mut Call<'_, '_>) -> Outcome {
    const BASE_NAME: u64 = 1 << 0;
    let size = call.size(3)?;
    call.check(2, size, Direction::Write)?;
    let base_only = call.arg(4) & BASE_NAME != 0;
    let path = call.ctx(1)?.bytes("name").ok_or(Errno::EINVAL)?;
    let name = match path.iter().rposition(|byte| *byte == b'/').filter(|_| base_only) {
        Some(slash) => &path[slash + 1..],
        None => path,
    };
    let fits = name.len() < size;
    let mut text = name[..name.len().min(size.saturating_sub(1))].to_vec();
    if size > 0 {
        text.push(0);
    }
    call.write(2, &text)?;
    if fits { Ok(text.len() as u64 - 1) } else { Err(Errno::E2BIG.into()) }
}

/// Copies a value to the buffer that arguments 2 and 3 are, padded with zeros or cut
/// (`copy_sysctl_value`).
fn copy_value(call: &mut Call<'_, '_>, value: &[u8]) -> Outcome {
    let size = call.size(3)?;
    let mut out = vec![0; size];
    let given = value.len().min(size);
    out[..given].copy_from_slice(&value[..given]);
    let outcome = match value.len() {
        _ if size == 0 => Err(Errno::E2BIG.into()),
        0 => Err(Errno::EINVAL.into()),
        bytes if size > bytes => Ok(bytes as u64),
        _ => {
            out[size - 1] = 0;
            Err(Errno::E2BIG.into())
        }
    };
    call.write(2, &out)?;
    outcome
}

/// A value of the parameter; empty if there is none. Whether the buffer may be written is checked
/// before memory of its size is taken.
fn value(call: &mut Call<'_, '_>, name: &str) -> Result<Vec<u8>, Stop> {
    let size = call.size(3)?;
    call.check(2, size, Direction::Write)?;
    Ok(call.ctx(1)?.bytes(name).unwrap_or_default().to_vec())
}

/// Whether the parameter is being written.
fn is_write(call: &mut Call<'_, '_>) -> Result<bool, Stop> {
    Ok(call.ctx(1)?.field("write").unwrap_or(0) != 0)
}

/// `sysctl_get_current_value(ctx, buf, buf_len)`
pub(super) fn sysctl_current(call: &mut Call<'_, '_>) -> Outcome {
    let value = value(call, "current_value")?;
    copy_value(call, &value)
}

/// `sysctl_get_new_value(ctx, buf, buf_len)`
pub(super) fn sysctl_new(call: &mut Call<'_, '_>) -> Outcome {
    let value = value(call, "new_value")?;
    if !is_write(call)? {
        let size = call.size(3)?;
        call.write(2, &vec![0; size])?;
        return Err(Errno::EINVAL.into());
    }
    copy_value(call, &value)
}

/// `sysctl_set_new_value(ctx, buf, buf_len)`: only of a parameter that is being written.
pub(super) fn sysctl_set_new(call: &mut Call<'_, '_>) -> Outcome {
    let new = call.memory(2)?;
    let given = call.ctx(1)?.bytes("new_value").is_some_and(|value| !value.is_empty());
    if !given || !is_write(call)? || new.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    if new.len() > PAGE_BYTES - 1 {
        return Err(Errno::E2BIG.into());
    }
    let trap = call.bad_arg(1, "is not the context of a parameter");
    call.ctx(1)?.set_bytes("new_value", &new).map_err(|_| trap)?;
    Ok(0)
}
