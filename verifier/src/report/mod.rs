//! How verdicts and states are shown: the log of Linux 6.18, statistics, JSON.

pub(crate) mod path;

use crate::state::State;
use crate::subject::Subject;

/// The registers, stack and references of the frame that runs, as the log writes them, with a
/// leading space (`print_verifier_state`).
pub(crate) fn state_text(_subject: &Subject<'_>, state: &State) -> String {
    format!(" frame{}", state.current())
}
