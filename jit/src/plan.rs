//! What the functions of a program need, found out before code is written.

use crate::ir::row::{Blocks, Listed};
use crate::ir::{Check, End, Function, Op, Reg, RegSet, Unit};
use crate::link::{Callee, Runtime};

/// How often a `may_goto` falls through in one frame (`BPF_MAX_LOOPS`, Linux 6.18).
const ROUNDS: u32 = 8 * 1024 * 1024;

/// A function, as far as its prologue and epilogue depend on it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Its number.
    pub(crate) number: u32,
    /// What it keeps for its caller.
    pub(crate) kept: RegSet,
    /// Whether rounds are counted in it (`may_goto`).
    pub(crate) counts_rounds: bool,
    /// Whether it calls anything.
    pub(crate) calls: bool,
    /// Bytes of its stack frame.
    pub(crate) stack_bytes: u32,
}

/// A program, as far as its code depends on all of it.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) functions: &'a [Function],
    pub(crate) blocks: Vec<Listed<'a>>,
    pub(crate) callees: &'a [Callee],
    /// Whether accesses are checked ([`Unit::is_checked`]).
    pub(crate) is_checked: bool,
    pub(crate) runtime: &'a Runtime,
    pub(crate) frames: Vec<Frame>,
    /// The function that a block belongs to; [`NOBODY`] if control does not come there.
    pub(crate) owners: Vec<u32>,
    /// Which of `r6` to `r10` have a value of the program's.
    pub(crate) kept: RegSet,
    /// Whether fuel is counted.
    pub(crate) is_metered: bool,
    /// Whether constants of the program are not to be seen in the code.
    pub(crate) is_blinded: bool,
    /// How often a `may_goto` falls through in one frame.
    pub(crate) rounds: u32,
    /// Whether the run may stop other than by returning.
    pub(crate) stops: bool,
    /// Whether helpers are called that may do anything.
    pub(crate) calls_helpers: bool,
    /// Whether the code needs the state of the run after its entry.
    pub(crate) needs_state: bool,
    /// Whether [`State::depth`](crate::State::depth) is kept up to date.
    pub(crate) tracks_frames: bool,
    /// Whether the machine's entry goes on in the first function without a call.
    pub(crate) enters_in_line: bool,
}

/// Owns the blocks that control does not come to.
pub(crate) const NOBODY: u32 = u32::MAX;

