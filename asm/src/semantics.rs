//! What each operation computes, as pure functions on 64-bit register values.
//!
//! The interpreter calls these; the JITs and the verifier's domains are tested against them.
//! Sources: RFC 9669, sections 4 and 5.

use crate::insn::{AluOp, AtomicOp, EndianOp, JmpOp, RmwOp, Size, Width};
use crate::slot::ByteOrder;

/// `value` with the bits above `size` set to zero.
#[inline(always)]
pub const fn zero_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as u8 as u64,
        Size::H => value as u16 as u64,
        Size::W => value as u32 as u64,
        Size::Dw => value,
    }
}

/// `value` with the bits above `size` set to copies of its top bit.
#[inline(always)]
pub const fn sign_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as i8 as u64,
        Size::H => value as i16 as u64,
        Size::W => value as i32 as u64,
        Size::Dw => value,
    }
}

/// An immediate as the operand of a 64-bit operation: sign-extended. A 32-bit operation takes the
/// low half.
#[inline(always)]
pub const fn immediate(imm: i32) -> u64 {
    imm as i64 as u64
}

/// The result of `dst op src` (RFC 9669, section 4.1). A 32-bit operation reads the low halves and
/// zero-extends its result.
#[inline(always)]
pub const fn alu(width: Width, op: AluOp, dst: u64, src: u64) -> u64 {
    match width {
        Width::W32 => alu32(op, dst as u32, src as u32) as u64,
        Width::W64 => alu64(op, dst, src),
    }
}

macro_rules! alu_at {
    ($(#[$doc:meta])* $name:ident, $u:ty, $i:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub const fn $name(op: AluOp, dst: $u, src: $u) -> $u {
            match op {
                AluOp::Add => dst.wrapping_add(src),
                AluOp::Sub => dst.wrapping_sub(src),
                AluOp::Mul => dst.wrapping_mul(src),
                AluOp::Div => if src == 0 { 0 } else { dst / src },
                AluOp::Sdiv => if src == 0 { 0 } else { (dst as $i).wrapping_div(src as $i) as $u },
                AluOp::Or => dst | src,
                AluOp::And => dst & src,
                AluOp::Lsh => dst.wrapping_shl(src as u32),
                AluOp::Rsh => dst.wrapping_shr(src as u32),
                AluOp::Mod => if src == 0 { dst } else { dst % src },
                AluOp::Smod => if src == 0 { dst } else { (dst as $i).wrapping_rem(src as $i) as $u },
                AluOp::Xor => dst ^ src,
                AluOp::Mov => src,
                AluOp::Arsh => (dst as $i).wrapping_shr(src as u32) as $u,
            }
        }
    };
}

alu_at!(
    /// [`alu`] on 32-bit values.
    alu32, u32, i32
);
alu_at!(
    /// [`alu`] on 64-bit values.
    alu64, u64, i64
);

/// The result of a negation (RFC 9669, section 4.1).
#[inline(always)]
pub const fn neg(width: Width, dst: u64) -> u64 {
    match width {
        Width::W32 => (dst as u32).wrapping_neg() as u64,
        Width::W64 => dst.wrapping_neg(),
    }
}

/// The result of a sign-extending move (RFC 9669, section 4.1).
#[inline(always)]
pub const fn movsx(width: Width, from: Size, src: u64) -> u64 {
    let extended = sign_extend(from, src);
    match width {
        Width::W32 => extended as u32 as u64,
        Width::W64 => extended,
    }
}

/// The result of a byte-order operation on a machine of byte order `host` (RFC 9669, section 4.2).
#[inline(always)]
pub const fn endian(host: ByteOrder, op: EndianOp, size: Size, dst: u64) -> u64 {
    let swap = match (op, host) {
        (EndianOp::Bswap, _)
        | (EndianOp::ToBe, ByteOrder::Little)
        | (EndianOp::ToLe, ByteOrder::Big) => true,
        (EndianOp::ToLe, ByteOrder::Little) | (EndianOp::ToBe, ByteOrder::Big) => false,
    };
    if !swap {
        return zero_extend(size, dst);
    }
    match size {
        Size::B => dst as u8 as u64,
        Size::H => (dst as u16).swap_bytes() as u64,
        Size::W => (dst as u32).swap_bytes() as u64,
        Size::Dw => dst.swap_bytes(),
    }
}

/// Whether a conditional jump is taken (RFC 9669, section 4.3).
#[inline(always)]
pub const fn jump(width: Width, op: JmpOp, dst: u64, src: u64) -> bool {
    let (d, s, sd, ss) = match width {
        Width::W32 => (dst as u32 as u64, src as u32 as u64, dst as i32 as i64, src as i32 as i64),
        Width::W64 => (dst, src, dst as i64, src as i64),
    };
    match op {
        JmpOp::Eq => d == s,
        JmpOp::Gt => d > s,
        JmpOp::Ge => d >= s,
        JmpOp::Set => d & s != 0,
        JmpOp::Ne => d != s,
        JmpOp::Sgt => sd > ss,
        JmpOp::Sge => sd >= ss,
        JmpOp::Lt => d < s,
        JmpOp::Le => d <= s,
        JmpOp::Slt => sd < ss,
        JmpOp::Sle => sd <= ss,
    }
}

/// What an atomic operation stores when memory holds `old`, or none if it stores nothing
/// (RFC 9669, section 5.3). `old`, `src` and `r0` are taken at `size`; the result is
/// zero-extended.
#[inline(always)]
pub const fn atomic(op: AtomicOp, size: Size, old: u64, src: u64, r0: u64) -> Option<u64> {
    let new = match op {
        AtomicOp::Rmw(op) | AtomicOp::Fetch(op) => match op {
            RmwOp::Add => old.wrapping_add(src),
            RmwOp::Or => old | src,
            RmwOp::And => old & src,
            RmwOp::Xor => old ^ src,
        },
        AtomicOp::Xchg => src,
        AtomicOp::Cmpxchg => {
            if zero_extend(size, old) != zero_extend(size, r0) {
                return None;
            }
            src
        }
    };
    Some(zero_extend(size, new))
}
