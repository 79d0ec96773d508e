//! The way that led to a rejection: the branches taken last, in order.

use crate::explore::Past;
use crate::state::State;
use crate::subject::Subject;
use ebpfvm_asm::{CallTarget, Insn, Pc};

/// How many steps of the way are told.
const MOST_STEPS: usize = 8;
/// How many kept states are looked through for them.
const MOST_STATES: usize = 32;

/// A step of the way that a path took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayStep {
    /// The instruction.
    pub pc: Pc,
    /// Where it led.
    pub turn: Turn,
}

/// Where an instruction led the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A conditional jump was taken.
    Taken,
    /// A conditional jump was not taken.
    NotTaken,
    /// A function was entered.
    Entered,
    /// A function was left.
    Left,
}

/// The last steps of the way to where a path stands, the oldest first.
pub(crate) fn way(subject: &Subject<'_>, past: &Past, state: &State) -> Vec<WayStep> {
    let mut steps = Vec::new();
    // Between two remembered instructions the path went straight on.
    let (mut begin, jumps) = remembered(past, state);
    for (prev, pc) in jumps {
        straight(subject, begin, prev, &mut steps);
        steps.extend(turn(subject, prev, pc));
        begin = pc;
    }
    straight(subject, begin, state.pc, &mut steps);
    steps.drain(..steps.len().saturating_sub(MOST_STEPS));
    steps
}

/// Where the look back ends, and the remembered instructions since then with the ones before them,
/// the oldest first.
fn remembered(past: &Past, state: &State) -> (Pc, Vec<(Pc, Pc)>) {
    let mut entries: Vec<(Pc, Pc)> = Vec::new();
    let (mut begin, mut next) = (state.first_pc, Some(state));
    for _ in 0..MOST_STATES {
        let Some(state) = next else { break };
        entries.extend(state.history.iter().rev().map(|entry| (entry.prev, entry.pc)));
        begin = state.first_pc;
        next = state.parent.map(|parent| &past.explored.node(parent).state);
    }
    entries.reverse();
    (begin, entries)
}

/// The jumps that were not taken from `begin` on to before `end`.
fn straight(subject: &Subject<'_>, begin: Pc, end: Pc, steps: &mut Vec<WayStep>) {
    let mut pc = begin;
    while pc < end {
        let Some(insn) = subject.program.code.get(pc) else { return };
        if is_branch(insn) {
            steps.push(WayStep { pc, turn: Turn::NotTaken });
        }
        pc.0 += insn.slots() as u32;
    }
}

fn turn(subject: &Subject<'_>, prev: Pc, pc: Pc) -> Option<WayStep> {
    let insn = subject.program.code.get(prev)?;
    let turn = match insn {
        Insn::Call { target: CallTarget::Local { .. } } => Turn::Entered,
        Insn::Exit => Turn::Left,
        insn if is_branch(insn) && pc.0 == prev.0 + 1 => Turn::NotTaken,
        insn if is_branch(insn) => Turn::Taken,
        _ => return None,
    };
    Some(WayStep { pc: prev, turn })
}

const fn is_branch(insn: &Insn) -> bool {
    matches!(insn, Insn::JumpIf { .. } | Insn::MayGoto { .. })
}
