//! Loads and stores of stacks.

use super::{Use, slot};
use crate::apply::call::dynptr;
use crate::check::{self, Access, Fill, Place};
use crate::reject::{AccessReason, Reason};
use crate::state::{Byte, Kind, Link, SLOT_BYTES, Slot, Stack, Value};
use crate::step::Step;
use ebpfvm_asm::Reg;
use ebpfvm_spec::context::Direction;

/// A load or store through a stack pointer.
///
/// # Errors
/// Why it is not allowed.
pub(super) fn access(step: &mut Step<'_, '_>, access: &Access, usage: Use) -> Result<(), Reason> {
    let place = locate(step, access.base, access.offset, access.bytes, access.direction)?;
    let is_fixed = step.reg(access.base).scalar.tnum.is_const();
    match usage {
        Use::Read => {
            check::fixed_place(step.reg(access.base), access)?;
            read_in_place(step, &place, access.bytes)
        }
        Use::Load { dst, sign_extends } if is_fixed => {
            load(step, &place, access.bytes, dst, sign_extends)
        }
        Use::Load { .. } => {
            let range =
                check::Range { offset: access.offset, bytes: access.bytes, zero_allowed: false };
            super::helper::read_stack(step, access.base, range, Direction::Read)?;
            load_somewhere(step, &place, access.bytes, usage);
            Ok(())
        }
        Use::Store(_) | Use::StoreImm(_) | Use::StoreUnknown if is_fixed => {
            store(step, &place, access.bytes, usage)
        }
        Use::Store(_) | Use::StoreImm(_) | Use::StoreUnknown => {
            store_somewhere(step, &place, access.bytes, usage)
        }
    }
}

/// Where an access is; the stack reaches so far afterwards, and its function is known to need so
/// much (`check_stack_access_within_bounds`).
///
/// # Errors
/// If it is not on the stack.
pub(super) fn locate(
    step: &mut Step<'_, '_>,
    base: Reg,
    offset: i32,
    bytes: u32,
    direction: Direction,
) -> Result<Place, Reason> {
    let place = check::stack_place(step.subject, step.state, base, offset, bytes, direction)?;
    let needed = place.lowest.unsigned_abs();
    let Some(frame) = step.state.frames.get(place.frame) else {
        return Err(Reason::internal("an access to a frame that is gone"));
    };
    if needed > frame.stack.bytes() {
        let subprog = frame.subprog.0 as usize;
        let stack = &mut step.state.frame_at_mut(place.frame).stack;
        stack.grow(needed);
        let bytes = stack.bytes();
        let memory = &mut step.past.subprogs[subprog];
        memory.stack_bytes = memory.stack_bytes.max(bytes);
    }
    Ok(place)
}

/// The slot at an offset of a frame that the stack was made to reach.
fn slot_at(step: &Step<'_, '_>, frame: usize, offset: i32) -> Result<Slot, Reason> {
    let slot = step.state.frames.get(frame).and_then(|frame| frame.stack.at(offset));
    slot.copied().ok_or_else(|| Reason::internal("the stack does not reach to an access"))
}

fn slot_mut<'a>(
    step: &'a mut Step<'_, '_>,
    frame: usize,
    index: usize,
) -> Result<&'a mut Slot, Reason> {
    let slot = step.state.frame_at_mut(frame).stack.get_mut(index);
    slot.ok_or_else(|| Reason::internal("the stack does not reach to an access"))
}

/// A load from a known place (`check_stack_read_fixed_off`).
fn load(
    step: &mut Step<'_, '_>,
    place: &Place,
    bytes: u32,
    dst: Reg,
    sign_extends: bool,
) -> Result<(), Reason> {
    let (frame, offset) = (place.frame, place.lowest);
    let index = note_read(step, place);
    let slot = slot_at(step, frame, offset)?;
    let reads_anything = check::reads_anything(step.subject);
    let loaded = check::load(&slot, offset, bytes, reads_anything)?;
    let mut value = value_of(step, loaded.fill);
    // A part of a number is not the number, nor is one that gets another sign.
    let kept = if sign_extends { 8 * bytes - 1 } else { 8 * bytes };
    if bytes < SLOT_BYTES && value.is_number() && width(&value) > kept {
        unlink(&mut value);
    }
    super::give(step, Use::Load { dst, sign_extends }, bytes, value);
    if loaded.is_restored {
        step.state.record_stack_access(frame, index);
    }
    Ok(())
}

