//! References: what a program acquired and must give back, and pointers that become invalid.

use crate::state::{Kind, Reference, ReferenceKind, Value};
use crate::step::Step;

/// Writes down that this instruction acquired an object, and gives its number
/// (`acquire_reference`).
pub(crate) fn acquire(step: &mut Step<'_, '_>) -> u32 {
    let id = step.new_id();
    let pc = step.pc;
    step.state.references.push(Reference { kind: ReferenceKind::Object, id, pc });
    id
}

/// Gives an object back and invalidates all pointers to it. Tells whether there was one
/// (`release_reference`).
pub(crate) fn release(step: &mut Step<'_, '_>, id: u32) -> bool {
    let references = &mut step.state.references;
    let held = |r: &Reference| r.kind == ReferenceKind::Object && r.id == id;
    let Some(at) = references.iter().position(held) else { return false };
    references.remove(at);
    invalidate(step, |value| value.ref_id == id);
    true
}

/// Invalidates all pointers into the packet: it may have moved (`clear_all_pkt_pointers`).
pub(crate) fn invalidate_packet(step: &mut Step<'_, '_>) {
    invalidate(step, |value| value.is_packet() || value.kind == Kind::PacketEnd);
}

/// Forgets the pointers that satisfy the condition: numbers remain for programs that may see
/// pointers as numbers, else nothing (`mark_reg_invalid`).
pub(crate) fn invalidate(step: &mut Step<'_, '_>, which: impl Fn(&Value) -> bool) {
    let remains = if step.subject.options.privileges.may_leak_pointers() {
        step.unknown()
    } else {
        Value::UNINIT
    };
    step.state.change(which, |value| *value = remains);
}
