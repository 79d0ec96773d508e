//! Whether a state was seen before (`is_state_visited`).

use super::equal::{Exactness, covers};
use super::{Past, StateId};
use crate::reject::{FlowReason, Reason};
use crate::report::state_text;
use crate::state::{Role, State};
use crate::subject::Subject;
use ebpfvm_asm::{CallTarget, Insn};
use ebpfvm_spec::load_flags;

/// Entries of a path's history beyond which a state is kept, so that going back stays short.
const LONG_HISTORY: usize = 40;
/// A state is kept after so many jumps and instructions.
const JUMPS_BETWEEN_STATES: u32 = 2;
const INSNS_BETWEEN_STATES: u32 = 8;
/// Within a loop that is being followed, only after so many.
const JUMPS_BETWEEN_LOOP_STATES: u32 = 20;
const INSNS_BETWEEN_LOOP_STATES: u32 = 100;
/// A state is retired when it missed more than so many times its hits and one.
const MISSES_PER_HIT: u32 = 3;
/// The same for states at checkpoints that are being followed: loops of callbacks converge by them.
const MISSES_PER_HIT_AT_CHECKPOINT: u32 = 64;

/// What comparing with one old state says.
enum Comparison {
    /// The path may end here; in a loop that is still being followed or not.
    Hit { in_loop: bool },
    /// It differs; whether the loop rule keeps the state from being kept.
    Miss { unfinished: bool },
}

impl Past {
    /// Whether all that can follow `state` was, or is being, followed from an old state. If not, the
    /// state may be kept and becomes the parent of the path.
    ///
    /// # Errors
    /// [`FlowReason::InfiniteLoop`] if the path came here before in the same state.
    pub(crate) fn is_visited(
        &mut self,
        subject: &Subject<'_>,
        state: &mut State,
    ) -> Result<bool, Reason> {
        let shape = subject.structure.at(state.pc);
        let forced = subject.has_flag(load_flags::TEST_STATE_FREQ)
            || shape.is_checkpoint
            || state.history.len() > LONG_HISTORY;
        let jumps = self.counts.jumps - self.counts.jumps_at_state;
        let insns = self.counts.processed - self.counts.processed_at_state;
        let mut keep = forced || jumps >= JUMPS_BETWEEN_STATES && insns >= INSNS_BETWEEN_STATES;
        let bucket = self.explored.bucket(state.pc, state.frame().callsite);

        self.clean_finished(subject, bucket, state);
        let mut index = self.explored.in_bucket(bucket).len();
        let count = index as u32;
        // Newest first: loops find their last round at once.
        while let Some(before) = index.checked_sub(1) {
            index = before;
            let old = self.explored.in_bucket(bucket)[index];
            if self.explored.node(old).state.pc != state.pc {
                continue;
            }
            match self.compare(subject, old, state)? {
                Comparison::Hit { in_loop } => {
                    self.explored.node_mut(old).hits += 1;
                    if shape.is_jump_point {
                        state.record_jump();
                    }
                    self.propagate_precision(subject, old, state);
                    if in_loop {
                        self.add_backedge(old, state);
                    }
                    return Ok(true);
                }
                Comparison::Miss { unfinished } => {
                    if unfinished
                        && !forced
                        && jumps < JUMPS_BETWEEN_LOOP_STATES
                        && insns < INSNS_BETWEEN_LOOP_STATES
                    {
                        keep = false;
                    }
                    self.count_miss(bucket, index, keep, shape.is_checkpoint);
                }
            }
        }
        self.counts.max_states_per_insn = self.counts.max_states_per_insn.max(count);
        let limit = subject.options.limits.states_per_insn;
        let too_many = !subject.options.privileges.bpf && count > limit;
        if keep && !too_many {
            self.keep(subject, bucket, state);
        }
        Ok(false)
    }

