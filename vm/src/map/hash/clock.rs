//! Which entry goes when a least-recently-used table is full.
//!
//! A hand goes round the elements. An element that a program has looked up since the hand passed is
//! spared once; the first other one goes. The kernel keeps lists and moves many entries at once, so
//! it may let other entries go, and some before the table is full; what was used lately stays in both.

use super::table::{Index, Table};
use crate::map::memory::{Memory, OutOfMemory};
use crate::map::sync::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// The hand, and a bit for each element that was looked up.
pub(super) struct Clock {
    hand: AtomicU32,
    used: Memory,
    elements: u32,
}

impl Clock {
    pub(super) fn new(elements: usize) -> Result<Clock, OutOfMemory> {
        let used = Memory::zeroed(elements.div_ceil(64))?;
        Ok(Clock { hand: AtomicU32::new(0), used, elements: elements as u32 })
    }

    /// Bytes that a clock of so many elements allocates.
    pub(super) fn bytes(elements: usize) -> u64 {
        elements.div_ceil(64) as u64 * 8
    }

    /// Notes that an element was looked up (`bpf_lru_node_set_ref`).
    #[inline]
    pub(super) fn touch(&self, index: Index) {
        let (word, bit) = (&self.used.words()[index as usize / 64], 1 << (index % 64));
        // A store only where it changes something: readers on other CPUs share the line.
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// Notes that an element holds a new entry, which nobody has looked up.
    pub(super) fn reset(&self, index: Index) -> bool {
        let bit = 1 << (index % 64);
        self.used.words()[index as usize / 64].fetch_and(!bit, Relaxed) & bit != 0
    }

    /// Lets one entry go, after `end` has seen its element. The caller holds no lock of the table.
    ///
    /// Finds none if others remove entries meanwhile; then there is room.
    pub(super) fn evict(&self, table: &Table, end: impl Fn(Index)) {
        // The first round may only take marks away; in the second everybody may be touched again.
        for step in 0..u64::from(self.elements) * 3 {
            let index = self.hand.fetch_add(1, Relaxed) % self.elements;
            let spared = self.reset(index) && step < u64::from(self.elements) * 2;
            if !spared && table.remove_index(index, &end) {
                return;
            }
        }
    }
}
