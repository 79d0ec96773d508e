//! Which results programs and functions that are judged apart may have (`check_return_code`).

use crate::reject::{FlowReason, Reason};
use crate::state::{Role, SubprogId, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;

/// That the outermost function may end with what is in `r0`.
///
/// # Errors
/// If that is nothing, an address, or outside of the allowed values.
pub(super) fn check_result(step: &mut Step<'_, '_>) -> Result<(), Reason> {
    let result = step.read(Reg::R0)?;
    if step.is_secret(&result) {
        return Err(FlowReason::ReturnsPointer.into());
    }
    let frame = step.state.frame();
    let (place, range) = if matches!(frame.role, Role::LaterCallback(_)) {
        ("At async callback return", frame.return_range)
    } else if frame.subprog != SubprogId(0) {
        if !result.is_number() {
            let kind = result.type_name().to_string();
            return Err(FlowReason::GlobalReturnsNoNumber { kind }.into());
        }
        return Ok(());
    } else {
        let range = step.subject.def.return_range(step.subject.attach_type);
        let Some(range) = range else { return Ok(()) };
        ("At program exit", (range.min, range.max))
    };
    if !result.is_number() {
        let kind = result.type_name().to_string();
        return Err(FlowReason::ReturnUnknown { place, kind }.into());
    }
    step.mark_precise(Reg::R0)?;
    check_range(&result, place, range)
}

/// That a number lies in a range (`retval_range_within`).
pub(super) fn check_range(
    result: &Value,
    place: &'static str,
    (min, max): (i64, i64),
) -> Result<(), Reason> {
    let (smin, smax) = (result.scalar.full.smin, result.scalar.full.smax);
    if min <= smin && smax <= max {
        Ok(())
    } else {
        Err(FlowReason::ReturnRange { place, smin, smax, min, max }.into())
    }
}
