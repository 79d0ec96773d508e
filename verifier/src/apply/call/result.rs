//! What `r0` holds after a call (`do_refine_retval_range` and the end of `check_helper_call`).

use super::{Call, map, unsupported};
use crate::apply::reference;
use crate::domain::{Bounds, Scalar};
use crate::reject::Reason;
use crate::state::{Flags, Kind, MapRef, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::btf::SpecialKind;
use ebpfvm_spec::helper::{Effect, HelperProto, Ret};

/// The greatest error number (`MAX_ERRNO`).
const MAX_ERRNO: i32 = 4095;

/// Puts the result into `r0`.
pub(super) fn write(
    step: &mut Step<'_, '_>,
    call: &Call,
    proto: &HelperProto,
) -> Result<(), Reason> {
    let or_null = |kind| Value::pointer(kind).with(Flags::MAYBE_NULL);
    let mut value = match proto.ret {
        Ret::Void | Ret::TailCall => Value::UNINIT,
        Ret::Integer => step.unknown(),
        Ret::SizeOrErrno => number(step, size_or_errno(call.largest_size)),
        Ret::Cpu => number(step, below(step.subject.options.cpu_limit())),
        Ret::MapValue => Value::pointer(Kind::MapValue(map_of(call)?)),
        Ret::MapValueOrNull if map::is_found(step, call, proto) => {
            Value::pointer(Kind::MapValue(map_of(call)?))
        }
        Ret::MapValueOrNull => or_null(Kind::MapValue(map_of(call)?)),
        Ret::RingbufRecordOrNull => {
            or_null(Kind::Mem { bytes: call.alloc_bytes, dynptr: 0 }).with(Flags::RINGBUF)
        }
        Ret::DynptrMemOrNull => {
            let kind = Kind::Mem { bytes: call.alloc_bytes, dynptr: call.dynptr };
            Value { ref_id: call.dynptr_ref, ..or_null(kind) }
        }
        Ret::SocketOrNull => or_null(Kind::Sock),
        Ret::TcpSockOrNull => or_null(Kind::TcpSock),
        Ret::SockCommonOrNull => or_null(Kind::SockCommon),
        Ret::BtfId { .. } | Ret::KptrOrNull | Ret::PerCpu { .. } => {
            return Err(unsupported(proto));
        }
    };
    if value.may_be_null() || has_lock(step, &value) {
        value.id = step.new_id();
    }
    if proto.effects.has(Effect::CASTS) {
        value.ref_id = call.ref_id;
    } else if acquires(step, &value, proto) {
        value.ref_id = reference::acquire(step);
        value.id = value.ref_id;
    }
    step.write(Reg::R0, value);
    Ok(())
}

fn map_of(call: &Call) -> Result<MapRef, Reason> {
    call.map.ok_or_else(|| Reason::internal("a helper returns a value of no map"))
}

/// Whether two results of the same kind differ by the lock that they have.
fn has_lock(step: &Step<'_, '_>, value: &Value) -> bool {
    let Kind::MapValue(map) = value.kind else { return false };
    let is_lock = |kind| matches!(kind, SpecialKind::SpinLock | SpecialKind::ResSpinLock);
    step.subject.map(map.map).fields().iter().any(|field| is_lock(field.kind))
}

/// Whether the result is a reference (`is_acquire_function`).
fn acquires(step: &Step<'_, '_>, result: &Value, proto: &HelperProto) -> bool {
    proto.effects.has(Effect::ACQUIRES)
        || matches!((proto.ret, result.map()), (Ret::MapValueOrNull, Some(map))
            if map::has_sockets(step, map))
}

/// A number of which this is known.
fn number(step: &Step<'_, '_>, scalar: Scalar) -> Value {
    Value { scalar, ..step.unknown() }
}

/// A size up to `largest`, or a negated error number.
fn size_or_errno(largest: u64) -> Scalar {
    let mut scalar = Scalar::TOP;
    scalar.full.smin = -i64::from(MAX_ERRNO);
    scalar.full.smax = largest as i64;
    scalar.half.smin = -MAX_ERRNO;
    scalar.half.smax = largest as i32;
    scalar.sync();
    scalar
}

/// A number below `count`, which is not 0.
fn below(count: u32) -> Scalar {
    let max = count.saturating_sub(1).min(i32::MAX as u32);
    let mut scalar = Scalar {
        full: Bounds { umin: 0, umax: max.into(), smin: 0, smax: max.into() },
        half: Bounds { umin: 0, umax: max, smin: 0, smax: max as i32 },
        ..Scalar::TOP
    };
    scalar.sync();
    scalar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_errors_are_contained() {
        let scalar = size_or_errno(16);
        for value in [0, 1, 16, -1_i64, -4095] {
            assert!(scalar.contains(value as u64), "{value}");
        }
        assert!(!scalar.contains(17) && !scalar.contains(-4096_i64 as u64));
    }

    #[test]
    fn cpus_are_below_their_count() {
        assert!((0..3).all(|cpu| below(3).contains(cpu)));
        assert!(!below(3).contains(4) && below(1).as_const() == Some(0));
    }
}
