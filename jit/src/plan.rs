//! What the functions of a program need, found out before code is written.

use crate::ir::row::Blocks;
use crate::ir::{End, Function, Reg, RegSet, Unit};
use crate::link::{Callee, Runtime};
use crate::needs::Needs;

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
        let Unit { functions, blocks, callees, is_checked, .. } = unit;
        let owners = owners(functions, blocks);
        let mut needs = vec![Needs::default(); functions.len()];
        for (block, owner) in owners.iter().enumerate().filter(|(_, owner)| **owner != NOBODY) {
            needs[*owner as usize] |= blocks.needs(block as u32, callees);
        }
        let all = needs.iter().fold(Needs::default(), |all, needs| all | *needs);
        let enters_in_line = !unit.crosses
            && !all.has(Needs::CALLS_FIRST)
            && functions.first().is_some_and(|entry| !entry.is_callback);
        let mut frames: Vec<Frame> = (0..).zip(functions).zip(&needs).map(frame).collect();
        let mut kept = RegSet(all.writes().0 & RegSet::KEPT.0);
        // Without the verifier's word a register may be read that was never written.
        let seen = if *is_checked { RegSet::KEPT.with(Reg::FP) } else { RegSet::of(Reg::FP) };
        kept |= RegSet(all.uses().0 & seen.0);
        if functions.iter().any(|function| function.stack_bytes != 0) {
            kept |= RegSet::of(Reg::FP);
        }
        if unit.crosses {
            let counts_rounds = all.has(Needs::ROUNDS);
            for frame in &mut frames {
                (frame.kept, frame.counts_rounds, frame.calls) =
                    (RegSet::KEPT, counts_rounds, true);
            }
            kept |= RegSet::KEPT;
        }
        if enters_in_line {
            // The machine's entry keeps all.
            frames[0].kept = RegSet::NONE;
        }
        let stops = all.has(Needs::STOPS)
            || all.has(Needs::CALLS_FUNCTION) && (is_metered || *is_checked)
            || all.has(Needs::COSTS) && is_metered;
        let tracks_frames = *is_checked || callees.iter().any(Callee::is_helper);
        Plan {
            functions,
            callees,
            is_checked: *is_checked,
            runtime,
            frames,
            owners,
            kept,
            is_metered,
            is_blinded,
            rounds: ROUNDS,
            stops,
            calls_helpers: all.has(Needs::HELPERS),
            needs_state: is_metered || stops || tracks_frames || all.has(Needs::STATE),
            tracks_frames,
            enters_in_line,
        }
    }

    /// How many blocks there are.
    pub(crate) fn block_count(&self) -> usize {
        self.owners.len()
    }

    /// Whether the register has a value of the program's anywhere.
    pub(crate) fn keeps(&self, reg: Reg) -> bool {
        self.kept.has(reg)
    }
}

/// What a function asks for by itself.
fn frame(((number, function), needs): ((u32, &Function), &Needs)) -> Frame {
    Frame {
        number,
        kept: RegSet(needs.writes().0 & RegSet::KEPT.0),
        counts_rounds: needs.has(Needs::ROUNDS),
        calls: needs.has(Needs::CALLS | Needs::CALLS_FUNCTION),
        stack_bytes: function.stack_bytes,
    }
}

/// The function that each block belongs to: the first that reaches it.
fn owners<B: Blocks>(functions: &[Function], blocks: &B) -> Vec<u32> {
    let mut owners = vec![NOBODY; blocks.len()];
    let mut open = Vec::new();
    for (number, function) in (0..).zip(functions) {
        open.push(function.entry);
        while let Some(mut block) = open.pop() {
            // What a block goes on with is mostly the next one: the others are put off.
            while owners[block as usize] == NOBODY {
                owners[block as usize] = number;
                open.extend(blocks.otherwise(block));
                match *blocks.end(block) {
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
