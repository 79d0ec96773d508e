//! Arenas: memory that programs and the host share, page by page (`kernel/bpf/arena.c`).
//!
//! Addresses in an arena are those of the host's view: a start that the definition gives
//! (`map_extra`) or the address of the memory itself, and up to 4 GiB. Programs and the host agree on
//! their lower 32 bits. Pages cost nothing until they are touched. A page is there for programs once
//! it was allocated by one, or touched by the host, unless the definition forbids that
//! (`BPF_F_SEGV_ON_FAULT`).

use super::create::CreateError;
use super::kind::Shape;
use super::memory::{Memory, OutOfMemory, WORD};
use super::rules::PAGE_BYTES;
use super::{MapOps, Slab, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapFlags};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Size of a page in bytes.
const PAGE: u64 = PAGE_BYTES as u64;

/// An `arena`.
pub struct Arena {
    memory: Memory,
    bytes: u64,
    /// The address of the first page as the host's programs see it.
    start: u64,
    /// The host may not touch pages that no program has allocated.
    faults: bool,
    /// The pages that are there.
    pages: Mutex<BTreeSet<u64>>,
    slabs: [Slab; 1],
}

/// What the size and address of a definition must be.
///
/// # Errors
/// `E2BIG` beyond 4 GiB, `ERANGE` if the upper half of addresses is not the same everywhere.
pub(super) fn check_range(def: &MapDef) -> Result<(), CreateError> {
    let bytes = u64::from(def.max_entries) * PAGE;
    if bytes > 1 << 32 {
        let expected = format!("at most {} pages", (1u64 << 32) / PAGE);
        let got = def.max_entries.to_string();
        return Err(CreateError::property(def, "max_entries", got, expected, Errno::E2BIG));
    }
    if def.extra >> 32 != def.extra.wrapping_add(bytes - 1) >> 32 {
        let expected = "an address from which on the arena does not cross a multiple of 4 GiB";
        let got = format!("{:#x}", def.extra);
        return Err(CreateError::property(def, "map_extra", got, expected.into(), Errno::ERANGE));
    }
    Ok(())
}

impl Arena {
    pub(super) fn needed(shape: &Shape<'_>) -> Option<u64> {
        Some(u64::from(shape.def.max_entries) * PAGE)
    }

    pub(super) fn build(shape: &Shape<'_>) -> Result<Box<dyn MapOps>, OutOfMemory> {
        let bytes = u64::from(shape.def.max_entries) * PAGE;
        let count = usize::try_from(bytes).map_err(|_| OutOfMemory)?;
        let memory = Memory::zeroed(count / WORD)?;
        let start = match shape.def.extra {
            0 => memory.address() as u64,
            start => start,
        };
        let slab = Slab {
            base: memory.address(),
            stride: count,
            value_bytes: count,
            count: 1,
            readable: true,
            writable: true,
        };
        let faults = shape.def.flags.has(MapFlags::SEGV_ON_FAULT);
        let pages = Mutex::new(BTreeSet::new());
        Ok(Box::new(Arena { memory, bytes, start, faults, pages, slabs: [slab] }))
    }

    /// The size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The address of the first byte in pointers that programs and the host exchange.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The address of the memory in this process. It stays as long as the map.
    pub fn address(&self) -> usize {
        self.memory.address()
    }

