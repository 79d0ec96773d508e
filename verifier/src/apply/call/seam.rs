//! What other parts do for calls, until they do.

use crate::reject::Reason;
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::MemAccess;

pub(super) fn helper_memory(
    _step: &mut Step<'_, '_>,
    _reg: Reg,
    _bytes: u32,
    _access: MemAccess,
    _zero_allowed: bool,
) -> Result<(), Reason> {
    Err(Reason::unsupported("memory given to helpers"))
}

pub(super) fn helper_memory_sized(
    _step: &mut Step<'_, '_>,
    _reg: Reg,
    _size_reg: Reg,
    _access: MemAccess,
    _zero_allowed: bool,
) -> Result<(), Reason> {
    Err(Reason::unsupported("memory given to helpers"))
}

pub(super) fn aligned(_step: &mut Step<'_, '_>, _reg: Reg, _bytes: u32) -> Result<(), Reason> {
    Err(Reason::unsupported("aligned memory given to helpers"))
}

pub(super) fn map_value(
    _step: &mut Step<'_, '_>,
    _reg: Reg,
    _offset: i32,
    _bytes: u32,
) -> Result<(), Reason> {
    Err(Reason::unsupported("strings given to helpers"))
}

pub(super) fn write_stack(
    _step: &mut Step<'_, '_>,
    _reg: Reg,
    _offset: i32,
    _bytes: u32,
) -> Result<(), Reason> {
    Err(Reason::unsupported("dynptrs on the stack"))
}

pub(super) fn mark_slot_precise(
    _step: &mut Step<'_, '_>,
    _frame: u8,
    _slot: usize,
) -> Result<(), Reason> {
    Ok(())
}
