//! Intervals of one width: unsigned and signed bounds of the same number.

use super::int::Int;
use super::tnum::Tnum;

/// The smallest and the greatest value, read as unsigned and read as signed.
///
/// A number must satisfy both. Bounds with a minimum above its maximum contain nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds<U: Int = u64> {
    /// Smallest unsigned value.
    pub umin: U,
    /// Greatest unsigned value.
    pub umax: U,
    /// Smallest signed value.
    pub smin: U::Signed,
    /// Greatest signed value.
    pub smax: U::Signed,
}

#[allow(clippy::should_implement_trait)]
impl<U: Int> Bounds<U> {
    /// Every number.
    pub const TOP: Bounds<U> =
        Bounds { umin: U::ZERO, umax: U::MAX, smin: U::SIGNED_MIN, smax: U::SIGNED_MAX };

    /// Exactly `value`.
    #[inline]
    pub fn constant(value: U) -> Bounds<U> {
        let signed = value.signed();
        Bounds { umin: value, umax: value, smin: signed, smax: signed }
    }

    /// The number, if all four bounds are the same one.
    #[inline]
    pub fn as_const(&self) -> Option<U> {
        (*self == Bounds::constant(self.umin)).then_some(self.umin)
    }

    /// Whether `x` lies in both intervals.
    #[inline]
    pub fn contains(&self, x: U) -> bool {
        let signed = x.signed();
        self.umin <= x && x <= self.umax && self.smin <= signed && signed <= self.smax
    }

    /// Whether each interval lies in that of `other`.
    #[inline]
    pub fn is_subset(&self, other: &Bounds<U>) -> bool {
        other.umin <= self.umin
            && self.umax <= other.umax
            && other.smin <= self.smin
            && self.smax <= other.smax
    }

