//! Accesses to stacks: where they may be, and what a load of some bytes of a slot gives.

use super::access::Access;
use super::region::MAX_VARIABLE_OFFSET;
use crate::reject::{AccessReason, Reason};
use crate::state::{Byte, Kind, MAX_STACK_BYTES, SLOT_BYTES, Slot, State, Value};
use crate::subject::Subject;
use ebpfvm_asm::Reg;
use ebpfvm_spec::context::Direction;
use std::ops::Range;

/// Where an access to a stack may begin: offsets from the top of the frame's stack, the lowest and
/// the highest. Both are the same if the offset is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The frame whose stack it is.
    pub(crate) frame: usize,
    /// The lowest offset.
    pub(crate) lowest: i32,
    /// The highest offset.
    pub(crate) highest: i32,
}

impl Place {
    /// All offsets that an access of so many bytes may touch.
    pub(crate) fn touched(&self, bytes: u32) -> Range<i32> {
        self.lowest..self.highest.saturating_add(bytes as i32)
    }
}

/// Where an access through a stack pointer may be, if that is on the stack
/// (`check_stack_access_within_bounds`). `offset` counts from the fixed offset of the pointer. The
/// stack must be made as long as [`Place::lowest`] asks for.
///
/// # Errors
/// If some byte may lie outside, or, for a read by a program that must not read what nobody wrote,
/// below the part that was used so far.
pub(crate) fn stack_place(
    subject: &Subject<'_>,
    state: &State,
    reg: Reg,
    offset: i32,
    bytes: u32,
    direction: Direction,
) -> Result<Place, Reason> {
    let value = state.reg(reg);
    let number = reg.number();
    let what = match direction {
        Direction::Read => "read from",
        Direction::Write => "write to",
    };
    let Kind::Stack { frame } = value.kind else {
        return Err(Reason::internal("an access to a stack through something else"));
    };
    let frame = usize::from(frame);
    let Some(owner) = state.frames.get(frame) else {
        return Err(Reason::internal("a pointer to the stack of a function that has returned"));
    };
    let offset = value.offset.wrapping_add(offset);
    let full = &value.scalar.full;
    let fixed = value.scalar.tnum.as_const();
    let (smin, smax) = match fixed {
        Some(fixed) => (fixed as i64, fixed as i64),
        None => (full.smin, full.smax),
    };
    let most = MAX_VARIABLE_OFFSET as i64;
    if fixed.is_none() && (smax >= most || smin <= -most) {
        return Err(AccessReason::UnboundedStack { what, reg: number }.into());
    }
    let lowest = smin.wrapping_add(offset.into());
    let highest = smax.wrapping_add(offset.into());
    let end = highest.wrapping_add(bytes.into());
    let reaches = match direction {
        Direction::Read if !reads_anything(subject) => owner.stack.bytes(),
        _ => MAX_STACK_BYTES,
    };
    let below = lowest < -i64::from(reaches) || lowest > -1;
    if !below && end <= 0 {
        // Both lie in the stack now.
        return Ok(Place { frame, lowest: lowest as i32, highest: highest as i32 });
    }
    let bits = || value.scalar.tnum.to_string();
    let reg = number;
    Err(match (fixed.is_some(), below) {
        (true, true) => AccessReason::BelowStack { what, reg, offset, bytes },
        (true, false) => AccessReason::AboveStack { what, reg, offset, bytes },
        (false, true) => AccessReason::MaybeBelowStack { what, reg, bits: bits(), offset, bytes },
        (false, false) => AccessReason::MaybeAboveStack { what, reg, bits: bits(), offset, bytes },
    }
    .into())
}

/// Whether the program may read stack that nobody wrote (`allow_uninit_stack`).
pub(crate) fn reads_anything(subject: &Subject<'_>) -> bool {
    subject.options.privileges.perfmon
}

/// What a load from the stack puts into its register, before it is cut to the size of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// A spilled value.
    Value(Value),
    /// Zero.
    Zero,
    /// Any number.
    Unknown,
}

/// What a load of bytes of one slot gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The value.
    pub(crate) fill: Fill,
    /// Whether a spilled value was restored, so that what matters of the register matters of the
    /// slot.
    pub(crate) is_restored: bool,
}

