//! The shape of the code, before any value is known: functions, ways of control, live registers.
//!
//! Everything here is computed once, without following paths, and refuses programs whose shape is
//! wrong (`check_subprogs`, `check_cfg`, `compute_live_registers`, `compute_scc` of Linux 6.18).

mod components;
mod depth;
mod fast_calls;
mod live;
mod maps;
mod reach;
mod subprogs;
mod ways;

pub(crate) use ways::{slot, successors};

use crate::explore::SubprogMemory;
use crate::options::Options;
use crate::reject::Reason;
use crate::state::SubprogId;
use ebpfvm_asm::Pc;
use ebpfvm_spec::attach::AttachType;
use ebpfvm_spec::helper::HelperProto;
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

    /// Registers in either.
    pub(crate) const fn or(self, other: RegSet) -> RegSet {
        RegSet(self.0 | other.0)
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
    /// From this offset down the stack holds only what is saved around fast calls, 0 if nothing is
    /// (`fastcall_stack_off`).
    pub(crate) fast_call_stack: i16,
    /// Linux would leave out what is saved around some call.
    pub(crate) has_fast_calls: bool,
    /// What is saved around some other call stays (`keep_fastcall_stack`).
    pub(crate) keeps_fast_call_stack: bool,
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
    /// Where the functions of a program begin, in order.
    ///
    /// # Errors
    /// If one begins where there is no code, or there are too many.
    pub(crate) fn function_starts(program: &Program, options: &Options) -> Result<Vec<Pc>, Reason> {
        subprogs::starts(program, options)
    }

    /// Checks what the program says of its functions, before anything is made of its code.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check_function_records(program: &Program) -> Result<(), Reason> {
        subprogs::check_records(program)
    }

    /// The functions of a program, the ways between its instructions, and what follows from them.
    ///
    /// # Errors
    /// Why the code is refused.
    pub(crate) fn of<'a>(
        program: &Program,
        platform: &'a Platform,
        options: &Options,
        attach_type: AttachType,
    ) -> Result<Structure, Reason> {
        let helper = |id| -> Option<&'a HelperProto> {
            platform.helper_for(id, program.prog_type, attach_type)
        };
        let subprogs = subprogs::find(program, platform, options)?;
        subprogs::check_types(program, &subprogs)?;
        let mut insns = vec![InsnShape::default(); program.code.len()];
        for (index, subprog) in subprogs.iter().enumerate() {
            for shape in &mut insns[subprog.start.index()..subprog.end.index()] {
                shape.subprog = SubprogId(index as u32);
            }
        }
        let mut structure = Structure { subprogs, insns };
        maps::check(program)?;
        reach::check(&program.code, options)?;
        // Any program's prototype tells whether a helper calls back; calls that this program may
        // not make are refused when a path comes to them.
        reach::mark(program, &mut structure, |id| platform.helper(id));
        reach::spread_effects(program, &mut structure, helper);
        live::compute(&program.code, &mut structure, helper);
        fast_calls::mark(&program.code, &mut structure, helper);
        components::number(&program.code, &mut structure);
        Ok(structure)
    }

    /// Checks the stack that chains of calls need, once it is known what each function uses.
    ///
    /// # Errors
    /// The chain that needs too much.
    pub(crate) fn check_stack_depth(
        &self,
        program: &Program,
        subprogs: &[SubprogMemory],
    ) -> Result<(), Reason> {
        depth::check(program, self, subprogs)
    }
}

#[cfg(test)]
mod tests;
