//! A number in a register: known bits and bounds, reduced against each other.

use super::bounds::Bounds;
use super::int::{Int, Word};
use super::tnum::Tnum;

/// What is known about a number.
///
/// It stands for the numbers that `tnum`, `full` and `half` all allow. Constructors and operations
/// return values that are [synchronised](Scalar::sync) as far as Linux does it; who changes a field
/// calls `sync` afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scalar<W: Word = u64> {
    /// Known bits.
    pub tnum: Tnum<W>,
    /// Bounds of the number.
    pub full: Bounds<W>,
    /// Bounds of its lower half.
    pub half: Bounds<W::Half>,
}

/// How a value contradicts itself (`reg_bounds_sanity_check`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contradiction {
    /// A minimum is above its maximum.
    Range,
    /// All bits are known, but the bounds are not that number.
    Const,
    /// All bits of the lower half are known, but its bounds are not that number.
    ConstHalf,
}

/// A value that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation<W: Word = u64> {
    /// How.
    pub contradiction: Contradiction,
    /// The value before its bounds were forgotten.
    pub value: Scalar<W>,
}

impl<W: Word> Scalar<W> {
    /// Every number (`__mark_reg_unknown`).
    pub const TOP: Scalar<W> = Scalar { tnum: Tnum::TOP, full: Bounds::TOP, half: Bounds::TOP };

    /// Exactly `value` (`__mark_reg_known`).
    #[inline]
    pub fn constant(value: W) -> Scalar<W> {
        Scalar {
            tnum: Tnum::constant(value),
            full: Bounds::constant(value),
            half: Bounds::constant(value.low()),
        }
    }

    /// The numbers with these bits.
    pub fn from_tnum(tnum: Tnum<W>) -> Scalar<W> {
        let mut scalar = Scalar { tnum, ..Scalar::TOP };
        scalar.sync();
        scalar
    }

    /// The numbers from `min` to `max`, unsigned.
    pub fn unsigned_range(min: W, max: W) -> Scalar<W> {
        let mut scalar = Scalar::TOP;
        scalar.full.meet_unsigned(min, max);
        scalar.sync();
        scalar
    }

    /// The numbers from `min` to `max`, signed.
    pub fn signed_range(min: W::Signed, max: W::Signed) -> Scalar<W> {
        let mut scalar = Scalar::TOP;
        scalar.full.meet_signed(min, max);
        scalar.sync();
        scalar
    }

    /// The number, if all bits are known.
    #[inline]
    pub fn as_const(&self) -> Option<W> {
        self.tnum.as_const()
    }

    /// Whether `x` is one of the numbers.
    #[inline]
    pub fn contains(&self, x: W) -> bool {
        self.tnum.contains(x) && self.full.contains(x) && self.half.contains(x.low())
    }

    /// Whether each part of `self` lies in the same part of `other` (`range_within` and `tnum_in`).
    /// Then all numbers of `self` are numbers of `other`; the reverse need not be noticed.
    #[inline]
    pub fn is_subset(&self, other: &Scalar<W>) -> bool {
        self.full.is_subset(&other.full)
            && self.half.is_subset(&other.half)
            && self.tnum.is_subset(other.tnum)
    }

    /// Forgets all bounds, not the bits (`__mark_reg_unbounded`).
    #[inline]
    pub fn forget_bounds(&mut self) {
        self.full = Bounds::TOP;
        self.half = Bounds::TOP;
    }

    /// Lets the parts learn from each other (`reg_bounds_sync`). No number is lost.
    ///
    /// The deduction is repeated a fixed number of times, as in Linux, and need not reach a fixed
    /// point. In one case the word takes over the half's bounds even where its own were narrower.
    pub fn sync(&mut self) {
        self.meet_tnum();
        for _ in 0..3 {
            self.narrow_half();
            self.half.deduce();
            self.full.deduce();
            self.narrow_full();
        }
        self.narrow_tnum();
        self.meet_tnum();
    }

    /// Bounds from bits (`__update_reg_bounds`).
    #[inline]
    pub(super) fn meet_tnum(&mut self) {
        self.half.meet_tnum(self.tnum.low());
        self.full.meet_tnum(self.tnum);
        if let Some(only) = self.only_overlap() {
            *self = Scalar::constant(only);
        }
    }

    /// The only number that bits and unsigned bounds have in common, if there is just one
    /// (`__update_reg64_bounds`; Linux looks at the whole word only).
    #[inline]
    fn only_overlap(&self) -> Option<W> {
        let (tnum, umin, umax) = (self.tnum, self.full.umin, self.full.umax);
        let next = tnum.next_after(umin);
        if tnum.contains(umin) {
            (next > umax).then_some(umin)
        } else if next == tnum.umax() {
            Some(next)
        } else {
            (next <= umax && tnum.next_after(next) > umax).then_some(next)
        }
    }

