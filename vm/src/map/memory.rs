//! Memory that programs and the host touch at the same time.
//!
//! The only unsafe code of the maps is here. A [`Memory`] is a run of 8-byte words that are atomic
//! to the host: it copies word by word with relaxed order, so that a program that writes the same
//! value on another thread is no data race. A value starts at a word and owns the words that it
//! reaches into; copying in fills the rest of the last word with zeros.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Bytes of a word.
pub(crate) const WORD: usize = 8;

/// What the first word of a memory is aligned to, in bytes: a cache line.
pub(crate) const LINE: usize = 64;

/// The allocator has no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

/// The number of words that hold `bytes` bytes.
pub(crate) const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(WORD)
}

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

    /// Copies bytes that start at a word.
    pub(crate) fn read(&self, word: usize, out: &mut [u8]) {
        let words = &self.words()[word..word + words_for(out.len())];
        for (chunk, word) in out.chunks_mut(WORD).zip(words) {
            chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes()[..chunk.len()]);
        }
    }

    /// Copies bytes to a word and those after it.
    pub(crate) fn write(&self, word: usize, bytes: &[u8]) {
        let words = &self.words()[word..word + words_for(bytes.len())];
        for (chunk, word) in bytes.chunks(WORD).zip(words) {
            word.store(load_word(chunk), Relaxed);
        }
    }

    /// Copies bytes to a place that begins at a multiple of 4 bytes after a word, and leaves what
    /// is before it alone; what it ends in is filled up to a multiple of 4.
    pub(super) fn write_at(&self, word: usize, offset: usize, bytes: &[u8]) {
        let half = word * 2 + offset / 4;
        let (odd, rest) = bytes.split_at(if half % 2 == 1 { bytes.len().min(4) } else { 0 });
        if !odd.is_empty() {
            self.halves()[half].store(load_word(odd) as u32, Relaxed);
        }
        let first = half.div_ceil(2);
        let (whole, end) = rest.split_at(rest.len() / WORD * WORD);
        self.write(first, whole);
        for (i, chunk) in end.chunks(4).enumerate() {
            let half = (first + whole.len() / WORD) * 2 + i;
            self.halves()[half].store(load_word(chunk) as u32, Relaxed);
        }
    }

    /// Writes zeros.
    pub(crate) fn clear(&self, word: usize, words: usize) {
        for word in &self.words()[word..word + words] {
            word.store(0, Relaxed);
        }
    }

    /// Whether the bytes that start at a word equal these.
    #[inline]
    pub(crate) fn equals(&self, word: usize, bytes: &[u8]) -> bool {
        let words = &self.words()[word..word + words_for(bytes.len())];
        bytes.chunks(WORD).zip(words).all(|(chunk, word)| word.load(Relaxed) == load_word(chunk))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout and not freed before.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

/// Up to eight bytes as a word, with zeros behind.
#[inline]
pub(crate) fn load_word(bytes: &[u8]) -> u64 {
    if let Ok(whole) = <[u8; WORD]>::try_from(bytes) {
        return u64::from_ne_bytes(whole);
    }
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// Allocates a slot for each entry.
pub(crate) fn slots<T>(count: usize, empty: impl Fn() -> T) -> Result<Box<[T]>, OutOfMemory> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
    slots.resize_with(count, empty);
    Ok(slots.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_zeroed_on_a_line_and_keeps_what_is_written() {
        for words in [0, 1, 7, 1000] {
            let memory = Memory::zeroed(words).unwrap();
            assert_eq!(memory.address() % LINE, 0);
            assert_eq!(memory.words().len(), words);
            assert!(memory.words().iter().all(|word| word.load(Relaxed) == 0));
        }
        let memory = Memory::zeroed(4).unwrap();
        memory.write(1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let mut out = [0; 10];
        memory.read(1, &mut out);
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(memory.equals(1, &out) && !memory.equals(1, &[1, 2]) && !memory.equals(0, &out));
        memory.clear(1, 1);
        memory.read(1, &mut out);
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 0, 9, 10]);
    }

    #[test]
    fn refuses_what_no_machine_has() {
        assert!(Memory::zeroed(usize::MAX / 8).is_err());
        assert!(Memory::zeroed(1 << 59).is_err());
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn copies_stay_inside() {
        Memory::zeroed(2).unwrap().write(1, &[0; 9]);
    }
}
