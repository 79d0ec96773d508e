//! From instructions to the interpreter's operations: targets resolved and checked, helpers and
//! maps bound.

use super::fuse::fuse;
use super::handler::handler;
use super::lookup::{Lookup, Lookups};
use super::op::{self, Op, OpCode};
use crate::instance::{Bindings, LinkError, LinkErrorKind};
use crate::memory::FRAME_BYTES;
use ebpfvm_asm::{
    AtomicOp, ByteOrder, CallTarget, Code, EndianOp, Insn, Operand, Pc, Reg, Size, Width,
};
use ebpfvm_jit::functions::{Extent, Extents};
use ebpfvm_verifier::Facts;

/// A program in the interpreter's form.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// The operations; the last two are [`OpCode::FellOff`] and [`OpCode::Return`].
    pub(crate) ops: Box<[Op]>,
    /// The position of each operation's first instruction.
    pub(crate) pcs: Box<[Pc]>,
    /// Bytes of stack that the entry function uses.
    pub(crate) stack_bytes: u32,
    /// The functions by their first instruction.
    functions: Box<[Function]>,
    /// What the lookups among the operations need; they have its addresses.
    #[expect(dead_code, reason = "held for the operations")]
    lookups: Box<[Lookup]>,
}

/// After so many operations in a row there is a [`OpCode::Pause`], which bounds the depth of the
/// native stack where the compiler does not turn a handler's last call into a jump.
const RUN_LENGTH: usize = 512;

impl Lowered {
    /// The same operations without checks of what they access.
    pub(crate) fn without_checks(&self) -> Lowered {
        let unchecked = |op: &Op| Op { run: handler::<false>(op.code), ..*op };
        Lowered {
            ops: self.ops.iter().map(unchecked).collect(),
            pcs: self.pcs.clone(),
            stack_bytes: self.stack_bytes,
            functions: self.functions.clone(),
            // Without a verdict nothing is known of maps.
            lookups: Box::default(),
        }
    }

    /// The operation that a function returns to which a helper has called.
    pub(crate) fn end(&self) -> *const Op {
        &self.ops[self.ops.len() - 1]
    }

    /// The function that starts at `pc`, if one does that is called or of which the address is taken.
    pub(crate) fn function(&self, pc: Pc) -> Option<Function> {
        let found = self.functions.binary_search_by_key(&pc, |f| f.extent.start);
        found.ok().map(|index| self.functions[index])
    }
}

/// Lowers a program. Without facts it has checks of what it accesses; with those of its verdict it has
/// none, dead instructions stop the run, and lookups go straight to the map.
///
/// # Errors
/// A jump or call that leaves the program or goes into a wide instruction, a write to `r10`, or
/// something that this machine does not have.
pub(crate) fn lower(
    code: &Code,
    bindings: &mut Bindings<'_>,
    facts: Option<&Facts>,
) -> Result<Lowered, LinkError> {
    let function = |extent: &Extent| Function {
        extent: Extent { stack_bytes: extent.used_stack(facts), ..*extent },
        op: 0,
    };
    let functions = Extents::of(code).functions.iter().map(function).collect();
    let is_target = vec![false; code.len()];
    let lookups = Lookups::default();
    let mut lowering = Lowering { code, functions, bindings, is_target, facts, lookups };
    let at = |pc| move |kind| LinkError { pc: Some(pc), kind };
    for (pc, insn) in code.iter() {
        lowering.check(pc, insn).map_err(at(pc))?;
    }
    let mut ops: Vec<Op> = Vec::with_capacity(code.len() + 1);
    let mut pcs: Vec<Pc> = Vec::with_capacity(code.len() + 1);
    let mut index_of = vec![0; code.len()];
    for (pc, insn) in code.iter() {
        let mut op = match facts.is_none_or(|facts| facts.is_reached(pc)) {
            true => lowering.one(pc, insn).map_err(at(pc))?,
            false => Op::blank(OpCode::FellOff),
        };
        let mut pc = pc;
        while !lowering.is_target[pc.index()]
            && let Some((last, last_pc)) = ops.last().zip(pcs.last())
            && let Some(fused) = fuse(*last, op)
        {
            (op, pc) = (fused, *last_pc);
            ops.pop();
            pcs.pop();
        }
        if ops.len() % RUN_LENGTH == RUN_LENGTH - 1 {
            ops.push(Op::blank(OpCode::Pause));
            pcs.push(pc);
        }
        index_of[pc.index()] = ops.len() as i32;
        ops.push(op);
        pcs.push(pc);
    }
    // Until here an operation that jumps has the target's position for its offset.
    for (i, op) in ops.iter_mut().enumerate() {
        if op.code.jumps() {
            op.off = index_of[op.off as usize] - i as i32 - 1;
        }
    }
    for end in [OpCode::FellOff, OpCode::Return] {
        ops.push(Op::blank(end));
        pcs.push(Pc(code.len() as u32));
    }
    let run = if facts.is_some() { handler::<false> } else { handler::<true> };
    ops.iter_mut().for_each(|op| op.run = run(op.code));
    let stack_bytes = lowering.function(Pc(0)).extent.stack_bytes;
    let lookups = lowering.lookups.finish(&mut ops);
    let mut functions = lowering.functions;
    functions.iter_mut().for_each(|f| f.op = index_of[f.extent.start.index()] as u32);
    let functions = functions.into();
    Ok(Lowered { ops: ops.into(), pcs: pcs.into(), stack_bytes, functions, lookups })
}