    /// Compares a state with an old one at the same instruction.
    fn compare(
        &mut self,
        subject: &Subject<'_>,
        old: StateId,
        state: &State,
    ) -> Result<Comparison, Reason> {
        let (last_id, masks) = (self.last_id(), self.follows_all_masks);
        let node = self.explored.node(old);
        let live = node.live.as_deref();
        let mut covers = |exactness| {
            self.ids.reset(last_id);
            covers(subject, &mut self.ids, &node.state, live, state, exactness, masks)
        };
        if node.branches == 0 {
            let in_loop = self.loops.is_unfinished(node.visit);
            let exactness = if in_loop { Exactness::InRange } else { Exactness::Covered };
            return Ok(if covers(exactness) {
                Comparison::Hit { in_loop }
            } else {
                Comparison::Miss { unfinished: false }
            });
        }
        let miss = Ok(Comparison::Miss { unfinished: true });
        let (old_frame, frame) = (node.state.frame(), state.frame());
        if matches!(old_frame.role, Role::LaterCallback(_))
            && old_frame.async_entries != frame.async_entries
        {
            // Another entry into the same callback: the same state is no loop.
            return miss;
        }
        match subject.insn(state.pc)? {
            Insn::MayGoto { .. }
                if node.state.may_goto_depth != state.may_goto_depth
                    && covers(Exactness::InRange) =>
            {
                return Ok(Comparison::Hit { in_loop: true });
            }
            Insn::Call { target: CallTarget::Helper(_) }
                if subject.structure.at(state.pc).calls_callback =>
            {
                return if covers(Exactness::InRange) {
                    Ok(Comparison::Hit { in_loop: true })
                } else {
                    miss
                };
            }
            _ => {}
        }
        if node.state.looks_like(state)
            && node.state.may_goto_depth == state.may_goto_depth
            && node.state.callback_unroll_depth == state.callback_unroll_depth
            && covers(Exactness::Equal)
        {
            return Err(FlowReason::InfiniteLoop {
                pc: state.pc.0,
                current: state_text(subject, state),
                old: state_text(subject, &node.state),
            }
            .into());
        }
        miss
    }

    /// Counts a miss of the old state at a place of a bucket, and retires it when it is of little use.
    fn count_miss(&mut self, bucket: usize, index: usize, keep: bool, is_checkpoint: bool) {
        let id = self.explored.in_bucket(bucket)[index];
        let node = self.explored.node_mut(id);
        // Rounds of a loop that keep no state do not count: the states of its start stay.
        if keep {
            node.misses += 1;
        }
        let factor = if is_checkpoint && node.branches > 0 {
            MISSES_PER_HIT_AT_CHECKPOINT
        } else {
            MISSES_PER_HIT
        };
        if node.misses > node.hits * factor + factor {
            self.explored.retire(bucket, index);
            self.release(id);
        }
    }

    /// Lets go of a retired state when no unfinished path or back edge leads through it
    /// (`maybe_free_verifier_state`).
    fn release(&mut self, id: StateId) {
        let node = self.explored.node(id);
        if !node.retired || node.branches > 0 {
            return;
        }
        match node.visit {
            Some(visit) if self.loops.is_unfinished(Some(visit)) => self.loops.linger(visit, id),
            _ => {
                self.explored.free(id);
                self.counts.states -= 1;
            }
        }
    }

    /// Keeps the state.
    fn keep(&mut self, subject: &Subject<'_>, bucket: usize, state: &mut State) {
        self.counts.total_states += 1;
        self.counts.states += 1;
        self.note_peak();
        self.counts.jumps_at_state = self.counts.jumps;
        self.counts.processed_at_state = self.counts.processed;
        if subject.options.privileges.bpf {
            state.forget_precision();
        }
        // The history belongs to the way to the state, not from it.
        let mut history = std::mem::take(&mut state.history);
        let mut kept = state.clone();
        // A copy of exact size; the path goes on with the room that it has.
        kept.history = history.as_slice().to_vec();
        history.clear();
        state.history = history;
        let id = self.explored.add(bucket, kept);
        let visit = self.loops.enter(subject, state, id, &mut self.log);
        self.explored.node_mut(id).visit = visit;
        state.parent = Some(id);
        state.first_pc = state.pc;
        state.depth += 1;
    }

    pub(super) fn note_peak(&mut self) {
        self.counts.peak_states = self.counts.peak_states.max(self.counts.states);
    }

    /// A path ended: counts down the unfinished paths of the states that it came through
    /// (`update_branch_counts`).
    pub(crate) fn end_path(&mut self, subject: &Subject<'_>, state: &State) {
        let mut next = state.parent;
        while let Some(id) = next {
            let node = self.explored.node_mut(id);
            node.branches -= 1;
            if node.branches > 0 {
                break;
            }
            next = node.state.parent;
            self.leave_loop(subject, id);
            self.release(id);
        }
    }
}
