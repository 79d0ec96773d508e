//! What must not be held where a program may end.

use crate::reject::{FlowReason, Reason};
use crate::state::ReferenceKind;
use crate::step::Step;
use std::fmt::Write;

/// That nothing is held that nobody could give back after `place` (`check_resource_leak`): references
/// unless a caller could release them, and locks and regions if `exiting`.
///
/// # Errors
/// [`FlowReason::ReferenceLeak`], [`FlowReason::LockHeld`], [`FlowReason::RcuLocked`] or
/// [`FlowReason::PreemptionDisabled`].
pub(crate) fn check_leaks(
    step: &Step<'_, '_>,
    place: &'static str,
    exiting: bool,
) -> Result<(), Reason> {
    let state = &*step.state;
    let is_lock = |kind| matches!(kind, ReferenceKind::Lock { .. });
    if exiting && state.references.iter().any(|r| is_lock(r.kind)) {
        return Err(FlowReason::LockHeld { place }.into());
    }
    if state.current() == 0 && state.references.iter().any(|r| !is_lock(r.kind)) {
        let mut unreleased = String::new();
        for r in state.references.iter().filter(|r| !is_lock(r.kind)) {
            // Writing to a string cannot fail.
            let _ = writeln!(unreleased, "Unreleased reference id={} alloc_insn={}", r.id, r.pc);
        }
        return Err(FlowReason::ReferenceLeak { unreleased, place }.into());
    }
    if exiting && state.rcu_locked {
        return Err(FlowReason::RcuLocked { place }.into());
    }
    if exiting && state.preempt_locks > 0 {
        return Err(FlowReason::PreemptionDisabled { place }.into());
    }
    Ok(())
}
