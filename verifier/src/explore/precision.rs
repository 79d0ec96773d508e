//! Which numbers matter exactly.

use super::{Past, StateId};
use crate::reject::Reason;
use crate::state::State;
use crate::subject::Subject;
use ebpfvm_asm::{Pc, Reg};

impl Past {
    /// Writes that the exact value of a number in a register of the frame that runs matters
    /// (`mark_chain_precision`).
    ///
    /// # Errors
    /// [`Reason::internal`] if the way to here cannot be followed back.
    pub(crate) fn mark_precise(
        &mut self,
        _subject: &Subject<'_>,
        _state: &State,
        _pc: Pc,
        _reg: Reg,
    ) -> Result<(), Reason> {
        // All numbers are compared as if they mattered: see `equal`.
        Ok(())
    }

    /// Makes what matters in `old`, which covers `state`, matter on the way to `state` too
    /// (`propagate_precision`). Tells whether anything changed.
    ///
    /// # Errors
    /// As [`Past::mark_precise`].
    pub(crate) fn propagate_precision(
        &mut self,
        _subject: &Subject<'_>,
        _old: StateId,
        _state: &State,
    ) -> Result<bool, Reason> {
        Ok(false)
    }
}
