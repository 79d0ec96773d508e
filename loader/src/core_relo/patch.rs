//! Putting a number into an instruction.

use super::value::Answer;
use super::{CoreProblem, Result};
use ebpfvm_asm::Slot;

/// The number of the helper that poisoned instructions call: there is none, so a verifier refuses
/// the instruction unless it cannot be reached. libbpf's, and it reads `bad relo` in hex.
pub const POISON: i32 = 0x0bad_2310;

const CALL: u8 = 0x85;
const LOAD_IMM: u8 = 0x18;
/// Bits of an opcode: class, source, size.
const CLASS: u8 = 0x07;
const SOURCE_REG: u8 = 0x08;
const SIZE: u8 = 0x18;
/// Classes with an immediate or an offset (RFC 9669, table 3).
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const ALU64: u8 = 7;

/// Changes the instruction at the start of `slots`. Gives false if it was poisoned, because the
/// target lacks what it needs.
pub(super) fn patch(slots: &mut [Slot], answer: &Answer) -> Result<bool> {
    let Some(first) = slots.first().copied() else { return Err(CoreProblem::Insn(0)) };
    let Some(after) = answer.after else {
        poison(slots);
        return Ok(false);
    };
    let check = |found: i64| {
        if answer.is_checked && found as u64 != answer.before {
            return Err(CoreProblem::Unexpected { found, expected: answer.before });
        }
        Ok(())
    };
    match first.opcode & CLASS {
        ALU | ALU64 if first.opcode & SOURCE_REG == 0 => {
            check(first.imm.into())?;
            slots[0].imm = after as i32;
        }
        LDX | ST | STX => {
            check(first.offset.into())?;
            let offset = i16::try_from(after).map_err(|_| CoreProblem::Offset(after))?;
            if let Some((old, new)) = answer.sizes.filter(|(old, new)| old != new) {
                if !answer.may_resize {
                    poison(slots);
                    return Ok(false);
                }
                slots[0].opcode = resize(first.opcode, old, new)?;
            }
            slots[0].offset = offset;
        }
        _ if first.opcode == LOAD_IMM => {
            let second = slots.get(1).copied().unwrap_or_default();
            let plain = Slot { imm: second.imm, ..Slot::default() };
            if first.src != 0 || first.offset != 0 || second != plain || slots.len() < 2 {
                return Err(CoreProblem::Insn(first.opcode));
            }
            let value = u64::from(second.imm as u32) << 32 | u64::from(first.imm as u32);
            check(value as i64)?;
            slots[0].imm = after as i32;
            slots[1].imm = (after >> 32) as i32;
        }
        _ => return Err(CoreProblem::Insn(first.opcode)),
    }
    Ok(true)
}

fn poison(slots: &mut [Slot]) {
    let count = if slots[0].opcode == LOAD_IMM { 2 } else { 1 };
    for slot in slots.iter_mut().take(count) {
        *slot = Slot { opcode: CALL, imm: POISON, ..Slot::default() };
    }
}

/// The opcode with another size of the access.
fn resize(opcode: u8, old: u32, new: u32) -> Result<u8> {
    /// Size field of an opcode with its bytes.
    const SIZES: [(u8, u32); 4] = [(0x00, 4), (0x08, 2), (0x10, 1), (0x18, 8)];
    let found = SIZES.iter().find(|s| s.0 == opcode & SIZE).map_or(0, |s| s.1);
    let wanted = SIZES.iter().find(|s| s.1 == new);
    match wanted {
        Some((size, _)) if found == old => Ok(opcode & !SIZE | size),
        _ => Err(CoreProblem::AccessSize { found, wanted: new }),
    }
}
