//! What is known once a packet pointer was compared with the end of the packet.

use crate::domain::Branch;
use crate::state::{AT_PACKET_END, BEYOND_PACKET_END, Flags, Kind, State, Value};
use ebpfvm_asm::{JmpOp, Reg};

/// The largest offset in a packet (`MAX_PACKET_OFF`).
const MAX_OFFSET: u64 = 0xffff;

/// How a packet pointer lies to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// `pointer < end`
    Before,
    /// `pointer <= end`
    NotBeyond,
    /// `pointer >= end`
    NotBefore,
    /// `pointer > end`
    Beyond,
}

impl Relation {
    /// What `pointer op end` says.
    const fn of(op: JmpOp) -> Option<Relation> {
        match op {
            JmpOp::Lt => Some(Relation::Before),
            JmpOp::Le => Some(Relation::NotBeyond),
            JmpOp::Ge => Some(Relation::NotBefore),
            JmpOp::Gt => Some(Relation::Beyond),
            _ => None,
        }
    }

    /// What holds when this does not.
    const fn negated(self) -> Relation {
        match self {
            Relation::Before => Relation::NotBefore,
            Relation::NotBeyond => Relation::Beyond,
            Relation::NotBefore => Relation::Before,
            Relation::Beyond => Relation::NotBeyond,
        }
    }

    /// What `b` is to `a` when `a` is this to `b`.
    const fn exchanged(self) -> Relation {
        match self {
            Relation::Before => Relation::Beyond,
            Relation::NotBeyond => Relation::NotBefore,
            Relation::NotBefore => Relation::NotBeyond,
            Relation::Beyond => Relation::Before,
        }
    }
}

/// Whether it points into a packet or is its end (`reg_is_pkt_pointer_any`).
pub(crate) const fn is_packet_or_end(value: &Value) -> bool {
    value.is_packet() || matches!(value.kind, Kind::PacketEnd)
}

/// Whether it points to the first byte of the packet and was never moved
/// (`reg_is_init_pkt_pointer`).
fn is_packet_start(value: &Value) -> bool {
    is_packet(value) && value.id == 0 && value.offset == 0 && value.scalar.as_const() == Some(0)
}

/// Modifiers make it another type.
fn is_packet(value: &Value) -> bool {
    matches!(value.kind, Kind::Packet { .. }) && value.flags == Flags::NONE
}

fn is_meta(value: &Value) -> bool {
    matches!(value.kind, Kind::PacketMeta { .. }) && value.flags == Flags::NONE
}

/// How many bytes may be accessed; none if it is no packet pointer.
fn range(value: &Value) -> Option<i32> {
    match value.kind {
        Kind::Packet { range } | Kind::PacketMeta { range } => Some(range),
        _ => None,
    }
}

/// Whether `end` bounds what `pointer` points into: the end of the packet for the packet, its start
/// for the metadata.
fn is_bounded_by(pointer: &Value, end: &Value) -> bool {
    (is_packet(pointer) && matches!(end.kind, Kind::PacketEnd))
        || (is_meta(pointer) && is_packet_start(end))
}

/// Which way the comparison of a packet pointer with the end goes (`is_pkt_ptr_branch_taken`).
pub(crate) fn branch_taken(op: JmpOp, left: &Value, right: &Value) -> Branch {
    let (pointer, exchanged) = match (left.kind, right.kind) {
        (_, Kind::PacketEnd) => (left, false),
        (Kind::PacketEnd, _) => (right, true),
        _ => return Branch::Unknown,
    };
    let Some(relation) = Relation::of(op) else { return Branch::Unknown };
    let relation = if exchanged { relation.exchanged() } else { relation };
    let range = range(pointer).unwrap_or(0);
    match relation {
        Relation::Beyond if range == BEYOND_PACKET_END => Branch::Always,
        Relation::NotBeyond if range == BEYOND_PACKET_END => Branch::Never,
        Relation::NotBefore if range < 0 => Branch::Always,
        Relation::Before if range < 0 => Branch::Never,
        _ => Branch::Unknown,
    }
}

/// A comparison of a packet pointer with what bounds it, in either order
/// (`try_match_pkt_pointers`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketCheck {
    pointer: Value,
    reg: Reg,
    when_taken: Relation,
}

impl PacketCheck {
    /// The check that `if left op right` is; none if it is another comparison.
    pub(crate) fn of(op: JmpOp, left: (Reg, &Value), right: (Reg, &Value)) -> Option<PacketCheck> {
        let relation = Relation::of(op)?;
        let check = |(reg, pointer): (Reg, &Value), when_taken| PacketCheck {
            pointer: *pointer,
            reg,
            when_taken,
        };
        if is_bounded_by(left.1, right.1) {
            Some(check(left, relation))
        } else if is_bounded_by(right.1, left.1) {
            Some(check(right, relation.exchanged()))
        } else {
            None
        }
    }

    /// What one side of the jump learns.
    pub(crate) fn learn(&self, state: &mut State, taken: bool) {
        let relation = if taken { self.when_taken } else { self.when_taken.negated() };
        match relation {
            Relation::Before => self.extend_ranges(state, 1),
            Relation::NotBeyond => self.extend_ranges(state, 0),
            Relation::NotBefore => self.mark_end(state, AT_PACKET_END),
            Relation::Beyond => self.mark_end(state, BEYOND_PACKET_END),
        }
    }

    /// All pointers with the same variable offset may be used up to this one and `more` bytes
    /// (`find_good_pkt_pointers`).
    fn extend_ranges(&self, state: &mut State, more: i32) {
        let pointer = &self.pointer;
        if pointer.offset < 0 || (pointer.offset == 0 && more != 0) {
            return;
        }
        // A pointer far away may lie before the end only because it wrapped.
        let umax = pointer.scalar.full.umax;
        if umax > MAX_OFFSET || umax + pointer.offset as u64 > MAX_OFFSET {
            return;
        }
        let new_range = pointer.offset + more;
        let same_kind = if is_packet(pointer) { is_packet } else { is_meta };
        state.change(
            |v| same_kind(v) && v.id == pointer.id && range(v).is_some_and(|r| r < new_range),
            |v| {
                if let Kind::Packet { range } | Kind::PacketMeta { range } = &mut v.kind {
                    *range = new_range;
                }
            },
        );
    }

    /// The pointer is known to be at the end or beyond (`mark_pkt_end`). Metadata pointers are not
    /// marked.
    fn mark_end(&self, state: &mut State, mark: i32) {
        if let Kind::Packet { range } = &mut state.reg_mut(self.reg).kind {
            *range = mark;
        }
    }
}
