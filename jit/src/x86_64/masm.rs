//! x86_64 behind the seam.

use super::basic::Src;
use super::blind::Bits;
use super::call::Elsewhere;
use super::check;
use super::divide::RareDivisor;
use super::encode::Bytes;
use super::labels::Labels;
use super::memory::LoadAs;
use super::regs::Gpr;
use crate::features::Features;
use crate::ir::{Check, Cond, Fill, Guard, Op, Operand, Place};
use crate::masm::{Label, Marks, Masm, Site};
use crate::plan::{Frame, Plan};
use crate::state::State;
use dynasmrt::{AssemblyOffset, DynasmApi};
use ebpfvm_asm::{JmpOp, Pc, Width};

/// Writes code for x86_64.
#[derive(Debug)]
pub(crate) struct X64<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) features: Features,
    pub(super) random: Bits,
    pub(super) code: Bytes,
    pub(super) labels: Labels,
    /// What is rarely run, for the end.
    pub(super) aside: Vec<Aside>,
    /// Where a run stops, by reason.
    pub(super) stops: [Option<Label>; 5],
    /// Where the machine's answers are taken that end a function, by function.
    pub(super) answers: Vec<Option<Label>>,
    /// What the flags tell at this place in the code, and only there.
    pub(super) flags: Option<(Flags, u32)>,
    /// What calls [`Runtime::find`](crate::Runtime::find) and keeps all registers.
    find: Option<Label>,
    /// The same for [`Runtime::commit`](crate::Runtime::commit).
    commit: Option<Label>,
}

/// What the flags are of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flags {
    /// A comparison.
    Comparison(Cond),
    /// The result of an operation.
    Result {
        /// Where it is.
        reg: Gpr,
        width: Width,
        /// Whether carry and overflow are off, as behind a comparison with zero.
        is_logic: bool,
    },
}

impl Flags {
    /// Whether they are those of this comparison.
    pub(super) fn are_of(&self, cond: &Cond) -> bool {
        match *self {
            Flags::Comparison(same) => same == *cond,
            Flags::Result { reg, width, is_logic } => {
                let is_with_zero = cond.rhs == Operand::Imm(0)
                    && matches!(cond.lhs, Place::Reg(lhs) if Gpr::from(lhs) == reg);
                // A result of 32 bits is zero above them, but has another sign there.
                let is_as_wide = cond.size.bits() == width.bits();
                let is_wider = cond.size.bits() > width.bits();
                let does_tell = match cond.op {
                    JmpOp::Eq | JmpOp::Ne => true,
                    JmpOp::Lt | JmpOp::Ge | JmpOp::Le | JmpOp::Gt => is_logic,
                    JmpOp::Slt | JmpOp::Sge | JmpOp::Sle | JmpOp::Sgt => is_logic && is_as_wide,
                    JmpOp::Set => false,
                };
                is_with_zero && (is_as_wide || is_wider) && does_tell
            }
        }
    }
}

/// Code that is rarely run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aside {
    Stop { from: Label, pc: Pc, why: u32 },
    Answer { from: Label, way: Gpr, frame: u32 },
    Rare(RareDivisor),
    Search(check::Search),
    Lookup(Elsewhere),
}

impl X64<'_> {
    pub(super) fn find(&mut self) -> Label {
        let find = self.find.unwrap_or_else(|| self.labels.label());
        self.find = Some(find);
        find
    }

    pub(super) fn commit(&mut self) -> Label {
        let commit = self.commit.unwrap_or_else(|| self.labels.label());
        self.commit = Some(commit);
        commit
    }

    fn write_aside(&mut self, marks: &mut Marks) {
        // Some of it has more of its own.
        let mut next = 0;
        while next < self.aside.len() {
            let offset = self.offset();
            next += 1;
            match self.aside[next - 1] {
                Aside::Stop { from, pc, why } => {
                    marks.mark(offset, pc);
                    self.bind_here(from);
                    self.write_pc(pc);
                    let stop = self.stop_label(why);
                    self.jump_to(stop);
                }
                Aside::Answer { from, way, frame } => self.answer(from, way, frame),
                Aside::Rare(rare) => self.divide_rarely(&rare),
                Aside::Search(search) => {
                    marks.mark(offset, search.pc());
                    self.search(&search);
                }
                Aside::Lookup(lookup) => {
                    marks.mark(offset, lookup.pc);
                    self.look_up_elsewhere(lookup);
                }
            }
        }
    }
}

