//! From instructions to blocks of operations.

use crate::functions::Extents;
use crate::ir::{
    Address, Binary, Block, Check, Cond, Edge, End, Fill, Function, Inst, Op, Place, RegSet, Unit,
};
use crate::link::{Callee, Link};
use crate::state::FRAME_BYTES;
use crate::{Error, ErrorKind, Source};
use ebpfvm_asm::{
    AluOp, CallTarget, EndianOp, Imm64, Insn, Operand, Pc, Reg as InsnReg, Size, Width,
};

/// The blocks of a program.
///
/// # Errors
/// A jump or call that leaves the program or goes into a wide instruction, a write to `r10`, or
/// something that there is not.
pub(crate) fn build(source: &Source<'_>, link: &dyn Link) -> Result<Unit, Error> {
    let code = source.code;
    let extents = Extents::of(code);
    let mut block_of = vec![NO_BLOCK; code.len()];
    let mut mark = |pc: Pc| block_of[pc.index()] = 0;
    extents.functions.iter().for_each(|f| mark(f.start));
    let mut after_end = false;
    for (pc, insn) in code.iter() {
        let at = |kind| Error { pc, kind };
        if insn.written() == Some(InsnReg::R10) {
            return Err(at(ErrorKind::WritesFramePointer));
        }
        for offset in insn.jump_offset().into_iter().chain(insn.function_offset()) {
            mark(source.code.target(pc, offset).map_err(|e| at(e.into()))?);
        }
        if after_end {
            mark(pc);
        }
        after_end = insn.jump_offset().is_some() || *insn == Insn::Exit;
    }
    // Where control runs over the end there is a block of its own, the last.
    let mut count = 0;
    for number in block_of.iter_mut().filter(|number| **number != NO_BLOCK) {
        *number = count;
        count += 1;
    }
    let functions = extents.functions.iter().map(|f| Function {
        start: f.start,
        entry: block_of[f.start.index()],
        cost: f.slots,
        stack_bytes: f.used_stack(source.facts),
        is_callback: false,
    });
    let mut builder = Builder {
        source,
        link,
        unit: Unit {
            functions: functions.collect(),
            blocks: Vec::with_capacity(count as usize + 1),
            callees: Vec::new(),
            crosses: extents.crosses,
            is_checked: source.facts.is_none(),
        },
        block_of,
        after_last: count,
        extents,
        shapes: NOTHING,
        arriving: vec![None; count as usize + 1],
    };
    builder.run()?;
    let mut unit = builder.unit;
    if !unit.is_checked {
        define_unnamed(&mut unit);
    }
    Ok(unit)
}

/// Has argument registers hold zero after calls, if a helper takes some that the verifier has not
/// looked at: they would hold what is left of the host's code.
fn define_unnamed(unit: &mut Unit) {
    let takes = |callee: &Callee| matches!(callee, Callee::Helper { takes_unnamed: true, .. });
    if !unit.callees.iter().any(takes) {
        return;
    }
    for block in &mut unit.blocks {
        let zeros = |inst: &Inst| {
            let Inst { op, pc } = *inst;
            let calls = matches!(op, Op::Call { .. } | Op::CallLocal { .. } | Op::Packet { .. });
            let zero = move |dst| Inst { op: Op::Const { dst, value: 0 }, pc };
            RegSet::ARGS.iter().filter(move |_| calls).map(zero)
        };
        let insts = &block.insts;
        block.insts =
            insts.iter().flat_map(|inst| [*inst].into_iter().chain(zeros(inst))).collect();
    }
}

const NO_BLOCK: u32 = u32::MAX;

/// What a register of an unverified program probably points to: which region its accesses are
/// compared with first. Wrong guesses cost time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Context,
    Frame,
    /// What a call gave: probably a value of a map.
    Given,
    Other,
}

type Shapes = [Shape; InsnReg::COUNT];

const NOTHING: Shapes = [Shape::Other; InsnReg::COUNT];

