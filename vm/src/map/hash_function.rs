//! The hash function of maps: seeded, so that nobody can prepare keys that collide.

use super::memory::load_word;

/// A hash function out of a family.
#[derive(Clone, Copy)]
pub(super) struct HashFunction {
    start: u64,
    factor: u64,
}

impl HashFunction {
    /// The function of a seed.
    pub(super) fn new(seed: u64) -> HashFunction {
        let start = fold(seed ^ 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
        HashFunction { start, factor: fold(start, 0x8bb8_4b93_962e_acc9) | 1 }
    }

    /// The hash of at most 8 bytes, as a word with zeros behind them.
    #[inline(always)]
    pub(super) fn hash_word(&self, word: u64) -> u64 {
        let hash = fold(self.start ^ word, self.factor);
        hash ^ hash >> 32
    }

    /// The hash of some bytes; all calls on one map give the same number of bytes.
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let hash = bytes
            .chunks(8)
            .fold(self.start, |hash, chunk| fold(hash ^ load_word(chunk), self.factor));
        hash ^ hash >> 32
    }
}

/// Multiplies to 128 bits and folds the halves: each bit of the result depends on all bits of both.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The kernel's hash of words (lookup3 of Bob Jenkins; `jhash2` with 0 for a start), for hashes that
/// can be seen from outside.
pub(super) fn jhash2(words: &[u32]) -> u32 {
    // What is rotated by how much, in the two ways of mixing three words.
    const MIX: [u32; 6] = [4, 6, 8, 16, 19, 4];
    const END: [u32; 7] = [14, 11, 25, 16, 4, 14, 24];
    let start = 0xdead_beef_u32.wrapping_add((words.len() as u32) << 2);
    let mut state = [start; 3];
    // All of the last up to three words wait for the end.
    let ends = words.len().saturating_sub(1) / 3 * 3;
    let (whole, last) = words.split_at(ends);
    let add = |state: &mut [u32; 3], words: &[u32]| {
        state.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    };
    for chunk in whole.chunks_exact(3) {
        add(&mut state, chunk);
        for (step, turn) in MIX.into_iter().enumerate() {
            let [to, next, from] = [step % 3, (step + 1) % 3, (step + 2) % 3];
            state[to] = state[to].wrapping_sub(state[from]) ^ state[from].rotate_left(turn);
            state[from] = state[from].wrapping_add(state[next]);
        }
    }
    if last.is_empty() {
        return state[2];
    }
    add(&mut state, last);
    for (step, turn) in END.into_iter().enumerate() {
        let (to, from) = ((step + 2) % 3, (step + 1) % 3);
        state[to] = (state[to] ^ state[from]).wrapping_sub(state[from].rotate_left(turn));
    }
    state[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_the_hash_of_its_bytes() {
        let hash = HashFunction::new(7);
        for word in [0, 1, 0xff, 0x1234_5678, u64::MAX] {
            assert_eq!(hash.hash_word(word), hash.hash(&word.to_ne_bytes()));
            assert_eq!(hash.hash_word(word & 0xffff_ffff), hash.hash(&(word as u32).to_ne_bytes()));
        }
    }

    /// Buckets of consecutive and of shifted numbers are filled about evenly, for several seeds.
    #[test]
    fn spreads_regular_keys() {
        for seed in [0, 1, 2, u64::MAX, 0x1234_5678_9abc_def0] {
            let hash = HashFunction::new(seed);
            for shift in [0, 8, 20, 32, 40] {
                let mut buckets = [0u32; 256];
                for number in 0..4096u64 {
                    let low = hash.hash(&(number << shift).to_ne_bytes()) as u8;
                    buckets[low as usize] += 1;
                }
                let most = *buckets.iter().max().unwrap();
                assert!(most < 48, "16 on average, {most} at most: seed {seed}, shift {shift}");
            }
        }
    }
}
