//! Dynptrs: two slots of the stack that describe memory of any length (`process_dynptr_func`).
//!
//! Invariant: the slots of a dynptr come in pairs with the same id; what overwrites one destroys
//! both and invalidates the slices taken from it. A dynptr that is a reference is only ended by a
//! release.

use super::Call;
use crate::apply::{memory, reference};
use crate::reject::{CallReason, Reason};
use crate::state::{Byte, DynptrKind, Flags, Frame, Kind, SLOT_BYTES, Slot, Stack, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::DynptrUse;

/// Bytes of a dynptr (`BPF_DYNPTR_SIZE`).
const DYNPTR_BYTES: i32 = 16;

/// Where a pointer that is given as a dynptr points.
enum Place {
    /// At the first slot of a pair that the stack has.
    Slot {
        /// The frame.
        frame: usize,
        /// The first slot: the one at the lower address, with the higher index.
        slot: usize,
    },
    /// At a place of the stack that was not used yet.
    Unused,
    /// Where no dynptr can be; the line that Linux writes about it.
    Wrong(String),
}

/// Where a dynptr argument points (`dynptr_get_spi`).
fn place(step: &Step<'_, '_>, value: &Value) -> Result<Place, Reason> {
    let Kind::Stack { frame } = value.kind else {
        return Err(Reason::internal("a dynptr is not on a stack"));
    };
    let Some(moved) = value.scalar.as_const() else {
        return Ok(Place::Wrong("dynptr has to be at a constant offset\n".into()));
    };
    let offset = value.offset.wrapping_add(moved as i32);
    let slot = (offset.wrapping_neg().wrapping_sub(1)) / SLOT_BYTES as i32;
    if offset % SLOT_BYTES as i32 != 0 || slot < 1 {
        return Ok(Place::Wrong(format!("cannot pass in dynptr at an offset={offset}\n")));
    }
    let frame = usize::from(frame);
    let slot = slot as usize;
    let used = step.state.frames.get(frame).map_or(0, |f| f.stack.len());
    Ok(if slot < used { Place::Slot { frame, slot } } else { Place::Unused })
}

/// A dynptr is given.
pub(super) fn give(
    step: &mut Step<'_, '_>,
    call: &mut Call,
    usage: DynptrUse,
    value: &Value,
    reg: Reg,
) -> Result<(), Reason> {
    match usage {
        DynptrUse::NewLocal => create(step, DynptrKind::Local, value, reg),
        DynptrUse::NewRingbuf => create(step, DynptrKind::Ringbuf, value, reg),
        DynptrUse::Read => read(step, call, value, reg, None),
        DynptrUse::ReleaseRingbuf => read(step, call, value, reg, Some(DynptrKind::Ringbuf)),
    }
}

/// That a function of the program may be given the value as a dynptr that it reads.
///
/// # Errors
/// If it is none.
pub(crate) fn check_given(step: &mut Step<'_, '_>, value: &Value, reg: Reg) -> Result<(), Reason> {
    read(step, &mut Call::default(), value, reg, None)
}

/// The helper makes a dynptr (`mark_stack_slots_dynptr`).
fn create(
    step: &mut Step<'_, '_>,
    kind: DynptrKind,
    value: &Value,
    reg: Reg,
) -> Result<(), Reason> {
    let refuse = |why| Err(CallReason::DynptrPlace { why }.into());
    if matches!(value.kind, Kind::Dynptr { .. }) {
        return refuse(String::new());
    }
    if let Place::Wrong(why) = place(step, value)? {
        return refuse(why);
    }
    for offset in (0..DYNPTR_BYTES).step_by(SLOT_BYTES as usize) {
        memory::store_unknown(step, reg, offset, SLOT_BYTES)?;
    }
    let Place::Slot { frame, slot } = place(step, value)? else {
        return Err(Reason::internal("the stack does not reach to a dynptr"));
    };
    // The two slots may have belonged to two dynptrs.
    destroy(step, frame, slot)?;
    destroy(step, frame, slot - 1)?;
    let id = step.new_id();
    let ref_id = if kind == DynptrKind::Ringbuf { reference::acquire(step) } else { 0 };
    let half = |first_slot| Slot {
        bytes: [Byte::Dynptr; SLOT_BYTES as usize],
        value: Value { id, ref_id, ..Value::pointer(Kind::Dynptr { kind, first_slot }) },
    };
    set_pair(step, frame, slot, [half(true), half(false)]);
    Ok(())
}

/// The helper uses a dynptr that is there.
fn read(
    step: &mut Step<'_, '_>,
    call: &mut Call,
    value: &Value,
    reg: Reg,
    expected: Option<DynptrKind>,
) -> Result<(), Reason> {
    let argument = reg.number() - 1;
    let missing = |why| Err(CallReason::DynptrMissing { why, argument }.into());
    let (kind, held) = match (value.kind, expected) {
        (Kind::Dynptr { kind, .. }, None) => (kind, *value),
        (Kind::Dynptr { .. }, Some(_)) => return Err(CallReason::DynptrConst.into()),
        _ => {
            let (frame, slot) = match place(step, value)? {
                Place::Slot { frame, slot } => (frame, slot),
                Place::Unused => return missing(String::new()),
                Place::Wrong(why) => return missing(why),
            };
            let stack = &step.state.frames[frame].stack;
            let Some((kind, held)) = at(stack, slot) else { return missing(String::new()) };
            mark_read(step, frame, slot);
            (kind, held)
        }
    };
    match expected {
        Some(expected) if expected != kind => {
            return Err(CallReason::DynptrKind { kind: name(expected), argument }.into());
        }
        _ => {}
    }
    call.dynptr = held.id;
    call.dynptr_ref = held.ref_id;
    Ok(())
}

/// The dynptr whose first slot this is.
fn at(stack: &Stack, slot: usize) -> Option<(DynptrKind, Value)> {
    let first = stack.get(slot)?;
    let second = stack.get(slot.checked_sub(1)?)?;
    let is_dynptr = |slot: &Slot| slot.bytes.iter().all(|b| *b == Byte::Dynptr);
    match first.value.kind {
        Kind::Dynptr { kind, first_slot: true } if is_dynptr(first) && is_dynptr(second) => {
            Some((kind, first.value))
        }
        _ => None,
    }
}

/// The name of a kind (`dynptr_type_str`).
const fn name(kind: DynptrKind) -> &'static str {
    match kind {
        DynptrKind::Local => "local",
        DynptrKind::Ringbuf => "ringbuf",
    }
}

