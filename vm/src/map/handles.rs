//! What arrays of handles have in common: programs, perf events (`fd_array_*` in
//! `kernel/bpf/arraymap.c`).
//!
//! User space stores file descriptors in them. This machine has none: the host stores the things
//! themselves, through the methods of the kind.

use super::UpdateFlags;
use super::array::existing;
use ebpfvm_spec::Errno;

/// The slot of a key (`bpf_fd_array_map_delete_elem`).
///
/// # Errors
/// `E2BIG` for an index out of range.
pub(super) fn slot<'a, T>(slots: &'a [T], key: &[u8]) -> Result<&'a T, Errno> {
    let index = existing(slots.len() as u32, key).ok_or(Errno::E2BIG)?;
    Ok(&slots[index])
}

/// An update with a number in place of a handle (`bpf_fd_array_map_update_elem`).
///
/// # Errors
/// Always: `EINVAL` for flags, `E2BIG` for an index out of range, `EBADF` as no number is a file
/// descriptor here.
pub(super) fn write_number<T>(slots: &[T], key: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
    if flags != UpdateFlags::ANY {
        return Err(Errno::EINVAL);
    }
    slot(slots, key)?;
    Err(Errno::EBADF)
}
