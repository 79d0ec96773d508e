//! When a state is covered by another: everything that can follow it was followed from the other one.
//!
//! Soundness of pruning rests on this file. The rule throughout: what `old` allows is at least what
//! `state` allows, and what `old` relates (ids) is related in `state` too.

use super::ids::IdMap;
use super::liveness::LiveFrame;
use crate::options::Precision;
use crate::state::{Byte, Frame, Kind, Link, ReferenceKind, SLOT_BYTES, Slot, Stack, State, Value};
use crate::subject::Subject;
use ebpfvm_asm::Reg;
use std::rc::Rc;

/// How much alike states must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// What does not matter may differ (`NOT_EXACT`).
    Covered,
    /// Also numbers that do not matter lie in the ranges of the old state (`RANGE_WITHIN`).
    InRange,
    /// Equal (`EXACT`).
    Equal,
}

/// One comparison.
struct Comparison<'m> {
    ids: &'m mut IdMap,
    exactness: Exactness,
    /// Numbers whose marks say that they do not matter may differ. Without it all matter.
    trusts_marks: bool,
    /// Stack that was not written may be read, as unknown (`allow_uninit_stack`).
    reads_uninit: bool,
    /// Numbers must be equal, not in range (`explore_alu_limits`).
    strict_numbers: bool,
}

/// Whether all that can follow `state` was followed from `old` (`states_equal`).
///
/// `live` tells, frame by frame, which slots of the old state still count; all if there is none.
/// `ids` was reset. With `follows_all_masks`, masks of pointers depend on the exact bounds of numbers.
pub(crate) fn covers(
    subject: &Subject<'_>,
    ids: &mut IdMap,
    old: &State,
    live: Option<&[LiveFrame]>,
    state: &State,
    exactness: Exactness,
    follows_all_masks: bool,
) -> bool {
    if old.frames.len() != state.frames.len()
        || old.speculative && !state.speculative
        || old.sleepable != state.sleepable
    {
        return false;
    }
    let privileges = &subject.options.privileges;
    let mut comparison = Comparison {
        ids,
        exactness,
        trusts_marks: subject.options.precision == Precision::Marked,
        reads_uninit: privileges.perfmon,
        strict_numbers: follows_all_masks,
    };
    if !comparison.references(old, state) {
        return false;
    }
    old.frames.iter().zip(&state.frames).enumerate().all(|(index, (old_frame, frame))| {
        if old_frame.callsite != frame.callsite || old_frame.callback_depth > frame.callback_depth {
            return false;
        }
        let regs = match subject.options.precision {
            Precision::Marked => subject.structure.at(old.frame_pc(index)).live_regs.0,
            Precision::Full => u16::MAX,
        };
        let slots = live.and_then(|live| live.get(index)).map_or(u64::MAX, |live| live.slots);
        comparison.frame(old_frame, frame, regs, slots)
    })
}

