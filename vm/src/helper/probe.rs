//! Reading memory at any address (`kernel/trace/bpf_trace.c`, `mm/maccess.c`).
//!
//! What programs have themselves - stack, packet, map values - is the kernel's memory, wherever it
//! lies. Other memory is what the host exposes of a kernel and of the current process. Elsewhere the
//! copy fails as on a page fault, and gives zeros.

use super::{Bytes, Call, Outcome, Stop};
use crate::host::Space;
use ebpfvm_spec::{Direction, Errno};

/// The first address that is no process's (`TASK_SIZE_MAX` of x86_64, four levels of page tables).
const USER_END: u64 = 0x7fff_ffff_f000;

impl Call<'_, '_> {
    /// Copies memory of the kernel or of the process; none on a fault.
    pub(super) fn probe_in(&mut self, space: Space, address: u64, bytes: usize) -> Option<Bytes> {
        if space == Space::Kernel
            && let Some(own) = self.probe(address, bytes)
        {
            return Some(own);
        }
        let mut out = Bytes::from_elem(0, bytes);
        self.host().read_memory(space, address, &mut out).then_some(out)
    }

    /// Whose an address is, of which that is not said: what is not the program's, by its range.
    fn space_of(&mut self, address: u64) -> Space {
        match address < USER_END && self.probe(address, 1).is_none() {
            true => Space::User,
            false => Space::Kernel,
        }
    }

    /// Copies a string up to its zero byte, which is not part of the result, but at most `max` bytes.
    pub(super) fn probe_str(
        &mut self,
        space: Option<Space>,
        address: u64,
        max: usize,
    ) -> Option<Bytes> {
        let space = space.unwrap_or_else(|| self.space_of(address));
        let mut text = self.string_in(space, address, max)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Some(text)
    }

    /// Copies a string with its zero byte, but at most `max` bytes.
    fn string_in(&mut self, space: Space, address: u64, max: usize) -> Option<Bytes> {
        let mut out = Bytes::new();
        while out.len() < max {
            let byte = self.probe_in(space, address.wrapping_add(out.len() as u64), 1)?[0];
            out.push(byte);
            if byte == 0 {
                break;
            }
        }
        Some(out)
    }
}

/// Fills the memory of argument 1 with zeros after a fault.
fn fault(call: &mut Call<'_, '_>, bytes: usize, errno: Errno) -> Outcome {
    call.write(1, &vec![0; bytes])?;
    Err(errno.into())
}

/// What the kernel says of an address that it cannot read: those that cannot be its own, the lower
/// half and what no page table can map, it does not even try (`copy_from_kernel_nofault_allowed`).
fn kernel_errno(address: u64) -> Errno {
    const SIGN_BITS: u32 = 47;
    if address as i64 >> SIGN_BITS == -1 { Errno::EFAULT } else { Errno::ERANGE }
}

/// Whether a range can be a process's (`access_ok`).
fn is_user(address: u64, bytes: usize) -> bool {
    address.checked_add(bytes as u64).is_some_and(|end| end <= USER_END)
}

/// Where a string or a block is copied to: the size of argument 1's memory, checked.
fn target(call: &mut Call<'_, '_>) -> Result<usize, Stop> {
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
    match call.probe_in(Space::Kernel, address, bytes) {
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
    let address = call.arg(3);
    match call.string_in(Space::Kernel, address, bytes) {
        Some(mut text) => {
            // A string that is too long loses its last byte for the zero.
            text[..].iter_mut().last().into_iter().for_each(|last| *last = 0);
            call.write(1, &text)?;
            Ok(text.len() as u64)
        }
        None => fault(call, bytes, kernel_errno(address)),
    }
}

/// `probe_read_user(dst, size, unsafe_ptr)`
pub(super) fn read_user(call: &mut Call<'_, '_>) -> Outcome {
    let bytes = target(call)?;
    let address = call.arg(3);
    let data = match is_user(address, bytes) {
        true => call.probe_in(Space::User, address, bytes),
        false => None,
    };
    match data {
        Some(data) => call.write(1, &data).map(|()| 0).map_err(Into::into),
        None => fault(call, bytes, Errno::EFAULT),
    }
}

/// `probe_read_user_str(dst, size, unsafe_ptr)`: the length with the terminating zero. The kernel
/// copies words as long as there is room for one: what is after the zero in its word becomes zero
/// (`do_strncpy_from_user`).
pub(super) fn read_user_str(call: &mut Call<'_, '_>) -> Outcome {
    const WORD_BYTES: usize = 8;
    let bytes = target(call)?;
    if bytes == 0 {
        return Ok(0);
    }
    let address = call.arg(3);
    let text = match is_user(address, 1) {
        true => call.string_in(Space::User, address, bytes),
        false => None,
    };
    let Some(mut text) = text else { return fault(call, bytes, Errno::EFAULT) };
    let length = text.len();
    text[length - 1] = 0;
    let word = (length - 1) / WORD_BYTES * WORD_BYTES;
    let whole = word + WORD_BYTES <= bytes;
    if whole && call.probe_in(Space::User, address + word as u64, WORD_BYTES).is_some() {
        text.resize(word + WORD_BYTES, 0);
    }
    call.write(1, &text)?;
    Ok(length as u64)
}

/// `probe_read(dst, size, unsafe_ptr)`: the process's memory in the lower half, else the kernel's.
pub(super) fn read(call: &mut Call<'_, '_>) -> Outcome {
    match call.space_of(call.arg(3)) {
        Space::User => read_user(call),
        Space::Kernel => read_kernel(call),
    }
}

/// `probe_read_str(dst, size, unsafe_ptr)`
pub(super) fn read_str(call: &mut Call<'_, '_>) -> Outcome {
    match call.space_of(call.arg(3)) {
        Space::User => read_user_str(call),
        Space::Kernel => read_kernel_str(call),
    }
}

/// `copy_from_user(dst, size, user_ptr)`: of no bytes, from anywhere.
pub(super) fn copy_from_user(call: &mut Call<'_, '_>) -> Outcome {
    if target(call)? == 0 { Ok(0) } else { read_user(call) }
}