/// A read of bytes that are changed in place.
fn read_in_place(step: &mut Step<'_, '_>, place: &Place, bytes: u32) -> Result<(), Reason> {
    let (frame, offset) = (place.frame, place.lowest);
    let index = note_read(step, place);
    let slot = slot_at(step, frame, offset)?;
    if check::load_in_place(step.subject, &slot, offset, bytes)? {
        step.state.record_stack_access(frame, index);
    }
    Ok(())
}

/// That a slot is read.
fn note_read(step: &mut Step<'_, '_>, place: &Place) -> usize {
    let index = Stack::place(place.lowest).0;
    step.past.touched.slot(index);
    step.touch_stack(step.state.current(), place.lowest);
    step.past.liveness.read(step.state, step.pc, place.frame, 1 << index);
    index
}

fn value_of(step: &Step<'_, '_>, fill: Fill) -> Value {
    let unknown = step.unknown();
    match fill {
        Fill::Value(value) => value,
        Fill::Zero => Value { precise: unknown.precise, ..Value::constant(0) },
        Fill::Unknown => unknown,
    }
}

/// A load from an unknown place whose bytes may all be read (`check_stack_read_var_off`).
fn load_somewhere(step: &mut Step<'_, '_>, place: &Place, bytes: u32, usage: Use) {
    let fill = check::load_somewhere(step.state, place, bytes);
    // The log tells of slots as far as Linux looks at them.
    if let Some(frame) = step.state.frames.get(place.frame) {
        for offset in place.touched(bytes) {
            step.past.touched.slot(Stack::place(offset).0);
            if frame.stack.at(offset).is_none_or(|slot| slot.byte(offset) != Byte::Zero) {
                break;
            }
        }
    }
    let value = value_of(step, fill);
    super::give(step, usage, bytes, value);
    step.touch_stack(place.frame, place.lowest);
}

/// Bits of the greatest value that a number may have (`get_reg_width`).
fn width(value: &Value) -> u32 {
    u64::BITS - value.scalar.full.umax.leading_zeros()
}

/// Lets a number be equal to nothing else (`clear_scalar_id`).
fn unlink(value: &mut Value) {
    value.id = 0;
    value.link = Link::Equal;
    value.offset = 0;
}

/// Whether a value of this type is followed through the stack (`is_spillable_regtype`).
fn is_spillable(value: &Value) -> bool {
    !matches!(value.kind, Kind::Uninit | Kind::Scalar | Kind::TpBuffer | Kind::Dynptr { .. })
}

/// What a store stores: the value, if one is, and whether it is zero.
struct Stored {
    reg: Option<Reg>,
    value: Option<Value>,
    is_zero: bool,
}

fn stored(step: &Step<'_, '_>, usage: Use) -> Stored {
    match usage {
        Use::Store(reg) => {
            let value = *step.reg(reg);
            Stored { reg: Some(reg), value: Some(value), is_zero: value.is_null() }
        }
        Use::StoreImm(imm) => Stored {
            reg: None,
            value: Some(Value::constant(i64::from(imm) as u64)),
            is_zero: imm == 0,
        },
        _ => Stored { reg: None, value: None, is_zero: false },
    }
}

