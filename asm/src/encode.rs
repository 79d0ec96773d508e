//! From instructions to slots.

use crate::insn::{CallTarget, Imm64, Insn, Operand, Reach, Reg, Size, Width};
use crate::slot::Slot;
use crate::table::{Field, Imm64Kind, Op, Source, row};

/// Why an instruction has no encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The operation does not exist in this size or width, or a number is not one it takes.
    #[error("there is no instruction `{0}`")]
    NoSuchForm(Insn),
    /// The offset of a near jump does not fit 16 bits.
    #[error("jump offset {0} does not fit 16 bits; use the far form (gotol)")]
    JumpTooFar(i32),
}

impl Insn {
    /// Which operation this is.
    pub fn op(&self) -> Op {
        match *self {
            Insn::Alu { op, .. } => Op::Alu(op),
            Insn::Neg { .. } => Op::Neg,
            Insn::Movsx { .. } => Op::Movsx,
            Insn::Endian { op, .. } => Op::Endian(op),
            Insn::AddrSpaceCast { .. } => Op::AddrSpaceCast,
            Insn::LoadImm { value, .. } => Op::LoadImm(value.kind()),
            Insn::Load { .. } => Op::Load,
            Insn::LoadSx { .. } => Op::LoadSx,
            Insn::Store { .. } => Op::Store,
            Insn::Atomic { op, .. } => Op::Atomic(op),
            Insn::LoadAcquire { .. } => Op::LoadAcquire,
            Insn::StoreRelease { .. } => Op::StoreRelease,
            Insn::LoadAbs { .. } => Op::LoadAbs,
            Insn::LoadInd { .. } => Op::LoadInd,
            Insn::Jump { .. } => Op::Jump,
            Insn::JumpIf { op, .. } => Op::JumpIf(op),
            Insn::MayGoto { .. } => Op::MayGoto,
            Insn::Call { target } => match target {
                CallTarget::Helper(_) => Op::CallHelper,
                CallTarget::Local { .. } => Op::CallLocal,
                CallTarget::Kfunc { .. } => Op::CallKfunc,
                CallTarget::Reg(_) => Op::CallReg,
            },
            Insn::Exit => Op::Exit,
        }
    }
}

impl Imm64 {
    /// Which kind of value is loaded.
    pub const fn kind(&self) -> Imm64Kind {
        match self {
            Imm64::Value(_) => Imm64Kind::Value,
            Imm64::MapFd(_) => Imm64Kind::MapFd,
            Imm64::MapFdValue { .. } => Imm64Kind::MapFdValue,
            Imm64::Variable { .. } => Imm64Kind::Variable,
            Imm64::Func { .. } => Imm64Kind::Func,
            Imm64::MapIdx(_) => Imm64Kind::MapIdx,
            Imm64::MapIdxValue { .. } => Imm64Kind::MapIdxValue,
        }
    }

    /// The immediates of the two slots.
    pub(crate) const fn imms(&self) -> (i32, i32) {
        match *self {
            Imm64::Value(v) => (v as i32, (v >> 32) as i32),
            Imm64::MapFd(fd) => (fd, 0),
            Imm64::MapFdValue { fd, offset } => (fd, offset as i32),
            Imm64::Variable { btf_id, btf_fd } => (btf_id as i32, btf_fd),
            Imm64::Func { offset } => (offset, 0),
            Imm64::MapIdx(index) => (index as i32, 0),
            Imm64::MapIdxValue { index, offset } => (index as i32, offset as i32),
        }
    }
}

/// The parts of an instruction that choose among the encodings of its operation.
#[derive(Default)]
struct Form {
    width: Option<Width>,
    size: Option<Size>,
    source: Option<Source>,
    reach: Option<Reach>,
}

/// Sets the operand in the slot and tells which source it is.
fn put(slot: &mut Slot, operand: Operand) -> Option<Source> {
    match operand {
        Operand::Reg(r) => {
            slot.src = r.number();
            Some(Source::X)
        }
        Operand::Imm(v) => {
            slot.imm = v;
            Some(Source::K)
        }
    }
}

