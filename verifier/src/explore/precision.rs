//! Which numbers matter exactly: those that a verdict depended on, and those they were made of.
//!
//! A number that matters is marked in the kept states on the way to where it mattered, by going back
//! over the instructions between them. Marks of the state that is followed count for nothing, so none
//! are made there. Whenever the way back is not understood, all numbers on it are marked.

use super::backtrack::{Lost, RegMask, SlotMask, Wanted};
use super::history::{BEFORE_START, HistoryEntry};
use super::{Past, StateId};
use crate::log::Log;
use crate::options::Precision;
use crate::reject::Reason;
use crate::report::{InsnText, StateText};
use crate::state::{SLOT_BYTES, State, Value};
use crate::subject::Subject;
use ebpfvm_asm::{Pc, Reg};

/// Registers that hold arguments.
const ARGUMENTS: u16 = 0b11_1110;

impl Past {
    /// Writes that the exact value of a number in a register of the frame that runs matters
    /// (`mark_chain_precision`).
    ///
    /// # Errors
    /// [`Reason::internal`] if it is no number.
    pub(crate) fn mark_precise(
        &mut self,
        subject: &Subject<'_>,
        state: &State,
        _pc: Pc,
        reg: Reg,
    ) -> Result<(), Reason> {
        if !tracks(subject) {
            return Ok(());
        }
        if !state.reg(reg).is_number() {
            return Err(Reason::internal("backtracking misuse"));
        }
        let mut wanted = Wanted { frame: state.current(), ..Wanted::default() };
        wanted.regs[state.current()] = 1 << reg.index();
        self.go_back(subject, state, wanted);
        Ok(())
    }

    /// The same of a number that was spilled to a slot of a frame.
    pub(crate) fn mark_slot_precise(
        &mut self,
        subject: &Subject<'_>,
        state: &State,
        frame: usize,
        slot: usize,
    ) {
        if !tracks(subject) {
            return;
        }
        let mut wanted = Wanted { frame: state.current(), ..Wanted::default() };
        wanted.slots[frame] = 1 << slot;
        self.go_back(subject, state, wanted);
    }

    /// Makes what matters in `old`, which covers `state`, matter on the way to `state` too
    /// (`propagate_precision`). Tells whether anything changed.
    pub(crate) fn propagate_precision(
        &mut self,
        subject: &Subject<'_>,
        old: StateId,
        state: &State,
    ) -> bool {
        if !tracks(subject) {
            return false;
        }
        let mut wanted = Wanted { frame: state.current(), ..Wanted::default() };
        let node = self.explored.node(old);
        for (index, frame) in node.state.frames.iter().enumerate().rev() {
            let live = node.live.as_ref().and_then(|live| live.get(index)).copied();
            let live = live.unwrap_or_default();
            let regs = frame.regs.iter().enumerate().take(Reg::R10.index());
            for (number, _) in regs.filter(|(_, value)| value.is_number() && value.precise) {
                wanted.regs[index] |= 1 << number;
            }
            wanted.regs[index] &= live.regs;
            let slots = frame.stack.slots().enumerate();
            for (slot, _) in slots.filter(|(_, s)| s.is_spilled_number() && s.value.precise) {
                wanted.slots[index] |= 1 << slot;
            }
            wanted.slots[index] &= live.slots;
            if self.log.is_full() && wanted.regs[index] | u16::from(wanted.slots[index] != 0) != 0 {
                let (regs, slots) = (wanted.regs[index], wanted.slots[index]);
                let names = (0..16).filter(|bit| regs >> bit & 1 == 1).map(|bit| format!("r{bit}"));
                let spills = (0..64).filter(|bit| slots >> bit & 1 == 1);
                let spills = spills.map(|bit| format!("fp{}", -8 * (bit + 1)));
                let all: Vec<String> = names.chain(spills).collect();
                self.log.write(format_args!("frame {index}: propagating {}\n", all.join(",")));
            }
        }
        self.go_back(subject, state, wanted)
    }

