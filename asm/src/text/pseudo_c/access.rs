//! Reads what touches memory: loads, stores, atomics, packet loads.

use crate::insn::{AtomicOp, Insn, Operand, Reg, RmwOp, Size, Width};
use crate::table::{Op, row};
use crate::text::cursor::{Cursor, Parsed};
use crate::text::lex::Token;

/// `(u32 *)(r1 + 4)`, the part after the first star; signed tells `s32` from `u32`.
fn typed_address(c: &mut Cursor<'_, '_>) -> Parsed<(Size, bool, Reg, i16)> {
    c.expect("(")?;
    let (size, signed) = access_type(c)?;
    c.expect(")")?;
    c.expect("(")?;
    let (base, offset) = address(c)?;
    c.expect(")")?;
    Ok((size, signed, base, offset))
}

/// `u32 *`
fn access_type(c: &mut Cursor<'_, '_>) -> Parsed<(Size, bool)> {
    const TYPES: [&str; 7] = ["u8", "u16", "u32", "u64", "s8", "s16", "s32"];
    let found = c.word().filter(|w| TYPES.contains(w));
    let Some((size, word)) = found.and_then(|w| Some((Size::from_bits(w[1..].parse().ok()?)?, w)))
    else {
        return c.expected_one_of("a type: u8, u16, u32, u64, s8, s16 or s32", TYPES);
    };
    c.skip(1);
    c.expect("*")?;
    Ok((size, word.starts_with('s')))
}

/// `r1 + 4`, `r1 +4` or `r1`
fn address(c: &mut Cursor<'_, '_>) -> Parsed<(Reg, i16)> {
    let base = c.register(Width::W64)?;
    Ok((base, c.address_offset()?))
}

/// `*(u32 *)(r1 + 4)` of a type without sign.
fn unsigned_access(c: &mut Cursor<'_, '_>) -> Parsed<(Size, Reg, i16)> {
    let before = c.clone();
    let (size, signed, base, offset) = typed_address(c)?;
    if signed {
        let mut at_type = before;
        at_type.skip(1);
        return at_type.expected("a type without sign: u8, u16, u32 or u64");
    }
    Ok((size, base, offset))
}

/// A register that is stored or loaded: `w` is taken up to 32 bits, as LLVM writes it.
fn value_register(c: &mut Cursor<'_, '_>, size: Size) -> Parsed<Reg> {
    if size == Size::Dw { c.register(Width::W64) } else { Ok(c.any_register()?.0) }
}

/// `*(u32 *)(r1 + 4) = r2`
pub(super) fn store(c: &mut Cursor<'_, '_>) -> Parsed<Insn> {
    c.expect("*")?;
    let (size, base, offset) = unsigned_access(c)?;
    c.expect("=")?;
    let src = if c.clone().try_register()?.is_some() {
        Operand::Reg(value_register(c, size)?)
    } else {
        c.operand(Width::W64)?
    };
    Ok(Insn::Store { size, base, offset, src })
}

/// `store_release((u64 *)(r1 + 0), r2)`, after the word
pub(super) fn store_release(c: &mut Cursor<'_, '_>) -> Parsed<Insn> {
    c.expect("(")?;
    let (size, base, offset) = unsigned_access(c)?;
    c.expect(",")?;
    let src = value_register(c, size)?;
    c.expect(")")?;
    Ok(Insn::StoreRelease { size, base, offset, src })
}

/// `lock *(u64 *)(r1 + 0) += r2`, after the word
pub(super) fn locked(c: &mut Cursor<'_, '_>) -> Parsed<Insn> {
    c.expect("*")?;
    let (size, base, offset) = unsigned_access(c)?;
    let op = RmwOp::ALL.map(AtomicOp::Rmw).into_iter().find(|op| c.is(row(Op::Atomic(*op)).symbol));
    let Some(op) = op else { return c.expected("`+=`, `|=`, `&=` or `^=`") };
    c.skip(1);
    let src = value_register(c, size)?;
    Ok(Insn::Atomic { op, size, base, offset, src })
}

/// `*(u32 *)(r1 + 4)` or `*(u32 *)skb[4]`
pub(super) fn load(c: &mut Cursor<'_, '_>, dst: Reg, width: Width) -> Parsed<Insn> {
    c.expect("*")?;
    if matches!(c.peek_at(4), Some(Token::Word("skb"))) {
        return packet_load(c, dst, width);
    }
    let (size, signed, base, offset) = typed_address(c)?;
    match (signed, width, size) {
        // A 32-bit view of the destination means the same, as loads zero-extend.
        (false, Width::W32, Size::Dw) => c.no_such_form("an 8-byte load needs a 64-bit register"),
        (false, ..) => Ok(Insn::Load { size, dst, base, offset }),
        (true, Width::W64, _) => Ok(Insn::LoadSx { size, dst, base, offset }),
        (true, Width::W32, _) => c.no_such_form("a sign-extending load fills a 64-bit register"),
    }
}

