//! Hash tables: values by key (`kernel/bpf/hashtab.c`).

mod clock;
pub(super) mod table;

use super::kind::Shape;
use super::memory::{OutOfMemory, load_word, words_for};
use super::values::{Lanes, Values};
use super::{BucketError, Cpu, EachElement, Entry, MapOps, Slab, UpdateFlags, Visit};
use clock::Clock;
use ebpfvm_spec::{Errno, MapFlags, MapType};
use std::ops::ControlFlow;
use std::ptr::NonNull;
use table::{Index, Layout, Table};

/// `hash`, `percpu_hash`, `lru_hash` and `lru_percpu_hash`.
///
/// A value that is replaced moves to another element in a shared table, and is written in place in
/// a per-CPU one, as in the kernel: a program that still holds a pointer to the old value sees
/// memory of this map that will be used for another entry.
pub(crate) struct Hash {
    table: Table,
    values: Values,
    lanes: Lanes,
    /// Of tables that let the least recently used entry go when they are full.
    clock: Option<Clock>,
    slabs: [Slab; 1],
}

/// Whose value an update writes.
#[derive(Clone, Copy)]
enum Writer {
    /// A program: the value of its CPU.
    Program(Cpu),
    /// The host: the values of all CPUs.
    Host,
}

impl Hash {
    pub(super) fn bytes(shape: &Shape<'_>) -> Option<u64> {
        let layout = layout(shape);
        let elsewhere = match shape.lanes {
            Lanes::Shared => 0,
            Lanes::PerCpu(_) => {
                Values::bytes(layout.elements(), shape.def.value_bytes as usize, shape.lanes)?
            }
        };
        let clock = if is_lru(shape) { Clock::bytes(layout.elements()) } else { 0 };
        layout.bytes()?.checked_add(elsewhere)?.checked_add(clock)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        Ok(Box::new(Hash::new(shape)?))
    }

    pub(super) fn new(shape: &Shape<'_>) -> Result<Hash, OutOfMemory> {
        let layout = layout(shape);
        let table = Table::new(layout, shape.seed)?;
        let (count, value_bytes) = (layout.elements(), shape.def.value_bytes as usize);
        let values = match shape.lanes {
            Lanes::Shared => {
                let memory = table.memory().clone();
                Values::within(memory, layout.value_word(), layout.stride(), count, value_bytes)
            }
            Lanes::PerCpu(_) => Values::zeroed(count, value_bytes, shape.lanes)?,
        };
        let values = values.with_special(shape.special);
        let slabs = [shape.program_slab(values.slab())];
        let clock = is_lru(shape).then(|| Clock::new(count)).transpose()?;
        Ok(Hash { table, values, lanes: shape.lanes, clock, slabs })
    }

    /// Keys up to this size are copied by engines that look them up themselves.
    pub(crate) const MAX_DIRECT_KEY_BYTES: usize = 64;

    /// The address of the value of a key of at most 8 bytes, given as a word with zeros behind the key,
    /// if there is one. Only per-CPU tables ask for the CPU.
    #[inline(always)]
    pub(crate) fn find_word(&self, key: u64, cpu: impl FnOnce() -> Cpu) -> Option<NonNull<u8>> {
        self.found(self.table.find_word(key)?, cpu)
    }

    /// The address of the value of a key of the map's size, if there is one.
    pub(crate) fn find_key(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        self.found(self.table.find(key)?, || cpu)
    }

    /// A program has looked an element up: the address of its value, if its CPU is there.
    #[inline(always)]
    fn found(&self, index: Index, cpu: impl FnOnce() -> Cpu) -> Option<NonNull<u8>> {
        if let Some(clock) = &self.clock {
            clock.touch(index);
        }
        match self.lanes {
            Lanes::Shared => Some(self.values.shared_pointer(index as usize)),
            Lanes::PerCpu(_) => self.values.pointer(index as usize, cpu()),
        }
    }

    /// `htab_map_update_elem` and its per-CPU forms.
    fn set(
        &self,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
        writer: Writer,
    ) -> Result<(), Errno> {
        let (flags, locked) = flags.split_lock()?;
        if locked && !self.values.has_lock() {
            return Err(Errno::EINVAL);
        }
        let hash = self.table.hash(key);
        loop {
            let bucket = self.table.lock(hash);
            let old = bucket.find(key);
            match old {
                Some(_) if flags == UpdateFlags::NOEXIST => return Err(Errno::EEXIST),
                None if flags == UpdateFlags::EXIST => return Err(Errno::ENOENT),
                // The bucket is held meanwhile, lest the element becomes another key's.
                Some(index) if locked => return self.values.write_locked(index as usize, value),
                Some(index) if self.lanes != Lanes::Shared => {
                    self.write_value(index as usize, value, writer);
                    match writer {
                        Writer::Program(cpu) => self.values.free(index as usize, cpu),
                        Writer::Host => self.values.free_all(index as usize),
                    }
                    return Ok(());
                }
                None if !self.table.count_one() => {
                    let clock = self.clock.as_ref().ok_or(Errno::E2BIG)?;
                    // The entry that goes may be in any bucket, and one lock is held at a time.
                    drop(bucket);
                    clock.evict(&self.table, |index| self.values.free_all(index as usize));
                    continue;
                }
                _ => {}
            }
            let new = self.table.allocate(key, |index| self.fill(index, value, writer));
            match old {
                Some(old) => {
                    self.values.free_all(old as usize);
                    bucket.replace(old, new);
                }
                None => bucket.insert(new),
            }
            return Ok(());
        }
    }