    /// Goes back from the instruction that is followed and marks what made the values that are
    /// wanted in the kept states on the way (`__mark_chain_precision`). Tells whether a mark is new.
    fn go_back(&mut self, subject: &Subject<'_>, start: &State, mut wanted: Wanted) -> bool {
        let mut changed = false;
        if wanted.is_empty() {
            return changed;
        }
        let mut kept: Option<StateId> = None;
        let mut last = start.pc;
        let mut first = start.first_pc;
        let mut next: Option<Pc> = None;
        let mut is_applied = false;
        loop {
            if self.log.is_full() {
                let (frame, next) = (wanted.frame, place(next));
                self.log.write(format_args!(
                    "mark_precise: frame{frame}: last_idx {} first_idx {first} subseq_idx {next} \n",
                    place(Some(last)),
                ));
            }
            if last == BEFORE_START {
                // Arguments of a global function have no way to here; everything else must have.
                let state = kept.map_or(start, |id| &self.explored.node(id).state);
                let is_argument = is_entry_of_global(state, &wanted);
                let all = !is_argument && self.mark_all_precise(start);
                return changed || all;
            }
            let state = kept.map_or(start, |id| &self.explored.node(id).state);
            let mut rest = state.history.as_slice();
            let mut pc = last;
            loop {
                if is_applied {
                    let entry = rest.last().filter(|entry| entry.pc == pc);
                    if self.log.is_full() && subject.program.code.get(pc).is_some() {
                        self.log.write(format_args!(
                            "mark_precise: frame{}: regs={} stack={} before {pc}: {}\n",
                            wanted.frame,
                            RegMask(wanted.regs[wanted.frame]),
                            SlotMask(wanted.slots[wanted.frame]),
                            InsnText { subject, pc },
                        ));
                    }
                    if wanted.back_over(subject, pc, next, entry) == Err(Lost) {
                        return self.mark_all_precise(start);
                    }
                }
                // The instruction that is judged was not applied yet.
                is_applied = true;
                if wanted.is_empty() {
                    return changed;
                }
                next = Some(pc);
                match step_back(pc, first, &mut rest) {
                    Ok(Some(previous)) => pc = previous,
                    Ok(None) => break,
                    Err(Lost) => return self.mark_all_precise(start),
                }
            }
            let Some(parent) = state.parent else { break };
            match self.mark_kept(subject, parent, &mut wanted) {
                Ok(new) => changed |= new,
                Err(Lost) => break,
            }
            if wanted.is_empty() {
                return changed;
            }
            next = Some(first);
            let parent_state = &self.explored.node(parent).state;
            last = parent_state.last_pc;
            first = parent_state.first_pc;
            kept = Some(parent);
        }
        // Something is wanted that nothing made.
        self.mark_all_precise(start) || changed
    }

    /// Marks what is wanted in a kept state; what is no number or marked already is wanted no more.
    ///
    /// # Errors
    /// If a slot is wanted that the state does not have.
    fn mark_kept(
        &mut self,
        subject: &Subject<'_>,
        id: StateId,
        wanted: &mut Wanted,
    ) -> Result<bool, Lost> {
        let mut changed = false;
        for index in (0..=wanted.frame).rev() {
            let (mut regs, mut slots) = (wanted.regs[index], wanted.slots[index]);
            if regs != 0 || slots != 0 {
                let state = &self.explored.node(id).state;
                let frame = state.frames.get(index).ok_or(Lost)?;
                let count = frame.stack.len();
                if count < 64 && slots >> count != 0 {
                    return Err(Lost);
                }
                let is_new = |value: &crate::state::Value| value.is_number() && !value.precise;
                for (number, value) in frame.regs.iter().enumerate() {
                    if !is_new(value) {
                        regs &= !(1 << number);
                    }
                }
                for (number, slot) in frame.stack.slots().enumerate() {
                    if !slot.is_spilled() || !is_new(&slot.value) {
                        slots &= !(1 << number);
                    }
                }
                wanted.regs[index] = regs;
                wanted.slots[index] = slots;
                changed |= regs != 0 || slots != 0;
                self.explored.node_mut(id).state.mark(index, regs, slots);
            }
            if self.log.is_full() {
                let text = StateText::of_frame(subject, &self.explored.node(id).state, index);
                self.log.write(format_args!(
                    "mark_precise: frame{index}: parent state regs={} stack={}: {text}\n",
                    RegMask(regs),
                    SlotMask(slots),
                ));
            }
        }
        Ok(changed)
    }