/// A store to a known place (`check_stack_write_fixed_off`).
fn store(step: &mut Step<'_, '_>, place: &Place, bytes: u32, usage: Use) -> Result<(), Reason> {
    let (frame, offset) = (place.frame, place.lowest);
    let index = Stack::place(offset).0;
    let before = slot_at(step, frame, offset)?;
    let privileges = step.subject.options.privileges;
    if !privileges.may_leak_pointers()
        && before.is_spilled()
        && !before.value.is_number()
        && bytes != SLOT_BYTES
    {
        return Err(AccessReason::CorruptSpill.into());
    }
    if step.subject.is_speculation_followed() {
        let is_pointer = matches!(usage, Use::Store(reg) if is_spillable(step.reg(reg)));
        let hides = |at| !matches!(before.byte(at), Byte::Misc | Byte::Zero);
        if is_pointer || (offset..offset + bytes as i32).any(hides) {
            step.past.insn_mut(step.pc).no_speculation_behind = true;
        }
    }
    if before.bytes[0] == Byte::Dynptr {
        dynptr::destroy(step, frame, index)?;
    }
    // The value may be a slice of the dynptr that this store ends: it is none from now on.
    let stored = stored(step, usage);
    let begins = offset % SLOT_BYTES as i32 == 0;
    if begins && bytes == SLOT_BYTES {
        step.past.liveness.write(step.state, step.pc, frame, 1 << index);
    }
    step.touch_stack(frame, offset);
    step.past.touched.slot(index);
    if let Some(mut value) = stored.value {
        if value.is_number() && begins && privileges.bpf {
            if let Some(reg) = stored.reg {
                value = spilled_number(step, reg, value, bytes);
            }
            slot::spill(slot_mut(step, frame, index)?, value, bytes);
            step.state.record_stack_access(frame, index);
            return Ok(());
        }
        if is_spillable(&value) {
            if bytes != SLOT_BYTES {
                return Err(AccessReason::SpillSize.into());
            }
            if frame != step.state.current() && matches!(value.kind, Kind::Stack { .. }) {
                return Err(AccessReason::StackPointerInCaller.into());
            }
            slot::spill(slot_mut(step, frame, index)?, value, bytes);
            step.state.record_stack_access(frame, index);
            return Ok(());
        }
    }
    slot::scrub(slot_mut(step, frame, index)?);
    let kind = if stored.is_zero {
        // No spill leads back to the register: that it is zero must be known from here on.
        if let Some(reg) = stored.reg {
            step.mark_precise(reg)?;
        }
        Byte::Zero
    } else {
        Byte::Misc
    };
    slot::put(slot_mut(step, frame, index)?, offset, bytes, kind);
    Ok(())
}

/// The number in a register as it is spilled: linked with the register, unless it is cut off.
fn spilled_number(step: &mut Step<'_, '_>, reg: Reg, mut value: Value, bytes: u32) -> Value {
    if width(&value) > 8 * bytes {
        unlink(&mut value);
        return value;
    }
    // Differences do not add up.
    let was_linked = value.link != Link::Equal;
    if was_linked {
        unlink(&mut value);
    }
    let is_new = value.id == 0 && !value.scalar.tnum.is_const();
    if is_new {
        value.id = step.new_id();
    }
    if was_linked || is_new {
        *step.state.reg_mut(reg) = value;
    }
    value
}

/// A store to an unknown place: each slot that it may touch may or may not have been written
/// (`check_stack_write_var_off`).
fn store_somewhere(
    step: &mut Step<'_, '_>,
    place: &Place,
    bytes: u32,
    usage: Use,
) -> Result<(), Reason> {
    let frame = place.frame;
    let stored = stored(step, usage);
    for offset in place.touched(bytes) {
        if slot_at(step, frame, offset)?.bytes[0] == Byte::Dynptr {
            dynptr::destroy(step, frame, Stack::place(offset).0)?;
        }
    }
    step.touch_stack(frame, place.lowest);
    let may_leak = step.subject.options.privileges.may_leak_pointers();
    let reads_anything = check::reads_anything(step.subject);
    let pc = step.pc.0;
    let mut relies_on_zero = false;
    for offset in place.touched(bytes) {
        let index = Stack::place(offset).0;
        step.past.touched.slot(index);
        let slot = slot_mut(step, frame, index)?;
        let before = slot.byte(offset);
        if !may_leak && !matches!(before, Byte::Misc | Byte::Zero) {
            return Err(AccessReason::VariableStoreOverSpill { pc, offset }.into());
        }
        // A zero over a zero leaves one.
        if stored.is_zero && before == Byte::Spill && slot.is_spilled() && slot.value.is_null() {
            relies_on_zero = true;
            continue;
        }
        slot::scrub(slot);
        let mut kind = Byte::Misc;
        if stored.is_zero && slot.byte(offset) == Byte::Zero {
            kind = Byte::Zero;
            relies_on_zero = true;
        }
        if slot.byte(offset) == Byte::Invalid && !reads_anything {
            return Err(AccessReason::VariableStoreOverNothing { pc, offset }.into());
        }
        slot::put(slot, offset, 1, kind);
    }
    if relies_on_zero && let Some(reg) = stored.reg {
        step.mark_precise(reg)?;
    }
    Ok(())
}
