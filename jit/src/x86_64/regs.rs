//! Where registers live.
//!
//! The five arguments are where the C calling convention has its first five, and `r6` to `r9` in
//! registers that C functions keep: a call of a helper moves nothing. The sixth argument of C is the
//! state of the run, whose register is spare between calls; code whose fuel is counted has it there.

use crate::ir::{Address, Reg};

/// A register of the host, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gpr(pub(super) u8);

pub(super) const RAX: Gpr = Gpr(0);
pub(super) const RCX: Gpr = Gpr(1);
pub(super) const RDX: Gpr = Gpr(2);
pub(super) const RBX: Gpr = Gpr(3);
pub(super) const RSP: Gpr = Gpr(4);
pub(super) const RBP: Gpr = Gpr(5);
pub(super) const RSI: Gpr = Gpr(6);
pub(super) const RDI: Gpr = Gpr(7);
pub(super) const R8: Gpr = Gpr(8);
/// What is left of the fuel, in code that counts it.
pub(super) const FUEL: Gpr = Gpr(9);
/// Scratch; the address of a checked access.
pub(super) const R10: Gpr = Gpr(10);
/// Scratch.
pub(super) const R11: Gpr = Gpr(11);
/// The state of the run.
pub(super) const STATE: Gpr = Gpr(12);
const R13: Gpr = Gpr(13);
const R14: Gpr = Gpr(14);
const R15: Gpr = Gpr(15);

/// The registers of the program and the spare one, by number; beyond that there is none.
const HOST: [Gpr; 16] =
    [RAX, RDI, RSI, RDX, RCX, R8, RBX, R13, R14, R15, RBP, FUEL, FUEL, FUEL, FUEL, FUEL];

const _: () = assert!(Reg::COUNT <= HOST.len(), "each has a register of the host");

impl From<Reg> for Gpr {
    #[inline]
    fn from(reg: Reg) -> Gpr {
        // Spares the comparison with the length.
        HOST[reg.index() % HOST.len()]
    }
}

/// An address as the processor computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mem {
    pub(super) base: Gpr,
    /// A register that is shifted and added; never the stack pointer.
    pub(super) index: Option<(Gpr, u8)>,
    pub(super) offset: i32,
}

impl Mem {
    pub(super) const fn new(base: Gpr, offset: i32) -> Mem {
        Mem { base, index: None, offset }
    }

    /// A field of the run's state.
    pub(super) const fn state(offset: usize) -> Mem {
        Mem::new(STATE, offset as i32)
    }

    pub(super) fn has(self, reg: Gpr) -> bool {
        self.base == reg || self.index.is_some_and(|(index, _)| index == reg)
    }
}

impl From<Address> for Mem {
    #[inline]
    fn from(at: Address) -> Mem {
        let index = at.index.map(|(index, scale)| (index.into(), scale));
        Mem { base: at.base.into(), index, offset: at.offset }
    }
}
