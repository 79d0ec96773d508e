//! Calls of global functions, which are judged apart.

use crate::reject::{FlowReason, Reason};
use crate::state::SubprogId;
use crate::step::{Flow, Step};

/// Whether the arguments of a call fit the types of the function (`btf_check_subprog_call`).
pub(super) fn check_arguments(
    _step: &mut Step<'_, '_>,
    _callee: SubprogId,
) -> Result<bool, Reason> {
    Ok(false)
}

/// A call of a global function.
pub(super) fn call(
    _step: &mut Step<'_, '_>,
    _callee: SubprogId,
    _fits: bool,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("global functions"))
}
