//! Known bits: tristate numbers.
//!
//! The operations are those of Linux 6.18 (`kernel/bpf/tnum.c`); addition, subtraction and the
//! argument why they are optimal are in Vishwanathan, Shachnai, Narayana, Nagarakatte: "Sound,
//! Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022).

use super::int::{Int, Word};
use std::fmt;

/// A number of which some bits are known.
///
/// Stands for all `x` with `x & !mask == value`. Invariant: `value & mask == 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tnum<U: Int = u64> {
    value: U,
    mask: U,
}

/// As messages spell it: `8` if all bits are known, else `(0x0; 0xff)`, the known bits and the unknown
/// ones (`tnum_strn`).
impl fmt::Display for Tnum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_const() {
            Some(value) => super::text::write_unsigned(f, value),
            None => write!(f, "({:#x}; {:#x})", self.value, self.mask),
        }
    }
}

// The names of the operations are those of the instructions, without the promises that the
// operators' traits suggest: there is no inverse.
#[allow(clippy::should_implement_trait)]
impl<U: Int> Tnum<U> {
    /// No bit is known.
    pub const TOP: Tnum<U> = Tnum { value: U::ZERO, mask: U::MAX };

    /// The number whose bits outside `mask` are those of `value`.
    #[inline]
    pub fn new(value: U, mask: U) -> Tnum<U> {
        Tnum { value: value & !mask, mask }
    }

    /// Exactly `value`.
    #[inline]
    pub fn constant(value: U) -> Tnum<U> {
        Tnum { value, mask: U::ZERO }
    }

    /// The bits that all numbers from `min` to `max` have in common. Only the common leading bits
    /// are looked at, so `min` and `max` may be in any order.
    #[inline]
    pub fn range(min: U, max: U) -> Tnum<U> {
        let differ = (min ^ max).widen();
        // All bits from the first difference downwards.
        let mask = match 64 - differ.leading_zeros() {
            0 => 0,
            bits => u64::MAX >> (64 - bits),
        };
        Tnum::new(min, U::truncate(mask))
    }

    /// The known bits; unknown ones are 0.
    #[inline]
    pub fn value(self) -> U {
        self.value
    }

    /// The unknown bits.
    #[inline]
    pub fn mask(self) -> U {
        self.mask
    }

    /// The smallest unsigned number.
    #[inline]
    pub fn umin(self) -> U {
        self.value
    }

    /// The greatest unsigned number.
    #[inline]
    pub fn umax(self) -> U {
        self.value | self.mask
    }

    /// The smallest signed number.
    #[inline]
    pub fn smin(self) -> U::Signed {
        (self.value | (self.mask & U::SIGN)).signed()
    }

    /// The greatest signed number.
    #[inline]
    pub fn smax(self) -> U::Signed {
        (self.value | (self.mask & !U::SIGN)).signed()
    }

    /// Whether all bits are known.
    #[inline]
    pub fn is_const(self) -> bool {
        self.mask == U::ZERO
    }

    /// The number, if all bits are known.
    #[inline]
    pub fn as_const(self) -> Option<U> {
        self.is_const().then_some(self.value)
    }

    /// Whether no bit is known.
    #[inline]
    pub fn is_top(self) -> bool {
        self.mask == U::MAX
    }

    /// Whether `x` is one of the numbers.
    #[inline]
    pub fn contains(self, x: U) -> bool {
        x & !self.mask == self.value
    }

    /// Whether all numbers of `self` are numbers of `other` (`tnum_in(other, self)`).
    #[inline]
    pub fn is_subset(self, other: Tnum<U>) -> bool {
        self.mask & !other.mask == U::ZERO && self.value & !other.mask == other.value
    }

    /// Whether some number belongs to both.
    #[inline]
    pub fn overlaps(self, other: Tnum<U>) -> bool {
        (self.value ^ other.value) & !self.mask & !other.mask == U::ZERO
    }

    /// What both know together. If they contradict each other in a bit, which [`overlaps`] tells,
    /// that bit becomes 1, as in Linux.
    ///
    /// [`overlaps`]: Tnum::overlaps
    #[inline]
    pub fn meet(self, other: Tnum<U>) -> Tnum<U> {
        Tnum::new(self.value | other.value, self.mask & other.mask)
    }

    /// What both agree on.
    #[inline]
    pub fn join(self, other: Tnum<U>) -> Tnum<U> {
        Tnum::new(self.value, (self.value ^ other.value) | self.mask | other.mask)
    }