    /// The half's bounds from those of the word (start of `__reg32_deduce_bounds`).
    #[inline]
    fn narrow_half(&mut self) {
        let (half, full) = (&mut self.half, &self.full);
        let (umin, umax) = (full.umin, full.umax);
        let (smin, smax) = (W::unsigned(full.smin), W::unsigned(full.smax));
        // Within one value of the upper half, the lower halves are an interval.
        if umin.high() == umax.high() {
            half.meet_unsigned(umin.low(), umax.low());
            if umin.low().signed() <= umax.low().signed() {
                half.meet_signed(umin.low().signed(), umax.low().signed());
            }
        }
        if smin.high() == smax.high() {
            if smin.low() <= smax.low() {
                half.meet_unsigned(smin.low(), smax.low());
            }
            if smin.low().signed() <= smax.low().signed() {
                half.meet_signed(smin.low().signed(), smax.low().signed());
            }
        }
        // From the end of one value of the upper half to the start of the next one, they are a
        // signed interval around zero.
        for (min, max) in [(umin, umax), (smin, smax)] {
            let next = min.high().wrapping_add(W::Half::truncate(1));
            let negative = |x: W| x.low() & W::Half::SIGN != W::Half::ZERO;
            if next == max.high() && negative(min) && !negative(max) {
                half.meet_signed(min.low().signed(), max.low().signed());
            }
        }
    }

    /// The word's bounds from those of the half (`__reg_deduce_mixed_bounds`).
    #[inline]
    fn narrow_full(&mut self) {
        // The smallest number has at least the smallest lower half, the greatest at most the
        // greatest one, whatever their upper halves.
        let narrow = |full: &mut Bounds<W>, min: W::Half, max: W::Half| {
            let bound = |of: W, low| W::join(of.high(), low);
            full.meet_unsigned(bound(full.umin, min), bound(full.umax, max));
            let (smin, smax) = (W::unsigned(full.smin), W::unsigned(full.smax));
            full.meet_signed(bound(smin, min).signed(), bound(smax, max).signed());
        };
        let (full, half) = (&mut self.full, &self.half);
        narrow(full, half.umin, half.umax);
        let (smin, smax) = (W::Half::unsigned(half.smin), W::Half::unsigned(half.smax));
        if smin <= smax {
            narrow(full, smin, smax);
        }
        // A number that is the sign extension of its half, whose half is not negative.
        if half.smin >= W::Half::truncate_signed(0)
            && full.smin >= W::extend_signed(W::Half::SIGNED_MIN)
            && full.smax <= W::extend_signed(W::Half::SIGNED_MAX)
        {
            full.smin = W::extend_signed(half.smin);
            full.smax = W::extend_signed(half.smax);
            full.umin = W::unsigned(full.smin);
            full.umax = W::unsigned(full.smax);
            self.tnum = self.tnum.meet(Tnum::range(full.umin, full.umax));
        }
    }

    /// Bits from bounds (`__reg_bound_offset`).
    #[inline]
    fn narrow_tnum(&mut self) {
        let full = self.tnum.meet(Tnum::range(self.full.umin, self.full.umax));
        let half = full.low().meet(Tnum::range(self.half.umin, self.half.umax));
        self.tnum = full.with_low(half);
    }

    /// How the value contradicts itself, if it does (`reg_bounds_sanity_check`). Such a value
    /// contains no number.
    #[inline]
    pub fn contradiction(&self) -> Option<Contradiction> {
        if self.full.is_empty() || self.half.is_empty() {
            return Some(Contradiction::Range);
        }
        if let Some(value) = self.tnum.as_const()
            && self.full != Bounds::constant(value)
        {
            return Some(Contradiction::Const);
        }
        if let Some(value) = self.tnum.low().as_const()
            && self.half != Bounds::constant(value)
        {
            return Some(Contradiction::ConstHalf);
        }
        None
    }

    /// Forgets the bounds of a value that contradicts itself, as Linux does after each arithmetic
    /// instruction and comparison, and tells what it was. Linux calls it a bug of the verifier in
    /// its log, and refuses the program only if loaded with `BPF_F_TEST_REG_INVARIANTS`.
    #[inline]
    pub fn settle(&mut self) -> Option<Violation<W>> {
        let contradiction = self.contradiction()?;
        let violation = Violation { contradiction, value: *self };
        self.forget_bounds();
        Some(violation)
    }

