//! Whether the needs of an instruction are met. Nothing here changes what a register holds.
pub(crate) mod argument;

use crate::reject::Reason;
use crate::state::Value;
use crate::step::Step;
use ebpfvm_asm::Reg;

/// Whether a pointer has the offset that it was given with (`__check_ptr_off_reg`).
pub(crate) fn fixed_offset(
    _step: &mut Step<'_, '_>,
    value: &Value,
    _reg: Reg,
    _fixed: bool,
) -> Result<(), Reason> {
    if value.offset == 0 && value.scalar.as_const() == Some(0) {
        Ok(())
    } else {
        Err(Reason::unsupported("moved pointers"))
    }
}