    /// The smallest of the numbers that is greater than `x`, or the greatest one if none is.
    #[inline]
    pub fn next_after(self, x: U) -> U {
        if x < self.value {
            return self.value;
        }
        if x >= self.umax() {
            return self.umax();
        }
        // Below the highest known bit in which `x` differs, `x` does not matter: where it has the 0,
        // all unknown bits below may be 0; where it has the 1, some unknown 0 above must become 1.
        let differ = (x ^ self.value) & !self.mask;
        let above = |bit: U| !(bit | bit.wrapping_sub(U::truncate(1)));
        let top = U::truncate(match differ.widen() {
            0 => 0,
            bits => 1 << bits.ilog2(),
        });
        if top != U::ZERO && self.value & top != U::ZERO {
            return (x & self.mask & above(top)) | self.value;
        }
        // Count up within the unknown bits above `top`: known ones pass the carry on.
        let upper = if top == U::ZERO { U::MAX } else { above(top) };
        let count = (x | !(self.mask & upper)).wrapping_add(U::truncate(1));
        (count & self.mask & upper) | self.value
    }

    /// Whether all numbers are multiples of `size`, a power of two, or `size` is 0.
    #[inline]
    pub fn is_aligned(self, size: U) -> bool {
        size == U::ZERO || (self.value | self.mask) & size.wrapping_sub(U::truncate(1)) == U::ZERO
    }

    /// Sums.
    #[inline]
    pub fn add(self, other: Tnum<U>) -> Tnum<U> {
        let value = self.value.wrapping_add(other.value);
        let greatest = value.wrapping_add(self.mask.wrapping_add(other.mask));
        // The bits in which carries differ between the smallest and the greatest sum.
        let carries = greatest ^ value;
        Tnum::new(value, carries | self.mask | other.mask)
    }

    /// Differences.
    #[inline]
    pub fn sub(self, other: Tnum<U>) -> Tnum<U> {
        let value = self.value.wrapping_sub(other.value);
        let borrows = value.wrapping_add(self.mask) ^ value.wrapping_sub(other.mask);
        Tnum::new(value, borrows | self.mask | other.mask)
    }

    /// Products: long multiplication, in which an unknown bit of `self` either adds or does not.
    pub fn mul(self, other: Tnum<U>) -> Tnum<U> {
        let (mut left, mut right) = (self, other);
        let mut sum = Tnum::constant(U::ZERO);
        let one = U::truncate(1);
        while left.value | left.mask != U::ZERO {
            if left.value & one != U::ZERO {
                sum = sum.add(right);
            } else if left.mask & one != U::ZERO {
                sum = sum.join(sum.add(right));
            }
            left = left.rsh(1);
            right = right.lsh(1);
        }
        sum
    }

    /// Bitwise and.
    #[inline]
    pub fn and(self, other: Tnum<U>) -> Tnum<U> {
        let value = self.value & other.value;
        Tnum::new(value, self.umax() & other.umax() & !value)
    }

    /// Bitwise or.
    #[inline]
    pub fn or(self, other: Tnum<U>) -> Tnum<U> {
        let value = self.value | other.value;
        Tnum { value, mask: (self.mask | other.mask) & !value }
    }

    /// Bitwise exclusive or.
    #[inline]
    pub fn xor(self, other: Tnum<U>) -> Tnum<U> {
        Tnum::new(self.value ^ other.value, self.mask | other.mask)
    }

    /// Shift left by less than the width.
    #[inline]
    pub fn lsh(self, count: u32) -> Tnum<U> {
        Tnum { value: self.value << count, mask: self.mask << count }
    }

    /// Logical shift right by less than the width.
    #[inline]
    pub fn rsh(self, count: u32) -> Tnum<U> {
        Tnum { value: self.value >> count, mask: self.mask >> count }
    }

    /// Arithmetic shift right by less than the width.
    #[inline]
    pub fn arsh(self, count: u32) -> Tnum<U> {
        Tnum { value: self.value.arithmetic_shr(count), mask: self.mask.arithmetic_shr(count) }
    }

    /// Bits from `bits` upwards become 0.
    #[inline]
    pub fn zero_extend(self, bits: u32) -> Tnum<U> {
        let keep = U::MAX >> (U::BITS - bits);
        Tnum { value: self.value & keep, mask: self.mask & keep }
    }
}

impl<W: Word> Tnum<W> {
    /// The lower half.
    #[inline]
    pub fn low(self) -> Tnum<W::Half> {
        Tnum { value: self.value.low(), mask: self.mask.low() }
    }

    /// The same with another lower half.
    #[inline]
    pub fn with_low(self, low: Tnum<W::Half>) -> Tnum<W> {
        Tnum {
            value: W::join(self.value.high(), low.value),
            mask: W::join(self.mask.high(), low.mask),
        }
    }

    /// The half, zero-extended.
    #[inline]
    pub fn from_low(low: Tnum<W::Half>) -> Tnum<W> {
        Tnum::constant(W::ZERO).with_low(low)
    }
}
