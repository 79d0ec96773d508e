//! Everything that outlives a path.

use super::ids::IdMap;
use super::{Explored, Loops, StackLiveness};
use crate::contract::Contract;
use crate::facts::Facts;
use crate::log::Log;
use crate::state::{MapRef, State, SubprogId};
use crate::subject::Subject;
use ebpfvm_asm::{Insn, Pc, Reg};
use ebpfvm_spec::context::Pointee;
use std::rc::Rc;

/// A branch that waits to be followed (`struct bpf_verifier_stack_elem`).
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its state; `pc` is where it begins, `last_pc` where it branched off.
    pub(crate) state: State,
    /// Where the log ended when it branched off.
    pub(crate) log_position: usize,
}

/// What was changed since the state was last logged (`scratched_regs`, `scratched_stack_slots`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Registers of the frame that runs, a bit each.
    pub(crate) regs: u16,
    /// Slots of its stack, a bit each.
    pub(crate) slots: u64,
}

impl Touched {
    /// Everything.
    pub(crate) const ALL: Touched = Touched { regs: u16::MAX, slots: u64::MAX };
    /// Nothing.
    pub(crate) const NONE: Touched = Touched { regs: 0, slots: 0 };

    /// A register.
    #[inline]
    pub(crate) fn reg(&mut self, reg: Reg) {
        self.regs |= 1 << reg.index();
    }

    /// A slot, if it is one.
    #[inline]
    pub(crate) fn slot(&mut self, slot: usize) {
        self.slots |= 1u64.checked_shl(slot as u32).unwrap_or(0);
    }
}

/// What was counted (the statistics of the log, and what pruning decides by).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instructions followed (`insn_processed`).
    pub(crate) processed: u32,
    /// The same when a state was last kept.
    pub(crate) processed_at_state: u32,
    /// Jumps followed (`jmps_processed`).
    pub(crate) jumps: u32,
    /// The same when a state was last kept.
    pub(crate) jumps_at_state: u32,
    /// The most states in one bucket (`max_states_per_insn`).
    pub(crate) max_states_per_insn: u32,
    /// States kept in all (`total_states`).
    pub(crate) total_states: u32,
    /// States kept now.
    pub(crate) states: u32,
    /// The most states kept at once (`peak_states`).
    pub(crate) peak_states: u32,
}

/// What was seen at one instruction on all paths together (`struct bpf_insn_aux_data`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InsnMemory {
    /// Whether any path came here (`seen`).
    pub(crate) seen: bool,
    /// Of a load or store, the class of the pointer it was followed with: one that needs code of its
    /// own must be the same on all paths (`save_aux_ptr_type`).
    pub(crate) pointer: Option<Pointer>,
    /// Of a call with a map, the map, if it was the same on all paths (`map_ptr_state`).
    pub(crate) map: MapAtCall,
    /// Of a `loop` call, what it calls back.
    pub(crate) loop_callback: LoopCallback,
    /// Speculation must not come to it (`nospec`).
    pub(crate) no_speculation: bool,
    /// Speculation must not go on after it: it stores over what speculation could still load
    /// (`nospec_result`).
    pub(crate) no_speculation_behind: bool,
    /// Of arithmetic in programs that speculation is followed of, how it must be masked on all paths
    /// (`alu_state`, `alu_limit`).
    pub(crate) sanitation: Option<Sanitation>,
}

/// How arithmetic is masked against speculation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sanitation {
    /// Not: it is on numbers.
    Numbers,
    /// A pointer is moved.
    Pointer {
        /// Whether the number may be negative.
        is_negative: bool,
        /// Whether it is a constant.
        is_constant: bool,
        /// Whether the pointer is the first operand.
        pointer_first: bool,
        /// How far it may move in bytes.
        limit: u32,
    },
}

/// The code that a load or store needs, by its pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// That of the instruction.
    Memory,
    /// The context's.
    Ctx,
    /// That of a kind of socket.
    Socket(Pointee),
}