/// What is known where two ways meet: of a register, what one of them knows.
fn meet(one: &Shapes, other: &Shapes) -> Shapes {
    std::array::from_fn(|i| if one[i] == Shape::Other { other[i] } else { one[i] })
}

struct Builder<'a, 'b> {
    source: &'a Source<'b>,
    link: &'a dyn Link,
    unit: Unit,
    block_of: Vec<u32>,
    /// The block where control comes to that runs over the end.
    after_last: u32,
    extents: Extents,
    /// What registers point to, if nobody has verified the program.
    shapes: Shapes,
    /// The same where jumps forward arrive, by block.
    arriving: Vec<Option<Shapes>>,
}

impl Builder<'_, '_> {
    fn run(&mut self) -> Result<(), Error> {
        let mut block = None;
        let fell_off = Pc(self.source.code.len() as u32);
        for (pc, insn) in self.source.code.iter() {
            if self.block_of[pc.index()] != NO_BLOCK {
                let number = self.block_of[pc.index()] as usize;
                match (self.arriving[number].take(), &block) {
                    (Some(arriving), Some(_)) => self.shapes = meet(&self.shapes, &arriving),
                    (Some(arriving), None) => self.shapes = arriving,
                    (None, _) => {}
                }
                if let Some(mut open) = block.replace(self.block(pc)) {
                    open.end = End::Jump(Edge { to: self.block_of[pc.index()], cost: 0 });
                    open.end_pc = open.insts.last().map_or(open.start, |inst| inst.pc);
                    self.unit.blocks.push(open);
                }
                if self.extents.starting(pc).is_some() {
                    self.enter(pc);
                }
            }
            // What follows dead code in a block is dead too.
            let Some(open) = &mut block else { continue };
            let is_dead = self.source.facts.is_some_and(|facts| !facts.is_reached(pc));
            let end = match is_dead {
                true => Some(End::FellOff),
                false => {
                    let mut insts = std::mem::take(&mut open.insts);
                    let end = self.one(pc, insn, &mut insts);
                    open.insts = insts;
                    end.map_err(|kind| Error { pc, kind })?
                }
            };
            if let Some(end) = end {
                self.leave(&end);
                (open.end, open.end_pc) = (end, pc);
                self.unit.blocks.extend(block.take());
            }
        }
        if let Some(mut open) = block {
            (open.end, open.end_pc) = (End::Jump(Edge { to: self.after_last, cost: 0 }), fell_off);
            self.unit.blocks.push(open);
        }
        self.unit.blocks.push(Block::new(fell_off));
        Ok(())
    }

    /// What registers point to at the start of a function.
    fn enter(&mut self, pc: Pc) {
        self.shapes = NOTHING;
        if pc == Pc(0) {
            self.shapes[1] = Shape::Context;
        }
        self.shapes[10] = Shape::Frame;
    }

    /// An empty block with room for its instructions.
    fn block(&self, start: Pc) -> Block {
        let mut block = Block::new(start);
        let behind = self.block_of[start.index() + 1..].iter();
        block.insts.reserve_exact(1 + behind.take_while(|number| **number == NO_BLOCK).count());
        block
    }

    /// Notes what registers point to where the end of a block goes on.
    fn leave(&mut self, end: &End) {
        if self.unit.is_checked {
            for edge in end.edges() {
                let arriving = &mut self.arriving[edge.to as usize];
                *arriving = Some(match arriving {
                    Some(before) => meet(before, &self.shapes),
                    None => self.shapes,
                });
            }
        }
    }

    fn edge(&self, from: Pc, to: Pc) -> Edge {
        let to_block = self.block_of.get(to.index()).copied().unwrap_or(self.after_last);
        Edge { to: to_block, cost: (from.0 + 1).saturating_sub(to.0) }
    }

    /// The edge to the instruction after this one.
    fn next(&self, pc: Pc) -> Edge {
        Edge { cost: 0, ..self.edge(pc, Pc(pc.0 + 1)) }
    }

