//! The stack of a frame, eight bytes a slot.

use super::value::Value;
use std::rc::Rc;

/// The largest stack of a frame in bytes (`MAX_BPF_STACK`).
pub(crate) const MAX_STACK_BYTES: u32 = 512;
/// The bytes of a slot (`BPF_REG_SIZE`).
pub(crate) const SLOT_BYTES: u32 = 8;

/// What one byte of the stack holds (`enum bpf_stack_slot_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Byte {
    /// Nothing was stored.
    Invalid,
    /// Part of a spilled value.
    Spill,
    /// A byte of an unknown number.
    Misc,
    /// Zero.
    Zero,
    /// Part of a dynptr.
    Dynptr,
}

/// Eight bytes of the stack.
///
/// `bytes[7]` is the byte at the slot's lowest address; a value narrower than the slot that was
/// spilled takes the last elements, so that `bytes[7]` is [`Byte::Spill`] whenever `value` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What each byte holds.
    pub(crate) bytes: [Byte; SLOT_BYTES as usize],
    /// What was spilled here, or what the dynptr is.
    pub(crate) value: Value,
}

impl Slot {
    /// A slot that nothing was stored to.
    pub(crate) const INVALID: Slot =
        Slot { bytes: [Byte::Invalid; SLOT_BYTES as usize], value: Value::UNINIT };

    /// A slot that holds this value whole.
    #[cfg(test)]
    pub(crate) const fn spill(value: Value) -> Slot {
        Slot { bytes: [Byte::Spill; SLOT_BYTES as usize], value }
    }

    /// What the byte at an offset below the frame pointer holds; the offset is one of this slot.
    pub(crate) const fn byte(&self, offset: i32) -> Byte {
        self.bytes[Stack::place(offset).1]
    }

    /// Whether a value was spilled here, at least in part (`is_spilled_reg`).
    pub(crate) const fn is_spilled(&self) -> bool {
        matches!(self.bytes[SLOT_BYTES as usize - 1], Byte::Spill)
    }

    /// Whether a number was spilled here, at least in part (`is_spilled_scalar_reg`).
    pub(crate) const fn is_spilled_number(&self) -> bool {
        self.is_spilled() && self.value.is_number()
    }

    /// Whether a value was spilled to all eight bytes.
    pub(crate) const fn is_full_spill(&self) -> bool {
        matches!(self.bytes[0], Byte::Spill)
    }
}

/// The slots of a frame from the top down: slot `i` is at `-8 * (i + 1)` from the frame pointer.
///
/// Copies share their slots until one of them is changed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Stack(Rc<Vec<Slot>>);

impl Stack {
    /// The slots that were used so far.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.0
    }

    /// The slot, if the stack reaches so far.
    pub(crate) fn get(&self, slot: usize) -> Option<&Slot> {
        self.0.get(slot)
    }

    /// The slot with the byte at an offset from the frame pointer, -1 or less; none if the stack does
    /// not reach so far.
    pub(crate) fn at(&self, offset: i32) -> Option<&Slot> {
        self.0.get(Stack::place(offset).0)
    }

    /// All slots, to be changed.
    pub(crate) fn slots_mut(&mut self) -> &mut [Slot] {
        Rc::make_mut(&mut self.0).as_mut_slice()
    }

    /// The slot, to be changed; none if the stack does not reach so far.
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Slot> {
        if slot < self.0.len() { Rc::make_mut(&mut self.0).get_mut(slot) } else { None }
    }

    /// The size in bytes.
    pub(crate) fn bytes(&self) -> u32 {
        self.0.len() as u32 * SLOT_BYTES
    }

    /// Makes the stack at least so many bytes (`grow_stack_state`); `bytes` is at most
    /// [`MAX_STACK_BYTES`].
    pub(crate) fn grow(&mut self, bytes: u32) {
        let slots = bytes.min(MAX_STACK_BYTES).div_ceil(SLOT_BYTES) as usize;
        if slots > self.0.len() {
            Rc::make_mut(&mut self.0).resize(slots, Slot::INVALID);
        }
    }

    /// Whether both share their slots: then they are equal.
    pub(crate) fn is_same(&self, other: &Stack) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The slot and the byte in it (0 for the slot's highest address) of an offset below the frame
    /// pointer, -512 to -1.
    pub(crate) const fn place(offset: i32) -> (usize, usize) {
        let below = (-offset - 1) as usize;
        (below / SLOT_BYTES as usize, below % SLOT_BYTES as usize)
    }
}
