//! Joins operations that often follow one another, so that fewer are dispatched.
//!
//! Each rule takes two neighbours of which the second is no target of a jump, and gives one that
//! leaves every register as the two would.

use super::lookup;
use super::op::{Op, OpCode, add_jump, alu_form, jump_form, load_jumps};
use ebpfvm_asm::{Size, Width};

/// The operation that does the work of both, if there is one.
pub(crate) fn fuse(first: Op, second: Op) -> Option<Op> {
    move_alu(first, second)
        .or_else(|| extension(first, second))
        .or_else(|| addition_jump(first, second))
        .or_else(|| load_jump(first, second))
        .or_else(|| lookup::setup(first, second))
        .or_else(|| lookup::null_check(first, second))
}

/// `d = s; d op= x` is `d = s op x`.
fn move_alu(first: Op, second: Op) -> Option<Op> {
    let (width, immediate) = alu_form(second.code)?;
    let moves = match (first.code, width) {
        // A 32-bit operation reads only the low half, which both moves copy.
        (OpCode::Mov64X, _) | (OpCode::Mov32X, Width::W32) => true,
        _ => false,
    };
    if !moves || second.lhs != first.dst || second.dst != first.dst || is_move(second.code) {
        return None;
    }
    let mut joined = Op { lhs: first.src, ..second };
    if !immediate && second.src == first.dst {
        joined.src = first.src;
    }
    Some(joined)
}

/// Shifts to the top and back extend the low part.
fn extension(first: Op, second: Op) -> Option<Op> {
    let same = first.code == OpCode::Lsh64K && first.imm == second.imm;
    if !same || second.lhs != first.dst || second.dst != first.dst {
        return None;
    }
    let code = match (second.code, second.imm) {
        (OpCode::Rsh64K, 32) => OpCode::Mov32X,
        (OpCode::Arsh64K, 32) => OpCode::Movsx32To64,
        (OpCode::Arsh64K, 48) => OpCode::Movsx16To64,
        (OpCode::Arsh64K, 56) => OpCode::Movsx8To64,
        _ => return None,
    };
    Some(Op { dst: second.dst, src: first.lhs, ..Op::blank(code) })
}

/// `d = l + k; if d < x goto` is one operation, for a small `k` of the same width.
fn addition_jump(first: Op, second: Op) -> Option<Op> {
    let (width, _) = jump_form(second.code)?;
    let adds = match width {
        Width::W32 => first.code == OpCode::Add32K,
        Width::W64 => first.code == OpCode::Add64K,
    };
    if !adds || second.dst != first.dst {
        return None;
    }
    let extra = i16::try_from(first.imm).ok()?;
    let cost = u16::try_from(second.cost()).ok()?;
    let imm = Op::fused_imm(second.imm as i32, extra, cost);
    Some(Op { code: add_jump(second.code)?, lhs: first.lhs, imm, ..second })
}

/// `d = *(s + o); if d == k goto` is one operation.
fn load_jump(first: Op, second: Op) -> Option<Op> {
    let (size, if_equal, if_not) = load_jumps(first.code)?;
    let (code, width) = match second.code {
        OpCode::Jeq64K => (if_equal, Width::W64),
        OpCode::Jne64K => (if_not, Width::W64),
        OpCode::Jeq32K => (if_equal, Width::W32),
        OpCode::Jne32K => (if_not, Width::W32),
        _ => return None,
    };
    let compare = second.imm as i32;
    // The comparison is of 64 bits; that is the same for a value that has no upper half.
    let same = width == Width::W64 || (size != Size::Dw && compare >= 0);
    if !same || second.dst != first.dst {
        return None;
    }
    let extra = i16::try_from(first.off).ok()?;
    let cost = u16::try_from(second.cost()).ok()?;
    let imm = Op::fused_imm(compare, extra, cost);
    Some(Op { code, src: first.src, imm, ..second })
}

fn is_move(code: OpCode) -> bool {
    matches!(code, OpCode::Mov32K | OpCode::Mov32X | OpCode::Mov64K | OpCode::Mov64X)
}
