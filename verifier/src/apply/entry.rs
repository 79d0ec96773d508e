//! What is known where a function that is judged apart begins.

use crate::explore::Past;
use crate::options::load_flags;
use crate::reject::Reason;
use crate::state::{Kind, State, SubprogId, Value};
use crate::subject::Subject;
use ebpfvm_asm::Reg;

/// The state at the entry of a function: the program's, or a global one's by its types
/// (`do_check_common`).
///
/// # Errors
/// If its arguments cannot be judged.
pub(crate) fn entry_state(
    subject: &Subject<'_>,
    past: &mut Past,
    subprog: SubprogId,
) -> Result<State, Reason> {
    let mut state = State::entry(subprog, subject.structure.subprog(subprog).start);
    state.sleepable = subject.has_flag(load_flags::SLEEPABLE);
    if subprog.0 != 0 {
        return Err(Reason::unsupported("global functions"));
    }
    if subject.def.context.is_some() {
        *state.reg_mut(Reg::R1) = Value::pointer(Kind::Ctx);
    } else {
        // How much memory there is, is known only when the program runs.
        *state.reg_mut(Reg::R1) = Value::pointer(Kind::Mem { bytes: 0, dynptr: 0 });
        let precise = !subject.options.privileges.bpf;
        *state.reg_mut(Reg::R2) = Value { precise, ..Value::UNKNOWN };
    }
    let _ = past;
    Ok(state)
}
