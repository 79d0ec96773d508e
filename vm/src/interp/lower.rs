//! From instructions to the interpreter's operations: targets resolved and checked, helpers and
//! maps bound.

use super::op::{self, Op, OpCode};
use crate::instance::{Bindings, LinkError, LinkErrorKind};
use ebpfvm_asm::{
    AtomicOp, ByteOrder, CallTarget, Code, EndianOp, Imm64, Insn, Operand, Pc, Reg, Size, Width,
};

/// A program in the interpreter's form.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// The operations; the last is [`OpCode::FellOff`].
    pub(crate) ops: Box<[Op]>,
    /// The position of each operation's instruction.
    pub(crate) pcs: Box<[Pc]>,
}

/// Lowers a program.
///
/// # Errors
/// A jump or call that leaves the program or goes into a wide instruction, or something that this
/// machine does not have.
pub(crate) fn lower(code: &Code, bindings: &mut Bindings<'_>) -> Result<Lowered, LinkError> {
    let mut index_of = vec![None; code.len() + 1];
    let mut pcs = Vec::new();
    for (pc, _) in code.iter() {
        index_of[pc.index()] = Some(pcs.len());
        pcs.push(pc);
    }
    let mut lowering = Lowering { code, index_of, lengths: function_lengths(code), bindings };
    let mut ops = Vec::with_capacity(pcs.len() + 1);
    for (i, (pc, insn)) in code.iter().enumerate() {
        ops.push(lowering.one(i, pc, insn).map_err(|kind| LinkError { pc: Some(pc), kind })?);
    }
    ops.push(blank(OpCode::FellOff));
    pcs.push(Pc(code.len() as u32));
    Ok(Lowered { ops: ops.into(), pcs: pcs.into() })
}

/// The number of slots from each function's start to the next function, by start.
fn function_lengths(code: &Code) -> Vec<(Pc, u32)> {
    let mut starts: Vec<Pc> = code
        .iter()
        .filter_map(|(pc, insn)| pc.jump(insn.function_offset()?))
        .chain([Pc(0)])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([Pc(code.len() as u32)]);
    starts.iter().copied().zip(ends).map(|(s, e)| (s, e.0.saturating_sub(s.0))).collect()
}

fn blank(code: OpCode) -> Op {
    Op { code, dst: 0, src: 0, off: 0, imm: 0 }
}

struct Lowering<'a, 'b> {
    code: &'a Code,
    index_of: Vec<Option<usize>>,
    lengths: Vec<(Pc, u32)>,
    bindings: &'a mut Bindings<'b>,
}

impl Lowering<'_, '_> {
    /// The offset in operations from the operation after `index` to the target of a jump.
    fn target(&self, index: usize, pc: Pc, offset: i32) -> Result<i32, LinkErrorKind> {
        let target = pc.jump(offset).filter(|t| t.index() < self.code.len());
        let target = target.ok_or(LinkErrorKind::TargetOutside {
            target: i64::from(pc.0) + 1 + i64::from(offset),
            slots: self.code.len(),
        })?;
        let to = self.index_of[target.index()].ok_or(LinkErrorKind::TargetInWide(target))?;
        Ok(to as i32 - index as i32 - 1)
    }

