//! The words of a memory: allocated at once, at an address that programs may have.

use super::{LINE, OutOfMemory, WORD};
use crate::map::sync::{AtomicU32, AtomicU64};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Zeroed words at a fixed address, freed with the value.
///
/// Pages that were never written cost no physical memory: the allocator hands out zero pages.
pub(crate) struct Memory {
    first: NonNull<AtomicU64>,
    words: usize,
    allocation: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned by the value and only reached as atomics or, by programs, through raw
// pointers whose users keep to what a program may do.
unsafe impl Send for Memory {}
// SAFETY: as above; shared access is access to atomics.
unsafe impl Sync for Memory {}

impl Memory {
    /// Allocates `words` zeroed words, the first at the start of a cache line.
    pub(crate) fn zeroed(words: usize) -> Result<Memory, OutOfMemory> {
        // The slack for alignment is ours: the standard library's allocator clears aligned blocks
        // by hand, which would touch every page.
        let bytes = words.checked_mul(WORD).and_then(|b| b.checked_add(LINE)).ok_or(OutOfMemory)?;
        let layout = Layout::from_size_align(bytes, WORD).map_err(|_| OutOfMemory)?;
        // SAFETY: the size is at least `LINE`, so it is not zero.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(OutOfMemory)?;
        // Engines make pointers from numbers; this is where the numbers get their permission.
        let slack = allocation.as_ptr().expose_provenance().wrapping_neg() % LINE;
        // SAFETY: `slack` is below `LINE`, and the block has `LINE` bytes more than the words need.
        let first = unsafe { allocation.add(slack) }.cast::<AtomicU64>();
        Ok(Memory { first, words, allocation, layout })
    }

    /// The words.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `first` points to `words` initialised (zeroed) words that live as long as `self`,
        // aligned to `LINE`; they are only changed as atomics or by programs through raw pointers,
        // which the interior mutability of atomics allows.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.words) }
    }

    /// The words as two halves each. Who uses a word whole and its halves as well takes what it
    /// reads for bytes of either time.
    #[inline]
    pub(crate) fn halves(&self) -> &[AtomicU32] {
        // SAFETY: as for `words`; a word has the size of two halves and a stricter alignment.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr().cast(), self.words * 2) }
    }

    /// The lock of a value, at a half of a word.
    pub(crate) fn spin_lock(&self, half: usize) -> &AtomicU32 {
        &self.halves()[half]
    }

    /// The address of a word.
    ///
    /// # Panics
    /// If `word` is behind the last.
    #[inline]
    pub(crate) fn pointer(&self, word: usize) -> NonNull<u8> {
        assert!(word < self.words);
        // SAFETY: in bounds, as asserted.
        unsafe { self.first.add(word) }.cast()
    }

    /// The address of the first word.
    pub(crate) fn address(&self) -> usize {
        self.first.as_ptr().addr()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout and not freed before.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}
