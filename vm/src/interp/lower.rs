//! From instructions to the interpreter's operations: targets resolved, helpers and maps found.
//!
//! Binding ([`Instance`]) has refused what is not possible, so nothing can go wrong here; a form is
//! made when it is first needed.

use super::fuse::fuse;
use super::handler::handler;
use super::lookup::{Lookup, Lookups};
use super::op::{self, Op, OpCode};
use crate::helper::Shortcut;
use crate::instance::Instance;
use crate::memory::FRAME_BYTES;
use ebpfvm_asm::{
    AtomicOp, ByteOrder, CallTarget, Code, EndianOp, Insn, Operand, Pc, Reg, Size, Width,
};
use ebpfvm_jit::functions::{Extent, Extents};
use ebpfvm_verifier::Facts;
use std::sync::OnceLock;

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

/// The forms of an instance.
#[derive(Default)]
pub(crate) struct LoweredForms {
    /// Every access is checked.
    checked: OnceLock<Lowered>,
    /// No access is checked, for a promise of the caller's.
    unchecked: OnceLock<Lowered>,
    /// No access is checked, by the verifier's verdict.
    verified: OnceLock<Lowered>,
}

impl LoweredForms {
    /// Without checks if the program was judged, otherwise with.
    #[inline]
    pub(crate) fn usual(&self, instance: &Instance) -> &Lowered {
        match instance.judged() {
            Some((program, code)) => {
                self.verified.get_or_init(|| lower(code, instance, Some(program.facts())))
            }
            None => self.checked(instance),
        }
    }

    /// With checks.
    #[inline]
    pub(crate) fn checked(&self, instance: &Instance) -> &Lowered {
        self.checked.get_or_init(|| lower(&instance.program().code, instance, None))
    }

    /// Without checks, and without a verdict.
    pub(crate) fn unchecked(&self, instance: &Instance) -> &Lowered {
        self.unchecked.get_or_init(|| self.checked(instance).without_checks())
    }
}

/// Lowers a program. Without facts it has checks of what it accesses; with those of its verdict it has
/// none, dead instructions stop the run, and lookups go straight to the map.
fn lower(code: &Code, instance: &Instance, facts: Option<&Facts>) -> Lowered {
    let function = |extent: &Extent| Function {
        extent: Extent { stack_bytes: extent.used_stack(facts), ..*extent },
        op: 0,
    };
    let functions = Extents::of(code).functions.iter().map(function).collect();
    let is_target = vec![false; code.len()];
    let lookups = Lookups::default();
    let mut lowering = Lowering { code, functions, instance, is_target, facts, lookups };
    for (pc, insn) in code.iter() {
        for offset in insn.jump_offset().into_iter().chain(insn.function_offset()) {
            let target = lowering.target(pc, offset);
            lowering.is_target[target.index()] = true;
        }
    }
    let mut ops: Vec<Op> = Vec::with_capacity(code.len() + 1);
    let mut pcs: Vec<Pc> = Vec::with_capacity(code.len() + 1);
    let mut index_of = vec![0; code.len()];
    for (pc, insn) in code.iter() {
        let mut op = match facts.is_none_or(|facts| facts.is_reached(pc)) {
            true => lowering.one(pc, insn),
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
    Lowered { ops: ops.into(), pcs: pcs.into(), stack_bytes, functions, lookups }
}

/// A function of the program, as far as calls need to know it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Function {
    /// Where it is and what it reaches.
    pub(crate) extent: Extent,
    /// Its first operation.
    pub(crate) op: u32,
}

struct Lowering<'a> {
    code: &'a Code,
    functions: Vec<Function>,
    instance: &'a Instance,
    is_target: Vec<bool>,
    facts: Option<&'a Facts>,
    lookups: Lookups,
}

impl Lowering<'_> {
    /// The target of a jump or call.
    fn target(&self, pc: Pc, offset: i32) -> Pc {
        self.code.target(pc, offset).expect("binding refuses other targets")
    }

    /// The function that starts at `pc`; [`functions`] has found all that are called.
    fn function(&self, pc: Pc) -> Function {
        let found = self.functions.binary_search_by_key(&pc, |f| f.extent.start);
        found.map(|index| self.functions[index]).unwrap_or_default()
    }

    /// A jump: its target and what going backward costs.
    fn jump(&self, pc: Pc, offset: i32) -> (i32, u32) {
        let target = self.target(pc, offset);
        (target.0 as i32, (pc.0 + 1).saturating_sub(target.0))
    }

    /// The form of a load or store that needs no check, if it lies in the frame for certain.
    fn settle(&self, op: Op, base: Reg, size: Size) -> Op {
        let inside = -(FRAME_BYTES as i32)..=-(size.bytes() as i32);
        match op::in_frame(op.code) {
            Some(code) if base == Reg::R10 && inside.contains(&op.off) => Op { code, ..op },
            _ => op,
        }
    }

    fn one(&mut self, pc: Pc, insn: &Insn) -> Op {
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
        match *insn {
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
            Insn::LoadImm { dst, value } => {
                let value = self.instance.imm64(pc, value).expect("binding refuses other values");
                Op { imm: value as i64, ..two(OpCode::LoadImm, dst, dst.into()) }
            }
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
                let (off, cost) = self.jump(pc, offset);
                Op { off, imm: Op::jump_imm(0, cost), ..Op::blank(OpCode::Jump) }
            }
            Insn::JumpIf { width, op, dst, src, offset } => {
                let (off, cost) = self.jump(pc, offset.into());
                let op = two(op::jump(op, width, src), dst, src);
                Op { off, imm: Op::jump_imm(op.imm as i32, cost), ..op }
            }
            Insn::MayGoto { offset } => {
                let (off, cost) = self.jump(pc, offset.into());
                Op { off, imm: Op::jump_imm(0, cost), ..Op::blank(OpCode::MayGoto) }
            }
            Insn::Call { target } => match target {
                CallTarget::Helper(_) => self.call(pc),
                CallTarget::Local { offset } => {
                    let start = self.target(pc, offset);
                    let Extent { slots, stack_bytes, .. } = self.function(start).extent;
                    let imm = i64::from(slots) << 32 | i64::from(stack_bytes);
                    Op { off: start.0 as i32, imm, ..Op::blank(OpCode::CallLocal) }
                }
                CallTarget::Kfunc { .. } => unreachable!("binding refuses it"),
                CallTarget::Reg(reg) => two(OpCode::CallReg, reg, reg.into()),
            },
            Insn::AddrSpaceCast { .. } => unreachable!("binding refuses it"),
            Insn::Exit => Op::blank(OpCode::Exit),
        }
    }

    /// A call of a helper: a lookup in a map that is known goes straight to the map.
    fn call(&mut self, pc: Pc) -> Op {
        let call = self.instance.call_at(pc).expect("binding has found all calls");
        if let Some(Shortcut::MapLookup) = self.instance.helpers()[call.helper as usize].shortcut
            && let Some(map) = self.facts.and_then(|facts| facts.map(pc))
            && let Some(map) = self.instance.maps().get(map as usize)
            && let Some(direct) = map.direct()
        {
            return self.lookups.add(direct, map.def().key_bytes);
        }
        Op { imm: call.helper.into(), ..Op::blank(call.code) }
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