    /// Appends what an instruction does; how the block ends if it does here.
    fn one(
        &mut self,
        pc: Pc,
        insn: &Insn,
        insts: &mut Vec<Inst>,
    ) -> Result<Option<End>, ErrorKind> {
        let mut push = |op| insts.push(Inst { op, pc });
        match *insn {
            Insn::Alu { width, op: AluOp::Mov, dst, src: Operand::Reg(src) } => {
                self.shapes[dst.index()] = self.shapes[src.index()];
                push(Op::Move { width, dst: dst.into(), src: src.into() });
            }
            Insn::Alu { width, op: AluOp::Mov, dst, src: Operand::Imm(imm) } => {
                self.shapes[dst.index()] = Shape::Other;
                push(Op::Const { dst: dst.into(), value: immediate(width, imm) });
            }
            Insn::Alu { width, op, dst, src } => {
                // An offset leads out of the context's fields.
                if self.shapes[dst.index()] == Shape::Context {
                    self.shapes[dst.index()] = Shape::Other;
                }
                if let (Operand::Reg(src), AluOp::Add) = (src, op)
                    && self.shapes[dst.index()] == Shape::Other
                    && self.shapes[src.index()] != Shape::Context
                {
                    self.shapes[dst.index()] = self.shapes[src.index()];
                }
                let (dst, rhs) = (dst.into(), src.into());
                push(Op::Binary { op: Binary::Alu(op), width, dst, lhs: dst, rhs });
            }
            Insn::Neg { width, dst } => {
                push(Op::Neg { width, dst: dst.into(), src: dst.into() });
            }
            Insn::Movsx { width, from, dst, src } => {
                self.shapes[dst.index()] = Shape::Other;
                let (dst, src) = (dst.into(), src.into());
                push(match (width, from) {
                    (Width::W32, Size::W | Size::Dw) | (Width::W64, Size::Dw) => {
                        Op::Move { width, dst, src }
                    }
                    _ => Op::Extend { size: from, fill: Fill::Sign(width), dst, src },
                });
            }
            Insn::Endian { op, size, dst } => {
                let dst = dst.into();
                match op {
                    // Hosts are little-endian.
                    EndianOp::ToLe if size == Size::Dw => {}
                    EndianOp::ToLe => {
                        push(Op::Extend { size, fill: Fill::Zero, dst, src: dst });
                    }
                    EndianOp::ToBe | EndianOp::Bswap => push(Op::Swap { size, dst, src: dst }),
                }
            }
            Insn::AddrSpaceCast { .. } => {
                return Err(ErrorKind::Link("addr_space_cast needs an arena".into()));
            }
            Insn::LoadImm { dst, value } => {
                self.shapes[dst.index()] = match value {
                    Imm64::MapIdxValue { .. } => Shape::Given,
                    _ => Shape::Other,
                };
                if let Imm64::Func { offset } = value
                    && let Some(function) =
                        pc.jump(offset).and_then(|start| self.extents.starting(start))
                {
                    self.unit.functions[function].is_callback = true;
                }
                let value = self.link.imm64(pc, value).map_err(ErrorKind::Link)?;
                push(Op::Const { dst: dst.into(), value });
            }
            Insn::Load { size, dst, base, offset } => {
                let at = Address::new(base.into(), offset.into());
                let check = self.check(insn, base, offset.into(), size);
                push(Op::Load { size, fill: Fill::Zero, swap: false, check, dst: dst.into(), at });
                self.shapes[dst.index()] = Shape::Other;
            }
            Insn::LoadSx { size, dst, base, offset } => {
                let (at, fill) = (Address::new(base.into(), offset.into()), Fill::Sign(Width::W64));
                let check = self.check(insn, base, offset.into(), size);
                push(Op::Load { size, fill, swap: false, check, dst: dst.into(), at });
                self.shapes[dst.index()] = Shape::Other;
            }
            Insn::Store { size, base, offset, src } => {
                let at = Address::new(base.into(), offset.into());
                let check = self.check(insn, base, offset.into(), size);
                push(Op::Store { size, swap: false, check, src: src.into(), at });
            }
            Insn::Atomic { op, size, base, offset, src } => {
                let at = Address::new(base.into(), offset.into());
                let check = plain(self.check(insn, base, offset.into(), size));
                push(Op::Atomic { op, size, check, src: src.into(), at });
            }
            Insn::LoadAcquire { size, dst, base, offset } => {
                let at = Address::new(base.into(), offset.into());
                let check = plain(self.check(insn, base, offset.into(), size));
                push(Op::LoadAcquire { size, check, dst: dst.into(), at });
                self.shapes[dst.index()] = Shape::Other;
            }
            Insn::StoreRelease { size, base, offset, src } => {
                let at = Address::new(base.into(), offset.into());
                let check = plain(self.check(insn, base, offset.into(), size));
                push(Op::StoreRelease { size, check, src: src.into(), at });
            }
            Insn::LoadAbs { size, offset } => {
                push(Op::Packet { size, index: None, offset });
            }
            Insn::LoadInd { size, index, offset } => {
                push(Op::Packet { size, index: Some(index.into()), offset });
            }
            Insn::Call { target: CallTarget::Local { offset } } => {
                let start = self.source.code.target(pc, offset)?;
                let function = self.extents.starting(start).unwrap_or_default() as u32;
                push(Op::CallLocal { function });
                self.shapes[..6].fill(Shape::Other);
            }
            Insn::Call { target } => {
                let map = self.source.facts.and_then(|facts| facts.map(pc));
                let callee = self.link.callee(pc, target, map).map_err(ErrorKind::Link)?;
                push(Op::Call { callee: self.unit.callees.len() as u32 });
                self.unit.callees.push(callee);
                self.shapes[..6].fill(Shape::Other);
                self.shapes[0] = Shape::Given;
            }
            Insn::Jump { offset, .. } => {
                return Ok(Some(End::Jump(self.edge(pc, self.source.code.target(pc, offset)?))));
            }
            Insn::JumpIf { width, op, dst, src, offset } => {
                let size = if width == Width::W32 { Size::W } else { Size::Dw };
                let then = self.edge(pc, self.source.code.target(pc, offset.into())?);
                let cond = Cond { op, size, lhs: Place::Reg(dst.into()), rhs: src.into() };
                return Ok(Some(End::Branch { cond, then, other: self.next(pc) }));
            }
            Insn::MayGoto { offset } => {
                let then = self.edge(pc, self.source.code.target(pc, offset.into())?);
                return Ok(Some(End::MayGoto { then, other: self.next(pc) }));
            }
            Insn::Exit => return Ok(Some(End::Exit)),
        }
        Ok(None)
    }

