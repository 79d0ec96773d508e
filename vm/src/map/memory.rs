//! Memory that programs and the host touch at the same time.
//!
//! The only unsafe code of the maps is here. A [`Memory`] is a run of 8-byte words that are atomic
//! to the host: it copies word by word with relaxed order, so that a program that writes the same
//! value on another thread is no data race. A value starts at a word and owns the words that it
//! reaches into; copying in fills the rest of the last word with zeros.

use std::sync::atomic::Ordering::Relaxed;

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

#[cfg_attr(ebpfvm_model, path = "memory/model.rs")]
mod cells;
pub(crate) use cells::Memory;

impl Memory {
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
