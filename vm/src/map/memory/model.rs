//! The words of a memory in models: cells whose accesses `loom` watches. No program can reach them, so
//! addresses only tell words apart.

use super::{OutOfMemory, WORD};
use crate::map::sync::{AtomicU32, AtomicU64};
use std::ptr::NonNull;

/// Words, or halves of words: a memory is used in one way.
pub(crate) struct Memory {
    words: Box<[AtomicU64]>,
    halves: Box<[AtomicU32]>,
    /// Locks of values are not modelled.
    locks: Box<[std::sync::atomic::AtomicU32]>,
}

impl Memory {
    /// `words` zeroed words.
    pub(crate) fn zeroed(words: usize) -> Result<Memory, OutOfMemory> {
        Ok(Memory {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            halves: (0..words * 2).map(|_| AtomicU32::new(0)).collect(),
            locks: (0..words * 2).map(|_| std::sync::atomic::AtomicU32::new(0)).collect(),
        })
    }

    /// The words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    /// The halves.
    pub(crate) fn halves(&self) -> &[AtomicU32] {
        &self.halves
    }

    /// The lock of a value, at a half of a word.
    pub(crate) fn spin_lock(&self, half: usize) -> &std::sync::atomic::AtomicU32 {
        &self.locks[half]
    }

    /// A number for a word.
    pub(crate) fn pointer(&self, word: usize) -> NonNull<u8> {
        assert!(word < self.words.len());
        let address = std::num::NonZero::new(self.address() + word * WORD);
        NonNull::without_provenance(address.expect("not zero"))
    }

    /// The number of the first word.
    pub(crate) fn address(&self) -> usize {
        self.words.as_ptr().addr()
    }
}