/// A function of the program, as far as calls need to know it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Function {
    /// Where it is and what it reaches.
    pub(crate) extent: Extent,
    /// Its first operation.
    pub(crate) op: u32,
}

struct Lowering<'a, 'b> {
    code: &'a Code,
    functions: Vec<Function>,
    bindings: &'a mut Bindings<'b>,
    is_target: Vec<bool>,
    facts: Option<&'a Facts>,
    lookups: Lookups,
}

impl Lowering<'_, '_> {
    /// Checks what the dispatch loop relies on, and notes where control can come to.
    fn check(&mut self, pc: Pc, insn: &Insn) -> Result<(), LinkErrorKind> {
        if insn.written() == Some(Reg::R10) {
            return Err(LinkErrorKind::WritesFramePointer);
        }
        for offset in insn.jump_offset().into_iter().chain(insn.function_offset()) {
            let target = self.target(pc, offset)?;
            self.is_target[target.index()] = true;
        }
        Ok(())
    }

    /// The target of a jump or call.
    fn target(&self, pc: Pc, offset: i32) -> Result<Pc, LinkErrorKind> {
        let target = pc.jump(offset).filter(|t| t.index() < self.code.len());
        let target = target.ok_or(LinkErrorKind::TargetOutside {
            target: i64::from(pc.0) + 1 + i64::from(offset),
            slots: self.code.len(),
        })?;
        match self.code.get(target) {
            Some(_) => Ok(target),
            None => Err(LinkErrorKind::TargetInWide(target)),
        }
    }

    /// The function that starts at `pc`; [`functions`] has found all that are called.
    fn function(&self, pc: Pc) -> Function {
        let found = self.functions.binary_search_by_key(&pc, |f| f.extent.start);
        found.map(|index| self.functions[index]).unwrap_or_default()
    }

    /// A jump: its target and what going backward costs.
    fn jump(&self, pc: Pc, offset: i32) -> Result<(i32, u32), LinkErrorKind> {
        let target = self.target(pc, offset)?;
        Ok((target.0 as i32, (pc.0 + 1).saturating_sub(target.0)))
    }

    /// The form of a load or store that needs no check, if it lies in the frame for certain.
    fn settle(&self, op: Op, base: Reg, size: Size) -> Op {
        let inside = -(FRAME_BYTES as i32)..=-(size.bytes() as i32);
        match op::in_frame(op.code) {
            Some(code) if base == Reg::R10 && inside.contains(&op.off) => Op { code, ..op },
            _ => op,
        }
    }

    fn one(&mut self, pc: Pc, insn: &Insn) -> Result<Op, LinkErrorKind> {
        let two = |code, dst: Reg, src: Operand| {
            let mut op = Op { dst: dst.number(), lhs: dst.number(), ..Op::blank(code) };
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
            Insn::LoadImm { dst, value } => Op {
                imm: self.bindings.imm64(pc, value)? as i64,
                ..two(OpCode::LoadImm, dst, dst.into())
            },
            Insn::Load { size, dst, base, offset } => {
                self.settle(memory(op::load(size), dst, base, offset), base, size)
            }
            Insn::LoadSx { size, dst, base, offset } => {
                memory(op::load_sx(size), dst, base, offset)
            }
            Insn::Store { size, base, offset, src } => {
                let op = Op { off: offset.into(), ..two(op::store(size, src), base, src) };
                self.settle(op, base, size)
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
                Op { imm: offset.into(), off: size.bytes() as i32, ..Op::blank(OpCode::LoadAbs) }
            }
            Insn::LoadInd { size, index, offset } => Op {
                imm: offset.into(),
                off: size.bytes() as i32,
                src: index.number(),
                ..Op::blank(OpCode::LoadInd)
            },
            Insn::Jump { offset, .. } => {
                let (off, cost) = self.jump(pc, offset)?;
                Op { off, imm: Op::jump_imm(0, cost), ..Op::blank(OpCode::Jump) }
            }
            Insn::JumpIf { width, op, dst, src, offset } => {
                let (off, cost) = self.jump(pc, offset.into())?;
                let op = two(op::jump(op, width, src), dst, src);
                Op { off, imm: Op::jump_imm(op.imm as i32, cost), ..op }
            }
            Insn::MayGoto { offset } => {
                let (off, cost) = self.jump(pc, offset.into())?;
                Op { off, imm: Op::jump_imm(0, cost), ..Op::blank(OpCode::MayGoto) }
            }
            Insn::Call { target } => match target {
                CallTarget::Helper(id) => {
                    let map = self.facts.and_then(|facts| facts.map(pc));
                    if let Some(map) = map.and_then(|map| self.bindings.looked_up(pc, id, map))
                        && let Some(direct) = map.direct()
                    {
                        return Ok(self.lookups.add(direct, map.def().key_bytes));
                    }
                    let (index, code) = self.bindings.helper(pc, id)?;
                    Op { imm: index as i64, ..Op::blank(code) }
                }
                CallTarget::Local { offset } => {
                    let start = self.target(pc, offset)?;
                    let Extent { slots, stack_bytes, .. } = self.function(start).extent;
                    let imm = i64::from(slots) << 32 | i64::from(stack_bytes);
                    Op { off: start.0 as i32, imm, ..Op::blank(OpCode::CallLocal) }
                }
                CallTarget::Kfunc { btf_id, .. } => return Err(LinkErrorKind::Kfunc(btf_id)),
                CallTarget::Reg(reg) => two(OpCode::CallReg, reg, reg.into()),
            },
            Insn::Exit => Op::blank(OpCode::Exit),
        })
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
