//! Legacy packet loads (`check_ld_abs`).

use crate::reject::Reason;
use crate::step::{Flow, Step};
use ebpfvm_asm::{Reg, Size};

/// `r0 = packet[offset]`
pub(crate) fn load_abs(_step: &mut Step<'_, '_>, _size: Size) -> Result<Flow, Reason> {
    Err(Reason::unsupported("legacy packet loads"))
}

/// `r0 = packet[index + offset]`
pub(crate) fn load_ind(_step: &mut Step<'_, '_>, _size: Size, _index: Reg) -> Result<Flow, Reason> {
    Err(Reason::unsupported("legacy packet loads"))
}
