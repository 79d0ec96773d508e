//! Random instructions for fuzzing and property tests (feature `arbitrary`).
//!
//! The instruction table is the grammar: every encoding of every operation is as likely as any
//! other, and operands are drawn from edge values and from all values.

use crate::code::Code;
use crate::decode::decode;
use crate::insn::{Insn, Reg};
use crate::slot::Slot;
use crate::table::{Encoding, Field, TABLE};
use ::arbitrary::{Arbitrary, Result, Unstructured};

/// Operand values at which behaviour changes: widths, sign bits, and their neighbours.
const EDGES: [i32; 20] = [
    0,
    1,
    -1,
    2,
    7,
    8,
    -8,
    31,
    32,
    63,
    64,
    i8::MIN as i32,
    u8::MAX as i32,
    i16::MIN as i32,
    i16::MAX as i32,
    u16::MAX as i32,
    i32::MIN,
    i32::MIN + 1,
    i32::MAX,
    i32::MAX - 1,
];

/// A number that a field may hold.
fn field(
    u: &mut Unstructured<'_>,
    field: Field,
    operand: impl FnOnce(&mut Unstructured<'_>) -> Result<i32>,
) -> Result<i32> {
    match field {
        Field::Is(value) => Ok(value),
        Field::OneOf(values) => u.choose(values).copied(),
        Field::Any => operand(u),
    }
}

fn register(u: &mut Unstructured<'_>) -> Result<i32> {
    u.int_in_range(0..=Reg::COUNT as i32 - 1)
}

fn offset(u: &mut Unstructured<'_>) -> Result<i32> {
    Ok(i32::from(number(u)? as i16))
}

fn number(u: &mut Unstructured<'_>) -> Result<i32> {
    if u.ratio(1, 2)? { u.choose(&EDGES).copied() } else { u.arbitrary() }
}

/// An instruction with this encoding: the slots.
fn slots(u: &mut Unstructured<'_>, encoding: &Encoding) -> Result<Vec<Slot>> {
    let first = Slot {
        opcode: encoding.opcode,
        dst: field(u, encoding.dst, register)? as u8,
        src: field(u, encoding.src, register)? as u8,
        offset: field(u, encoding.offset, offset)? as i16,
        imm: field(u, encoding.imm, number)?,
    };
    let mut slots = vec![first];
    if let Some(imm2) = encoding.imm2 {
        slots.push(Slot { imm: field(u, imm2, number)?, ..Slot::default() });
    }
    Ok(slots)
}

impl<'a> Arbitrary<'a> for Insn {
    /// Any instruction that has an encoding. Offsets of jumps and calls lead anywhere.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Insn> {
        let row = u.choose(TABLE)?;
        let encoding = u.choose(row.encodings)?;
        let slots = slots(u, encoding)?;
        Ok(decode(&slots).expect("fields that the table allows decode"))
    }
}

impl<'a> Arbitrary<'a> for Code {
    /// Any sequence of instructions whose jumps, local calls and function addresses lead to
    /// instructions; the last one is `exit`. A program has some 50 instructions on average.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Code> {
        let mut insns: Vec<Insn> = Vec::new();
        while insns.len() < 1000 && !u.is_empty() && !u.ratio(1, 50)? {
            insns.push(u.arbitrary()?);
        }
        insns.push(Insn::Exit);
        let mut code: Code = insns.into_iter().collect();
        let places: Vec<_> = code.iter().map(|(pc, _)| pc).collect();
        for pc in places.iter().copied() {
            let Some(insn) = code.get(pc).copied().filter(|i| i.retarget(0).is_some()) else {
                continue;
            };
            let to = u.choose(&places)?;
            let offset = i64::from(to.0) - i64::from(pc.0) - 1;
            let aimed = i32::try_from(offset).ok().and_then(|offset| insn.retarget(offset));
            code.replace(pc, aimed.unwrap_or(insn));
        }
        Ok(code)
    }
}
