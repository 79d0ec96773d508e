//! What is known where a function that is judged apart begins.

use crate::explore::Past;
use crate::reject::Reason;
use crate::state::{Kind, State, SubprogId, Value};
use crate::subject::Subject;
use ebpfvm_asm::Reg;

/// The state at the entry of a function: the program's, or a global one's by its types.
///
/// # Errors
/// If its arguments cannot be judged.
pub(crate) fn entry_state(
    subject: &Subject<'_>,
    _past: &mut Past,
    subprog: SubprogId,
) -> Result<State, Reason> {
    if subprog.0 != 0 {
        return Err(Reason::unsupported("global functions"));
    }
    let mut state = State::entry(subprog, subject.structure.subprog(subprog).start);
    *state.reg_mut(Reg::R1) = Value::pointer(Kind::Ctx);
    Ok(state)
}