/// Whether the memory of a new dynptr is some that dynptrs may describe.
pub(super) fn check_memory(value: &Value) -> Result<(), Reason> {
    if matches!(value.kind, Kind::MapValue(_)) && value.flags == Flags::NONE {
        Ok(())
    } else {
        Err(CallReason::DynptrMemory { found: value.type_name().to_string() }.into())
    }
}

/// Whether a pointer points to a dynptr that holds a reference.
pub(super) fn check_acquired(step: &Step<'_, '_>, value: &Value, reg: Reg) -> Result<(), Reason> {
    let why = match place(step, value)? {
        Place::Slot { frame, slot } => {
            let held = step.state.frames[frame].stack.get(slot).map(|s| s.value.ref_id);
            if held.is_some_and(|id| id != 0) {
                return Ok(());
            }
            String::new()
        }
        Place::Unused => String::new(),
        Place::Wrong(why) => why,
    };
    Err(CallReason::DynptrUnacquired { why, reg: reg.number() }.into())
}

/// The dynptr that `reg` points to ends with its reference (`unmark_stack_slots_dynptr`).
pub(super) fn release(step: &mut Step<'_, '_>, reg: Reg) -> Result<(), Reason> {
    let value = *step.reg(reg);
    let Place::Slot { frame, slot } = place(step, &value)? else {
        return Err(Reason::internal("a dynptr to be released is gone"));
    };
    let stack = &step.state.frames[frame].stack;
    let Some((_, held)) = at(stack, slot) else {
        return Err(Reason::internal("a dynptr to be released is gone"));
    };
    if !reference::release(step, held.ref_id) {
        return Err(Reason::internal("the reference of a dynptr is gone"));
    }
    let stack = &step.state.frames[frame].stack;
    let copies: Vec<usize> = (1..stack.len())
        .filter(|slot| at(stack, *slot).is_some_and(|(_, v)| v.ref_id == held.ref_id))
        .collect();
    for slot in copies {
        set_pair(step, frame, slot, [Slot::INVALID; 2]);
    }
    Ok(())
}

/// A slot is about to be overwritten: ends the dynptr that it is part of, if any, and invalidates
/// its slices (`destroy_if_dynptr_stack_slot`).
///
/// # Errors
/// If the dynptr is a reference.
pub(crate) fn destroy(step: &mut Step<'_, '_>, frame: usize, slot: usize) -> Result<(), Reason> {
    let stack = |step: &Step<'_, '_>, slot| {
        step.state.frames.get(frame).and_then(|f: &std::rc::Rc<Frame>| f.stack.get(slot).copied())
    };
    let Some(held) = stack(step, slot).filter(|held| held.bytes[0] == Byte::Dynptr) else {
        return Ok(());
    };
    let Kind::Dynptr { first_slot, kind } = held.value.kind else {
        return Err(Reason::internal("a slot of a dynptr has no dynptr"));
    };
    let first = if first_slot { slot } else { slot + 1 };
    if first == 0 || stack(step, first).is_none() {
        return Err(Reason::internal("half of a dynptr is missing"));
    }
    if kind == DynptrKind::Ringbuf {
        return Err(CallReason::DynptrOverwritten.into());
    }
    step.past.touched.slot(first);
    step.past.touched.slot(first - 1);
    let id = held.value.id;
    set_pair(step, frame, first, [Slot::INVALID; 2]);
    reference::invalidate(step, |value| {
        matches!(value.kind, Kind::Mem { dynptr, .. } if dynptr == id)
            && value.flags.without(Flags::MAYBE_NULL) == Flags::NONE
    });
    Ok(())
}

/// Writes the two slots of a dynptr, the first first.
fn set_pair(step: &mut Step<'_, '_>, frame: usize, slot: usize, pair: [Slot; 2]) {
    let stack = &mut step.state.frame_at_mut(frame).stack;
    for (slot, held) in [slot, slot - 1].into_iter().zip(pair) {
        if let Some(place) = stack.get_mut(slot) {
            *place = held;
        }
    }
    step.past.liveness.write(step.state, step.pc, frame, pair_bits(slot));
}

/// The helper reads the two slots of a dynptr (`mark_dynptr_read`).
fn mark_read(step: &mut Step<'_, '_>, frame: usize, slot: usize) {
    step.past.liveness.read(step.state, step.pc, frame, pair_bits(slot));
    step.past.touched.slot(slot);
    step.past.touched.slot(slot - 1);
}

const fn pair_bits(slot: usize) -> u64 {
    0b11 << (slot - 1)
}