/// What a load of `bytes` bytes at `offset` into a register gives
/// (`check_stack_read_fixed_off`). `reads_anything` is that of the program.
///
/// # Errors
/// If a byte holds nothing or part of a pointer.
pub(crate) fn load(
    slot: &Slot,
    offset: i32,
    bytes: u32,
    reads_anything: bool,
) -> Result<Loaded, AccessReason> {
    if !slot.is_spilled() {
        let zeros = count_readable(slot, offset, bytes, reads_anything)?.zeros;
        let fill = if zeros == bytes { Fill::Zero } else { Fill::Unknown };
        return Ok(Loaded { fill, is_restored: false });
    }
    let spilled = slot.bytes.iter().rev().take_while(|b| **b == Byte::Spill).count() as u32;
    if bytes == SLOT_BYTES && spilled == SLOT_BYTES {
        return Ok(Loaded { fill: Fill::Value(slot.value), is_restored: true });
    }
    if !slot.value.is_number() {
        return Err(AccessReason::FillSize);
    }
    // The low bytes of the number are the first in memory.
    if bytes <= spilled && offset % SLOT_BYTES as i32 == 0 {
        return Ok(Loaded { fill: Fill::Value(slot.value), is_restored: true });
    }
    let counted = count_readable(slot, offset, bytes, reads_anything)?;
    Ok(if counted.spilled == bytes && slot.value.as_const() == Some(0) {
        Loaded { fill: Fill::Zero, is_restored: true }
    } else if counted.zeros == bytes {
        Loaded { fill: Fill::Zero, is_restored: false }
    } else {
        Loaded { fill: Fill::Unknown, is_restored: false }
    })
}

/// Whether bytes of a slot may be read and changed as a number by an atomic operation; tells
/// whether a spill was read whole (`check_stack_read_fixed_off` without a register).
///
/// # Errors
/// If a byte holds nothing or part of a pointer, or all of them a pointer that must stay secret.
pub(crate) fn load_in_place(
    subject: &Subject<'_>,
    slot: &Slot,
    offset: i32,
    bytes: u32,
) -> Result<bool, AccessReason> {
    if !slot.is_spilled() {
        count_readable(slot, offset, bytes, reads_anything(subject))?;
        return Ok(false);
    }
    if bytes != SLOT_BYTES || !slot.is_full_spill() {
        return if slot.value.is_number() { Ok(false) } else { Err(AccessReason::FillSize) };
    }
    // Of a reference that was released nothing is known: not that it is a number either.
    if !slot.value.is_number() && !subject.options.privileges.may_leak_pointers() {
        return Err(AccessReason::LeakFromStack { offset });
    }
    Ok(true)
}

struct Counted {
    spilled: u32,
    zeros: u32,
}

/// Counts spilled and zero bytes among some of a slot.
///
/// # Errors
/// If one holds nothing, or what is no number.
fn count_readable(
    slot: &Slot,
    offset: i32,
    bytes: u32,
    reads_anything: bool,
) -> Result<Counted, AccessReason> {
    let mut counted = Counted { spilled: 0, zeros: 0 };
    for i in 0..bytes {
        match slot.byte(offset + i as i32) {
            Byte::Spill if slot.is_spilled() => counted.spilled += 1,
            Byte::Zero => counted.zeros += 1,
            Byte::Misc => {}
            Byte::Invalid if reads_anything => {}
            Byte::Invalid | Byte::Spill | Byte::Dynptr => {
                return Err(AccessReason::StackRead { offset, byte: i, bytes });
            }
        }
    }
    Ok(counted)
}

/// What a load somewhere in a range gives (`mark_reg_stack_read`): its bytes may be read.
pub(crate) fn load_somewhere(state: &State, place: &Place, bytes: u32) -> Fill {
    let Some(frame) = state.frames.get(place.frame) else { return Fill::Unknown };
    let is_zero =
        |offset: i32| frame.stack.at(offset).is_some_and(|slot| slot.byte(offset) == Byte::Zero);
    if place.touched(bytes).all(is_zero) { Fill::Zero } else { Fill::Unknown }
}

/// The access of an instruction that changes a place of the stack must be at a fixed offset
/// (`check_stack_read`).
///
/// # Errors
/// If it is not.
pub(crate) fn fixed_place(value: &Value, access: &Access) -> Result<(), Reason> {
    if value.scalar.tnum.is_const() {
        return Ok(());
    }
    let bits = value.scalar.tnum.to_string();
    let offset = value.offset.wrapping_add(access.offset);
    Err(AccessReason::VariableStack { bits, offset, bytes: access.bytes }.into())
}