    /// Copies bytes out. Pages that were not there are zero, and then there.
    ///
    /// # Errors
    /// `EFAULT` beyond the arena, or for pages that the host may not touch.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Errno> {
        let first = self.touch(offset, out.len())?;
        let mut words = self.memory.words()[first / WORD..].iter();
        let mut inside = first % WORD;
        let mut rest = out;
        while !rest.is_empty() {
            let word = words.next().ok_or(Errno::EFAULT)?;
            let (now, later) = rest.split_at_mut((WORD - inside).min(rest.len()));
            let bytes = word.load(Relaxed).to_ne_bytes();
            now.copy_from_slice(&bytes[inside..inside + now.len()]);
            (rest, inside) = (later, 0);
        }
        Ok(())
    }

    /// Copies bytes in. Programs see 8-byte words change one after the other.
    ///
    /// # Errors
    /// As [`read`](Arena::read).
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let first = self.touch(offset, bytes.len())?;
        let mut words = self.memory.words()[first / WORD..].iter();
        let mut inside = first % WORD;
        let mut rest = bytes;
        while !rest.is_empty() {
            let word = words.next().ok_or(Errno::EFAULT)?;
            let (now, later) = rest.split_at((WORD - inside).min(rest.len()));
            // A word of which only a part is written may be changed by a program meanwhile.
            let _ = word.fetch_update(Relaxed, Relaxed, |old| {
                let mut new = old.to_ne_bytes();
                new[inside..inside + now.len()].copy_from_slice(now);
                Some(u64::from_ne_bytes(new))
            });
            (rest, inside) = (later, 0);
        }
        Ok(())
    }

    /// Allocates zeroed pages that follow one another, at an address of the arena or anywhere for
    /// none (`bpf_arena_alloc_pages`). Gives the address of the first; `None` if there is no room,
    /// pages there are taken, or the address is none of a page of the arena.
    pub fn allocate(&self, at: Option<u64>, count: u32) -> Option<u64> {
        let (count, all) = (u64::from(count), self.bytes / PAGE);
        if count == 0 || count > all {
            return None;
        }
        let mut pages = self.lock();
        let taken = |first: u64| pages.range(first..first + count).next_back();
        let first = match at {
            Some(address) => {
                let offset = address.checked_sub(self.start)?;
                let fits = offset.is_multiple_of(PAGE) && offset / PAGE <= all - count;
                (fits && taken(offset / PAGE).is_none()).then_some(offset / PAGE)?
            }
            None => {
                let mut first = 0;
                while let Some(last) = taken(first) {
                    first = last + 1;
                    if first > all - count {
                        return None;
                    }
                }
                first
            }
        };
        pages.extend(first..first + count);
        Some(self.start + first * PAGE)
    }

    /// Gives pages back, those of them that are there (`bpf_arena_free_pages`). They are zero when
    /// they are next allocated or touched. Addresses out of the arena are left alone.
    pub fn free(&self, address: u64, count: u32) {
        let Some(offset) = address.checked_sub(self.start).filter(|at| at.is_multiple_of(PAGE))
        else {
            return;
        };
        let (first, all) = (offset / PAGE, self.bytes / PAGE);
        if count == 0 || first >= all {
            return;
        }
        let end = (first + u64::from(count)).min(all);
        let mut pages = self.lock();
        let gone: Vec<u64> = pages.range(first..end).copied().collect();
        for page in gone {
            pages.remove(&page);
            let words = PAGE as usize / WORD;
            self.memory.clear(page as usize * words, words);
        }
    }

    /// How many pages are there.
    pub fn allocated_pages(&self) -> u32 {
        self.lock().len() as u32
    }

    /// Checks a range of bytes and makes its pages be there.
    fn touch(&self, offset: u64, bytes: usize) -> Result<usize, Errno> {
        let end = offset.checked_add(bytes as u64).filter(|end| *end <= self.bytes);
        let end = end.ok_or(Errno::EFAULT)?;
        if bytes > 0 {
            let mut pages = self.lock();
            for page in offset / PAGE..=(end - 1) / PAGE {
                if self.faults && !pages.contains(&page) {
                    return Err(Errno::EFAULT);
                }
                pages.insert(page);
            }
        }
        usize::try_from(offset).map_err(|_| Errno::EFAULT)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An arena has no elements.
impl MapOps for Arena {
    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn read(&self, _key: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    fn write(&self, _key: &[u8], _value: &[u8], _flags: UpdateFlags) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn slabs(&self) -> &[Slab] {
        &self.slabs
    }
}
