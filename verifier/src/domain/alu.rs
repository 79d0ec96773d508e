//! What arithmetic instructions and loads compute.

use super::bounds::Bounds;
use super::int::{Int, Word};
use super::scalar::Scalar;
use super::tnum::Tnum;
use ebpfvm_asm::{AluOp, ByteOrder, EndianOp, Size, Width, semantics};

/// The result of `dst op src` (`adjust_scalar_min_max_vals`; for [`AluOp::Mov`] `check_alu_op`).
///
/// An immediate is [`Scalar::constant`] of its sign extension. When the operands contradict
/// themselves, the result may too: see [`Scalar::settle`].
pub fn alu<W: Word>(width: Width, op: AluOp, dst: Scalar<W>, src: Scalar<W>) -> Scalar<W> {
    let bits = match width {
        Width::W32 => W::Half::BITS,
        Width::W64 => W::BITS,
    };
    let mut result = match op {
        AluOp::Mov => match width {
            Width::W64 => return src,
            Width::W32 => src,
        },
        AluOp::Add => Scalar {
            tnum: dst.tnum.add(src.tnum),
            full: dst.full.add(&src.full),
            half: dst.half.add(&src.half),
        },
        AluOp::Sub => Scalar {
            tnum: dst.tnum.sub(src.tnum),
            full: dst.full.sub(&src.full),
            half: dst.half.sub(&src.half),
        },
        AluOp::Mul => Scalar {
            tnum: dst.tnum.mul(src.tnum),
            full: dst.full.mul(&src.full),
            half: dst.half.mul(&src.half),
        },
        AluOp::And => {
            bitwise(dst.tnum.and(src.tnum), dst, src, Bounds::<W>::and, Bounds::<W::Half>::and)
        }
        AluOp::Or => {
            bitwise(dst.tnum.or(src.tnum), dst, src, Bounds::<W>::or, Bounds::<W::Half>::or)
        }
        AluOp::Xor => {
            bitwise(dst.tnum.xor(src.tnum), dst, src, Bounds::<W>::xor, Bounds::<W::Half>::xor)
        }
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => match shift_count(width, &src, bits) {
            None => return Scalar::TOP,
            Some(count) => match width {
                Width::W32 => shift_half(op, dst, count),
                Width::W64 => shift(op, dst, count),
            },
        },
        // Linux 6.18 does not follow these.
        AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => return Scalar::TOP,
    };
    if width == Width::W32 {
        result.clear_high();
    }
    result.sync();
    result
}

/// Combines bits and the bounds of both widths, which are made from the bits of the result.
fn bitwise<W: Word>(
    tnum: Tnum<W>,
    dst: Scalar<W>,
    src: Scalar<W>,
    full: impl Fn(Bounds<W>, &Bounds<W>, Tnum<W>) -> Bounds<W>,
    half: impl Fn(Bounds<W::Half>, &Bounds<W::Half>, Tnum<W::Half>) -> Bounds<W::Half>,
) -> Scalar<W> {
    let folded = |src_known: bool, result_known: bool| src_known && result_known;
    if folded(src.tnum.is_const(), tnum.is_const()) {
        return Scalar::constant(tnum.value());
    }
    let low = tnum.low();
    let mut result = Scalar {
        tnum,
        full: full(dst.full, &src.full, tnum),
        half: if folded(src.tnum.low().is_const(), low.is_const()) {
            Bounds::constant(low.value())
        } else {
            half(dst.half, &src.half, low)
        },
    };
    result.meet_tnum();
    result
}

/// The count of a shift that Linux follows: a constant less than the width. For 32 bits the whole
/// register must be, although only its low half counts (`is_safe_to_compute_dst_reg_range`).
fn shift_count<W: Word>(width: Width, src: &Scalar<W>, bits: u32) -> Option<u32> {
    let count = match width {
        Width::W32 => {
            let count = src.tnum.low().as_const()?;
            (src.half.as_const()? == count).then(|| count.widen())?
        }
        Width::W64 => {
            let count = src.tnum.as_const()?;
            (src.full.as_const()? == count).then(|| count.widen())?
        }
    };
    (src.full.umax.widen() < u64::from(bits)).then_some(count as u32)
}

/// A shift of the word. Bits cross from one half to the other, so that the half's bounds come from
/// the bits, except for small shifts to the left.
fn shift<W: Word>(op: AluOp, dst: Scalar<W>, count: u32) -> Scalar<W> {
    let mut result = match op {
        AluOp::Lsh => {
            let mut full = dst.full.lsh(count);
            // The first of the two shifts that extend the sign of the half.
            if count == W::Half::BITS {
                let shifted = |x| W::join(W::Half::unsigned(x), W::Half::ZERO).signed();
                full.smin = shifted(dst.half.smin);
                full.smax = shifted(dst.half.smax);
            }
            Scalar { tnum: dst.tnum.lsh(count), full, half: dst.half.lsh(count) }
        }
        AluOp::Rsh => {
            Scalar { tnum: dst.tnum.rsh(count), full: dst.full.rsh(count), half: Bounds::TOP }
        }
        _ => Scalar { tnum: dst.tnum.arsh(count), full: dst.full.arsh(count), half: Bounds::TOP },
    };
    result.meet_tnum();
    result
}

