//! Loads and stores (`check_load_mem`, `check_store_reg`).

use crate::reject::Reason;
use crate::step::{Flow, Step};
use ebpfvm_asm::{Operand, Reg, Size};

/// The parts of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Register that is loaded.
    pub(crate) dst: Reg,
    /// Address.
    pub(crate) base: Reg,
    /// Added to the address.
    pub(crate) offset: i16,
    /// Size of the access.
    pub(crate) size: Size,
    /// Whether the sign is extended.
    pub(crate) sign_extends: bool,
}

/// `dst = *(size *)(base + offset)`
pub(crate) fn load(_step: &mut Step<'_, '_>, _load: Load) -> Result<Flow, Reason> {
    Err(Reason::unsupported("loads"))
}

/// `*(size *)(base + offset) = src`
pub(crate) fn store(
    _step: &mut Step<'_, '_>,
    _base: Reg,
    _offset: i16,
    _size: Size,
    _src: Operand,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("stores"))
}