    /// The check that an access needs.
    fn check(&self, insn: &Insn, base: InsnReg, offset: i32, size: Size) -> Check {
        if self.source.facts.is_some() {
            return Check::None;
        }
        let inside = -(FRAME_BYTES as i32)..=-(size.bytes() as i32);
        match self.shapes[base.index()] {
            _ if base == InsnReg::R10 && inside.contains(&offset) => Check::None,
            Shape::Frame => Check::Frame,
            Shape::Given => Check::Last,
            Shape::Other => Check::Window,
            Shape::Context => match self.link.context(insn) {
                Some((offset, size)) => Check::Context { offset, size },
                None => Check::Window,
            },
        }
    }
}

/// The check of an access that does not go to the context.
fn plain(check: Check) -> Check {
    match check {
        Check::Context { .. } => Check::Last,
        check => check,
    }
}

/// What an immediate is at this width.
pub(crate) fn immediate(width: Width, imm: i32) -> u64 {
    match width {
        Width::W32 => u64::from(imm as u32),
        Width::W64 => i64::from(imm) as u64,
    }
}

impl Block {
    /// An empty block.
    pub(crate) fn new(start: Pc) -> Block {
        Block {
            start,
            insts: Vec::new(),
            end: End::FellOff,
            end_pc: start,
            guards: Vec::new(),
            otherwise: NO_BLOCK,
        }
    }
}