/// `load_acquire((u32 *)(r1 + 4))`, after the word
pub(super) fn load_acquire(c: &mut Cursor<'_, '_>, dst: Reg, width: Width) -> Parsed<Insn> {
    c.expect("(")?;
    let (size, base, offset) = unsigned_access(c)?;
    c.expect(")")?;
    if (width, size) == (Width::W32, Size::Dw) {
        return c.no_such_form("an 8-byte load needs a 64-bit register");
    }
    Ok(Insn::LoadAcquire { size, dst, base, offset })
}

/// `(u32 *)skb[4]`, `(u32 *)skb[r2]` or `(u32 *)skb[r2 + 4]`
fn packet_load(c: &mut Cursor<'_, '_>, dst: Reg, width: Width) -> Parsed<Insn> {
    if (dst, width) != (Reg::R0, Width::W64) {
        return c.no_such_form("a packet load fills r0");
    }
    c.expect("(")?;
    let (size, signed) = access_type(c)?;
    if signed || size == Size::Dw {
        return c.no_such_form("a packet load takes 1, 2 or 4 bytes: u8, u16 or u32");
    }
    c.expect(")")?;
    c.expect_word("skb")?;
    c.expect("[")?;
    let insn = if c.clone().try_register()?.is_some() {
        let index = c.register(Width::W64)?;
        let signed = c.is("+") || c.is("-");
        let offset = if signed { c.signed("a 32-bit offset")? } else { 0 };
        Insn::LoadInd { size, index, offset }
    } else {
        Insn::LoadAbs { size, offset: c.imm32()? }
    };
    c.expect("]")?;
    Ok(insn)
}

/// The spellings of an atomic operation that returns the old value: the kernel's for 4 and 8
/// bytes, then LLVM's.
pub(super) fn atomic_names(op: AtomicOp) -> [String; 4] {
    let symbol = row(Op::Atomic(op)).symbol;
    let [narrow, wide] = match op {
        AtomicOp::Xchg | AtomicOp::Cmpxchg => [format!("{symbol}32_32"), format!("{symbol}_64")],
        _ => [format!("atomic_{symbol}"), format!("atomic_{symbol}")],
    };
    [format!("atomic_{symbol}"), format!("atomic64_{symbol}"), narrow, wide]
}

pub(super) fn returning_atomics() -> impl Iterator<Item = AtomicOp> {
    AtomicOp::ALL.into_iter().filter(|op| !matches!(op, AtomicOp::Rmw(_)))
}

pub(super) fn atomic(word: &str) -> Option<(AtomicOp, Option<Size>)> {
    returning_atomics().find_map(|op| {
        let [narrow_kernel, wide_kernel, narrow, wide] = atomic_names(op);
        let size = match word {
            w if w == wide_kernel => Some(Size::Dw),
            w if w == narrow_kernel => None,
            w if w == narrow => Some(Size::W),
            w if w == wide => Some(Size::Dw),
            _ => return None,
        };
        Some((op, size))
    })
}

/// `((u64 *)(r1 + 0), r2)` or, as LLVM writes exchanges, `(r1 + 0, r2)`, after the name; compare
/// and exchange has `r0` before its operand.
pub(super) fn returning_atomic(
    c: &mut Cursor<'_, '_>,
    (op, size): (AtomicOp, Option<Size>),
    dst: Reg,
) -> Parsed<Insn> {
    c.expect("(")?;
    let (size, base, offset) = if c.is("(") {
        let (found, base, offset) = unsigned_access(c)?;
        if size.is_some_and(|size| size != found) || !matches!(found, Size::W | Size::Dw) {
            return c.no_such_form("an atomic operation takes u32 or u64, as its name says");
        }
        (found, base, offset)
    } else if let Some(size) = size {
        let (base, offset) = address(c)?;
        (size, base, offset)
    } else {
        return c.expected("an address with its type, such as (u32 *)(r1 + 0)");
    };
    c.expect(",")?;
    if op == AtomicOp::Cmpxchg {
        if value_register(&mut c.clone(), size)? != Reg::R0 {
            return c.expected("r0 or w0, which is compared");
        }
        c.skip(1);
        c.expect(",")?;
    }
    let src = value_register(c, size)?;
    c.expect(")")?;
    match op.fetches_into(src) {
        Some(result) if result == dst => Ok(Insn::Atomic { op, size, base, offset, src }),
        Some(result) => c.no_such_form(format!("the old value goes to {result}")),
        None => c.no_such_form("the operation returns nothing"),
    }
}
