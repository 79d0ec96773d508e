//! Numbers that are equal, or differ by a constant: what one learns, all learn.

use crate::cfg::Structure;
use crate::domain;
use crate::explore::{Linked, LinkedValue};
use crate::state::{Link, State, Value};
use ebpfvm_asm::{Reg, Width};

/// Unlinks a number from all others (`clear_scalar_id`).
pub(crate) fn unlink(value: &mut Value) {
    value.id = 0;
    value.offset = 0;
    value.link = Link::Equal;
}

/// Gives a number that is about to be copied an id for its copies to share
/// (`assign_scalar_id_before_mov`).
pub(crate) fn prepare_copy(value: &mut Value, new_id: impl FnOnce() -> u32) {
    if !value.is_number() {
        return;
    }
    // Differences do not add up.
    if value.link != Link::Equal {
        unlink(value);
    }
    if value.id == 0 && !value.scalar.tnum.is_const() {
        value.id = new_id();
    }
}

/// Adds the places of all numbers with this id; those for which there is no room are unlinked
/// (`collect_linked_regs`). Registers that are never read learn nothing.
pub(crate) fn collect(structure: &Structure, state: &mut State, id: u32, linked: &mut Linked) {
    let mut left_over = Vec::new();
    let mut add = |place| {
        if !linked.push(place) {
            left_over.push(place);
        }
    };
    let is_linked = |v: &Value| v.is_number() && v.id == id;
    for (number, frame) in state.frames.iter().enumerate().rev() {
        let frame_number = number as u8;
        let live = structure.at(state.frame_pc(number)).live_regs;
        for reg in Reg::all().filter(|reg| *reg != Reg::R10) {
            if is_linked(&frame.regs[reg.index()]) && live.has(reg.index()) {
                add(LinkedValue::Reg { frame: frame_number, reg: reg.number() });
            }
        }
        for (slot, held) in frame.stack.slots().enumerate() {
            if held.is_spilled() && is_linked(&held.value) {
                add(LinkedValue::Slot { frame: frame_number, slot: slot as u8 });
            }
        }
    }
    for place in left_over {
        if let Some(value) = at_mut(state, place) {
            unlink(value);
        }
    }
}

/// Lets all linked numbers learn what is known of the one in `reg` (`sync_linked_regs`).
pub(crate) fn sync(state: &mut State, reg: Reg, linked: &Linked) {
    let known = *state.reg(reg);
    let known_place = LinkedValue::Reg { frame: state.current() as u8, reg: reg.number() };
    for place in linked.iter().filter(|place| **place != known_place) {
        let Some(value) = at_mut(state, *place) else { continue };
        if value.is_number() && value.id == known.id {
            learn(value, &known);
        }
    }
}

fn learn(value: &mut Value, known: &Value) {
    let width = match (value.link, known.link) {
        (Link::Equal, Link::Equal) => {
            *value = *known;
            return;
        }
        // Differences of different widths say nothing of each other.
        (Link::Plus32, Link::Plus64) | (Link::Plus64, Link::Plus32) => return,
        (Link::Plus32, _) | (_, Link::Plus32) => Width::W32,
        (Link::Plus64, _) | (_, Link::Plus64) => Width::W64,
    };
    if value.offset == known.offset {
        *value = *known;
        return;
    }
    let delta = i64::from(value.offset) - i64::from(known.offset);
    *value = Value {
        scalar: domain::linked(width, known.scalar, delta as u64),
        link: value.link,
        offset: value.offset,
        ..*known
    };
}

fn at_mut(state: &mut State, place: LinkedValue) -> Option<&mut Value> {
    match place {
        LinkedValue::Reg { frame, reg } => {
            let reg = Reg::new(reg)?;
            Some(&mut state.frame_at_mut(frame.into()).regs[reg.index()])
        }
        LinkedValue::Slot { frame, slot } => {
            let slot = state.frame_at_mut(frame.into()).stack.get_mut(slot.into())?;
            Some(&mut slot.value)
        }
    }
}
