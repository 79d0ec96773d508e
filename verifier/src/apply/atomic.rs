//! Atomic operations (`check_atomic`).

use crate::reject::Reason;
use crate::step::{Flow, Step};
use ebpfvm_asm::{AtomicOp, Reg, Size};

/// A read-modify-write operation.
pub(crate) fn read_modify_write(
    _step: &mut Step<'_, '_>,
    _op: AtomicOp,
    _size: Size,
    _base: Reg,
    _offset: i16,
    _src: Reg,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("atomics"))
}

/// A load with acquire order.
pub(crate) fn load_acquire(
    _step: &mut Step<'_, '_>,
    _size: Size,
    _dst: Reg,
    _base: Reg,
    _offset: i16,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("atomics"))
}

/// A store with release order.
pub(crate) fn store_release(
    _step: &mut Step<'_, '_>,
    _size: Size,
    _base: Reg,
    _offset: i16,
    _src: Reg,
) -> Result<Flow, Reason> {
    Err(Reason::unsupported("atomics"))
}
