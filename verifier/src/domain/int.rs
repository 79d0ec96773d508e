//! The machine integers that the domain computes with, as a trait: 64 and 32 bits at work, 8, 4 and
//! 2 bits in exhaustive tests.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::{BitAnd, BitOr, BitXor, Not, Shl, Shr};

/// An unsigned integer of fixed width, and the signed one of the same width.
pub trait Int:
    Copy
    + Ord
    + Hash
    + Debug
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// The signed integer of this width.
    type Signed: Copy + Ord + Hash + Debug;

    /// The width.
    const BITS: u32;
    /// 0
    const ZERO: Self;
    /// All bits set.
    const MAX: Self;
    /// The top bit.
    const SIGN: Self;
    /// The smallest signed number.
    const SIGNED_MIN: Self::Signed;
    /// The greatest signed number.
    const SIGNED_MAX: Self::Signed;

    /// The low bits of `value`.
    fn truncate(value: u64) -> Self;
    /// The value, zero-extended.
    fn widen(self) -> u64;
    /// The same bits, signed.
    fn signed(self) -> Self::Signed;
    /// The same bits, unsigned.
    fn unsigned(value: Self::Signed) -> Self;
    /// The low bits of `value`, signed.
    fn truncate_signed(value: i64) -> Self::Signed;
    /// The value, sign-extended.
    fn widen_signed(value: Self::Signed) -> i64;

    /// Sum and whether it wrapped.
    fn overflowing_add(self, other: Self) -> (Self, bool);
    /// Difference and whether it wrapped.
    fn overflowing_sub(self, other: Self) -> (Self, bool);
    /// Product and whether it wrapped.
    fn overflowing_mul(self, other: Self) -> (Self, bool);
    /// Sum, unless it overflows.
    fn checked_add_signed(a: Self::Signed, b: Self::Signed) -> Option<Self::Signed>;
    /// Difference, unless it overflows.
    fn checked_sub_signed(a: Self::Signed, b: Self::Signed) -> Option<Self::Signed>;
    /// Product, unless it overflows.
    fn checked_mul_signed(a: Self::Signed, b: Self::Signed) -> Option<Self::Signed>;

    /// Sum modulo the width.
    #[inline]
    fn wrapping_add(self, other: Self) -> Self {
        self.overflowing_add(other).0
    }

    /// Difference modulo the width.
    #[inline]
    fn wrapping_sub(self, other: Self) -> Self {
        self.overflowing_sub(other).0
    }

    /// Shift right that fills with the sign; `count` is less than the width.
    #[inline]
    fn arithmetic_shr(self, count: u32) -> Self {
        Self::unsigned(Self::signed_shr(self.signed(), count))
    }

    /// Shift right of a signed number; `count` is less than the width.
    #[inline]
    fn signed_shr(value: Self::Signed, count: u32) -> Self::Signed {
        Self::truncate_signed(Self::widen_signed(value) >> count)
    }
}

/// An integer with a lower half that is an integer itself, as registers have.
pub trait Word: Int {
    /// The half.
    type Half: Int;

    /// The lower half.
    fn low(self) -> Self::Half;
    /// The upper half.
    fn high(self) -> Self::Half;
    /// The word with these halves.
    fn join(high: Self::Half, low: Self::Half) -> Self;

    /// The number of the half, sign-extended.
    #[inline]
    fn extend_signed(half: <Self::Half as Int>::Signed) -> Self::Signed {
        Self::truncate_signed(Self::Half::widen_signed(half))
    }
}

macro_rules! int {
    ($u:ty, $i:ty) => {
        impl Int for $u {
            type Signed = $i;
            const BITS: u32 = <$u>::BITS;
            const ZERO: $u = 0;
            const MAX: $u = <$u>::MAX;
            const SIGN: $u = 1 << (<$u>::BITS - 1);
            const SIGNED_MIN: $i = <$i>::MIN;
            const SIGNED_MAX: $i = <$i>::MAX;

            #[inline]
            fn truncate(value: u64) -> $u {
                value as $u
            }
            #[inline]
            fn widen(self) -> u64 {
                self.into()
            }
            #[inline]
            fn signed(self) -> $i {
                self as $i
            }
            #[inline]
            fn unsigned(value: $i) -> $u {
                value as $u
            }
            #[inline]
            fn truncate_signed(value: i64) -> $i {
                value as $i
            }
            #[inline]
            fn widen_signed(value: $i) -> i64 {
                value.into()
            }
            #[inline]
            fn overflowing_add(self, other: $u) -> ($u, bool) {
                self.overflowing_add(other)
            }
            #[inline]
            fn overflowing_sub(self, other: $u) -> ($u, bool) {
                self.overflowing_sub(other)
            }
            #[inline]
            fn overflowing_mul(self, other: $u) -> ($u, bool) {
                self.overflowing_mul(other)
            }
            #[inline]
            fn checked_add_signed(a: $i, b: $i) -> Option<$i> {
                a.checked_add(b)
            }
            #[inline]
            fn checked_sub_signed(a: $i, b: $i) -> Option<$i> {
                a.checked_sub(b)
            }
            #[inline]
            fn checked_mul_signed(a: $i, b: $i) -> Option<$i> {
                a.checked_mul(b)
            }
        }
    };
}

int!(u64, i64);
int!(u32, i32);

impl Word for u64 {
    type Half = u32;

    #[inline]
    fn low(self) -> u32 {
        self as u32
    }
    #[inline]
    fn high(self) -> u32 {
        (self >> 32) as u32
    }
    #[inline]
    fn join(high: u32, low: u32) -> u64 {
        (high as u64) << 32 | low as u64
    }
}
