//! Which stack slots are read later.

use crate::reject::Reason;
use crate::state::State;
use crate::subject::Subject;
use ebpfvm_asm::Pc;

/// What instructions read and write of the stacks (`liveness.c`).
#[derive(Debug, Default)]
pub(crate) struct StackLiveness {}

impl StackLiveness {
    /// Nothing known of any instruction.
    pub(crate) fn new(_subject: &Subject<'_>) -> StackLiveness {
        StackLiveness {}
    }

    /// The instruction at `pc` may read these slots of a frame's stack, a bit each
    /// (`bpf_mark_stack_read`).
    pub(crate) fn read(&mut self, _state: &State, _pc: Pc, _frame: usize, _slots: u64) {}

    /// The instruction at `pc` overwrites these slots of a frame's stack whole
    /// (`bpf_mark_stack_write`).
    pub(crate) fn write(&mut self, _state: &State, _pc: Pc, _frame: usize, _slots: u64) {}

    /// An instruction is about to be followed (`bpf_reset_stack_write_marks`).
    pub(crate) fn begin(&mut self, _state: &State) {}

    /// An instruction was followed (`bpf_commit_stack_write_marks`).
    pub(crate) fn commit(&mut self, _subject: &Subject<'_>) {}

    /// A path ended: brings up to date which slots are live (`bpf_update_live_stack`).
    ///
    /// # Errors
    /// [`Reason::internal`] if what was noted contradicts the shape of the code.
    pub(crate) fn settle(&mut self, _subject: &Subject<'_>) -> Result<(), Reason> {
        Ok(())
    }
}
