//! Legacy packet loads (`check_ld_abs`): calls that may end the function with 0.

use super::function;
use crate::check::fixed_offset;
use crate::reject::{FlowReason, Reason};
use crate::state::{Kind, Role, Value};
use crate::step::{Flow, Step};
use ebpfvm_asm::{Pc, Reg, Size};

/// The register that must hold the context.
const CONTEXT: Reg = Reg::R6;
/// What messages call both forms.
const NAME: &str = "BPF_LD_[ABS|IND]";

/// `r0 = packet[offset]`
pub(crate) fn load_abs(step: &mut Step<'_, '_>, _size: Size) -> Result<Flow, Reason> {
    load(step, None)
}

/// `r0 = packet[index + offset]`
pub(crate) fn load_ind(step: &mut Step<'_, '_>, _size: Size, index: Reg) -> Result<Flow, Reason> {
    load(step, Some(index))
}

fn load(step: &mut Step<'_, '_>, index: Option<Reg>) -> Result<Flow, Reason> {
    if !step.subject.def.legacy_loads {
        return Err(FlowReason::LegacyLoadType.into());
    }
    let context = step.read(CONTEXT)?;
    function::check_leaks(step, NAME, true)?;
    if context.kind != Kind::Ctx {
        return Err(FlowReason::LegacyLoadContext.into());
    }
    if let Some(index) = index {
        step.read(index)?;
    }
    fixed_offset(&context, CONTEXT, false)?;
    if step.state.frames.iter().any(|frame| matches!(frame.role, Role::Callback(_))) {
        return Err(FlowReason::LegacyLoadInCallback.into());
    }
    function::clear_caller_saved(step);
    step.write_unknown(Reg::R0);
    if step.state.current() == 0 {
        return Ok(Flow::Next);
    }
    // Beyond the packet the load ends the function with 0: that is followed first.
    step.fork(Pc(step.pc.0 + 1), false)?;
    step.write(Reg::R0, Value::constant(0));
    function::leave(step).map(Flow::Goto)
}
