//! Arithmetic on numbers, and moves (`check_alu_op`).

use crate::reject::Reason;
use crate::step::{Flow, Step};
use ebpfvm_asm::{AluOp, EndianOp, Operand, Reg, Size, Width};

/// `dst = dst op src`
pub(crate) fn alu(
    _step: &mut Step<'_, '_>,
    _width: Width,
    _op: AluOp,
    _dst: Reg,
    _src: Operand,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("arithmetic"))
}

/// `dst = -dst`
pub(crate) fn neg(_step: &mut Step<'_, '_>, _width: Width, _dst: Reg) -> Result<Flow, Reason> {
    Err(Reason::unsupported("arithmetic"))
}

/// `dst = (sN)src`
pub(crate) fn movsx(
    _step: &mut Step<'_, '_>,
    _width: Width,
    _from: Size,
    _dst: Reg,
    _src: Reg,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("arithmetic"))
}

/// Byte order.
pub(crate) fn endian(
    _step: &mut Step<'_, '_>,
    _op: EndianOp,
    _size: Size,
    _dst: Reg,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("arithmetic"))
}