/// Encodes an instruction as its first slot and, for a wide one, its second.
///
/// # Errors
/// [`EncodeError`] for a form that does not exist, such as a sign-extending 8-byte load.
pub fn encode(insn: &Insn) -> Result<(Slot, Option<Slot>), EncodeError> {
    let mut slot = Slot::default();
    let mut second = None;
    let mut form = Form::default();
    let memory = |slot: &mut Slot, form: &mut Form, size, dst: Reg, src: Reg, offset| {
        form.size = Some(size);
        slot.dst = dst.number();
        slot.src = src.number();
        slot.offset = offset;
    };
    match *insn {
        Insn::Alu { width, dst, src, op: _ } => {
            form.width = Some(width);
            slot.dst = dst.number();
            form.source = put(&mut slot, src);
        }
        Insn::Neg { width, dst } => {
            form.width = Some(width);
            slot.dst = dst.number();
        }
        Insn::Movsx { width, from, dst, src } => {
            form.width = Some(width);
            form.source = put(&mut slot, Operand::Reg(src));
            slot.dst = dst.number();
            slot.offset = from.bits() as i16;
        }
        Insn::Endian { size, dst, op: _ } => {
            slot.dst = dst.number();
            slot.imm = size.bits() as i32;
        }
        Insn::AddrSpaceCast { dst, src, to, from } => {
            form.source = put(&mut slot, Operand::Reg(src));
            slot.dst = dst.number();
            slot.imm = (u32::from(to) << 16 | u32::from(from)) as i32;
        }
        Insn::LoadImm { dst, value } => {
            let (low, high) = value.imms();
            slot.dst = dst.number();
            slot.imm = low;
            second = Some(Slot { imm: high, ..Slot::default() });
        }
        Insn::Load { size, dst, base, offset }
        | Insn::LoadSx { size, dst, base, offset }
        | Insn::LoadAcquire { size, dst, base, offset } => {
            memory(&mut slot, &mut form, size, dst, base, offset);
        }
        Insn::Store { size, base, offset, src } => {
            memory(&mut slot, &mut form, size, base, Reg::R0, offset);
            form.source = put(&mut slot, src);
        }
        Insn::StoreRelease { size, base, offset, src }
        | Insn::Atomic { size, base, offset, src, op: _ } => {
            memory(&mut slot, &mut form, size, base, src, offset);
        }
        Insn::LoadAbs { size, offset } => {
            form.size = Some(size);
            slot.imm = offset;
        }
        Insn::LoadInd { size, index, offset } => {
            form.size = Some(size);
            slot.src = index.number();
            slot.imm = offset;
        }
        Insn::Jump { reach: Reach::Near, offset } => {
            form.reach = Some(Reach::Near);
            slot.offset = i16::try_from(offset).map_err(|_| EncodeError::JumpTooFar(offset))?;
        }
        Insn::Jump { reach: Reach::Far, offset } => {
            form.reach = Some(Reach::Far);
            slot.imm = offset;
        }
        Insn::JumpIf { width, dst, src, offset, op: _ } => {
            form.width = Some(width);
            slot.dst = dst.number();
            slot.offset = offset;
            form.source = put(&mut slot, src);
        }
        Insn::MayGoto { offset } => slot.offset = offset,
        Insn::Call { target } => match target {
            CallTarget::Helper(id) => slot.imm = id as i32,
            CallTarget::Local { offset } => slot.imm = offset,
            CallTarget::Kfunc { btf_id, btf_index } => {
                slot.imm = btf_id;
                slot.offset = btf_index;
            }
            CallTarget::Reg(reg) => slot.dst = reg.number(),
        },
        Insn::Exit => {}
    }
    let encoding = row(insn.op())
        .encodings
        .iter()
        .find(|e| {
            e.width == form.width
                && e.size == form.size
                && e.source == form.source
                && form.reach.is_none_or(|reach| reach == e.reach())
                && operand_fits(e.offset, slot.offset.into())
                && operand_fits(e.imm, slot.imm)
        })
        .ok_or(EncodeError::NoSuchForm(*insn))?;
    slot.opcode = encoding.opcode;
    // What is no operand is what the table says.
    if let Field::Is(v) = encoding.offset {
        slot.offset = v as i16;
    }
    if let Field::Is(v) = encoding.src {
        slot.src = v as u8;
    }
    if let Field::Is(v) = encoding.imm {
        slot.imm = v;
    }
    Ok((slot, second))
}

/// Whether a field takes the operand that the instruction put there, if it put one there.
fn operand_fits(field: Field, value: i32) -> bool {
    match field {
        Field::Is(v) => value == v || value == 0,
        field => field.accepts(value),
    }
}
