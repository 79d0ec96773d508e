//! Arrays of programs, for tail calls.

use super::MapOps;
use super::array::{indices, next_index};
use super::handles::{slot, write_number};
use super::kind::Shape;
use super::memory::OutOfMemory;
use super::{Cpu, UpdateFlags};
use crate::instance::Instance;
use arc_swap::ArcSwapOption;
use ebpfvm_spec::{Errno, ProgType};
use std::sync::{Arc, OnceLock};

/// A `prog_array`.
///
/// An array keeps its programs alive, and a program its maps: a program that may call itself through
/// an array lives until its slot is [cleared](ProgArray::clear).
pub struct ProgArray {
    slots: Box<[ArcSwapOption<Instance>]>,
    /// The type of all programs in the array, known with the first.
    prog_type: OnceLock<ProgType>,
}

impl ProgArray {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * size_of::<ArcSwapOption<Instance>>() as u64)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let slots = super::memory::slots(shape.def.max_entries as usize, ArcSwapOption::empty)?;
        Ok(Box::new(ProgArray { slots, prog_type: OnceLock::new() }))
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The program in a slot; `None` if the slot is empty or not there. Takes no lock.
    #[inline]
    pub fn get(&self, index: u32) -> Option<Arc<Instance>> {
        self.slots.get(index as usize)?.load_full()
    }

    /// Puts a program into a slot, in place of the one there.
    ///
    /// # Errors
    /// `E2BIG` for an index out of range, `EINVAL` if the programs of the array are of another type.
    pub fn set(&self, index: u32, program: Arc<Instance>) -> Result<(), Errno> {
        let slot = self.slots.get(index as usize).ok_or(Errno::E2BIG)?;
        self.claim(program.prog_type())?;
        slot.store(Some(program));
        Ok(())
    }

    /// Says that programs of this type go with the array: a program that uses it, or is in it.
    ///
    /// # Errors
    /// `EINVAL` if it belongs to another type (`bpf_prog_map_compatible`).
    pub fn claim(&self, prog_type: ProgType) -> Result<(), Errno> {
        let owner = *self.prog_type.get_or_init(|| prog_type);
        if owner == prog_type { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Empties all slots.
    pub fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(None));
    }
}

impl MapOps for ProgArray {
    fn update(&self, key: &[u8], _: &[u8], flags: UpdateFlags, _: Cpu) -> Result<(), Errno> {
        write_number(&self.slots, key, flags)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        slot(&self.slots, key)?.swap(None).map(drop).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.slots(), key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.slots()))
    }

    /// The number of the program in the slot.
    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let program = slot(&self.slots, key).map_err(|_| Errno::ENOENT)?.load();
        program.as_ref().map(|p| p.id().to_ne_bytes().to_vec()).ok_or(Errno::ENOENT)
    }

    fn write(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        write_number(&self.slots, key, flags)
    }
}