    /// Takes all numbers on the way to a state to matter (`mark_all_scalars_precise`). Tells
    /// whether a mark is new.
    pub(super) fn mark_all_precise(&mut self, state: &State) -> bool {
        if self.log.is_full() {
            let frame = state.current();
            self.log.write(format_args!(
                "mark_precise: frame{frame}: falling back to forcing all scalars precise\n"
            ));
        }
        let mut changed = false;
        let mut next = state.parent;
        while let Some(id) = next {
            let kept = &mut self.explored.node_mut(id).state;
            if self.log.is_full() {
                log_forced(&mut self.log, kept);
            }
            kept.change(matters_not, |v| {
                v.precise = true;
                changed = true;
            });
            next = kept.parent;
        }
        changed
    }
}

/// A number that does not matter so far.
fn matters_not(value: &Value) -> bool {
    value.is_number() && !value.precise
}

/// Writes which numbers of a state are about to matter.
fn log_forced(log: &mut Log, state: &State) {
    for (number, frame) in state.frames.iter().enumerate() {
        for (reg, _) in frame.regs.iter().enumerate().filter(|(_, v)| matters_not(v)) {
            log.write(format_args!("force_precise: frame{number}: forcing r{reg} to be precise\n"));
        }
        let spills = frame.stack.slots().enumerate();
        for (slot, _) in spills.filter(|(_, s)| s.is_spilled() && matters_not(&s.value)) {
            let at = -(slot as i64 + 1) * i64::from(SLOT_BYTES);
            log.write(format_args!("force_precise: frame{number}: forcing fp{at} to be precise\n"));
        }
    }
}

/// Whether marks are made: not for those whose numbers are all precise, nor when all are compared
/// anyway.
fn tracks(subject: &Subject<'_>) -> bool {
    subject.options.privileges.bpf && subject.options.precision == Precision::Marked
}

/// Whether only arguments of a function that is judged apart are wanted, at its beginning.
fn is_entry_of_global(state: &State, wanted: &Wanted) -> bool {
    let [entry] = state.frames.as_slice() else { return false };
    entry.subprog.0 > 0
        && entry.callsite.is_none()
        && wanted.slots[0] == 0
        && wanted.regs[0] & !ARGUMENTS == 0
}

/// A place as the log writes it: -1 for none.
fn place(pc: Option<Pc>) -> i64 {
    pc.filter(|pc| *pc != BEFORE_START).map_or(-1, |pc| i64::from(pc.0))
}

/// The instruction before `pc` on a path that begins at `first`; none at its beginning
/// (`get_prev_insn_idx`). `rest` is the history up to here.
///
/// A path can come through its first instruction again: only when no history is left, but for the
/// jump to the beginning, is it at its beginning.
///
/// # Errors
/// If the path has no beginning.
fn step_back(pc: Pc, first: Pc, rest: &mut &[HistoryEntry]) -> Result<Option<Pc>, Lost> {
    let last = rest.last().filter(|entry| entry.pc == pc);
    if pc == first && (rest.is_empty() || rest.len() == 1 && last.is_some()) {
        return Ok(None);
    }
    let Some(entry) = last else { return pc.0.checked_sub(1).map(Pc).map(Some).ok_or(Lost) };
    *rest = &rest[..rest.len() - 1];
    if entry.prev == BEFORE_START { Err(Lost) } else { Ok(Some(entry.prev)) }
}
