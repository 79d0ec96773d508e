//! Functions of the program: calls, callbacks, returns (`check_func_call`, `prepare_func_exit`).

use crate::reject::Reason;
use crate::step::{Flow, Step};

/// A call of a function of the program.
pub(crate) fn call(_step: &mut Step<'_, '_>, _offset: i32) -> Result<Flow, Reason> {
    Err(Reason::unsupported("functions"))
}

/// The end of a function or of the program.
pub(crate) fn exit(step: &mut Step<'_, '_>) -> Result<Flow, Reason> {
    if step.state.current() == 0 { Ok(Flow::End) } else { Err(Reason::unsupported("functions")) }
}
