//! Random choices.

use ebpfvm::host::Random;

/// A sequence of choices, the same for the same seed.
pub(crate) struct Draw(Random);

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(Random::new(seed))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.next_u32() as usize % n.max(1)
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.0.next_u32() as u8).collect()
    }

    /// Near one of these.
    pub(crate) fn near(&mut self, of: &[i64]) -> i64 {
        self.one(of) + self.below(5) as i64 - 2
    }
}
