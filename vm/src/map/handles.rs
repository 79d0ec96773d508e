//! What maps of handles have in common: of programs and perf events (`fd_array_*` in
//! `kernel/bpf/arraymap.c`), of maps and of sockets.
//!
//! User space stores file descriptors in them. This machine has none: the host stores the things
//! themselves, through the methods of the kind.

use super::array::existing;
use super::hash::table::{Index, Layout, Table};
use super::kind::Shape;
use super::memory::{OutOfMemory, slots};
use super::{BucketError, Entry, UpdateFlags, Visit};
use arc_swap::ArcSwapOption;
use ebpfvm_spec::Errno;
use std::sync::Arc;

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

/// The bytes of so many slots.
pub(super) fn slot_bytes<T>(count: usize) -> u64 {
    count as u64 * size_of::<ArcSwapOption<T>>() as u64
}

/// Handles by key. Readers take no lock: what they find is theirs as long as they hold it.
pub(super) struct HandleTable<T> {
    table: Table,
    /// The handle of each element of the table. One that is empty although its element has a key
    /// belongs to an entry that is being removed.
    slots: Box<[ArcSwapOption<T>]>,
}

impl<T> HandleTable<T> {
    /// The bytes that a table for a map takes; `None` if no number holds them.
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        let layout = layout(shape);
        layout.bytes()?.checked_add(slot_bytes::<T>(layout.elements()))
    }

    /// A table for a map.
    pub(super) fn new(shape: &Shape<'_>) -> Result<HandleTable<T>, OutOfMemory> {
        let layout = layout(shape);
        let table = Table::new(layout, shape.seed)?;
        Ok(HandleTable { table, slots: slots(layout.elements(), ArcSwapOption::empty)? })
    }

    fn slot(&self, index: Index) -> &ArcSwapOption<T> {
        &self.slots[index as usize]
    }

    /// What `of` makes of the handle of a key, if there is one.
    pub(super) fn get<U>(&self, key: &[u8], of: impl Fn(&Arc<T>) -> U) -> Option<U> {
        self.table.read(key, |index| self.slot(index).load().as_ref().map(&of)).flatten()
    }

    /// Puts a handle at a key.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT` by the flags, which have been checked; `E2BIG` if the table is full.
    pub(super) fn set(&self, key: &[u8], handle: Arc<T>, flags: UpdateFlags) -> Result<(), Errno> {
        let bucket = self.table.lock(self.table.hash(key));
        match bucket.find(key) {
            Some(_) if flags == UpdateFlags::NOEXIST => return Err(Errno::EEXIST),
            None if flags == UpdateFlags::EXIST => return Err(Errno::ENOENT),
            Some(index) => self.slot(index).store(Some(handle)),
            None if !self.table.count_one() => return Err(Errno::E2BIG),
            None => {
                let new = self.table.allocate(key, |index| self.slot(index).store(Some(handle)));
                bucket.insert(new);
            }
        }
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// `ENOENT` if it is not there.
    pub(super) fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let bucket = self.table.lock(self.table.hash(key));
        let index = bucket.find(key).ok_or(Errno::ENOENT)?;
        self.slot(index).store(None);
        bucket.remove(index);
        Ok(())
    }

    /// As [`MapOps::next_key`](super::MapOps::next_key).
    ///
    /// # Errors
    /// `ENOENT` after the last.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.table.key_after(key).ok_or(Errno::ENOENT)
    }

    /// The keys, bucket by bucket.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.table.keys()
    }

    /// As [`MapOps::bucket`](super::MapOps::bucket); `value` says what the host reads of a handle.
    ///
    /// # Errors
    /// [`BucketError`], and those of `value`.
    pub(super) fn bucket(
        &self,
        number: u32,
        visit: Visit,
        value: impl Fn(Option<Arc<T>>) -> Result<Vec<u8>, Errno>,
    ) -> Result<Vec<Entry>, BucketError> {
        let bucket = self.table.bucket_number(number).ok_or(BucketError::Beyond)?;
        let value = |index| value(self.slot(index).load_full());
        bucket.visit(visit, value, |index| self.slot(index).store(None))
    }
}

fn layout(shape: &Shape<'_>) -> Layout {
    Layout::new(shape.def.max_entries, shape.def.key_bytes, 0, shape.cpus)
}
