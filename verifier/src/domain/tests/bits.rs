//! Integers of a few bits, with which everything can be tried.

use crate::domain::{Int, Word};
use ebpfvm_asm::{AluOp, JmpOp, Width, semantics};
use std::ops::{BitAnd, BitOr, BitXor, Not, Shl, Shr};

/// An unsigned integer of `N` bits, at most 8; the bits above are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bits<const N: u32>(pub(super) u8);

impl<const N: u32> Bits<N> {
    const ALL_SET: u8 = u8::MAX >> (8 - N);

    fn wrap(value: u16) -> (Bits<N>, bool) {
        (Bits(value as u8 & Self::ALL_SET), value > Self::ALL_SET.into())
    }

    fn checked(value: i16) -> Option<i8> {
        let half = 1 << (N - 1);
        (-half..half).contains(&value).then_some(value as i8)
    }

    /// All numbers.
    pub(super) fn all() -> impl Iterator<Item = Bits<N>> + Clone {
        (0..=Self::ALL_SET).map(Bits)
    }
}

macro_rules! bitwise {
    ($($trait:ident $method:ident $op:tt),*) => {$(
        impl<const N: u32> $trait for Bits<N> {
            type Output = Bits<N>;
            fn $method(self, other: Bits<N>) -> Bits<N> {
                Bits(self.0 $op other.0)
            }
        }
    )*};
}

bitwise!(BitAnd bitand &, BitOr bitor |, BitXor bitxor ^);

impl<const N: u32> Not for Bits<N> {
    type Output = Bits<N>;
    fn not(self) -> Bits<N> {
        Bits(!self.0 & Self::ALL_SET)
    }
}

impl<const N: u32> Shl<u32> for Bits<N> {
    type Output = Bits<N>;
    fn shl(self, count: u32) -> Bits<N> {
        assert!(count < N);
        Bits((self.0 << count) & Self::ALL_SET)
    }
}

impl<const N: u32> Shr<u32> for Bits<N> {
    type Output = Bits<N>;
    fn shr(self, count: u32) -> Bits<N> {
        assert!(count < N);
        Bits(self.0 >> count)
    }
}

impl<const N: u32> Int for Bits<N> {
    type Signed = i8;
    const BITS: u32 = N;
    const ZERO: Bits<N> = Bits(0);
    const MAX: Bits<N> = Bits(Self::ALL_SET);
    const SIGN: Bits<N> = Bits(1 << (N - 1));
    const SIGNED_MIN: i8 = i8::MIN >> (8 - N);
    const SIGNED_MAX: i8 = i8::MAX >> (8 - N);

    fn truncate(value: u64) -> Bits<N> {
        Bits(value as u8 & Self::ALL_SET)
    }
    fn widen(self) -> u64 {
        self.0.into()
    }
    fn signed(self) -> i8 {
        ((self.0 << (8 - N)) as i8) >> (8 - N)
    }
    fn unsigned(value: i8) -> Bits<N> {
        Bits(value as u8 & Self::ALL_SET)
    }
    fn truncate_signed(value: i64) -> i8 {
        Self::truncate(value as u64).signed()
    }
    fn widen_signed(value: i8) -> i64 {
        value.into()
    }
    fn overflowing_add(self, other: Bits<N>) -> (Bits<N>, bool) {
        Self::wrap(u16::from(self.0) + u16::from(other.0))
    }
    fn overflowing_sub(self, other: Bits<N>) -> (Bits<N>, bool) {
        (Bits(self.0.wrapping_sub(other.0) & Self::ALL_SET), self < other)
    }
    fn overflowing_mul(self, other: Bits<N>) -> (Bits<N>, bool) {
        Self::wrap(u16::from(self.0) * u16::from(other.0))
    }
    fn checked_add_signed(a: i8, b: i8) -> Option<i8> {
        Self::checked(i16::from(a) + i16::from(b))
    }
    fn checked_sub_signed(a: i8, b: i8) -> Option<i8> {
        Self::checked(i16::from(a) - i16::from(b))
    }
    fn checked_mul_signed(a: i8, b: i8) -> Option<i8> {
        Self::checked(i16::from(a) * i16::from(b))
    }
}

macro_rules! word {
    ($word:literal, $half:literal) => {
        impl Word for Bits<$word> {
            type Half = Bits<$half>;
            fn low(self) -> Bits<$half> {
                Bits::truncate(self.widen())
            }
            fn high(self) -> Bits<$half> {
                Bits(self.0 >> $half)
            }
            fn join(high: Bits<$half>, low: Bits<$half>) -> Bits<$word> {
                Bits(high.0 << $half | low.0)
            }
        }
    };
}

word!(8, 4);
word!(4, 2);

/// The operands as the real machine would see them: sign-extended where signs count.
fn operands<U: Int>(signed: bool, x: U, y: U) -> (u64, u64) {
    let extend = |v: U| if signed { U::widen_signed(v.signed()) as u64 } else { v.widen() };
    (extend(x), extend(y))
}

fn alu_at<U: Int>(op: AluOp, x: U, y: U) -> U {
    let signed = matches!(op, AluOp::Sdiv | AluOp::Smod | AluOp::Arsh);
    let (x, mut y) = operands(signed, x, y);
    if matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh) {
        y &= u64::from(U::BITS - 1);
    }
    U::truncate(semantics::alu(Width::W64, op, x, y))
}

/// What the instruction computes on words of this size.
pub(super) fn alu<W: Word>(width: Width, op: AluOp, x: W, y: W) -> W {
    match width {
        Width::W32 => W::join(W::Half::ZERO, alu_at(op, x.low(), y.low())),
        Width::W64 => alu_at(op, x, y),
    }
}

fn jump_at<U: Int>(op: JmpOp, x: U, y: U) -> bool {
    let signed = matches!(op, JmpOp::Sgt | JmpOp::Sge | JmpOp::Slt | JmpOp::Sle);
    let (x, y) = operands(signed, x, y);
    semantics::jump(Width::W64, op, x, y)
}

/// Whether the jump is taken on words of this size.
pub(super) fn jump<W: Word>(width: Width, op: JmpOp, x: W, y: W) -> bool {
    match width {
        Width::W32 => jump_at(op, x.low(), y.low()),
        Width::W64 => jump_at(op, x, y),
    }
}
