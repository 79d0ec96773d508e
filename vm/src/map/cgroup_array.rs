//! Arrays of cgroups, to ask whether a task or packet belongs to one (`cgroup_array_map_ops` in
//! `kernel/bpf/arraymap.c`).

use super::array::{indices, next_index};
use super::handles::{slot, write_number};
use super::kind::Shape;
use super::memory::{OutOfMemory, slots};
use super::{MapOps, UpdateFlags};
use ebpfvm_spec::Errno;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// A `cgroup_array`.
pub struct CgroupArray {
    /// The number of the cgroup in each slot, 0 if it is empty.
    slots: Box<[AtomicU64]>,
}

impl CgroupArray {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * size_of::<AtomicU64>() as u64)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let slots = slots(shape.def.max_entries as usize, || AtomicU64::new(0))?;
        Ok(Box::new(CgroupArray { slots }))
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The number of the cgroup in a slot; `None` if the slot is empty or not there.
    pub fn get(&self, index: u32) -> Option<NonZeroU64> {
        NonZeroU64::new(self.slots.get(index as usize)?.load(Acquire))
    }

    /// Puts a cgroup into a slot, in place of the one there.
    ///
    /// # Errors
    /// `E2BIG` for an index out of range.
    pub fn set(&self, index: u32, cgroup: NonZeroU64) -> Result<(), Errno> {
        self.slots.get(index as usize).ok_or(Errno::E2BIG)?.store(cgroup.get(), Release);
        Ok(())
    }

    /// Whether the cgroup in a slot is among these: the cgroup of a task or socket and all above it
    /// (`bpf_current_task_under_cgroup`, `bpf_skb_under_cgroup`).
    ///
    /// # Errors
    /// `E2BIG` for an index out of range, `EAGAIN` if the slot is empty.
    pub fn contains(&self, index: u32, cgroup_and_above: &[u64]) -> Result<bool, Errno> {
        if index >= self.slots() {
            return Err(Errno::E2BIG);
        }
        let cgroup = self.get(index).ok_or(Errno::EAGAIN)?;
        Ok(cgroup_and_above.contains(&cgroup.get()))
    }
}

impl MapOps for CgroupArray {
    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        match slot(&self.slots, key)?.swap(0, AcqRel) {
            0 => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.slots(), key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.slots()))
    }

    fn write(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        write_number(&self.slots, key, flags)
    }
}
