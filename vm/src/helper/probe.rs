//! Reading memory at any address (`kernel/trace/bpf_trace.c`).
//!
//! The kernel's memory, as programs can name it here, is their own: stack, packet, map values. User
//! memory there is none. Elsewhere the copy fails as on a page fault, and gives zeros.

use super::{Call, Outcome};
use ebpfvm_spec::{Direction, Errno};

/// Fills the memory of argument 1 with zeros after a fault.
fn fault(call: &mut Call<'_, '_>, bytes: usize, errno: Errno) -> Outcome {
    call.write(1, &vec![0; bytes])?;
    Err(errno.into())
}

/// What the kernel says of an address that it cannot read: those that cannot be its own, the lower
/// half and what no page table can map, it does not even try.
fn kernel_errno(address: u64) -> Errno {
    const SIGN_BITS: u32 = 47;
    if address as i64 >> SIGN_BITS == -1 { Errno::EFAULT } else { Errno::ERANGE }
}

/// Where a string or a block is copied to: the size of argument 1's memory, checked.
fn target(call: &mut Call<'_, '_>) -> Result<usize, super::Stop> {
    let bytes = call.size(2)?;
    call.check(1, bytes, Direction::Write)?;
    Ok(bytes)
}

/// `probe_read_kernel(dst, size, unsafe_ptr)`
pub(super) fn read_kernel(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = target(call)?;
    let address = call.arg(3);
    // Without a byte to read, only the range matters.
    if bytes == 0 {
        let errno = kernel_errno(address);
        let in_range = errno == Errno::EFAULT || call.probe(address, 1).is_some();
        return if in_range { Ok(0) } else { Err(errno.into()) };
    }
    match call.probe(address, bytes) {
        Some(data) => call.write(1, &data).map(|()| 0).map_err(Into::into),
        None => fault(call, bytes, kernel_errno(address)),
    }
}

/// `probe_read_kernel_str(dst, size, unsafe_ptr)`: the length with the terminating zero.
pub(super) fn read_kernel_str(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = target(call)?;
    if bytes == 0 {
        return Ok(0);
    }
    match call.probe_str(call.arg(3), bytes) {
        Some(mut text) => {
            text.truncate(bytes - 1);
            text.push(0);
            call.write(1, &text)?;
            Ok(text.len() as u64)
        }
        None => fault(call, bytes, kernel_errno(call.arg(3))),
    }
}

/// `probe_read_user(dst, size, unsafe_ptr)` and its form for strings: no address is the user's.
pub(super) fn read_user(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = target(call)?;
    if bytes == 0 { Ok(0) } else { fault(call, bytes, Errno::EFAULT) }
}