impl Comparison<'_> {
    /// `refsafe`
    fn references(&mut self, old: &State, state: &State) -> bool {
        if old.references.len() != state.references.len()
            || old.preempt_locks != state.preempt_locks
            || old.rcu_locked != state.rcu_locked
        {
            return false;
        }
        let locks_match = match (old.active_lock, state.active_lock) {
            (None, None) => true,
            (Some((old_id, old_owner)), Some((id, owner))) => {
                old_owner == owner && self.ids.check(old_id, id)
            }
            _ => false,
        };
        locks_match
            && old.references.iter().zip(&state.references).all(|(old, new)| {
                let kinds_match = match (old.kind, new.kind) {
                    (ReferenceKind::Object, ReferenceKind::Object) => true,
                    (ReferenceKind::Lock { owner: a }, ReferenceKind::Lock { owner: b }) => a == b,
                    _ => false,
                };
                kinds_match && self.ids.check(old.id, new.id)
            })
    }

    /// `func_states_equal`
    fn frame(&mut self, old: &Rc<Frame>, new: &Rc<Frame>, regs: u16, slots: u64) -> bool {
        let same = Rc::ptr_eq(old, new);
        for number in 0..Reg::COUNT {
            if regs >> number & 1 == 0 {
                continue;
            }
            let fine = if same {
                self.same_value(&old.regs[number])
            } else {
                self.value(&old.regs[number], &new.regs[number])
            };
            if !fine {
                return false;
            }
        }
        if same || old.stack.is_same(&new.stack) {
            return self.same_stack(&old.stack, slots);
        }
        self.stack(&old.stack, &new.stack, slots)
    }

    /// A value that both states share: it covers itself unless its ids mean something else.
    fn same_value(&mut self, value: &Value) -> bool {
        if value.id == 0 && value.ref_id == 0 {
            return true;
        }
        self.value(value, value)
    }

    fn same_stack(&mut self, stack: &Stack, slots: u64) -> bool {
        let live = |(index, _): &(usize, &Slot)| slots >> index & 1 == 1;
        stack.slots().enumerate().filter(live).all(|(_, slot)| self.same_slot(slot))
    }

    /// A slot that both states share.
    fn same_slot(&mut self, slot: &Slot) -> bool {
        match slot.bytes[SLOT_BYTES as usize - 1] {
            Byte::Spill => self.same_value(&slot.value),
            Byte::Dynptr => self.ids.check(slot.value.ref_id, slot.value.ref_id),
            _ => true,
        }
    }

    /// Whether kind, offset and range are equal and the ids match (`regs_exact`).
    fn exact(&mut self, old: &Value, new: &Value) -> bool {
        same_shape(old, new)
            && old.scalar == new.scalar
            && self.ids.check(compound_id(old), compound_id(new))
            && self.ids.check(old.ref_id, new.ref_id)
    }

    /// Whether `old` being safe implies that `new` is (`regsafe`).
    fn value(&mut self, old: &Value, new: &Value) -> bool {
        if self.exactness == Exactness::Equal {
            return self.exact(old, new);
        }
        if old.kind == Kind::Uninit {
            // The old state cannot have used it.
            return true;
        }
        match (old.kind, new.kind) {
            (Kind::Scalar, Kind::Scalar) => old.flags == new.flags && self.number(old, new),
            (
                Kind::MapKey(_) | Kind::MapValue(_) | Kind::Mem { .. } | Kind::Buf | Kind::TpBuffer,
                _,
            ) => {
                same_shape(old, new)
                    && within(old, new)
                    && self.ids.check(old.id, new.id)
                    && self.ids.check(old.ref_id, new.ref_id)
            }
            (Kind::Packet { range: old_range }, Kind::Packet { range })
            | (Kind::PacketMeta { range: old_range }, Kind::PacketMeta { range }) => {
                // Fewer bytes that may be accessed allow less. Negative ranges are marks, not sizes.
                let ranges_fit = if old_range < 0 || range < 0 {
                    old_range == range
                } else {
                    old_range <= range
                };
                ranges_fit
                    && old.flags == new.flags
                    && old.offset == new.offset
                    && self.ids.check(old.id, new.id)
                    && within(old, new)
            }
            _ => self.exact(old, new),
        }
    }

    fn number(&mut self, old: &Value, new: &Value) -> bool {
        if self.strict_numbers {
            return old.offset == new.offset
                && old.scalar == new.scalar
                && self.check_number_ids(old, new);
        }
        if !old.precise && self.trusts_marks && self.exactness == Exactness::Covered {
            return true;
        }
        if old.id != 0 {
            // What a link does to its partners depends on how they differ.
            if old.link != new.link || old.link != Link::Equal && old.offset != new.offset {
                return false;
            }
            if !self.check_number_ids(old, new) {
                return false;
            }
        }
        within(old, new)
    }

    /// Whether the links of a number are kept (`check_scalar_ids`).
    ///
    /// A number of its own in `new` gets an id that nothing has: two of them do not stand for two
    /// linked ones. An offset link must agree both as itself and in what it is relative to.
    fn check_number_ids(&mut self, old: &Value, new: &Value) -> bool {
        if old.id == 0 {
            return true;
        }
        let new_id = if new.id == 0 { self.ids.fresh() } else { compound_id(new) };
        self.ids.check(compound_id(old), new_id)
            && (old.link == Link::Equal || self.ids.check(old.id, new_id & !LINK_BITS))
    }

    /// `stacksafe`. Slots that are not live count as never written.
    fn stack(&mut self, old_stack: &Stack, new_stack: &Stack, slots: u64) -> bool {
        let exact = self.exactness != Exactness::Covered;
        old_stack.slots().enumerate().all(|(index, old)| {
            let new = new_stack.get(index);
            if slots >> index & 1 == 0 {
                // As for a slot that was never written.
                return !exact || new.is_some_and(|new| new.bytes == Slot::INVALID.bytes);
            }
            let Some(new) = new else {
                return !exact && old.bytes.iter().all(|byte| self.is_nothing(*byte));
            };
            if old_stack.shares(new_stack, index) {
                return self.same_slot(old);
            }
            if exact && old.bytes != new.bytes {
                return false;
            }
            self.slot(old, new)
        })
    }

    /// Whether nothing is relied on that a byte of an old stack holds.
    fn is_nothing(&self, byte: Byte) -> bool {
        byte == Byte::Invalid || self.reads_uninit && byte == Byte::Misc
    }

    fn slot(&mut self, old: &Slot, new: &Slot) -> bool {
        if old.bytes.iter().all(|byte| self.is_nothing(*byte)) {
            return true;
        }
        // A whole unknown slot reads as an unknown number, so it may stand for a spilled one and the
        // other way round.
        if let (Some(old), Some(new)) = (self.as_number(old), self.as_number(new)) {
            return self.value(&old, &new);
        }
        for (old, new) in old.bytes.iter().zip(&new.bytes) {
            let fits =
                self.is_nothing(*old) || old == new || *old == Byte::Misc && *new == Byte::Zero;
            if !fits {
                return false;
            }
        }
        // The last byte tells what the value means; the loop above made sure that both agree, or
        // that nothing is relied on.
        match old.bytes[SLOT_BYTES as usize - 1] {
            Byte::Spill => self.value(&old.value, &new.value),
            Byte::Dynptr => {
                old.value.kind == new.value.kind
                    && self.ids.check(old.value.ref_id, new.value.ref_id)
            }
            Byte::Misc | Byte::Zero | Byte::Invalid => true,
        }
    }

    /// The slot as one number, if it can be read so (`scalar_reg_for_stack`).
    fn as_number(&self, slot: &Slot) -> Option<Value> {
        if slot.is_full_spill() && slot.value.is_number() {
            return Some(slot.value);
        }
        let unknown = |byte: &Byte| match byte {
            Byte::Misc => true,
            Byte::Invalid => self.reads_uninit,
            Byte::Spill | Byte::Zero | Byte::Dynptr => false,
        };
        slot.bytes.iter().all(unknown).then_some(Value::UNKNOWN)
    }
}

const LINK_SHIFT: u32 = 30;
const LINK_BITS: u32 = 3 << LINK_SHIFT;

/// The id of a number with how it is linked (`BPF_ADD_CONST` in `id`).
fn compound_id(value: &Value) -> u32 {
    let link = match value.link {
        Link::Equal => 0,
        Link::Plus32 => 1,
        Link::Plus64 => 2,
    };
    value.id | link << LINK_SHIFT
}

/// Whether type and fixed offset are equal.
fn same_shape(old: &Value, new: &Value) -> bool {
    old.kind == new.kind && old.flags == new.flags && old.offset == new.offset
}

/// Whether the range of `new` lies in that of `old` (`range_within`, `tnum_in`).
fn within(old: &Value, new: &Value) -> bool {
    new.scalar.is_subset(&old.scalar)
}
