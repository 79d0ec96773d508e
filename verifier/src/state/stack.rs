//! The stack of a frame, eight bytes a slot.

use super::value::Value;
use smallvec::SmallVec;
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

/// Slots that are copied together.
const PAGE_SLOTS: usize = 2;

/// The slots of a frame from the top down: slot `i` is at `-8 * (i + 1)` from the frame pointer.
///
/// Copies share their slots, a page at a time, until one of the page is changed: of the many states
/// that a loop leaves behind each takes only the room of what differs. Slots of the last page that
/// the stack does not reach are [`Slot::INVALID`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Stack {
    pages: SmallVec<[Rc<[Slot; PAGE_SLOTS]>; 4]>,
    used: usize,
}

impl Stack {
    /// The slots that were used so far.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.pages.iter().flat_map(|page| page.iter()).take(self.used)
    }

    /// How many slots were used so far.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The slot, if the stack reaches so far.
    pub(crate) fn get(&self, slot: usize) -> Option<&Slot> {
        if slot >= self.used {
            return None;
        }
        self.pages.get(slot / PAGE_SLOTS)?.get(slot % PAGE_SLOTS)
    }

    /// The slot with the byte at an offset from the frame pointer, -1 or less; none if the stack does
    /// not reach so far.
    pub(crate) fn at(&self, offset: i32) -> Option<&Slot> {
        self.get(Stack::place(offset).0)
    }

    /// The slot, to be changed; none if the stack does not reach so far.
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Slot> {
        if slot >= self.used {
            return None;
        }
        Rc::make_mut(self.pages.get_mut(slot / PAGE_SLOTS)?).get_mut(slot % PAGE_SLOTS)
    }

    /// Changes the slots that satisfy the condition. Pages without one stay shared.
    pub(crate) fn change(&mut self, which: impl Fn(&Slot) -> bool, mut how: impl FnMut(&mut Slot)) {
        for page in &mut self.pages {
            if page.iter().any(&which) {
                Rc::make_mut(page).iter_mut().filter(|slot| which(slot)).for_each(&mut how);
            }
        }
    }

    /// The size in bytes.
    pub(crate) fn bytes(&self) -> u32 {
        self.used as u32 * SLOT_BYTES
    }

    /// Makes the stack at least so many bytes (`grow_stack_state`); `bytes` is at most
    /// [`MAX_STACK_BYTES`].
    pub(crate) fn grow(&mut self, bytes: u32) {
        let slots = bytes.min(MAX_STACK_BYTES).div_ceil(SLOT_BYTES) as usize;
        self.used = self.used.max(slots);
        while self.pages.len() * PAGE_SLOTS < self.used {
            self.pages.push(Rc::new([Slot::INVALID; PAGE_SLOTS]));
        }
    }

    /// Whether both share all their slots: then they are equal.
    pub(crate) fn is_same(&self, other: &Stack) -> bool {
        self.used == other.used
            && self.pages.iter().zip(&other.pages).all(|(one, other)| Rc::ptr_eq(one, other))
    }

    /// Whether both share this slot: then it is equal.
    pub(crate) fn shares(&self, other: &Stack, slot: usize) -> bool {
        let page = slot / PAGE_SLOTS;
        let pages = self.pages.get(page).zip(other.pages.get(page));
        pages.is_some_and(|(one, other)| Rc::ptr_eq(one, other))
    }

    /// The slot and the byte in it (0 for the slot's highest address) of an offset below the frame
    /// pointer, -512 to -1.
    pub(crate) const fn place(offset: i32) -> (usize, usize) {
        let below = (-offset - 1) as usize;
        (below / SLOT_BYTES as usize, below % SLOT_BYTES as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_what_is_not_changed() {
        let mut stack = Stack::default();
        stack.grow(100);
        assert_eq!((stack.len(), stack.bytes(), stack.slots().count()), (13, 104, 13));
        let mut copy = stack.clone();
        assert!(copy.is_same(&stack));
        copy.get_mut(5).expect("a slot").bytes = [Byte::Misc; SLOT_BYTES as usize];
        assert!(!copy.is_same(&stack) && copy != stack);
        let shared = (0..13).filter(|slot| copy.shares(&stack, *slot)).count();
        assert_eq!(shared, 13 - PAGE_SLOTS);
        assert_eq!(stack.get(5), Some(&Slot::INVALID));
        copy.change(|slot| slot.bytes[0] == Byte::Misc, |slot| *slot = Slot::INVALID);
        assert!(!copy.is_same(&stack) && copy == stack);
    }

    #[test]
    fn slots_beyond_the_end_are_none() {
        let mut stack = Stack::default();
        stack.grow(8);
        assert!(stack.get(0).is_some() && stack.get_mut(1).is_none() && stack.at(-9).is_none());
        stack.grow(MAX_STACK_BYTES + 8);
        assert_eq!(stack.bytes(), MAX_STACK_BYTES);
    }
}
