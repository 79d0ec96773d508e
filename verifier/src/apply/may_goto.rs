//! Jumps that are taken at last after a bounded number of rounds.

use super::function::{earlier_round, widen};
use crate::reject::Reason;
use crate::step::{Flow, Step};
use ebpfvm_asm::Pc;

/// Takes the jump, and adds the path that does not as another round, in which numbers that changed
/// since the last one are forgotten (`check_cond_jmp_op`, `BPF_JCOND`).
///
/// # Errors
/// If too many branches wait.
pub(crate) fn may_goto(step: &mut Step<'_, '_>, offset: i16) -> Result<Flow, Reason> {
    let target = step.pc.jump(offset.into());
    let target = target.ok_or_else(|| Reason::internal("a jump leaves the program"))?;
    // The state at this instruction was just kept: the last round is one before it.
    let parent = step.state.parent.map(|id| &step.past.explored.node(id).state);
    let earlier = parent.and_then(|parent| earlier_round(step.past, parent, step.pc));
    let unknown = step.unknown();
    let round = step.fork(Pc(step.pc.0 + 1), false)?;
    round.may_goto_depth += 1;
    if let Some(earlier) = earlier {
        widen(&earlier, round, unknown);
    }
    Ok(Flow::Goto(target))
}
