//! Arrays: values by index, all there from the start (`kernel/bpf/arraymap.c`).

use super::kind::Shape;
use super::memory::OutOfMemory;
use super::values::{Lanes, Values};
use super::{Cpu, EachElement, Elements, MapOps, Slab, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef};
use std::ops::ControlFlow;
use std::ptr::NonNull;

/// `array` and `percpu_array`.
pub(super) struct Array {
    values: Values,
    entries: u32,
    lanes: Lanes,
    slabs: [Slab; 1],
}

impl Array {
    pub(super) fn bytes(shape: &Shape<'_>) -> Option<u64> {
        let MapDef { max_entries, value_bytes, .. } = *shape.def;
        Values::bytes(max_entries as usize, value_bytes as usize, shape.lanes)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let MapDef { max_entries, value_bytes, .. } = *shape.def;
        let values = Values::zeroed(max_entries as usize, value_bytes as usize, shape.lanes)?
            .with_special(shape.special);
        let slabs = [shape.program_slab(values.slab())];
        Ok(Box::new(Array { values, entries: max_entries, lanes: shape.lanes, slabs }))
    }

    /// Where the values are, for engines.
    pub(super) fn elements(&self) -> Elements {
        Elements::new(&self.slabs[0], self.entries, self.lanes.count() as u32)
    }

    /// The index for an update, and whether the value's lock is asked for
    /// (`array_map_update_elem`).
    fn index_for_update(&self, key: &[u8], flags: UpdateFlags) -> Result<(usize, bool), Errno> {
        let (flags, locked) = flags.split_lock()?;
        let index = existing(self.entries, key).ok_or(Errno::E2BIG)?;
        if flags == UpdateFlags::NOEXIST {
            return Err(Errno::EEXIST);
        }
        if locked && !self.values.has_lock() { Err(Errno::EINVAL) } else { Ok((index, locked)) }
    }
}

impl MapOps for Array {
    #[inline]
    fn lookup(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        self.values.pointer(existing(self.entries, key)?, cpu)
    }

    fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags, cpu: Cpu) -> Result<(), Errno> {
        let (index, locked) = self.index_for_update(key, flags)?;
        match locked {
            true => self.values.write_locked(index, value)?,
            false => self.values.write(index, cpu, value),
        }
        self.values.free(index, cpu);
        Ok(())
    }

    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(self.entries, key)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(indices(self.entries))
    }

    fn walk(&self, cpu: Cpu, each: &mut EachElement<'_>) -> ControlFlow<()> {
        for index in 0..self.entries {
            if let Some(value) = self.values.pointer(index as usize, cpu) {
                each(&index.to_ne_bytes(), value)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let index = existing(self.entries, key).ok_or(Errno::ENOENT)?;
        Ok(self.values.read_all(index))
    }

    fn read_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.values.read_locked(existing(self.entries, key).ok_or(Errno::ENOENT)?)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        let (index, locked) = self.index_for_update(key, flags)?;
        match locked {
            true => self.values.write_locked(index, value)?,
            false => self.values.write_all(index, value),
        }
        self.values.free_all(index);
        Ok(())
    }

    fn key_of(&self, value: usize) -> Option<Vec<u8>> {
        Some((self.slabs[0].index_of(value)? as u32).to_ne_bytes().to_vec())
    }

    fn slabs(&self) -> &[Slab] {
        &self.slabs
    }
}

/// The index that a 4-byte key holds.
#[inline]
pub(super) fn index_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(key.try_into().ok()?))
}

/// The index that a key holds, if it is below `entries`.
#[inline]
pub(super) fn existing(entries: u32, key: &[u8]) -> Option<usize> {
    index_of(key).filter(|index| *index < entries).map(|index| index as usize)
}

/// The key after `key` of a map that has all indices below `entries` (`array_map_get_next_key`).
pub(super) fn next_index(entries: u32, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
    let next = match key.and_then(index_of) {
        Some(index) if index < entries => index + 1,
        _ => 0,
    };
    if next < entries { Ok(next.to_ne_bytes().to_vec()) } else { Err(Errno::ENOENT) }
}

/// All keys of a map that has all indices below `entries`.
pub(super) fn indices(entries: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..entries).map(|index| index.to_ne_bytes().to_vec())
}
