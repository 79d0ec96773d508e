//! How a path went, as far as going back along it needs: jumps, stack accesses, linked numbers.

use ebpfvm_asm::Pc;
use std::ops::Deref;

/// The place "before" the first instruction of a function that is judged apart.
pub(crate) const BEFORE_START: Pc = Pc(u32::MAX);

/// An access of an instruction to one slot of a stack, through any register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackAccess {
    /// The frame whose stack it is.
    pub(crate) frame: u8,
    /// The slot.
    pub(crate) slot: u8,
}

/// Where one of several linked numbers was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkedValue {
    /// In a register.
    Reg {
        /// Frame.
        frame: u8,
        /// Register number.
        reg: u8,
    },
    /// In a spill.
    Slot {
        /// Frame.
        frame: u8,
        /// Slot.
        slot: u8,
    },
}

/// The most numbers that a comparison refines together (`LINKED_REGS_MAX`).
const MAX_LINKED: usize = 6;

/// The numbers that a comparison refines together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linked {
    count: u8,
    places: [LinkedValue; MAX_LINKED],
}

impl Linked {
    /// None.
    pub(crate) const NONE: Linked =
        Linked { count: 0, places: [LinkedValue::Reg { frame: 0, reg: 0 }; MAX_LINKED] };

    /// Adds one, if there is room; tells whether there was.
    pub(crate) fn push(&mut self, place: LinkedValue) -> bool {
        match self.places.get_mut(usize::from(self.count)) {
            Some(free) => {
                *free = place;
                self.count += 1;
                true
            }
            None => false,
        }
    }
}

impl Deref for Linked {
    type Target = [LinkedValue];

    fn deref(&self) -> &[LinkedValue] {
        &self.places[..usize::from(self.count)]
    }
}

/// One remembered instruction of a path (`struct bpf_jmp_history_entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryEntry {
    /// The instruction.
    pub(crate) pc: Pc,
    /// The one before it on the path.
    pub(crate) prev: Pc,
    /// Its access to a stack slot through a register, if any.
    pub(crate) stack: Option<StackAccess>,
    /// Of a comparison, whether its first and its second operand are pointers to a stack: going
    /// back, such an operand is no number that could matter (`INSN_F_DST_REG_STACK`,
    /// `INSN_F_SRC_REG_STACK`).
    pub(crate) compares_stack: (bool, bool),
    /// The numbers that a comparison refined together, two or more; else empty.
    pub(crate) linked: Linked,
}