    /// Removes a key after a last look at its element.
    fn remove<T>(
        &self,
        key: &[u8],
        look: impl FnOnce(usize) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let bucket = self.table.lock(self.table.hash(key));
        let index = bucket.find(key).ok_or(Errno::ENOENT)?;
        let seen = look(index as usize)?;
        self.values.free_all(index as usize);
        bucket.remove(index);
        Ok(seen)
    }

    /// Writes the value of a new element.
    fn fill(&self, index: Index, value: &[u8], writer: Writer) {
        // A program that still had the old entry may have used its fields.
        self.values.free_all(index as usize);
        if self.lanes != Lanes::Shared {
            self.values.clear_all(index as usize);
        }
        if let Some(clock) = &self.clock {
            clock.reset(index);
        }
        self.write_value(index as usize, value, writer);
    }

    fn write_value(&self, index: usize, value: &[u8], writer: Writer) {
        match writer {
            Writer::Program(cpu) => self.values.write(index, cpu, value),
            Writer::Host => self.values.write_all(index, value),
        }
    }
}

fn layout(shape: &Shape<'_>) -> Layout {
    let value_words = match shape.lanes {
        Lanes::Shared => words_for(shape.def.value_bytes as usize),
        Lanes::PerCpu(_) => 0,
    };
    let max_entries = match shape.def.flags.has(MapFlags::NO_COMMON_LRU) {
        // The kernel gives each CPU the same number of entries; here all of them share the sum.
        true => shape.def.max_entries.next_multiple_of(shape.cpus),
        false => shape.def.max_entries,
    };
    Layout::new(max_entries, shape.def.key_bytes, value_words, shape.cpus)
}

fn is_lru(shape: &Shape<'_>) -> bool {
    matches!(shape.def.map_type, MapType::LruHash | MapType::LruPercpuHash)
}

impl MapOps for Hash {
    #[inline]
    fn lookup(&self, key: &[u8], cpu: Cpu) -> Option<NonNull<u8>> {
        match key.len() {
            ..=8 => self.find_word(load_word(key), || cpu),
            _ => self.find_key(key, cpu),
        }
    }

    fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags, cpu: Cpu) -> Result<(), Errno> {
        self.set(key, value, flags, Writer::Program(cpu))
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.remove(key, |_| Ok(()))
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.table.key_after(key).ok_or(Errno::ENOENT)
    }

    fn keys(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.table.keys())
    }

    fn walk(&self, cpu: Cpu, each: &mut EachElement<'_>) -> ControlFlow<()> {
        self.table.walk(&mut |key, index| match self.values.pointer(index as usize, cpu) {
            Some(value) => each(key, value),
            None => ControlFlow::Continue(()),
        })
    }

    fn read(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.table.read(key, |index| self.values.read_all(index as usize)).ok_or(Errno::ENOENT)
    }

    fn write(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), Errno> {
        self.set(key, value, flags, Writer::Host)
    }

    fn read_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let read = |index| self.values.read_locked(index as usize);
        self.table.read(key, read).ok_or(Errno::ENOENT)?
    }

    fn take(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.remove(key, |index| Ok(self.values.read_all(index)))
    }

    fn take_locked(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.remove(key, |index| self.values.read_locked(index))
    }

    fn bucket(&self, number: u32, visit: Visit) -> Result<Vec<Entry>, BucketError> {
        let bucket = self.table.bucket_number(number).ok_or(BucketError::Beyond)?;
        let value = |index| match visit.locked {
            true => self.values.read_locked(index as usize),
            false => Ok(self.values.read_all(index as usize)),
        };
        bucket.visit(visit, value, |index| self.values.free_all(index as usize))
    }

    fn key_of(&self, value: usize) -> Option<Vec<u8>> {
        Some(self.table.key(self.slabs[0].index_of(value)? as Index))
    }

    fn slabs(&self) -> &[Slab] {
        &self.slabs
    }
}
