//! What is known once a pointer was compared with null.

use crate::state::{Flags, Kind, MapRef, ReferenceKind, State, Value};
use crate::subject::Subject;
use ebpfvm_spec::btf::SpecialKind;
use ebpfvm_spec::map::MapType;

/// Fields of map values that are known by the lookup which found the value.
const LOCKS: [SpecialKind; 2] = [SpecialKind::SpinLock, SpecialKind::ResSpinLock];
/// Fields of inner maps' values that tie their initialisation to one inner map.
const TIED_TO_MAP: [SpecialKind; 3] =
    [SpecialKind::Timer, SpecialKind::Workqueue, SpecialKind::TaskWork];

/// Lets all copies of a pointer be null or not (`mark_ptr_or_null_regs`).
///
/// `pointer` is the one that was compared, as it was before.
pub(crate) fn resolve(subject: &Subject<'_>, state: &mut State, pointer: &Value, is_null: bool) {
    let id = pointer.id;
    if is_null && id != 0 && pointer.ref_id == id {
        // What could not be acquired need not be given back.
        state.references.retain(|r| r.id != id || r.kind != ReferenceKind::Object);
    }
    // A pointer that may be null was not moved; if one was, it stays as it is.
    let is_copy = |v: &Value| {
        v.may_be_null()
            && v.id == id
            && id != 0
            && v.scalar.as_const() == Some(0)
            && (v.offset == 0 || v.flags.has(Flags::ALLOC) || v.flags.has(Flags::NON_OWNING))
    };
    state.change(is_copy, |v| {
        if is_null {
            *v = Value::constant(0);
            return;
        }
        set_non_null(subject, v);
        if !may_have_lock(subject, v) {
            v.id = 0;
        }
    });
}

/// Lets a pointer not be null (`mark_ptr_not_null_reg`).
///
/// What a lookup in a map of maps or sockets gives changes its type.
pub(crate) fn set_non_null(subject: &Subject<'_>, value: &mut Value) {
    value.flags = value.flags.without(Flags::MAYBE_NULL);
    let Kind::MapValue(MapRef { map, .. }) = value.kind else { return };
    value.flags = Flags::NONE;
    let info = subject.map(map);
    if let Some(inner) = info.inner {
        let fields = subject.map(inner).fields();
        let is_tied = fields.iter().any(|field| TIED_TO_MAP.contains(&field.kind));
        let uid = if is_tied { value.id } else { 0 };
        value.kind = Kind::MapPtr(MapRef { map: inner, uid });
        return;
    }
    match info.def.map_type {
        MapType::Xskmap => value.kind = Kind::XdpSock,
        MapType::Sockmap | MapType::Sockhash => value.kind = Kind::Sock,
        _ => {}
    }
}

/// Whether there may be a spin lock where the pointer points: then its id tells which one
/// (`reg_may_point_to_spin_lock`).
fn may_have_lock(subject: &Subject<'_>, value: &Value) -> bool {
    match value.kind {
        Kind::MapValue(MapRef { map, .. }) if !value.may_be_null() => {
            subject.map(map).fields().iter().any(|field| LOCKS.contains(&field.kind))
        }
        _ => false,
    }
}
