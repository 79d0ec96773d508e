//! Choices drawn from bytes. When the bytes are used up every choice is the first one.

use arbitrary::{Arbitrary, Unstructured};
use ebpfvm::host::Random;

/// A source of choices.
pub struct Draw<'a>(Unstructured<'a>);

impl<'a> Draw<'a> {
    /// Choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Draw<'a> {
        Draw(Unstructured::new(bytes))
    }

    /// Whether the bytes are used up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n - 1).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    /// One of several; there is at least one.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Any value of a type; none when the bytes are used up.
    pub fn any<T: Arbitrary<'a>>(&mut self) -> Option<T> {
        self.0.arbitrary().ok()
    }

    /// A number, often one at which behaviour changes.
    pub fn number(&mut self) -> u64 {
        const EDGES: [u64; 8] =
            [0, 1, u64::MAX, 0x8000_0000, 0xffff_ffff, 1 << 63, 1 << 32, 0x7fff_ffff];
        let any = self.any::<u64>().unwrap_or(0);
        match self.below(4) {
            0 => any,
            1 => any >> self.below(64),
            2 => 1u64.rotate_left(self.below(64) as u32).wrapping_sub(any % 3),
            _ => self.one(&EDGES),
        }
    }
}

/// The bytes that a seed stands for: many for some seeds, few for others.
pub fn bytes(seed: u64) -> Vec<u8> {
    let random = Random::new(seed);
    let most = [256, 1024, 4096, 16384][random.next_u32() as usize % 4];
    let len = 16 + random.next_u32() as usize % most;
    let mut bytes: Vec<u8> = Vec::with_capacity(len + 4);
    while bytes.len() < len {
        bytes.extend(random.next_u32().to_le_bytes());
    }
    bytes
}
