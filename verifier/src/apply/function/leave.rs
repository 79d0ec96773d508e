//! Back to the caller.

use super::{earlier_round, returns, widen};
use crate::reject::{FlowReason, Reason};
use crate::report::path;
use crate::state::{Kind, Role};
use crate::step::Step;
use ebpfvm_asm::{Pc, Reg};

/// Ends the function that runs, which is not the outermost, and tells where its caller goes on: after
/// the call, or of a callback at the call, where it is decided whether there is another round
/// (`prepare_func_exit`).
///
/// # Errors
/// If the result may not be returned.
pub(crate) fn leave(step: &mut Step<'_, '_>) -> Result<Pc, Reason> {
    let result = *step.reg(Reg::R0);
    if matches!(result.kind, Kind::Stack { .. }) {
        // Those of callers would be valid; Linux refuses them too.
        return Err(FlowReason::ReturnsStack.into());
    }
    let callee = step.state.frame();
    let callsite = callee.callsite.ok_or_else(|| Reason::internal("a frame without a caller"))?;
    let is_callback = matches!(callee.role, Role::Callback(_));
    let caller = step.state.current() - 1;
    if is_callback {
        if !result.is_number() {
            return Err(FlowReason::CallbackReturnsNoNumber.into());
        }
        let range = callee.return_range;
        step.mark_precise(Reg::R0)?;
        returns::check_range(&result, "At callback return", range)?;
    } else {
        step.state.frame_at_mut(caller).regs[Reg::R0.index()] = result;
    }
    let next = if is_callback { callsite } else { Pc(callsite.0 + 1) };
    path::returns(step.subject, step.past, step.state, next);
    step.state.frames.pop();
    if is_callback && let Some(earlier) = earlier_round(step.past, step.state, next) {
        let unknown = step.unknown();
        widen(&earlier, step.state, unknown);
    }
    Ok(next)
}
