//! How a path went, as far as going back along it needs: jumps, stack accesses, linked numbers.

use ebpfvm_asm::Pc;

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

/// One remembered instruction of a path (`struct bpf_jmp_history_entry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryEntry {
    /// The instruction.
    pub(crate) pc: Pc,
    /// The one before it on the path.
    pub(crate) prev: Pc,
    /// Its access to a stack slot through a register, if any.
    pub(crate) stack: Option<StackAccess>,
    /// The numbers that a comparison refined together, two or more (at most 6); else empty.
    pub(crate) linked: Vec<LinkedValue>,
}
