//! What stores make of the eight bytes of a slot.

use crate::state::{Byte, Kind, SLOT_BYTES, Slot, Stack, Value};

/// Whether the slot holds more than bytes: a spill or part of a dynptr (`is_stack_slot_special`).
const fn is_special(slot: &Slot) -> bool {
    matches!(slot.bytes[SLOT_BYTES as usize - 1], Byte::Spill | Byte::Dynptr)
}

/// Puts a value into the low `bytes` bytes, which are the first in memory, of a slot
/// (`save_register_state`). What else was spilled there is only bytes then.
pub(super) fn spill(slot: &mut Slot, value: Value, bytes: u32) {
    slot.value = value;
    let rest = SLOT_BYTES.saturating_sub(bytes) as usize;
    for (i, byte) in slot.bytes.iter_mut().enumerate() {
        *byte = match *byte {
            _ if i >= rest => Byte::Spill,
            Byte::Zero => Byte::Zero,
            // Reading it stays an error for those who must not see what was there.
            Byte::Invalid => Byte::Invalid,
            Byte::Spill | Byte::Misc | Byte::Dynptr => Byte::Misc,
        };
    }
}

/// Lets a spill be only bytes (`scrub_special_slot`).
pub(super) fn scrub(slot: &mut Slot) {
    slot.value.kind = Kind::Uninit;
    if is_special(slot) {
        scrub_bytes(slot);
    }
}

/// Lets all bytes be any bytes but those that nothing was stored to.
pub(super) fn scrub_bytes(slot: &mut Slot) {
    for byte in slot.bytes.iter_mut().filter(|b| **b != Byte::Invalid) {
        *byte = Byte::Misc;
    }
}

/// Lets `bytes` bytes from an offset on, all of this slot, be `kind`.
pub(super) fn put(slot: &mut Slot, offset: i32, bytes: u32, kind: Byte) {
    for at in offset..offset + bytes as i32 {
        slot.bytes[Stack::place(at).1] = kind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Fill, load};
    use crate::domain::Scalar;
    use crate::reject::AccessReason;
    use Byte::{Invalid, Misc, Spill, Zero};

    fn number(value: u64) -> Value {
        Value { id: 7, ..Value::constant(value) }
    }

    #[test]
    fn whole_spill_is_restored() {
        let mut slot = Slot::INVALID;
        spill(&mut slot, number(5), 8);
        assert_eq!(slot, Slot::spill(number(5)));
        let loaded = load(&slot, -8, 8, false).unwrap();
        assert_eq!(loaded.fill, Fill::Value(number(5)));
        assert!(loaded.is_restored);
    }

    #[test]
    fn narrow_spill_keeps_what_was_beside_it() {
        let mut slot =
            Slot { bytes: [Zero, Zero, Misc, Invalid, Zero, Zero, Zero, Zero], ..Slot::INVALID };
        spill(&mut slot, number(5), 4);
        assert_eq!(slot.bytes, [Zero, Zero, Misc, Invalid, Spill, Spill, Spill, Spill]);
        spill(&mut slot, number(1), 2);
        assert_eq!(slot.bytes, [Zero, Zero, Misc, Invalid, Misc, Misc, Spill, Spill]);
    }

    #[test]
    fn low_bytes_of_a_number_are_restored_others_are_not() {
        let mut slot = Slot::INVALID;
        spill(&mut slot, number(0x1234), 4);
        assert_eq!(load(&slot, -8, 2, false).unwrap().fill, Fill::Value(number(0x1234)));
        let high = load(&slot, -6, 2, false).unwrap();
        assert_eq!((high.fill, high.is_restored), (Fill::Unknown, false));
        // More than was spilled: the rest was never written.
        assert_eq!(
            load(&slot, -8, 8, false),
            Err(AccessReason::StackRead { offset: -8, byte: 4, bytes: 8 })
        );
        assert_eq!(load(&slot, -8, 8, true).unwrap().fill, Fill::Unknown);
    }

    #[test]
    fn any_part_of_a_spilled_zero_is_zero() {
        let mut slot = Slot::INVALID;
        spill(&mut slot, number(0), 8);
        let part = load(&slot, -5, 1, false).unwrap();
        assert_eq!((part.fill, part.is_restored), (Fill::Zero, true));
        let mut slot = Slot { bytes: [Zero; 8], ..Slot::INVALID };
        spill(&mut slot, number(5), 4);
        let part = load(&slot, -4, 4, false).unwrap();
        assert_eq!((part.fill, part.is_restored), (Fill::Zero, false));
        // A zero beside it does not make a number of both.
        assert_eq!(load(&slot, -8, 8, false).unwrap().fill, Fill::Unknown);
    }

    #[test]
    fn pointers_are_filled_whole() {
        let pointer = Value::stack(0, -16);
        let slot = Slot::spill(pointer);
        assert_eq!(load(&slot, -8, 8, false).unwrap().fill, Fill::Value(pointer));
        for bytes in [1, 2, 4] {
            assert_eq!(load(&slot, -8, bytes, true), Err(AccessReason::FillSize));
        }
    }

    #[test]
    fn bytes_over_a_spill_leave_bytes() {
        let mut slot = Slot::INVALID;
        spill(&mut slot, Value::number(Scalar::TOP), 8);
        scrub(&mut slot);
        put(&mut slot, -6, 2, Zero);
        assert_eq!(slot.bytes, [Misc, Misc, Misc, Misc, Zero, Zero, Misc, Misc]);
        assert_eq!(load(&slot, -6, 2, false).unwrap().fill, Fill::Zero);
        assert_eq!(load(&slot, -8, 4, false).unwrap().fill, Fill::Unknown);
    }

    #[test]
    fn nothing_is_read_from_unwritten_bytes_of_a_scrubbed_slot() {
        let mut slot = Slot::INVALID;
        spill(&mut slot, number(5), 4);
        scrub(&mut slot);
        assert_eq!(slot.bytes, [Invalid, Invalid, Invalid, Invalid, Misc, Misc, Misc, Misc]);
        assert_eq!(
            load(&slot, -4, 1, false),
            Err(AccessReason::StackRead { offset: -4, byte: 0, bytes: 1 })
        );
    }
}