impl<'a> Masm<'a> for X64<'a> {
    fn new(plan: &'a Plan<'a>, features: Features, labels: usize, operations: usize) -> X64<'a> {
        let mut masm = X64 {
            plan,
            features,
            random: if plan.is_blinded { Bits::new() } else { Bits::default() },
            code: Bytes(Vec::with_capacity(64 + 6 * operations)),
            labels: Labels::default(),
            aside: Vec::new(),
            stops: [None; 5],
            answers: vec![None; plan.frames.len()],
            flags: None,
            find: None,
            commit: None,
        };
        masm.labels.reserve(labels);
        masm
    }

    fn offset(&self) -> u32 {
        self.code.0.len() as u32
    }

    fn label(&mut self) -> Label {
        self.new_label()
    }

    fn bind(&mut self, label: Label) {
        self.bind_here(label);
    }

    fn enter(&mut self, frame: &'a Frame, function: Label) {
        self.enter_from_machine(frame, function);
    }

    fn prologue(&mut self, frame: &'a Frame) {
        self.begin_function(frame);
    }

    fn leave(&mut self, frame: &'a Frame) {
        self.end_function(frame);
    }

    fn op(&mut self, op: &Op, site: Site<'a>) {
        match *op {
            Op::Nop => {}
            Op::Const { dst, value } => self.constant(dst.into(), value),
            Op::Move { width, dst, src } => self.mov(width, dst.into(), src.into()),
            Op::Extend { size, fill, dst, src } => {
                self.extend(size, fill, dst.into(), src.into());
            }
            Op::Swap { size, dst, src } => self.swap(size, dst.into(), src.into()),
            Op::Neg { width, dst, src } => {
                if dst != src {
                    self.mov(width, dst.into(), src.into());
                }
                self.unary(3, width, dst.into());
            }
            Op::Bits { shift, bits, dst, src } => self.bits(shift, bits, dst.into(), src.into()),
            Op::Binary { op, width, dst, lhs, rhs } => {
                self.binary(op, width, dst.into(), lhs.into(), rhs.into(), site);
            }
            Op::BinaryLoad { op, width, dst, lhs, at } => {
                self.binary(op, width, dst.into(), lhs.into(), Src::Mem(at.into()), site);
            }
            Op::Update { op, size, at, rhs } => {
                self.update(op, size, at.into(), rhs.into(), site);
            }
            Op::Lea { width, dst, at } => self.lea(width, dst.into(), at.into()),
            Op::Load { size, fill, swap, check, dst, at } => {
                self.load(LoadAs { size, fill, swap }, check, dst.into(), at, site);
            }
            Op::Store { size, swap, check: Check::None, src, at } => {
                self.store_as(size, swap, at.into(), src);
            }
            Op::Store { size, swap, check, src, at } => {
                self.store_anywhere((size, swap), check, src, at, site);
            }
            Op::Atomic { op, size, check, src, at } => {
                let at = self.checked(check, at, size, true, site);
                self.atomic(op, size, src.into(), at);
            }
            // The processor orders loads and stores as these two ask for.
            Op::LoadAcquire { size, check, dst, at } => {
                let at = self.checked(check, at, size, false, site);
                self.load_as(LoadAs { size, fill: Fill::Zero, swap: false }, dst.into(), at);
            }
            Op::StoreRelease { size, check, src, at } => {
                let at = self.checked(check, at, size, true, site);
                self.store(size, at, src.into());
            }
            Op::Select { cond, dst, then, other } => {
                self.select(&cond, dst.into(), then.into(), other.into());
                // Moves keep the flags.
                let is_same = !cond.uses().has(dst);
                self.flags = is_same.then_some((Flags::Comparison(cond), self.offset()));
            }
            Op::Packet { size, index, offset } => self.packet(size, index, offset, site),
            Op::Call { callee } => self.call(self.plan.callees[callee as usize], site),
            Op::CallLocal { function } => self.call_function(function, site),
        }
    }

    fn jump(&mut self, to: Label) {
        self.jump_to(to);
    }

    fn branch(&mut self, cond: &Cond, holds: bool, to: Label) {
        let condition = self.compare(cond);
        self.jump_if(condition ^ u8::from(!holds), to);
    }

    fn count_round(&mut self, to: Label) {
        self.count_one_round(to);
    }

    fn pay_and_jump(&mut self, cost: u32, stops_at: Pc, to: Label) {
        self.pay(cost);
        self.jump_if(0x9, to);
        let stop = self.stop_at(stops_at, State::OUT_OF_FUEL);
        self.jump_to(stop);
    }

    fn guard(&mut self, guard: &Guard, frame: &'a Frame, otherwise: Label) {
        self.compare_guard(guard, frame, otherwise);
    }

    fn stop(&mut self, pc: Pc, why: u32) {
        self.write_pc(pc);
        let stop = self.stop_label(why);
        self.jump_to(stop);
    }

    fn finish(mut self, marks: &mut Marks) -> (Vec<u8>, Vec<u32>) {
        self.write_aside(marks);
        if let Some(find) = self.find {
            self.bind_here(find);
            self.runtime_thunk(self.plan.runtime.find, true);
        }
        if let Some(commit) = self.commit {
            self.bind_here(commit);
            self.runtime_thunk(self.plan.runtime.commit, false);
        }
        self.write_stops();
        self.labels.finish(&mut self.code.0, marks.offsets());
        (self.code.0, self.labels.into_places())
    }
}

impl Extend<u8> for Bytes {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
    }
}

impl<'b> Extend<&'b u8> for Bytes {
    fn extend<T: IntoIterator<Item = &'b u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
    }
}

/// The fixed sequences are dynasm's.
impl DynasmApi for Bytes {
    fn offset(&self) -> AssemblyOffset {
        AssemblyOffset(self.0.len())
    }

    fn push(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn align(&mut self, alignment: usize, with: u8) {
        while !self.0.len().is_multiple_of(alignment) {
            self.0.push(with);
        }
    }
}
