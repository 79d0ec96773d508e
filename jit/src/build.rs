//! From instructions to blocks of operations.

use crate::functions::Extents;
use crate::ir::row::{Blocks, Row};
use crate::ir::{
    Address, Binary, Block, Check, Cond, Edge, End, Fill, Found, Function, Inst, Op, Place, Reg,
    RegSet, Unit,
};
use crate::link::{Callee, Link, Lookup};
use crate::state::FRAME_BYTES;
use crate::{Error, ErrorKind, Source};
use ebpfvm_asm::{
    AluOp, CallTarget, Code, EndianOp, Imm64, Insn, Operand, Pc, Reg as InsnReg, Size, Width,
};

/// The blocks of a program.
///
/// # Errors
/// A jump or call that leaves the program or goes into a wide instruction, a write to `r10`, or
/// something that there is not.
pub(crate) fn build(source: &Source<'_>, link: &dyn Link) -> Result<Unit<Row>, Error> {
    let code = source.code;
    let (starts, functions) = starts(code)?;
    let extents = Extents::starting_at(code, functions, source.facts);
    let functions = extents.functions.iter().map(|f| Function {
        start: f.start,
        entry: starts.number(f.start),
        cost: f.slots,
        stack_bytes: f.used_stack(source.facts),
        is_callback: false,
    });
    // Where control runs over the end there is a block of its own, the last.
    let count = starts.count() + 1;
    let is_checked = source.facts.is_none();
    let mut builder = Builder {
        source,
        link,
        unit: Unit {
            functions: functions.collect(),
            blocks: Row::with_capacity(count, code.len()),
            callees: Vec::new(),
            crosses: extents.crosses,
            is_checked,
            found: Found::default(),
        },
        starts,
        extents,
        open: None,
        shapes: NOTHING,
        arriving: vec![None; if is_checked { count } else { 0 }],
    };
    builder.run()?;
    let mut unit = builder.unit;
    if !is_checked {
        define_unnamed(&mut unit);
    }
    Ok(unit)
}

/// Has argument registers hold zero after calls, if a helper takes some that the verifier has not
/// looked at: they would hold what is left of the host's code.
fn define_unnamed(unit: &mut Unit<Row>) {
    let takes = |callee: &Callee| matches!(callee, Callee::Helper { takes_unnamed: true, .. });
    if !unit.callees.iter().any(takes) {
        return;
    }
    unit.blocks.expand(&unit.callees, |inst| {
        let Inst { op, pc } = *inst;
        let calls = matches!(op, Op::Call { .. } | Op::CallLocal { .. } | Op::Packet { .. });
        let zero = move |dst| Inst { op: Op::Const { dst, value: 0 }, pc };
        [*inst].into_iter().chain(RegSet::ARGS.iter().filter(move |_| calls).map(zero))
    });
}

const NO_BLOCK: u32 = u32::MAX;

/// The instructions that blocks start with; and those that functions start with, as often as they
/// are named.
fn starts(code: &Code) -> Result<(Starts, Vec<Pc>), Error> {
    let mut starts = Starts::new(code.len());
    let mut functions = Vec::new();
    let mut begins = true;
    for (pc, insn) in code.iter() {
        let target = |offset| code.target(pc, offset).map_err(|why| error(code, pc, why.into()));
        if begins {
            starts.mark(pc);
        }
        begins = matches!(insn, Insn::Exit);
        if let Some(offset) = insn.jump_offset() {
            starts.mark(target(offset)?);
            begins = true;
        } else if let Some(offset) = insn.function_offset() {
            let start = target(offset)?;
            starts.mark(start);
            functions.push(start);
        }
    }
    starts.count_up();
    Ok((starts, functions))
}

/// The error at an instruction, or that of the first one before that writes to the frame pointer: this
/// is seen at the ends of blocks only.
#[cold]
fn error(code: &Code, pc: Pc, kind: ErrorKind) -> Error {
    let mut before = code.iter().take_while(|(at, _)| *at <= pc);
    match before.find(|(_, insn)| insn.written() == Some(InsnReg::R10)) {
        Some((pc, _)) => Error { pc, kind: ErrorKind::WritesFramePointer },
        None => Error { pc, kind },
    }
}

