//! When a state is covered by another.

use crate::state::State;
use crate::subject::Subject;

/// How much alike states must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// What does not matter may differ (`NOT_EXACT`).
    Covered,
    /// Also numbers that do not matter lie in the ranges of the old state (`RANGE_WITHIN`).
    InRange,
    /// Equal (`EXACT`).
    Equal,
}

/// Whether all that can follow `state` was followed from `old` (`states_equal`).
pub(crate) fn covers(
    _subject: &Subject<'_>,
    old: &State,
    state: &State,
    _exactness: Exactness,
) -> bool {
    old.frames == state.frames
        && old.references == state.references
        && old.active_lock == state.active_lock
        && old.preempt_locks == state.preempt_locks
        && old.rcu_locked == state.rcu_locked
        && old.sleepable == state.sleepable
        && (!old.speculative || state.speculative)
}
