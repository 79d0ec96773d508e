//! Abstract values to test with: random, but of every kind.

use super::bits::Bits;
use crate::domain::{Bounds, Int, Scalar, Tnum, Word};

/// A small generator; its sequence is that of the seed on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn bits<U: Int>(&mut self) -> U {
        U::truncate(self.below(1 << U::BITS))
    }

    fn bounds<U: Int>(&mut self) -> Bounds<U> {
        let mut bounds = Bounds::TOP;
        let (a, b): (U, U) = (self.bits(), self.bits());
        if self.below(2) == 0 {
            bounds.meet_unsigned(a.min(b), a.max(b));
        }
        let (a, b) = (self.bits::<U>().signed(), self.bits::<U>().signed());
        if self.below(2) == 0 {
            bounds.meet_signed(a.min(b), a.max(b));
        }
        bounds
    }

    /// Random parts, not synchronised; often without any number.
    pub(super) fn parts<W: Word>(&mut self) -> Scalar<W> {
        let mut mask = self.bits::<W>();
        if self.below(2) == 0 {
            mask = mask | self.bits();
        }
        let tnum = match self.below(3) {
            0 => Tnum::TOP,
            _ => Tnum::new(self.bits(), mask),
        };
        let (full, half) = (self.bounds(), self.bounds());
        match self.below(6) {
            0 => Scalar::constant(self.bits()),
            1 => Scalar { tnum, ..Scalar::TOP },
            2 => Scalar { full, ..Scalar::TOP },
            3 => Scalar { half, ..Scalar::TOP },
            4 => Scalar { tnum, full, ..Scalar::TOP },
            _ => Scalar { tnum, full, half },
        }
    }

    /// A synchronised value and its numbers, of which there is at least one.
    pub(super) fn scalar<const N: u32>(&mut self) -> (Scalar<Bits<N>>, Vec<Bits<N>>)
    where
        Bits<N>: Word,
    {
        loop {
            let mut scalar = self.parts();
            scalar.sync();
            let members = members(&scalar);
            if !members.is_empty() {
                return (scalar, members);
            }
        }
    }
}

/// All numbers of a value.
pub(super) fn members<const N: u32>(scalar: &Scalar<Bits<N>>) -> Vec<Bits<N>>
where
    Bits<N>: Word,
{
    Bits::all().filter(|x| scalar.contains(*x)).collect()
}