/// A set of instructions, which are numbered in their order.
struct Starts {
    /// 64 slots in each.
    words: Vec<u64>,
    /// How many are in the words before.
    before: Vec<u32>,
}

impl Starts {
    fn new(slots: usize) -> Starts {
        Starts { words: vec![0; slots / 64 + 1], before: Vec::new() }
    }

    fn mark(&mut self, pc: Pc) {
        self.words[pc.index() / 64] |= 1 << (pc.0 % 64);
    }

    /// From now on they have numbers.
    fn count_up(&mut self) {
        let mut sum = 0;
        let next = |word: &u64| {
            let before = sum;
            sum += word.count_ones();
            before
        };
        self.before = self.words.iter().map(next).collect();
    }

    fn has(&self, pc: Pc) -> bool {
        self.words[pc.index() / 64] >> (pc.0 % 64) & 1 != 0
    }

    fn number(&self, pc: Pc) -> u32 {
        let word = self.words[pc.index() / 64];
        self.before[pc.index() / 64] + (word & ((1 << (pc.0 % 64)) - 1)).count_ones()
    }

    fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// What a register of an unverified program probably points to: which region its accesses are
/// compared with first. Wrong guesses cost time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Context,
    Frame,
    /// What a call gave: probably a value of a map.
    Given,
    /// The map with this number, not its memory. Maps beyond the reach of a byte are not known: these
    /// are copied at every jump.
    Map(u8),
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
    unit: Unit<Row>,
    starts: Starts,
    extents: Extents,
    /// Where the block starts that is being made.
    open: Option<Pc>,
    /// What registers point to, if nobody has verified the program.
    shapes: Shapes,
    /// The same where jumps forward arrive, by block.
    arriving: Vec<Option<Shapes>>,
}

impl Builder<'_, '_> {
    fn run(&mut self) -> Result<(), Error> {
        let Source { code, facts } = *self.source;
        let mut function = 0;
        for (pc, insn) in code.iter() {
            if self.starts.has(pc) {
                let runs_on = self.open.is_some();
                if let Some(start) = self.open {
                    let last = self.unit.blocks.last_pc().unwrap_or(start);
                    let ended = self.end(last, End::Jump(self.next()));
                    ended.map_err(|kind| error(code, last, kind))?;
                }
                if self.unit.is_checked {
                    self.arrive(runs_on);
                }
                self.open = Some(pc);
                if self.extents.functions.get(function).is_some_and(|f| f.start == pc) {
                    self.enter(pc);
                    function += 1;
                }
            }
            if self.open.is_none() {
                continue;
            }
            let is_dead = facts.is_some_and(|facts| !facts.is_reached(pc));
            let done = match is_dead {
                // What follows in the block is dead too.
                true => self.end(pc, End::FellOff),
                false => self.one(pc, insn),
            };
            done.map_err(|kind| error(code, pc, kind))?;
        }
        let fell_off = Pc(code.len() as u32);
        self.end(fell_off, End::Jump(self.next())).map_err(|kind| error(code, fell_off, kind))?;
        self.unit.blocks.close(fell_off, End::FellOff, fell_off);
        Ok(())
    }

    /// Ends the block that is being made, if there is one.
    #[inline(always)]
    fn end(&mut self, pc: Pc, end: End) -> Result<(), ErrorKind> {
        if let Some(start) = self.open.take() {
            let needs = self.unit.blocks.close(start, end, pc);
            if self.unit.is_checked {
                self.leave();
            }
            if needs.writes().has(Reg::FP) {
                return Err(ErrorKind::WritesFramePointer);
            }
        }
        Ok(())
    }

    /// What registers point to at the start of the block that is next, given whether control comes from
    /// the instruction before.
    fn arrive(&mut self, runs_on: bool) {
        let number = self.unit.blocks.len();
        match self.arriving[number].take() {
            Some(arriving) if runs_on => self.shapes = meet(&self.shapes, &arriving),
            Some(arriving) => self.shapes = arriving,
            None => {}
        }
    }