    /// Whether an interval is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.umin > self.umax || self.smin > self.smax
    }

    /// Whether the unsigned or the signed intervals have no number in common.
    #[inline]
    pub fn is_disjoint(&self, other: &Bounds<U>) -> bool {
        self.umin > other.umax
            || self.umax < other.umin
            || self.smin > other.smax
            || self.smax < other.smin
    }

    /// Takes over the narrower unsigned bounds.
    #[inline]
    pub fn meet_unsigned(&mut self, min: U, max: U) {
        self.umin = self.umin.max(min);
        self.umax = self.umax.min(max);
    }

    /// Takes over the narrower signed bounds.
    #[inline]
    pub fn meet_signed(&mut self, min: U::Signed, max: U::Signed) {
        self.smin = self.smin.max(min);
        self.smax = self.smax.min(max);
    }

    /// Takes over all narrower bounds.
    #[inline]
    pub fn meet(&mut self, other: &Bounds<U>) {
        self.meet_unsigned(other.umin, other.umax);
        self.meet_signed(other.smin, other.smax);
    }

    /// Takes over what the known bits say (`__update_reg32_bounds`, `__update_reg64_bounds`).
    #[inline]
    pub fn meet_tnum(&mut self, tnum: Tnum<U>) {
        self.meet_unsigned(tnum.umin(), tnum.umax());
        self.meet_signed(tnum.smin(), tnum.smax());
    }

    /// Lets signed and unsigned bounds learn from each other (`__reg64_deduce_bounds`, and the end
    /// of `__reg32_deduce_bounds`).
    ///
    /// An interval of one kind is one of the other kind too unless it crosses the other's border:
    /// between -1 and 0 for signed ones, between the greatest and the smallest signed number for
    /// unsigned ones. A signed interval that crosses is, unsigned, two pieces at the two ends; if
    /// the unsigned interval touches only one of them, the other piece is out.
    #[inline]
    pub fn deduce(&mut self) {
        if self.umin.signed() <= self.umax.signed() {
            self.meet_signed(self.umin.signed(), self.umax.signed());
        }
        let (smin, smax) = (U::unsigned(self.smin), U::unsigned(self.smax));
        if smin <= smax {
            self.meet_unsigned(smin, smax);
        } else if self.umax < smin {
            self.smin = self.umin.signed();
            self.umax = self.umax.min(smax);
        } else if smax < self.umin {
            self.smax = self.umax.signed();
            self.umin = self.umin.max(smin);
        }
    }

    /// Forgets the unsigned bounds.
    #[inline]
    pub fn forget_unsigned(&mut self) {
        self.umin = U::ZERO;
        self.umax = U::MAX;
    }

    /// The bounds of unsigned results: signed as they are if they do not cross the border.
    #[inline]
    fn from_unsigned(umin: U, umax: U) -> Bounds<U> {
        let mut bounds = Bounds { umin, umax, ..Bounds::TOP };
        if umin.signed() <= umax.signed() {
            bounds.smin = umin.signed();
            bounds.smax = umax.signed();
        }
        bounds
    }

    /// Bounds of sums. Unsigned sums of which all wrap are as good as those of which none does.
    #[inline]
    pub fn add(self, other: &Bounds<U>) -> Bounds<U> {
        let (umin, min_wraps) = self.umin.overflowing_add(other.umin);
        let (umax, max_wraps) = self.umax.overflowing_add(other.umax);
        let smin = U::checked_add_signed(self.smin, other.smin);
        let smax = U::checked_add_signed(self.smax, other.smax);
        Bounds::from_results((umin, umax, !min_wraps && max_wraps), smin.zip(smax))
    }

    /// Bounds of differences.
    #[inline]
    pub fn sub(self, other: &Bounds<U>) -> Bounds<U> {
        let (umin, min_wraps) = self.umin.overflowing_sub(other.umax);
        let (umax, max_wraps) = self.umax.overflowing_sub(other.umin);
        let smin = U::checked_sub_signed(self.smin, other.smax);
        let smax = U::checked_sub_signed(self.smax, other.smin);
        Bounds::from_results((umin, umax, min_wraps && !max_wraps), smin.zip(smax))
    }

    /// Bounds of products.
    #[inline]
    pub fn mul(self, other: &Bounds<U>) -> Bounds<U> {
        let (umin, min_wraps) = self.umin.overflowing_mul(other.umin);
        let (umax, max_wraps) = self.umax.overflowing_mul(other.umax);
        let corner = |a, b| U::checked_mul_signed(a, b);
        let corners = (|| {
            let first = corner(self.smin, other.smin)?;
            let rest = [
                corner(self.smin, other.smax)?,
                corner(self.smax, other.smin)?,
                corner(self.smax, other.smax)?,
            ];
            let min = rest.iter().fold(first, |least, x| least.min(*x));
            Some((min, rest.iter().fold(first, |most, x| most.max(*x))))
        })();
        Bounds::from_results((umin, umax, min_wraps || max_wraps), corners)
    }

    /// Unsigned bounds unless they are `lost`, signed ones if there are any.
    #[inline]
    fn from_results(
        (umin, umax, lost): (U, U, bool),
        signed: Option<(U::Signed, U::Signed)>,
    ) -> Bounds<U> {
        let (smin, smax) = signed.unwrap_or((U::SIGNED_MIN, U::SIGNED_MAX));
        let (umin, umax) = if lost { (U::ZERO, U::MAX) } else { (umin, umax) };
        Bounds { umin, umax, smin, smax }
    }

    /// Bounds of `self & other`, given the known bits of the result.
    #[inline]
    pub fn and(self, other: &Bounds<U>, result: Tnum<U>) -> Bounds<U> {
        Bounds::from_unsigned(result.umin(), self.umax.min(other.umax))
    }

    /// Bounds of `self | other`, given the known bits of the result.
    #[inline]
    pub fn or(self, other: &Bounds<U>, result: Tnum<U>) -> Bounds<U> {
        Bounds::from_unsigned(self.umin.max(other.umin), result.umax())
    }

    /// Bounds of `self ^ other`, given the known bits of the result.
    #[inline]
    pub fn xor(self, _other: &Bounds<U>, result: Tnum<U>) -> Bounds<U> {
        Bounds::from_unsigned(result.umin(), result.umax())
    }

    /// Unsigned bounds of `self << count`, unless set bits may be lost; signed ones are not known.
    /// `count` may be any.
    #[inline]
    pub fn lsh(self, count: u32) -> Bounds<U> {
        if count >= U::BITS || self.umax > U::truncate(1) << (U::BITS - 1 - count) {
            return Bounds::TOP;
        }
        Bounds { umin: self.umin << count, umax: self.umax << count, ..Bounds::TOP }
    }

    /// Unsigned bounds of `self >> count`, less than the width; signed ones are not known.
    #[inline]
    pub fn rsh(self, count: u32) -> Bounds<U> {
        Bounds { umin: self.umin >> count, umax: self.umax >> count, ..Bounds::TOP }
    }

    /// Signed bounds of `self s>> count`, less than the width; unsigned ones are not known.
    #[inline]
    pub fn arsh(self, count: u32) -> Bounds<U> {
        Bounds {
            smin: U::signed_shr(self.smin, count),
            smax: U::signed_shr(self.smax, count),
            ..Bounds::TOP
        }
    }
}
