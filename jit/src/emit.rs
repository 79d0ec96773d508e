//! From blocks to code: one pass, the same for all targets.
//!
//! Blocks come in their order. Where the next one is the target of a jump, control falls through;
//! of a branch the side that is next does. What is never reached is left out.

use crate::features::Features;
use crate::functions::Extent;
use crate::ir::row::Blocks;
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
    /// What calls of the functions cost and reach.
    pub extents: Vec<Extent>,
    /// Whether it calls what may do more for a run than find memory and look elements up.
    pub calls_helpers: bool,
    /// Offsets in the code, in order, from which on it belongs to an instruction; none if they were not
    /// asked for.
    pub map: Vec<(u32, Pc)>,
}

impl Emitted {
    /// The instruction that the code at an offset belongs to.
    pub fn pc(&self, offset: u32) -> Option<Pc> {
        let after = self.map.partition_point(|(start, _)| *start <= offset);
        Some(self.map[after.checked_sub(1)?].1)
    }
}

/// Writes the code of a program; the plan is that of these blocks.
pub(crate) fn emit<'a, M: Masm<'a>, B: Blocks>(
    plan: &'a Plan<'a>,
    blocks: &'a B,
    features: Features,
    has_map: bool,
) -> Emitted {
    let labels = blocks.len() + 2 * plan.functions.len();
    let operations = blocks.inst_count() + blocks.len();
    let masm = M::new(plan, features, labels, operations);
    Emitter { plan, blocks, masm, marks: Marks::new(has_map, operations) }.run()
}

/// Labels are numbered: the blocks, then the functions, then the machine's entries of these.
struct Emitter<'a, M, B> {
    plan: &'a Plan<'a>,
    blocks: &'a B,
    masm: M,
    marks: Marks,
}

impl<'a, M: Masm<'a>, B: Blocks> Emitter<'a, M, B> {
    fn run(mut self) -> Emitted {
        let plan = self.plan;
        let mut functions = plan.functions.iter().zip(&plan.frames).peekable();
        // The block that is written when the one behind it is known.
        let mut before = None;
        for (number, _) in (0..).zip(&plan.owners).filter(|(_, owner)| **owner != NOBODY) {
            let starts = functions.peek().is_some_and(|(function, _)| function.entry <= number);
            if let Some(before) = before.replace(number) {
                // Control does not fall through into the beginning of a function.
                self.block(before, (!starts).then_some(number));
            }
            while let Some((function, frame)) =
                functions.next_if(|(function, _)| function.entry <= number)
            {
                self.begin(frame, function.start);
            }
        }
        if let Some(last) = before {
            self.block(last, None);
        }
        for (function, frame) in plan.functions.iter().zip(&plan.frames) {
            if self.has_entry(frame) && !self.enters_in_line(frame) {
                self.mark(function.start);
                self.masm.bind(self.entry(frame));
                self.masm.enter(frame, self.function(frame.number));
            }
        }
        let first_entry = plan.block_count() + plan.functions.len();
        let has_entry: Vec<bool> = plan.frames.iter().map(|f| self.has_entry(f)).collect();
        let (code, places) = self.masm.finish(&mut self.marks);
        let entries = has_entry.iter().zip(&places[first_entry..]);
        let functions: Vec<_> = entries.map(|(has, place)| has.then_some(*place)).collect();
        let entry = functions.first().copied().flatten().unwrap_or_default();
        let (calls_helpers, map) = (plan.calls_helpers, self.marks.into_map());
        let extents = plan.functions.iter().map(Extent::from).collect();
        Emitted { code, entry, functions, extents, calls_helpers, map }
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
        self.marks.mark(self.masm.offset(), pc);
    }

    fn function(&self, number: u32) -> Label {
        Label(self.plan.block_count() as u32 + number)
    }

    fn entry(&self, frame: &Frame) -> Label {
        self.function(self.plan.functions.len() as u32 + frame.number)
    }

    /// A block, and the one that is written after it if control may fall through to it.
    fn block(&mut self, number: u32, next: Option<u32>) {
        let plan = self.plan;
        let block = self.blocks.get(number);
        let frame = &plan.frames[plan.owners[number as usize] as usize];
        self.masm.bind(Label(number));
        for guard in block.guards {
            self.mark(block.start);
            self.masm.guard(guard, frame, Label(block.otherwise));
        }
        let mut rest = block.insts;
        while let Some((inst, behind)) = rest.split_first() {
            rest = behind;
            self.mark(inst.pc);
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
            let stops_at = self.blocks.get(edge.to).start;
            self.masm.pay_and_jump(edge.cost, stops_at, to);
        } else if next != Some(edge.to) {
            self.masm.jump(to);
        }
    }

    fn pays(&self, edge: Edge) -> bool {
        self.plan.is_metered && edge.cost != 0
    }
}