    /// Makes the upper half zero (`zext_32_to_64`); does not synchronise.
    #[inline]
    pub(super) fn clear_high(&mut self) {
        self.tnum = Tnum::from_low(self.tnum.low());
        let extend = |low| W::join(W::Half::ZERO, low);
        self.full.umin = extend(self.half.umin);
        self.full.umax = extend(self.half.umax);
        let zero = W::Half::truncate_signed(0);
        if self.half.smin >= zero && self.half.smax >= zero {
            self.full.smin = W::extend_signed(self.half.smin);
            self.full.smax = W::extend_signed(self.half.smax);
        } else {
            self.full.smin = W::truncate_signed(0);
            self.full.smax = extend(W::Half::MAX).signed();
        }
    }

    /// The lower half, zero-extended: what a 32-bit move gives.
    #[inline]
    pub fn zero_extend_half(mut self) -> Scalar<W> {
        self.clear_high();
        self.sync();
        self
    }

    /// The low `bits`, zero-extended (`coerce_reg_to_size`).
    ///
    /// `bits` is less than the word's.
    pub fn zero_extend(mut self, bits: u32) -> Scalar<W> {
        self.tnum = self.tnum.zero_extend(bits);
        let low = W::MAX >> (W::BITS - bits);
        let full = &mut self.full;
        (full.umin, full.umax) = if full.umin & !low == full.umax & !low {
            (full.umin & low, full.umax & low)
        } else {
            (W::ZERO, low)
        };
        full.smin = full.umin.signed();
        full.smax = full.umax.signed();
        if bits < W::Half::BITS {
            self.half = Bounds::TOP;
        }
        self.sync();
        self
    }

    /// The low `bits`, sign-extended to the word (`coerce_reg_to_size_sx`).
    ///
    /// `bits` is not above the half's. The result is not synchronised, as in Linux.
    pub fn sign_extend(self, bits: u32) -> Scalar<W> {
        if let Some(value) = self.as_const() {
            return Scalar::constant(W::unsigned(sign_extend(value, bits)));
        }
        let Some((min, max)) = extended_range(&self.full, bits) else {
            let (min, max) = signed_range::<W>(bits);
            let half = |x| W::unsigned(x).low().signed();
            return Scalar {
                tnum: Tnum::TOP,
                full: Bounds { smin: min, smax: max, ..Bounds::TOP },
                half: Bounds { smin: half(min), smax: half(max), ..Bounds::TOP },
            };
        };
        let (umin, umax) = (W::unsigned(min), W::unsigned(max));
        let (low, high) = (umin.low(), umax.low());
        Scalar {
            tnum: Tnum::range(umin, umax),
            full: Bounds { umin, umax, smin: min, smax: max },
            half: Bounds { umin: low, umax: high, smin: low.signed(), smax: high.signed() },
        }
    }

    /// The low `bits`, sign-extended to the half and zero-extended from there
    /// (`coerce_subreg_to_size_sx`).
    ///
    /// `bits` is less than the half's.
    pub fn sign_extend_half(mut self, bits: u32) -> Scalar<W> {
        if let Some(value) = self.as_const() {
            let value = W::Half::unsigned(sign_extend(value.low(), bits));
            self.tnum = Tnum::from_low(Tnum::constant(value));
            self.half = Bounds::constant(value);
        } else if let Some((min, max)) = extended_range(&self.half, bits) {
            let (umin, umax) = (W::Half::unsigned(min), W::Half::unsigned(max));
            self.tnum = Tnum::from_low(Tnum::range(umin, umax));
            self.half = Bounds { umin, umax, smin: min, smax: max };
        } else {
            let (smin, smax) = signed_range::<W::Half>(bits);
            self.tnum = Tnum::from_low(Tnum::TOP);
            self.half = Bounds { smin, smax, ..Bounds::TOP };
        }
        self.zero_extend_half()
    }
}

/// The low `bits` of `value` as a signed number.
fn sign_extend<U: Int>(value: U, bits: u32) -> U::Signed {
    let unused = U::BITS - bits;
    U::signed_shr((value << unused).signed(), unused)
}

/// The smallest and the greatest signed number of `bits`.
fn signed_range<U: Int>(bits: u32) -> (U::Signed, U::Signed) {
    let unused = U::BITS - bits;
    (U::signed_shr(U::SIGNED_MIN, unused), U::signed_shr(U::SIGNED_MAX, unused))
}

/// Signed bounds after sign extension of the low `bits`, if nothing above them changes in the
/// interval and the sign does not either.
fn extended_range<U: Int>(bounds: &Bounds<U>, bits: u32) -> Option<(U::Signed, U::Signed)> {
    let (smin, smax) = (U::unsigned(bounds.smin), U::unsigned(bounds.smax));
    if smin >> bits != smax >> bits {
        return None;
    }
    let (a, b) = (sign_extend(smin, bits), sign_extend(smax, bits));
    let zero = U::truncate_signed(0);
    ((a >= zero) == (b >= zero)).then(|| (a.min(b), a.max(b)))
}
