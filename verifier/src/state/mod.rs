//! What is known at one point of one path: values of registers and stacks, references, locks.
//!
//! A [`State`] is a value: copies share frames and stacks until one of them changes. Nothing here
//! judges or computes; [`crate::apply`] changes states, [`crate::explore`] keeps and compares them.

mod frame;
mod stack;
mod value;

pub(crate) use frame::{Frame, Role};
pub(crate) use stack::{Byte, MAX_STACK_BYTES, SLOT_BYTES, Slot, Stack};
pub(crate) use value::{
    AT_PACKET_END, BEYOND_PACKET_END, DynptrKind, Flags, Kind, Link, MapId, MapRef, SubprogId,
    Value,
};

use crate::explore::{BEFORE_START, HistoryEntry, Linked, StackAccess, StateId};
use ebpfvm_asm::{Pc, Reg};
use smallvec::{SmallVec, smallvec};
use std::rc::Rc;

/// How many functions may run at once (`MAX_CALL_FRAMES`).
pub(crate) const MAX_FRAMES: usize = 8;

/// What a program acquired and must give back (`struct bpf_reference_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// What it is.
    pub(crate) kind: ReferenceKind,
    /// Its number, which the registers that hold it share.
    pub(crate) id: u32,
    /// The instruction that acquired it.
    pub(crate) pc: Pc,
}

/// What was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReferenceKind {
    /// An object: socket, ring-buffer record.
    Object,
    /// A spin lock, in the value that `owner` names.
    Lock {
        /// The map or object that has the lock: two locks are the same when their owners and ids are.
        owner: LockOwner,
    },
}

/// Where a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockOwner {
    /// In a value of this map.
    Map(MapId),
}

/// What is known at one point of one path (`struct bpf_verifier_state`).
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The functions that run, the entry first. Never empty.
    pub(crate) frames: SmallVec<[Rc<Frame>; 2]>,
    /// What was acquired and not yet given back, oldest first. Locks are among them.
    pub(crate) references: Vec<Reference>,
    /// The id of the lock that is held, 0 for none (`active_lock_id`), and its owner.
    pub(crate) active_lock: Option<(u32, LockOwner)>,
    /// Nesting of regions without preemption.
    pub(crate) preempt_locks: u32,
    /// Whether an RCU read section is open.
    pub(crate) rcu_locked: bool,
    /// Whether this path is one that only speculation takes.
    pub(crate) speculative: bool,
    /// Whether the function that runs may sleep.
    pub(crate) sleepable: bool,
    /// How many `may_goto` were followed.
    pub(crate) may_goto_depth: u32,
    /// How many rounds of callbacks were followed.
    pub(crate) callback_unroll_depth: u32,
    /// The next instruction.
    pub(crate) pc: Pc,
    /// The instruction that was followed before.
    pub(crate) last_pc: Pc,
    /// The first instruction after the parent (`first_insn_idx`).
    pub(crate) first_pc: Pc,
    /// The explored state that this path came through last.
    pub(crate) parent: Option<StateId>,
    /// How the path went since then: jumps, stack accesses, linked registers (`jmp_history`).
    pub(crate) history: Vec<HistoryEntry>,
    /// How many explored states there are on the path (`dfs_depth`).
    pub(crate) depth: u32,
}

impl State {
    /// The beginning of a function, with nothing set but `r10`.
    pub(crate) fn entry(subprog: SubprogId, pc: Pc) -> State {
        State {
            frames: smallvec![Rc::new(Frame::new(0, subprog, None))],
            references: Vec::new(),
            active_lock: None,
            preempt_locks: 0,
            rcu_locked: false,
            speculative: false,
            sleepable: false,
            may_goto_depth: 0,
            callback_unroll_depth: 0,
            pc,
            last_pc: BEFORE_START,
            first_pc: pc,
            parent: None,
            history: Vec::new(),
            depth: 0,
        }
    }

    /// The number of the frame that runs (`curframe`).
    pub(crate) fn current(&self) -> usize {
        self.frames.len() - 1
    }

    /// The frame that runs.
    pub(crate) fn frame(&self) -> &Frame {
        &self.frames[self.frames.len() - 1]
    }

    /// The frame that runs, to be changed.
    pub(crate) fn frame_mut(&mut self) -> &mut Frame {
        let current = self.current();
        Rc::make_mut(&mut self.frames[current])
    }

