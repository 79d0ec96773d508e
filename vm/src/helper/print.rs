//! Text for people (`kernel/trace/bpf_trace.c`, `kernel/bpf/helpers.c`).

use super::format::{Memory, Printed, bprintf};
use super::string::const_str;
use super::{Bytes, Call, Outcome, Stop};
use crate::host::Space;
use ebpfvm_spec::{Direction, Errno};

/// The memory of the program and of the world, for `%s` and `%pI4`.
impl Memory for Call<'_, '_> {
    fn string(&mut self, space: Option<Space>, address: u64, max: usize) -> Option<Bytes> {
        self.probe_str(space, address, max)
    }

    fn bytes(&mut self, address: u64, bytes: usize) -> Option<Bytes> {
        self.probe_in(Space::Kernel, address, bytes)
    }
}

/// Prints a line to the host; the result is its length before it is cut to 1023 bytes.
fn trace(call: &mut Call<'_, '_>, format: &[u8], values: &[u64]) -> Outcome {
    const BUFFER_BYTES: usize = 1024;
    let end = format.iter().position(|byte| *byte == 0).ok_or(Errno::EINVAL)?;
    let printed = bprintf(&format[..end], values, BUFFER_BYTES, call)?;
    let text = printed.text.strip_suffix(b"\n").unwrap_or(&printed.text);
    call.host().print(&String::from_utf8_lossy(text));
    Ok(printed.bytes as u64)
}

/// `trace_printk(fmt, fmt_size, arg1, arg2, arg3)`
pub(super) fn trace_printk(call: &mut Call<'_, '_>) -> Outcome {
    let format = call.memory(1)?;
    let values = [call.arg(3), call.arg(4), call.arg(5)];
    trace(call, &format, &values)
}

/// The arguments that lie in memory, 8 bytes each, at most 12 (`MAX_BPRINTF_VARARGS`).
fn values(call: &mut Call<'_, '_>, number: usize) -> Result<Vec<u64>, Stop> {
    const MAX_VALUES: usize = 12;
    let bytes = call.memory(number)?;
    let (values, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || values.len() > MAX_VALUES {
        return Err(Errno::EINVAL.into());
    }
    Ok(values.iter().map(|value| u64::from_ne_bytes(*value)).collect())
}

/// `trace_vprintk(fmt, fmt_size, data, data_len)`
pub(super) fn trace_vprintk(call: &mut Call<'_, '_>) -> Outcome {
    let format = call.memory(1)?;
    let values = values(call, 3)?;
    trace(call, &format, &values)
}

/// `snprintf(str, str_size, fmt, data, data_len)`: the size with the terminating zero before it is
/// cut.
pub(super) fn snprintf(call: &mut Call<'_, '_>) -> Outcome {
    let size = call.size(2)?;
    call.check(1, size, Direction::Write)?;
    let format = const_str(call, 3)?;
    let values = values(call, 4)?;
    let Printed { mut text, bytes, .. } = bprintf(&format, &values, size, call)?;
    if size > 0 {
        text.push(0);
        call.write(1, &text)?;
    }
    Ok(bytes as u64 + 1)
}
