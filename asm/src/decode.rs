//! From slots to instructions. Reserved fields must be zero (RFC 9669, section 3); the error says
//! which field is not and what it may hold.

use crate::insn::{CallTarget, Imm64, Insn, Operand, Reach, Reg, Size};
use crate::slot::Slot;
use crate::table::{Encoding, Field, Imm64Kind, Op, Row, Source, by_opcode};
use std::fmt;

/// A field of a slot, as named in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// The destination register.
    Dst,
    /// The source register.
    Src,
    /// The offset.
    Offset,
    /// The immediate.
    Imm,
    /// Opcode, registers or offset of the second slot of a wide instruction.
    SecondSlot,
    /// The immediate of the second slot.
    SecondImm,
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldName::Dst => "dst",
            FieldName::Src => "src",
            FieldName::Offset => "offset",
            FieldName::Imm => "imm",
            FieldName::SecondSlot => "second slot",
            FieldName::SecondImm => "imm of the second slot",
        })
    }
}

/// Why a slot is not an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// No operation has this opcode byte.
    UnknownOpcode(u8),
    /// The field holds a value that no operation with this opcode has.
    Reserved {
        /// The opcode byte.
        opcode: u8,
        /// The mnemonic of the first operation with the opcode.
        mnemonic: &'static str,
        /// Which field.
        field: FieldName,
        /// What it holds.
        value: i32,
        /// What it may hold.
        allowed: Vec<i32>,
    },
    /// A register field above 10.
    Register {
        /// Which field.
        field: FieldName,
        /// What it holds.
        value: u8,
    },
    /// The first slot of a wide instruction is the last of the program.
    Truncated,
}

/// Why a program cannot be decoded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Index of the slot.
    pub slot: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeErrorKind::UnknownOpcode(opcode) => write!(f, "unknown opcode 0x{opcode:02x}"),
            DecodeErrorKind::Reserved { opcode, mnemonic, field, value, allowed } => {
                write!(f, "opcode 0x{opcode:02x} ({mnemonic}): {field} is {value}, expected ")?;
                for (i, v) in allowed.iter().enumerate() {
                    let separator = match i {
                        0 => "",
                        _ if i + 1 == allowed.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{separator}{v}")?;
                }
                Ok(())
            }
            DecodeErrorKind::Register { field, value } => {
                write!(f, "{field} names register r{value}, expected r0 to r10")
            }
            DecodeErrorKind::Truncated => {
                f.write_str("the second slot of a 64-bit immediate load is missing")
            }
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.slot, self.kind)
    }
}

impl std::error::Error for DecodeError {}

type Candidate = (&'static Row, &'static Encoding);

/// Keeps the candidates that take `value` in the field.
fn narrow(
    candidates: &[Candidate],
    name: FieldName,
    value: i32,
    field: impl Fn(&Encoding) -> Field,
) -> Result<Vec<Candidate>, DecodeErrorKind> {
    let kept: Vec<Candidate> =
        candidates.iter().copied().filter(|(_, e)| field(e).accepts(value)).collect();
    if !kept.is_empty() {
        return Ok(kept);
    }
    let mut allowed: Vec<i32> = Vec::new();
    for (_, e) in candidates {
        match field(e) {
            Field::Is(v) => allowed.push(v),
            Field::OneOf(vs) => allowed.extend(vs),
            Field::Any => {}
        }
    }
    allowed.sort_unstable();
    allowed.dedup();
    let (row, e) = candidates[0];
    Err(DecodeErrorKind::Reserved {
        opcode: e.opcode,
        mnemonic: row.mnemonic,
        field: name,
        value,
        allowed,
    })
}

/// Finds the operation of a slot. Fields that tell operations apart are tried one after the other,
/// so that an error names the first field that fits no operation.
fn select(slot: Slot) -> Result<Candidate, DecodeErrorKind> {
    let candidates = by_opcode(slot.opcode);
    let fits = |(_, e): &&Candidate| {
        e.dst.accepts(slot.dst.into())
            && e.src.accepts(slot.src.into())
            && e.offset.accepts(slot.offset.into())
            && e.imm.accepts(slot.imm)
    };
    // The usual case allocates nothing.
    if let Some(found) = candidates.iter().find(fits) {
        return Ok(*found);
    }
    if candidates.is_empty() {
        return Err(DecodeErrorKind::UnknownOpcode(slot.opcode));
    }
    let c = narrow(candidates, FieldName::Offset, slot.offset.into(), |e| e.offset)?;
    let c = narrow(&c, FieldName::Imm, slot.imm, |e| e.imm)?;
    let c = narrow(&c, FieldName::Src, slot.src.into(), |e| e.src)?;
    let c = narrow(&c, FieldName::Dst, slot.dst.into(), |e| e.dst)?;
    Ok(c[0])
}

fn register(field: FieldName, value: u8) -> Result<Reg, DecodeErrorKind> {
    Reg::new(value).ok_or(DecodeErrorKind::Register { field, value })
}