    fn one(&mut self, index: usize, pc: Pc, insn: &Insn) -> Result<Op, LinkErrorKind> {
        let two = |code, dst: Reg, src: Operand| {
            let mut op = Op { dst: dst.number(), ..blank(code) };
            match src {
                Operand::Reg(r) => op.src = r.number(),
                Operand::Imm(v) => op.imm = v.into(),
            }
            op
        };
        let memory = |code, dst: Reg, src: Reg, offset: i16| Op {
            off: offset.into(),
            ..two(code, dst, Operand::Reg(src))
        };
        Ok(match *insn {
            Insn::Alu { width, op, dst, src } => two(op::alu(op, width, src), dst, src),
            Insn::Neg { width: Width::W32, dst } => two(OpCode::Neg32, dst, Operand::Imm(0)),
            Insn::Neg { width: Width::W64, dst } => two(OpCode::Neg64, dst, Operand::Imm(0)),
            Insn::Movsx { width, from, dst, src } => {
                let code = match (width, from) {
                    (Width::W32, Size::B) => OpCode::Movsx8To32,
                    (Width::W32, Size::H) => OpCode::Movsx16To32,
                    (Width::W64, Size::B) => OpCode::Movsx8To64,
                    (Width::W64, Size::H) => OpCode::Movsx16To64,
                    (Width::W64, Size::W) => OpCode::Movsx32To64,
                    // A whole register: nothing is extended.
                    (Width::W32, Size::W | Size::Dw) => OpCode::Mov32X,
                    (Width::W64, Size::Dw) => OpCode::Mov64X,
                };
                two(code, dst, Operand::Reg(src))
            }
            Insn::Endian { op, size, dst } => two(endian(op, size), dst, Operand::Reg(dst)),
            Insn::AddrSpaceCast { .. } => return Err(LinkErrorKind::NeedsArena),
            Insn::LoadImm { dst, value } => {
                Op { imm: self.imm64(index, pc, value)?, ..two(OpCode::LoadImm, dst, dst.into()) }
            }
            Insn::Load { size, dst, base, offset } => memory(op::load(size), dst, base, offset),
            Insn::LoadSx { size, dst, base, offset } => {
                memory(op::load_sx(size), dst, base, offset)
            }
            Insn::Store { size, base, offset, src } => {
                Op { off: offset.into(), ..two(op::store(size, src), base, src) }
            }
            Insn::Atomic { op, size, base, offset, src } => {
                let code = if size == Size::W { OpCode::AtomicW } else { OpCode::AtomicDw };
                let number = AtomicOp::ALL.iter().position(|a| *a == op).unwrap_or_default();
                Op { imm: number as i64, ..memory(code, base, src, offset) }
            }
            Insn::LoadAcquire { size, dst, base, offset } => {
                Op { imm: size.bytes().into(), ..memory(OpCode::LoadAcquire, dst, base, offset) }
            }
            Insn::StoreRelease { size, base, offset, src } => {
                Op { imm: size.bytes().into(), ..memory(OpCode::StoreRelease, base, src, offset) }
            }
            Insn::LoadAbs { size, offset } => {
                Op { imm: offset.into(), off: size.bytes() as i32, ..blank(OpCode::LoadAbs) }
            }
            Insn::LoadInd { size, index, offset } => Op {
                imm: offset.into(),
                off: size.bytes() as i32,
                src: index.number(),
                ..blank(OpCode::LoadInd)
            },
            Insn::Jump { offset, .. } => {
                Op { off: self.target(index, pc, offset)?, ..blank(OpCode::Jump) }
            }
            Insn::JumpIf { width, op, dst, src, offset } => Op {
                off: self.target(index, pc, offset.into())?,
                ..two(op::jump(op, width, src), dst, src)
            },
            Insn::MayGoto { offset } => {
                Op { off: self.target(index, pc, offset.into())?, ..blank(OpCode::MayGoto) }
            }
            Insn::Call { target } => match target {
                CallTarget::Helper(id) => {
                    let (index, may_enter) = self.bindings.helper(id)?;
                    let code = if may_enter { OpCode::TailCall } else { OpCode::CallHelper };
                    Op { imm: index as i64, ..blank(code) }
                }
                CallTarget::Local { offset } => {
                    let off = self.target(index, pc, offset)?;
                    let start = pc.jump(offset).unwrap_or_default();
                    let length = self.lengths.iter().find(|(s, _)| *s == start);
                    let imm = length.map_or(0, |(_, n)| i64::from(*n));
                    Op { off, imm, ..blank(OpCode::CallLocal) }
                }
                CallTarget::Kfunc { btf_id, .. } => return Err(LinkErrorKind::Kfunc(btf_id)),
                CallTarget::Reg(reg) => two(OpCode::CallReg, reg, reg.into()),
            },
            Insn::Exit => blank(OpCode::Exit),
        })
    }

    fn imm64(&mut self, index: usize, pc: Pc, value: Imm64) -> Result<i64, LinkErrorKind> {
        let address = match value {
            Imm64::Value(v) => v,
            Imm64::MapIdx(i) => self.bindings.map(i)?,
            Imm64::MapIdxValue { index, offset } => self.bindings.map_value(index, offset)?,
            Imm64::Func { offset } => {
                self.target(index, pc, offset)?;
                crate::instance::func_token(pc.jump(offset).unwrap_or_default())
            }
            Imm64::MapFd(fd) | Imm64::MapFdValue { fd, .. } => {
                return Err(LinkErrorKind::FileDescriptor(fd));
            }
            Imm64::Variable { btf_id, .. } => return Err(LinkErrorKind::KernelVariable(btf_id)),
        };
        Ok(address as i64)
    }
}

/// The operation of a byte-order conversion on this host.
fn endian(op: EndianOp, size: Size) -> OpCode {
    let swaps = match op {
        EndianOp::Bswap => true,
        EndianOp::ToBe => ByteOrder::HOST == ByteOrder::Little,
        EndianOp::ToLe => ByteOrder::HOST == ByteOrder::Big,
    };
    match (swaps, size) {
        (true, Size::W) => OpCode::Swap32,
        (true, Size::Dw) => OpCode::Swap64,
        (true, _) => OpCode::Swap16,
        (false, Size::W) => OpCode::Zext32,
        // Source and destination are the same register.
        (false, Size::Dw) => OpCode::Mov64X,
        (false, _) => OpCode::Zext16,
    }
}