/// A shift of the lower half; the upper one is for the caller to clear.
fn shift_half<W: Word>(op: AluOp, dst: Scalar<W>, count: u32) -> Scalar<W> {
    let low = dst.tnum.low();
    let (low, mut half) = match op {
        AluOp::Lsh => (low.lsh(count), dst.half.lsh(count)),
        AluOp::Rsh => (low.rsh(count), dst.half.rsh(count)),
        _ => (low.arsh(count), dst.half.arsh(count)),
    };
    half.meet_tnum(low);
    Scalar { tnum: Tnum::from_low(low), full: Bounds::TOP, half }
}

/// The result of `-dst`: that of `0 - dst`.
pub fn neg<W: Word>(width: Width, dst: Scalar<W>) -> Scalar<W> {
    alu(width, AluOp::Sub, Scalar::constant(W::ZERO), dst)
}

/// The result of a sign-extending move from the low part of `src`, `from` bits wide.
pub fn movsx(width: Width, from: Size, src: Scalar) -> Scalar {
    match width {
        Width::W32 => src.sign_extend_half(from.bits()),
        Width::W64 => src.sign_extend(from.bits()),
    }
}

/// The result of a byte-order operation on a machine of byte order `host` (`scalar_byte_swap`).
/// Bits are followed through a swap, bounds are not.
pub fn endian(host: ByteOrder, op: EndianOp, size: Size, dst: Scalar) -> Scalar {
    let swaps = match op {
        EndianOp::Bswap => true,
        EndianOp::ToLe => host == ByteOrder::Big,
        EndianOp::ToBe => host == ByteOrder::Little,
    };
    let mut result = dst;
    if swaps {
        let swap = |bits| semantics::endian(host, op, size, bits);
        result.tnum = Tnum::new(swap(dst.tnum.value()), swap(dst.tnum.mask()));
        result.forget_bounds();
    }
    match size {
        Size::Dw => {
            result.sync();
            result
        }
        narrow => result.zero_extend(narrow.bits()),
    }
}

/// What a zero-extending load of unknown memory gives.
pub fn load(size: Size) -> Scalar {
    match size {
        Size::Dw => Scalar::TOP,
        narrow => Scalar::TOP.zero_extend(narrow.bits()),
    }
}

/// What a sign-extending load of unknown memory gives.
pub fn load_sx(size: Size) -> Scalar {
    match size {
        Size::Dw => Scalar::TOP,
        narrow => Scalar::TOP.sign_extend(narrow.bits()),
    }
}

/// The two values to follow apart when `dst` is all ones or zero and `op` is one of those by which
/// compilers make masks from it: first the one to go on with, all ones, then the one to come back
/// to, zero (`maybe_fork_scalars`). The second is `dst` before the instruction, which then runs
/// again.
pub fn fork_sign<W: Word>(
    op: AluOp,
    dst: Scalar<W>,
    src: Scalar<W>,
) -> Option<(Scalar<W>, Scalar<W>)> {
    if !matches!(op, AluOp::And | AluOp::Or) || !src.tnum.is_const() {
        return None;
    }
    let (minus_one, zero) = (W::truncate_signed(-1), W::truncate_signed(0));
    if dst.full.smin == minus_one && dst.full.smax == zero {
        return Some((Scalar::constant(W::MAX), Scalar::constant(W::ZERO)));
    }
    let half = |value: W::Half| Scalar {
        tnum: dst.tnum.with_low(Tnum::constant(value)),
        half: Bounds::constant(value),
        ..dst
    };
    let low = |x: W::Signed| W::unsigned(x).low().signed();
    (dst.half.smin == low(minus_one) && dst.half.smax == low(zero))
        .then(|| (half(W::Half::MAX), half(W::Half::ZERO)))
}

/// The variable part of a pointer's offset after `by` is added to it (`adjust_ptr_min_max_vals`).
///
/// Pointers have no bounds of the half, and unlike numbers lose their unsigned bounds when all sums
/// wrap. A constant that fits goes to the fixed part of the offset instead, which is not here.
///
/// The result is not synchronised: Linux first looks whether its bounds are sane.
pub fn pointer_add<W: Word>(offset: Scalar<W>, by: Scalar<W>) -> Scalar<W> {
    let mut full = offset.full.add(&by.full);
    if offset.full.umax.overflowing_add(by.full.umax).1 {
        full.forget_unsigned();
    }
    moved(offset.tnum.add(by.tnum), full)
}

/// The variable part of a pointer's offset after `by` is subtracted from it; not synchronised.
pub fn pointer_sub<W: Word>(offset: Scalar<W>, by: Scalar<W>) -> Scalar<W> {
    let mut full = offset.full.sub(&by.full);
    if offset.full.umin < by.full.umax {
        full.forget_unsigned();
    }
    moved(offset.tnum.sub(by.tnum), full)
}

/// The value of a register that is known to be `known` plus `delta`, added at this width, after
/// something was learned of `known` (`sync_linked_regs`).
///
/// Linux 6.18 links through additions of constants of both signs; through 32-bit ones only when the
/// register that was copied had no bits in its upper half.
pub fn linked<W: Word>(width: Width, known: Scalar<W>, delta: W) -> Scalar<W> {
    alu(width, AluOp::Add, known, Scalar::constant(delta))
}

fn moved<W: Word>(tnum: Tnum<W>, full: Bounds<W>) -> Scalar<W> {
    Scalar { tnum, full, half: Bounds::TOP }
}