/// The map at a call over all paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MapAtCall {
    /// None yet.
    #[default]
    None,
    /// Always this one.
    One(MapRef),
    /// Different ones (`poison`).
    Several,
}

/// The callback of a `loop` call over all paths (`struct bpf_loop_inline_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LoopCallback {
    /// None yet.
    #[default]
    None,
    /// Always this one, without flags.
    One(SubprogId),
    /// Different ones, or flags that may be set.
    Several,
}

/// What was learned of a function on all paths together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubprogMemory {
    /// The most bytes of stack that it used (`stack_depth`).
    pub(crate) stack_bytes: u32,
    /// Of a global function: somebody calls it, so it is to be judged (`called`).
    pub(crate) called: bool,
    /// It was judged.
    pub(crate) judged: bool,
    /// Something else uses the stack where registers are saved around fast calls.
    pub(crate) uses_fast_call_stack: bool,
    /// Its types were found not to describe it: nothing is held against them any more
    /// (`unreliable`).
    pub(crate) unreliable: bool,
    /// It is called back after the helper that took it has returned (`is_async_cb`).
    pub(crate) is_later_callback: bool,
}

/// Everything that outlives a path.
#[derive(Debug)]
pub(crate) struct Past {
    /// The log.
    pub(crate) log: Log,
    /// What was changed since the state was last logged.
    pub(crate) touched: Touched,
    /// What was counted.
    pub(crate) counts: Counts,
    /// The states that were kept.
    pub(crate) explored: Explored,
    /// Branches that wait, the newest last.
    pub(crate) pending: Vec<Pending>,
    /// Loops whose paths are not all followed.
    pub(crate) loops: Loops,
    /// Ids of the states that are compared; kept for its memory.
    pub(crate) ids: IdMap,
    /// Every state that was followed, for who asks: tests compare runs with them.
    pub(crate) witness: Option<Vec<State>>,
    /// Which stack slots are read later.
    pub(crate) liveness: StackLiveness,
    /// What was seen at each slot of the program.
    pub(crate) insns: Vec<InsnMemory>,
    /// What was learned of each function.
    pub(crate) subprogs: Vec<SubprogMemory>,
    /// What functions take, of those that were asked for.
    pub(crate) contracts: Vec<Option<Rc<Contract>>>,
    /// What engines may rely on.
    pub(crate) facts: Facts,
    /// A variable number was added to a pointer of a program that speculation is followed of: only
    /// equal numbers are alike now (`explore_alu_limits`).
    pub(crate) follows_all_masks: bool,
    last_id: u32,
}

impl Past {
    /// The past of a program that was not followed yet.
    pub(crate) fn new(subject: &Subject<'_>, log: Log) -> Past {
        let slots = subject.program.code.len();
        Past {
            log,
            touched: Touched::NONE,
            counts: Counts::default(),
            explored: Explored::new(slots),
            pending: Vec::new(),
            loops: Loops::default(),
            ids: IdMap::default(),
            witness: None,
            liveness: StackLiveness::new(subject),
            insns: vec![InsnMemory::default(); slots],
            subprogs: vec![SubprogMemory::default(); subject.structure.subprogs.len()],
            contracts: vec![None; subject.structure.subprogs.len()],
            facts: Facts::new(slots),
            follows_all_masks: false,
            last_id: 0,
        }
    }

    /// An id that nothing has (`env->id_gen`).
    pub(crate) fn new_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// The last id that was given.
    pub(crate) fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Writes down where a path goes on behind a conditional jump.
    pub(crate) fn note_way(&mut self, subject: &Subject<'_>, pc: Pc, to: Pc) {
        let Some(Insn::JumpIf { offset, .. }) = subject.program.code.get(pc) else { return };
        if to.0 == pc.0 + 1 {
            self.facts.jump(pc, false);
        }
        if pc.jump((*offset).into()) == Some(to) {
            self.facts.jump(pc, true);
        }
    }

    /// What was seen at an instruction, to be changed.
    pub(crate) fn insn_mut(&mut self, pc: Pc) -> &mut InsnMemory {
        &mut self.insns[pc.index()]
    }
}