/// Decodes the instruction at the start of `slots`; [`Insn::slots`] tells how many it takes.
///
/// # Errors
/// [`DecodeErrorKind`]; an empty slice is [`DecodeErrorKind::Truncated`].
pub fn decode(slots: &[Slot]) -> Result<Insn, DecodeErrorKind> {
    let slot = *slots.first().ok_or(DecodeErrorKind::Truncated)?;
    let (row, encoding) = select(slot)?;
    // A field that is no operand holds the constant 0, which is a register too.
    let dst = register(FieldName::Dst, slot.dst)?;
    let src = match encoding.src {
        Field::Any => register(FieldName::Src, slot.src)?,
        _ => Reg::R0,
    };
    let operand = || match encoding.source {
        Some(Source::X) => Operand::Reg(src),
        _ => Operand::Imm(slot.imm),
    };
    // The encodings of an operation have a width or size exactly if its variant below has one.
    let width = || encoding.width.expect("the table gives a width");
    let size = || encoding.size.expect("the table gives a size");
    let offset = slot.offset;
    Ok(match row.op {
        Op::Alu(op) => Insn::Alu { width: width(), op, dst, src: operand() },
        Op::Neg => Insn::Neg { width: width(), dst },
        Op::Movsx => {
            let from = Size::from_bits(offset as u32).expect("the table allows 8, 16, 32");
            Insn::Movsx { width: width(), from, dst, src }
        }
        Op::Endian(op) => {
            let size = Size::from_bits(slot.imm as u32).expect("the table allows 16, 32, 64");
            Insn::Endian { op, size, dst }
        }
        Op::AddrSpaceCast => {
            let [to, from] = [(slot.imm as u32 >> 16) as u16, slot.imm as u16];
            Insn::AddrSpaceCast { dst, src, to, from }
        }
        Op::LoadImm(kind) => {
            let imm2 = encoding.imm2.expect("the table gives a second slot");
            Insn::LoadImm { dst, value: decode_imm64(kind, slot, slots.get(1), imm2, row)? }
        }
        Op::Load => Insn::Load { size: size(), dst, base: src, offset },
        Op::LoadSx => Insn::LoadSx { size: size(), dst, base: src, offset },
        Op::Store => Insn::Store { size: size(), base: dst, offset, src: operand() },
        Op::Atomic(op) => Insn::Atomic { op, size: size(), base: dst, offset, src },
        Op::LoadAcquire => Insn::LoadAcquire { size: size(), dst, base: src, offset },
        Op::StoreRelease => Insn::StoreRelease { size: size(), base: dst, offset, src },
        Op::LoadAbs => Insn::LoadAbs { size: size(), offset: slot.imm },
        Op::LoadInd => Insn::LoadInd { size: size(), index: src, offset: slot.imm },
        Op::Jump => match encoding.reach() {
            reach @ Reach::Near => Insn::Jump { reach, offset: offset.into() },
            reach @ Reach::Far => Insn::Jump { reach, offset: slot.imm },
        },
        Op::JumpIf(op) => Insn::JumpIf { width: width(), op, dst, src: operand(), offset },
        Op::MayGoto => Insn::MayGoto { offset },
        Op::CallHelper => Insn::Call { target: CallTarget::Helper(slot.imm as u32) },
        Op::CallLocal => Insn::Call { target: CallTarget::Local { offset: slot.imm } },
        Op::CallKfunc => {
            Insn::Call { target: CallTarget::Kfunc { btf_id: slot.imm, btf_index: offset } }
        }
        Op::CallReg => Insn::Call { target: CallTarget::Reg(dst) },
        Op::Exit => Insn::Exit,
    })
}

fn decode_imm64(
    kind: Imm64Kind,
    first: Slot,
    second: Option<&Slot>,
    imm2: Field,
    row: &'static Row,
) -> Result<Imm64, DecodeErrorKind> {
    let second = second.ok_or(DecodeErrorKind::Truncated)?;
    let reserved = |field, value, allowed| DecodeErrorKind::Reserved {
        opcode: first.opcode,
        mnemonic: row.mnemonic,
        field,
        value,
        allowed,
    };
    let rest = [second.opcode as i32, second.dst.into(), second.src.into(), second.offset.into()];
    if let Some(value) = rest.into_iter().find(|v| *v != 0) {
        return Err(reserved(FieldName::SecondSlot, value, vec![0]));
    }
    if !imm2.accepts(second.imm) {
        return Err(reserved(FieldName::SecondImm, second.imm, vec![0]));
    }
    let (low, high) = (first.imm, second.imm);
    Ok(match kind {
        Imm64Kind::Value => Imm64::Value(u64::from(high as u32) << 32 | u64::from(low as u32)),
        Imm64Kind::MapFd => Imm64::MapFd(low),
        Imm64Kind::MapFdValue => Imm64::MapFdValue { fd: low, offset: high as u32 },
        Imm64Kind::Variable => Imm64::Variable { btf_id: low as u32, btf_fd: high },
        Imm64Kind::Func => Imm64::Func { offset: low },
        Imm64Kind::MapIdx => Imm64::MapIdx(low as u32),
        Imm64Kind::MapIdxValue => Imm64::MapIdxValue { index: low as u32, offset: high as u32 },
    })
}
