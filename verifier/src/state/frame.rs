//! One function that runs: registers and stack.

use super::stack::Stack;
use super::value::{SubprogId, Value};
use ebpfvm_asm::{Pc, Reg};
use ebpfvm_spec::helper::Callback;

/// Whether the function of a frame runs as a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It was called, or is the program's entry.
    Called,
    /// A helper calls it while it runs (`in_callback_fn`).
    Callback(Callback),
    /// It is called after the helper has returned (`in_async_callback_fn`).
    LaterCallback(Callback),
}

/// One function that runs (`struct bpf_func_state`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The registers.
    pub(crate) regs: [Value; Reg::COUNT],
    /// The stack.
    pub(crate) stack: Stack,
    /// The call instruction in the frame below; none for the entry.
    pub(crate) callsite: Option<Pc>,
    /// The function.
    pub(crate) subprog: SubprogId,
    /// Number of the frame: that of [`Kind::Stack`] pointers to its stack.
    pub(crate) number: u8,
    /// How it came to run.
    pub(crate) role: Role,
    /// How often its function was entered as a later callback (`async_entry_cnt`).
    pub(crate) async_entries: u32,
    /// How many times the callback that this frame calls was followed (`callback_depth`).
    pub(crate) callback_depth: u32,
    /// The smallest and greatest value that it may return, of callbacks (`callback_ret_range`).
    pub(crate) return_range: (i64, i64),
}

impl Frame {
    /// A frame in which only `r10` is set.
    pub(crate) fn new(number: u8, subprog: SubprogId, callsite: Option<Pc>) -> Frame {
        let mut regs = [Value::UNINIT; Reg::COUNT];
        regs[Reg::R10.index()] = Value::stack(number, 0);
        Frame {
            regs,
            stack: Stack::default(),
            callsite,
            subprog,
            number,
            role: Role::Called,
            async_entries: 0,
            callback_depth: 0,
            return_range: (0, 0),
        }
    }

    /// Whether a register or a spill satisfies the condition.
    pub(crate) fn holds(&self, condition: impl Fn(&Value) -> bool) -> bool {
        self.regs.iter().any(&condition)
            || self.stack.slots().any(|s| s.is_spilled() && condition(&s.value))
    }

    /// Changes all values, registers and spills, that satisfy the condition.
    pub(crate) fn change(
        &mut self,
        which: impl Fn(&Value) -> bool,
        mut how: impl FnMut(&mut Value),
    ) {
        for value in self.regs.iter_mut().filter(|v| which(v)) {
            how(value);
        }
        self.stack.change(|s| s.is_spilled() && which(&s.value), |slot| how(&mut slot.value));
    }
}
