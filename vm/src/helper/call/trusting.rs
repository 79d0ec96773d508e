//! Helpers as compiled programs call them that the verifier accepted: C functions that take the
//! arguments as they are and compare nothing. They do what the helpers of the same name do.

use super::memory::each_word_at;
use crate::helper::checksum::{Words, difference};

/// `csum_diff(from, from_size, to, to_size, seed)`
///
/// # Safety
/// The arguments are what the prototype says: two addresses of memory that may be read, each with its size.
pub(in crate::helper) unsafe extern "C" fn csum_diff(
    from: u64,
    from_bytes: u64,
    to: u64,
    to_bytes: u64,
    seed: u64,
) -> u64 {
    let sum = |address, bytes: u64| {
        let mut words = Words::default();
        // SAFETY: the caller's promise.
        words.bytes = unsafe { each_word_at(address, bytes as usize, |word| words.add(word)) };
        words
    };
    difference(seed as u32, sum(from, from_bytes), sum(to, to_bytes))
}
