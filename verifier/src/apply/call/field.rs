//! Special fields of map values that helpers use: spin locks and timers.

use super::{Call, unsupported};
use crate::reject::{CallReason, Reason};
use crate::state::{Kind, LockOwner, MapRef, Reference, ReferenceKind, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::btf::SpecialKind;
use ebpfvm_spec::helper::{Effect, HelperProto};

/// The map whose value has a field of this kind where `value` points
/// (`process_spin_lock`, `process_timer_func`).
fn holder(
    step: &Step<'_, '_>,
    value: &Value,
    reg: Reg,
    kind: SpecialKind,
) -> Result<MapRef, Reason> {
    let field = kind.name();
    let Some(moved) = value.scalar.as_const() else {
        return Err(CallReason::FieldPlace { reg: reg.number(), field }.into());
    };
    let Kind::MapValue(map) = value.kind else {
        return Err(Reason::internal("a special field is in no map"));
    };
    let info = step.subject.map(map.map);
    let name = || step.subject.map_name(map.map).to_owned();
    if step.subject.btf().is_none() || info.def.value_type.is_none() {
        return Err(CallReason::FieldTypes { map: name(), field }.into());
    }
    let Some(found) = info.fields().iter().find(|f| f.kind == kind) else {
        return Err(CallReason::FieldMissing { map: name(), field }.into());
    };
    let offset = (moved as i64).wrapping_add(i64::from(value.offset));
    if offset != i64::from(found.offset) {
        return Err(CallReason::FieldOffset { offset, field, at: found.offset }.into());
    }
    Ok(map)
}

/// A spin lock is taken or given back (`process_spin_lock`).
pub(super) fn lock(
    step: &mut Step<'_, '_>,
    proto: &HelperProto,
    value: &Value,
    reg: Reg,
) -> Result<(), Reason> {
    let map = holder(step, value, reg, SpecialKind::SpinLock)?;
    let owner = LockOwner::Map(map.map);
    let held = step.state.active_lock;
    if proto.effects.has(Effect::LOCKS) {
        if held.is_some() {
            return Err(CallReason::LockTwice.into());
        }
        let kind = ReferenceKind::Lock { owner };
        step.state.references.push(Reference { kind, id: value.id, pc: step.pc });
        step.state.active_lock = Some((value.id, owner));
        return Ok(());
    }
    if !proto.effects.has(Effect::UNLOCKS) {
        return Err(unsupported(proto));
    }
    match held {
        None => Err(CallReason::UnlockNone.into()),
        Some(held) if held != (value.id, owner) => Err(CallReason::UnlockOther.into()),
        Some((id, _)) => {
            let is_it = |r: &Reference| r.kind == ReferenceKind::Lock { owner } && r.id == id;
            step.state.references.retain(|r| !is_it(r));
            step.state.active_lock = None;
            Ok(())
        }
    }
}

/// A timer is given (`process_timer_func`).
pub(super) fn timer(
    step: &Step<'_, '_>,
    call: &mut Call,
    value: &Value,
    reg: Reg,
) -> Result<(), Reason> {
    call.map = Some(holder(step, value, reg, SpecialKind::Timer)?);
    Ok(())
}