    /// What registers point to at the start of a function.
    fn enter(&mut self, pc: Pc) {
        self.shapes = NOTHING;
        if pc == Pc(0) {
            self.shapes[1] = Shape::Context;
        }
        self.shapes[10] = Shape::Frame;
    }

    /// Notes what registers point to where the last block goes on.
    fn leave(&mut self) {
        let last = self.unit.blocks.len() as u32 - 1;
        for edge in self.unit.blocks.end(last).edges() {
            let arriving = &mut self.arriving[edge.to as usize];
            *arriving = Some(match arriving {
                Some(before) => meet(before, &self.shapes),
                None => self.shapes,
            });
        }
    }

    /// The edge of a jump, which was seen to go to an instruction.
    fn edge(&self, from: Pc, offset: i32) -> Edge {
        let to = from.jump(offset).unwrap_or_default();
        Edge { to: self.starts.number(to), cost: (from.0 + 1).saturating_sub(to.0) }
    }

    /// The edge to the block behind the one that is being made.
    fn next(&self) -> Edge {
        Edge { to: self.unit.blocks.len() as u32 + 1, cost: 0 }
    }

    /// Appends what an instruction does.
    fn one(&mut self, pc: Pc, insn: &Insn) -> Result<(), ErrorKind> {
        match *insn {
            Insn::Alu { width, op: AluOp::Mov, dst, src: Operand::Reg(src) } => {
                self.shapes[dst.index()] = self.shapes[src.index()];
                self.push(pc, Op::Move { width, dst: dst.into(), src: src.into() });
            }
            Insn::Alu { width, op: AluOp::Mov, dst, src: Operand::Imm(imm) } => {
                self.shapes[dst.index()] = Shape::Other;
                self.push(pc, Op::Const { dst: dst.into(), value: immediate(width, imm) });
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
                self.push(pc, Op::Binary { op: Binary::Alu(op), width, dst, lhs: dst, rhs });
            }
            Insn::Neg { width, dst } => {
                self.push(pc, Op::Neg { width, dst: dst.into(), src: dst.into() });
            }
            Insn::Movsx { width, from, dst, src } => {
                self.shapes[dst.index()] = Shape::Other;
                let (dst, src) = (dst.into(), src.into());
                self.push(
                    pc,
                    match (width, from) {
                        (Width::W32, Size::W | Size::Dw) | (Width::W64, Size::Dw) => {
                            Op::Move { width, dst, src }
                        }
                        _ => Op::Extend { size: from, fill: Fill::Sign(width), dst, src },
                    },
                );
            }
            Insn::Endian { op, size, dst } => {
                let dst = dst.into();
                match op {
                    // Hosts are little-endian.
                    EndianOp::ToLe if size == Size::Dw => {}
                    EndianOp::ToLe => {
                        self.push(pc, Op::Extend { size, fill: Fill::Zero, dst, src: dst });
                    }
                    EndianOp::ToBe | EndianOp::Bswap => {
                        self.push(pc, Op::Swap { size, dst, src: dst })
                    }
                }
            }
            Insn::AddrSpaceCast { .. } => {
                return Err(ErrorKind::Link("addr_space_cast needs an arena".into()));
            }
            Insn::LoadImm { dst, value } => {
                self.shapes[dst.index()] = match value {
                    Imm64::MapIdxValue { .. } => Shape::Given,
                    Imm64::MapIdx(map) => u8::try_from(map).map_or(Shape::Other, Shape::Map),
                    _ => Shape::Other,
                };
                if let Imm64::Func { offset } = value
                    && let Some(function) =
                        pc.jump(offset).and_then(|start| self.extents.starting(start))
                {
                    self.unit.functions[function].is_callback = true;
                }
                let value = self.link.imm64(pc, value).map_err(ErrorKind::Link)?;
                self.push(pc, Op::Const { dst: dst.into(), value });
            }
            Insn::Load { size, dst, base, offset } => {
                let at = Address::new(base.into(), offset.into());
                let check = self.check(insn, base, offset.into(), size);
                self.push(
                    pc,
                    Op::Load { size, fill: Fill::Zero, swap: false, check, dst: dst.into(), at },
                );
                self.shapes[dst.index()] = Shape::Other;
            }
            Insn::LoadSx { size, dst, base, offset } => {
                let (at, fill) = (Address::new(base.into(), offset.into()), Fill::Sign(Width::W64));
                let check = self.check(insn, base, offset.into(), size);
                self.push(pc, Op::Load { size, fill, swap: false, check, dst: dst.into(), at });
                self.shapes[dst.index()] = Shape::Other;
            }
            Insn::Store { size, base, offset, src } => {
                let at = Address::new(base.into(), offset.into());
                let check = self.check(insn, base, offset.into(), size);
                self.push(pc, Op::Store { size, swap: false, check, src: src.into(), at });
            }
            Insn::Atomic { op, size, base, offset, src } => {
                let at = Address::new(base.into(), offset.into());
                let check = plain(self.check(insn, base, offset.into(), size));
                self.push(pc, Op::Atomic { op, size, check, src: src.into(), at });
            }
            Insn::LoadAcquire { size, dst, base, offset } => {
                let at = Address::new(base.into(), offset.into());
                let check = plain(self.check(insn, base, offset.into(), size));
                self.push(pc, Op::LoadAcquire { size, check, dst: dst.into(), at });
                self.shapes[dst.index()] = Shape::Other;
            }
            Insn::StoreRelease { size, base, offset, src } => {
                let at = Address::new(base.into(), offset.into());
                let check = plain(self.check(insn, base, offset.into(), size));
                self.push(pc, Op::StoreRelease { size, check, src: src.into(), at });
            }
            Insn::LoadAbs { size, offset } => {
                self.push(pc, Op::Packet { size, index: None, offset });
            }
            Insn::LoadInd { size, index, offset } => {
                self.push(pc, Op::Packet { size, index: Some(index.into()), offset });
            }
            Insn::Call { target: CallTarget::Local { offset } } => {
                let function = pc.jump(offset).and_then(|start| self.extents.starting(start));
                let function = function.unwrap_or_default() as u32;
                self.push(pc, Op::CallLocal { function });
                self.shapes[..6].fill(Shape::Other);
            }
            Insn::Call { target } => {
                let map = self.source.facts.and_then(|facts| facts.map(pc));
                let callee = self.link.callee(pc, target, map).map_err(ErrorKind::Link)?;
                let callee = self.lookup(pc, target).map_or(callee, Callee::Lookup);
                self.unit.callees.push(callee);
                self.push(pc, Op::Call { callee: self.unit.callees.len() as u32 - 1 });
                self.shapes[..6].fill(Shape::Other);
                self.shapes[0] = Shape::Given;
            }
            Insn::Jump { offset, .. } => {
                return self.end(pc, End::Jump(self.edge(pc, offset)));
            }
            Insn::JumpIf { width, op, dst, src, offset } => {
                let size = if width == Width::W32 { Size::W } else { Size::Dw };
                let then = self.edge(pc, offset.into());
                let cond = Cond { op, size, lhs: Place::Reg(dst.into()), rhs: src.into() };
                return self.end(pc, End::Branch { cond, then, other: self.next() });
            }
            Insn::MayGoto { offset } => {
                let then = self.edge(pc, offset.into());
                return self.end(pc, End::MayGoto { then, other: self.next() });
            }
            Insn::Exit => return self.end(pc, End::Exit),
        }
        Ok(())
    }

    #[inline(always)]
    fn push(&mut self, pc: Pc, op: Op) {
        self.unit.blocks.push(Inst { op, pc }, &self.unit.callees);
    }

    /// A lookup in the map that `r1` probably has.
    fn lookup(&self, pc: Pc, target: CallTarget) -> Option<Lookup> {
        let Shape::Map(map) = self.shapes[1] else { return None };
        if self.source.facts.is_some() {
            return None;
        }
        let mut lookup = self.link.lookup(pc, target, map.into())?;
        lookup.key = match self.shapes[2] {
            Shape::Frame => Check::Frame,
            Shape::Given => Check::Last,
            _ => Check::Window,
        };
        Some(lookup)
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
            Shape::Other | Shape::Map(_) => Check::Window,
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