impl<'a> Plan<'a> {
    pub(crate) fn new<B: Blocks>(
        unit: &'a Unit<B>,
        runtime: &'a Runtime,
        is_metered: bool,
        is_blinded: bool,
    ) -> Plan<'a> {
        let calls_helpers = unit.callees.iter().any(Callee::is_helper);
        let frame = |(number, function): (usize, &Function)| Frame {
            number: number as u32,
            kept: RegSet::NONE,
            counts_rounds: false,
            calls: false,
            stack_bytes: function.stack_bytes,
        };
        let has_frames = unit.functions.iter().any(|function| function.stack_bytes != 0);
        let blocks: Vec<Listed<'a>> = unit.blocks.list().collect();
        let owners = owners(&unit.functions, &blocks);
        let mut plan = Plan {
            functions: &unit.functions,
            blocks: Vec::new(),
            callees: &unit.callees,
            is_checked: unit.is_checked,
            runtime,
            frames: unit.functions.iter().enumerate().map(frame).collect(),
            owners: Vec::new(),
            kept: if has_frames { RegSet::of(Reg::FP) } else { RegSet::NONE },
            is_metered,
            is_blinded,
            rounds: ROUNDS,
            stops: false,
            calls_helpers: false,
            needs_state: is_metered,
            tracks_frames: unit.is_checked || calls_helpers,
            enters_in_line: !unit.crosses
                && unit.functions.first().is_some_and(|entry| !entry.is_callback),
        };
        for (block, owner) in blocks.iter().zip(&owners).filter(|(_, owner)| **owner != NOBODY) {
            let frame = *owner as usize;
            block.insts.iter().for_each(|inst| plan.see(&inst.op, frame));
            plan.frames[frame].calls |= !block.guards.is_empty();
            match &block.end {
                End::MayGoto { .. } => plan.frames[frame].counts_rounds = true,
                End::FellOff => plan.stops = true,
                End::Branch { cond, .. } => {
                    plan.kept |= RegSet(cond.uses().0 & plan.seen().0);
                }
                _ => {}
            }
            plan.stops |= is_metered && block.end.edges().any(|edge| edge.cost != 0);
        }
        plan.needs_state |= plan.stops || plan.tracks_frames;
        plan.settle(unit.crosses);
        Plan { blocks, owners, ..plan }
    }

    /// The registers that matter if they are read. Without the verifier's word one may be read that was
    /// never written.
    fn seen(&self) -> RegSet {
        match self.is_checked {
            true => RegSet::KEPT.with(Reg::FP),
            false => RegSet::of(Reg::FP),
        }
    }

    fn see(&mut self, op: &Op, frame: usize) {
        let writes = RegSet(op.writes().0 & RegSet::KEPT.0);
        self.frames[frame].kept |= writes;
        self.kept |= writes;
        let seen = self.seen();
        if seen.without(self.kept) != RegSet::NONE && !matches!(op, Op::CallLocal { .. }) {
            self.kept |= RegSet(op.uses(self.callees).0 & seen.0);
        }
        match *op {
            Op::Packet { .. } => self.calls(frame, true),
            Op::Call { callee } => {
                let callee = &self.callees[callee as usize];
                self.calls_helpers |= callee.changes_regions();
                match callee {
                    Callee::Array(array) => self.needs_state |= array.lane_bytes != 0,
                    Callee::Cpu => self.needs_state = true,
                    Callee::Lookup(_) => self.calls(frame, true),
                    callee => self.calls(frame, callee.is_helper()),
                }
            }
            Op::CallLocal { function } => {
                self.enters_in_line &= function != 0;
                self.calls(frame, self.is_metered || self.is_checked);
            }
            Op::Load { check, .. }
            | Op::Store { check, .. }
            | Op::Atomic { check, .. }
            | Op::LoadAcquire { check, .. }
            | Op::StoreRelease { check, .. }
                if check != Check::None =>
            {
                self.calls(frame, true);
            }
            _ => {}
        }
    }

    fn calls(&mut self, frame: usize, stops: bool) {
        self.frames[frame].calls = true;
        self.stops |= stops;
    }

    /// What depends on all functions at once.
    fn settle(&mut self, crosses: bool) {
        if crosses {
            let counts_rounds = self.frames.iter().any(|frame| frame.counts_rounds);
            for frame in &mut self.frames {
                (frame.kept, frame.counts_rounds, frame.calls) =
                    (RegSet::KEPT, counts_rounds, true);
            }
            self.kept |= RegSet::KEPT;
        }
        if self.enters_in_line {
            // The machine's entry keeps all.
            self.frames[0].kept = RegSet::NONE;
        }
    }

    /// Whether the register has a value of the program's anywhere.
    pub(crate) fn keeps(&self, reg: Reg) -> bool {
        self.kept.has(reg)
    }
}

/// The function that each block belongs to: the first that reaches it.
fn owners(functions: &[Function], blocks: &[Listed<'_>]) -> Vec<u32> {
    let mut owners = vec![NOBODY; blocks.len()];
    let mut open = Vec::new();
    for (number, function) in functions.iter().enumerate() {
        open.push(function.entry);
        while let Some(mut block) = open.pop() {
            // What a block goes on with is mostly the next one: the others are put off.
            while owners[block as usize] == NOBODY {
                owners[block as usize] = number as u32;
                let Listed { end, guards, otherwise, .. } = blocks[block as usize];
                if !guards.is_empty() {
                    open.push(otherwise);
                }
                match *end {
                    End::Jump(edge) => block = edge.to,
                    End::Branch { then, other, .. } | End::MayGoto { then, other } => {
                        open.push(then.to);
                        block = other.to;
                    }
                    End::Exit | End::FellOff => break,
                }
            }
        }
    }
    owners
}
