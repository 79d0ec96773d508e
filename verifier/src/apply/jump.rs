//! Jumps (`check_cond_jmp_op`).

use crate::reject::Reason;
use crate::step::{Flow, Step};
use ebpfvm_asm::{JmpOp, Operand, Reg, Width};

/// An unconditional jump.
pub(crate) fn jump(step: &mut Step<'_, '_>, offset: i32) -> Result<Flow, Reason> {
    let target = step.pc.jump(offset);
    target.map(Flow::Goto).ok_or_else(|| Reason::internal("a jump leaves the program"))
}

/// A conditional jump.
pub(crate) fn jump_if(
    _step: &mut Step<'_, '_>,
    _width: Width,
    _op: JmpOp,
    _dst: Reg,
    _src: Operand,
    _offset: i16,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("conditional jumps"))
}
