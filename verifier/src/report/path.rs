//! The log of the paths: instructions, states, forks.

use crate::explore::Past;
use crate::reject::Reason;
use crate::state::{State, SubprogId};
use crate::subject::Subject;

/// Writes the instruction that is about to be followed, what changed before it, and its source line.
/// `forked` tells that the path was just taken up.
pub(crate) fn before_insn(_subject: &Subject<'_>, _past: &mut Past, _state: &State, _forked: bool) {
}

/// Writes that the state was seen before.
pub(crate) fn seen_before(_past: &mut Past, _state: &State, _forked: bool) {}

/// Writes that a global function is safe.
pub(crate) fn global_is_safe(_subject: &Subject<'_>, _past: &mut Past, _subprog: SubprogId) {}

/// Writes why the program is rejected.
pub(crate) fn end(past: &mut Past, reason: &Reason) {
    past.log.write(format_args!("{reason}\n"));
}
