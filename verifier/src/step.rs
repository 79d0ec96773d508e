//! Judging one instruction: what its rules may read and change.
//!
//! Rules of [`crate::check`] and [`crate::apply`] are functions of a [`Step`]. They see the subject,
//! change the state of the path, and tell the [`Past`] what it must remember.

use crate::explore::{Past, Pending};
use crate::reject::{ArithmeticReason, LimitReason, Reason};
use crate::state::{Kind, State, Value};
use crate::subject::Subject;
use ebpfvm_asm::{Pc, Reg};

/// Where the path goes on after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// At the next instruction.
    Next,
    /// Somewhere else.
    Goto(Pc),
    /// In the caller of the function that ended.
    Return(Pc),
    /// Nowhere: the program, or a function that is judged apart, ended.
    End,
}

/// One instruction of one path while it is judged.
pub(crate) struct Step<'a, 's> {
    /// The program.
    pub(crate) subject: &'a Subject<'s>,
    /// What the other paths and the way to here left.
    pub(crate) past: &'a mut Past,
    /// What is known here; changes as the rules are applied.
    pub(crate) state: &'a mut State,
    /// The instruction.
    pub(crate) pc: Pc,
}

impl Step<'_, '_> {
    /// The value of a register.
    pub(crate) fn reg(&self, reg: Reg) -> &Value {
        self.state.reg(reg)
    }

    /// The value of a register that the instruction reads (`check_reg_arg`, `SRC_OP`).
    ///
    /// # Errors
    /// If it holds nothing.
    pub(crate) fn read(&mut self, reg: Reg) -> Result<Value, Reason> {
        self.past.touched.reg(reg);
        let value = *self.state.reg(reg);
        if value.kind == Kind::Uninit {
            return Err(ArithmeticReason::Uninitialized { reg: reg.number() }.into());
        }
        Ok(value)
    }

    /// That the instruction may write a register (`check_reg_arg`, `DST_OP`).
    ///
    /// # Errors
    /// If it is the frame pointer.
    pub(crate) fn check_writable(&self, reg: Reg) -> Result<(), Reason> {
        if reg == Reg::R10 { Err(ArithmeticReason::FramePointer.into()) } else { Ok(()) }
    }

    /// Puts a value into a register.
    pub(crate) fn write(&mut self, reg: Reg, value: Value) {
        self.past.touched.reg(reg);
        *self.state.reg_mut(reg) = value;
    }

    /// The value of an unknown number: precise for programs whose precision is not tracked
    /// (`__mark_reg_unknown`).
    pub(crate) fn unknown(&self) -> Value {
        Value { precise: !self.subject.options.privileges.bpf, ..Value::UNKNOWN }
    }

    /// Forgets a number, of this register (`mark_reg_unknown`).
    pub(crate) fn write_unknown(&mut self, reg: Reg) {
        let unknown = self.unknown();
        self.write(reg, unknown);
    }

    /// An id that nothing has.
    pub(crate) fn new_id(&mut self) -> u32 {
        self.past.new_id()
    }

    /// An access to the stack of a frame at `offset`: where registers are saved around fast calls,
    /// only they may be, or the saving stays (`check_fastcall_stack_contract`).
    pub(crate) fn touch_stack(&mut self, frame: usize, offset: i32) {
        let Some(frame) = self.state.frames.get(frame) else { return };
        let subprog = frame.subprog;
        let from = i32::from(self.subject.structure.subprog(subprog).fast_call_stack);
        if offset < from && !self.subject.structure.at(self.pc).in_fast_call {
            self.past.subprogs[subprog.0 as usize].uses_fast_call_stack = true;
        }
    }

    /// Adds a path that goes on at `pc` with a copy of the state, to be followed later
    /// (`push_stack`), and gives the copy to be changed.
    ///
    /// # Errors
    /// If too many wait.
    pub(crate) fn fork(&mut self, pc: Pc, speculative: bool) -> Result<&mut State, Reason> {
        let limit = self.subject.options.limits.pending;
        let mut state = self.state.clone();
        state.last_pc = self.pc;
        state.pc = pc;
        state.speculative |= speculative;
        if let Some(parent) = state.parent {
            self.past.explored.node_mut(parent).branches += 1;
        }
        if !state.speculative {
            self.past.note_way(self.subject, self.pc, pc);
        }
        let log_position = self.past.log.position();
        self.past.pending.push(Pending { state, log_position });
        if self.past.pending.len() > limit {
            return Err(LimitReason::TooManyBranches { pending: self.past.pending.len() }.into());
        }
        match self.past.pending.last_mut() {
            Some(pending) => Ok(&mut pending.state),
            None => Err(Reason::internal("no branch waits after one was added")),
        }
    }

    /// Writes that the exact value of a number in a register of the frame that runs matters
    /// (`mark_chain_precision`).
    ///
    /// # Errors
    /// [`LimitReason::Internal`] if the way to here cannot be followed back.
    pub(crate) fn mark_precise(&mut self, reg: Reg) -> Result<(), Reason> {
        self.past.mark_precise(self.subject, self.state, self.pc, reg)
    }

    /// Whether a value is a pointer that this program must not show as a number (`__is_pointer_value`
    /// with `allow_ptr_leaks`).
    pub(crate) fn is_secret(&self, value: &Value) -> bool {
        !self.subject.options.privileges.may_leak_pointers() && value.is_pointer()
    }
}
