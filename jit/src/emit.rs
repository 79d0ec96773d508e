//! From blocks to code: one pass, the same for all targets.
//!
//! Blocks come in their order. Where the next one is the target of a jump, control falls through;
//! of a branch the side that is next does. What is never reached is left out.

use crate::features::Features;
use crate::ir::{Cond, Edge, End};
use crate::masm::{Label, Marks, Masm, Site};
use crate::plan::{Frame, NOBODY, Plan};
use crate::state::State;
use ebpfvm_asm::Pc;

/// Machine code of a program. It does not depend on where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The code.
    pub code: Vec<u8>,
    /// Where the machine enters the program: an offset in the code.
    pub entry: u32,
    /// Where the machine enters the functions that helpers may call; others have none.
    pub functions: Vec<Option<u32>>,
    /// Whether it calls what may do more for a run than find memory and look elements up.
    pub calls_helpers: bool,
    /// Offsets in the code, in order, from which on it belongs to an instruction.
    pub map: Vec<(u32, Pc)>,
}

impl Emitted {
    /// The instruction that the code at an offset belongs to.
    pub fn pc(&self, offset: u32) -> Option<Pc> {
        let after = self.map.partition_point(|(start, _)| *start <= offset);
        Some(self.map[after.checked_sub(1)?].1)
    }
}

/// Writes the code of a program.
pub(crate) fn emit<'a, M: Masm<'a>>(plan: &'a Plan<'a>, features: Features) -> Emitted {
    let (blocks, functions) = (plan.blocks.len(), plan.functions.len());
    let masm = M::new(plan, features, blocks + 2 * functions);
    let instructions: usize = plan.blocks.iter().map(|block| block.insts.len() + 1).sum();
    Emitter { plan, masm, map: Marks::with_capacity(instructions) }.run()
}

/// Labels are numbered: the blocks, then the functions, then the machine's entries of these.
struct Emitter<'a, M> {
    plan: &'a Plan<'a>,
    masm: M,
    map: Marks,
}

impl<'a, M: Masm<'a>> Emitter<'a, M> {
    fn run(mut self) -> Emitted {
        let plan = self.plan;
        let mut functions = plan.functions.iter().zip(&plan.frames).peekable();
        let mut numbers = (0..plan.blocks.len()).filter(|n| plan.owners[*n] != NOBODY).peekable();
        while let Some(number) = numbers.next() {
            while let Some((function, frame)) =
                functions.next_if(|(function, _)| function.entry <= number as u32)
            {
                self.begin(frame, function.start);
            }
            // Control does not fall through into the beginning of a function.
            let starts = functions.peek().map_or(u32::MAX, |(function, _)| function.entry);
            let next = numbers.peek().map(|next| *next as u32).filter(|next| *next < starts);
            self.block(number, next);
        }
        for (function, frame) in plan.functions.iter().zip(&plan.frames) {
            if self.has_entry(frame) && !self.enters_in_line(frame) {
                self.mark(function.start);
                self.masm.bind(self.entry(frame));
                self.masm.enter(frame, self.function(frame.number));
            }
        }
        let first_entry = plan.blocks.len() + plan.functions.len();
        let has_entry: Vec<bool> = plan.frames.iter().map(|f| self.has_entry(f)).collect();
        let (code, places) = self.masm.finish(&mut self.map);
        let entries = has_entry.iter().zip(&places[first_entry..]);
        let functions: Vec<_> = entries.map(|(has, place)| has.then_some(*place)).collect();
        let entry = functions.first().copied().flatten().unwrap_or_default();
        Emitted { code, entry, functions, calls_helpers: plan.calls_helpers, map: self.map }
    }

    /// Whether the machine can enter a function.
    fn has_entry(&self, frame: &Frame) -> bool {
        frame.number == 0 || self.plan.functions[frame.number as usize].is_callback
    }

    fn enters_in_line(&self, frame: &Frame) -> bool {
        frame.number == 0 && self.plan.enters_in_line
    }

    fn begin(&mut self, frame: &'a Frame, start: Pc) {
        self.mark(start);
        if self.enters_in_line(frame) {
            self.masm.bind(self.entry(frame));
            self.masm.enter(frame, self.function(frame.number));
        }
        self.masm.bind(self.function(frame.number));
        self.masm.prologue(frame);
    }

    fn mark(&mut self, pc: Pc) {
        if self.map.last().is_none_or(|(_, last)| *last != pc) {
            self.map.push((self.masm.offset(), pc));
        }
    }

    fn function(&self, number: u32) -> Label {
        Label(self.plan.blocks.len() as u32 + number)
    }

    fn entry(&self, frame: &Frame) -> Label {
        self.function(self.plan.functions.len() as u32 + frame.number)
    }

    /// A block, and the one that is written after it if control may fall through to it.
    fn block(&mut self, number: usize, next: Option<u32>) {
        let plan = self.plan;
        let block = &plan.blocks[number];
        let frame = &plan.frames[plan.owners[number] as usize];
        self.masm.bind(Label(number as u32));
        for guard in block.guards {
            self.mark(block.start);
            self.masm.guard(guard, frame, Label(block.otherwise));
        }
        for (index, inst) in block.insts.iter().enumerate() {
            self.mark(inst.pc);
            let rest = &block.insts[index + 1..];
            self.masm.op(&inst.op, Site { pc: inst.pc, frame, rest, end: block.end });
        }
        self.mark(block.end_pc);
        match &block.end {
            End::Jump(edge) => self.go(*edge, next),
            End::Branch { cond, then, other } => self.branch(cond, *then, *other, next),
            End::MayGoto { then, other } if !self.pays(*then) => {
                self.masm.count_round(Label(then.to));
                self.go(*other, next);
            }
            End::MayGoto { then, other } => {
                let used_up = self.masm.label();
                self.masm.count_round(used_up);
                self.go(*other, None);
                self.masm.bind(used_up);
                self.go(*then, next);
            }
            End::Exit => self.masm.leave(frame),
            End::FellOff => self.masm.stop(block.end_pc, State::FELL_OFF),
        }
    }

    fn branch(&mut self, cond: &Cond, then: Edge, other: Edge, next: Option<u32>) {
        let (then_pays, other_pays) = (self.pays(then), self.pays(other));
        if !then_pays && (other_pays || next != Some(then.to)) {
            self.masm.branch(cond, true, Label(then.to));
            self.go(other, next);
        } else if !other_pays {
            self.masm.branch(cond, false, Label(other.to));
            self.go(then, next);
        } else {
            let otherwise = self.masm.label();
            self.masm.branch(cond, false, otherwise);
            self.go(then, None);
            self.masm.bind(otherwise);
            self.go(other, next);
        }
    }

    fn go(&mut self, edge: Edge, next: Option<u32>) {
        let to = Label(edge.to);
        if self.pays(edge) {
            let stops_at = self.plan.blocks[edge.to as usize].start;
            self.masm.pay_and_jump(edge.cost, stops_at, to);
        } else if next != Some(edge.to) {
            self.masm.jump(to);
        }
    }

    fn pays(&self, edge: Edge) -> bool {
        self.plan.is_metered && edge.cost != 0
    }
}
