//! An access to memory as the rules see it.

use ebpfvm_asm::Reg;
use ebpfvm_spec::context::Direction;

/// Some bytes at a fixed distance from what a register points to, read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The register with the address.
    pub(crate) base: Reg,
    /// Added to the address, in bytes; without the fixed offset of the pointer.
    pub(crate) offset: i32,
    /// Size in bytes: 1, 2, 4 or 8.
    pub(crate) bytes: u32,
    /// Whether the bytes are read or written.
    pub(crate) direction: Direction,
    /// Whether the address must be a multiple of the size whatever the load asks for.
    pub(crate) aligned: bool,
}

impl Access {
    /// Whether it is a store.
    pub(crate) fn writes(&self) -> bool {
        self.direction == Direction::Write
    }
}