    /// A frame, to be changed.
    pub(crate) fn frame_at_mut(&mut self, frame: usize) -> &mut Frame {
        Rc::make_mut(&mut self.frames[frame])
    }

    /// The value of a register of the frame that runs.
    pub(crate) fn reg(&self, reg: Reg) -> &Value {
        &self.frame().regs[reg.index()]
    }

    /// A register of the frame that runs, to be changed.
    pub(crate) fn reg_mut(&mut self, reg: Reg) -> &mut Value {
        &mut self.frame_mut().regs[reg.index()]
    }

    /// Changes all values, in registers and spills of all frames, that satisfy the condition.
    /// Frames without one stay shared.
    pub(crate) fn change(
        &mut self,
        which: impl Fn(&Value) -> bool,
        mut how: impl FnMut(&mut Value),
    ) {
        for frame in &mut self.frames {
            if frame.holds(&which) {
                Rc::make_mut(frame).change(&which, &mut how);
            }
        }
    }

    /// The instruction at which a frame stands: the next one of the frame that runs, the call of
    /// the others (`frame_insn_idx`).
    pub(crate) fn frame_pc(&self, frame: usize) -> Pc {
        match self.frames.get(frame + 1) {
            Some(callee) => callee.callsite.unwrap_or(self.pc),
            None => self.pc,
        }
    }

    /// Remembers that the path came to the next instruction from the last one
    /// (`push_jmp_history`).
    pub(crate) fn record_jump(&mut self) {
        self.history.push(HistoryEntry {
            pc: self.pc,
            prev: self.last_pc,
            stack: None,
            compares_stack: (false, false),
            linked: Linked::NONE,
        });
    }

    /// What is remembered of the instruction that is judged, made if there is nothing yet.
    ///
    /// The last entry is of this visit if it is of this instruction: no path comes back to an
    /// instruction without passing a jump point.
    fn history_here(&mut self) -> &mut HistoryEntry {
        if self.history.last().is_none_or(|last| last.pc != self.pc) {
            self.record_jump();
        }
        let last = self.history.len() - 1;
        &mut self.history[last]
    }

    /// Remembers that the instruction compares pointers to a stack: its first operand, its second.
    pub(crate) fn record_compared_stack(&mut self, operands: (bool, bool)) {
        self.history_here().compares_stack = operands;
    }

    /// Remembers that the instruction refines these numbers together.
    pub(crate) fn record_linked(&mut self, linked: Linked) {
        self.history_here().linked = linked;
    }

    /// Remembers that the instruction reads or writes a slot of a frame's stack, through any
    /// register (`push_jmp_history` with `insn_stack_access_flags`).
    pub(crate) fn record_stack_access(&mut self, frame: usize, slot: usize) {
        let access = StackAccess { frame: frame as u8, slot: slot as u8 };
        self.history_here().stack = Some(access);
    }

    /// Whether its functions were called at the same places as those of another state
    /// (`same_callsites`).
    pub(crate) fn has_callsites_of(&self, other: &State) -> bool {
        self.frames.len() == other.frames.len()
            && self.frames.iter().zip(&other.frames).all(|(a, b)| a.callsite == b.callsite)
    }

    /// Marks numbers in registers and spills of a frame, a bit each, as those that matter.
    pub(crate) fn mark(&mut self, frame: usize, regs: u16, slots: u64) {
        if regs == 0 && slots == 0 {
            return;
        }
        let frame = Rc::make_mut(&mut self.frames[frame]);
        for (number, value) in frame.regs.iter_mut().enumerate() {
            value.precise |= regs >> number & 1 == 1;
        }
        for number in (0..frame.stack.len()).filter(|number| slots >> number & 1 == 1) {
            if let Some(slot) = frame.stack.get_mut(number) {
                slot.value.precise = true;
            }
        }
    }

    /// Lets no number matter any more (`mark_all_scalars_imprecise`).
    pub(crate) fn forget_precision(&mut self) {
        self.change(|v| v.precise && v.is_number(), |v| v.precise = false);
    }

    /// Whether another state could be the same one in a loop: a quick look before comparing
    /// everything (`states_maybe_looping`).
    pub(crate) fn looks_like(&self, other: &State) -> bool {
        self.frames.len() == other.frames.len()
            && self.frame().regs.iter().zip(&other.frame().regs).all(|(a, b)| a.is_like(b))
    }
}
