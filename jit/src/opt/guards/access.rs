//! Accesses with checks, and ranges of them.

use crate::ir::{Address, Check, Guard, Op};
use crate::link::Callee;

/// An access with a check that a guard can take over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) at: Address,
    pub(super) bytes: u32,
    pub(super) writes: bool,
    pub(super) check: Check,
}

/// The check of an access.
pub(super) fn check_of(op: &mut Op) -> Option<&mut Check> {
    op.access_mut()?.1
}

/// The access that an operation makes, if a guard can take over its check.
pub(super) fn access(op: &Op) -> Option<Access> {
    let (at, size, writes, check) = match *op {
        Op::Load { at, size, check, .. } | Op::LoadAcquire { at, size, check, .. } => {
            (at, size, false, check)
        }
        Op::Store { at, size, check, .. }
        | Op::Atomic { at, size, check, .. }
        | Op::StoreRelease { at, size, check, .. } => (at, size, true, check),
        _ => return None,
    };
    match check {
        Check::Window | Check::Frame | Check::Last => {
            Some(Access { at, bytes: size.bytes(), writes, check })
        }
        Check::None | Check::Context { .. } => None,
    }
}

/// Whether regions may be others after an operation.
pub(super) fn changes_regions(op: &Op, callees: &[Callee]) -> bool {
    match op {
        Op::Call { callee } => callees[*callee as usize].changes_regions(),
        Op::CallLocal { .. } | Op::Packet { .. } => true,
        _ => false,
    }
}

/// Accesses with the same registers in their addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The address, with offset 0.
    pub(super) at: Address,
    pub(super) check: Check,
    pub(super) writes: bool,
    start: i64,
    end: i64,
    /// How many accesses are in it.
    pub(super) count: u32,
}

/// Longer ranges are likely to be longer than what the program touches.
const MOST_BYTES: i64 = 1 << 9;

impl Range {
    /// Of one access.
    pub(super) fn of(access: &Access) -> Range {
        let start = i64::from(access.at.offset);
        Range {
            at: Address { offset: 0, ..access.at },
            check: access.check,
            writes: access.writes,
            start,
            end: start + i64::from(access.bytes),
            count: 1,
        }
    }

    /// Whether another one has the same registers and region, and is near.
    pub(super) fn takes(&self, other: &Range) -> bool {
        let (start, end) = (self.start.min(other.start), self.end.max(other.end));
        (self.at, self.check) == (other.at, other.check) && end - start <= MOST_BYTES
    }

    /// With another one that it takes.
    pub(super) fn add(&mut self, other: &Range) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.writes |= other.writes;
        self.count += other.count;
    }

    /// Adds it to one of these, or as a new one if there are not too many.
    pub(super) fn gather(&self, ranges: &mut Vec<Range>, most: usize) {
        if let Some(at) = ranges.iter().position(|other| other.takes(self)) {
            ranges[at].add(self);
        } else if ranges.len() < most {
            ranges.push(*self);
        }
    }

    /// Whether another one is inside of this.
    pub(super) fn holds(&self, other: &Range) -> bool {
        (self.at, self.check) == (other.at, other.check)
            && self.start <= other.start
            && other.end <= self.end
            && (self.writes || !other.writes)
    }

    /// The guard of a range whose registers are these, so many bytes further on.
    pub(super) fn guard(&self, at: Address, by: i64) -> Option<Guard> {
        let offset = self.start.checked_add(by)?.checked_add(at.offset.into())?;
        let offset = i32::try_from(offset).ok()?;
        let bytes = u32::try_from(self.end - self.start).ok()?;
        let at = Address { offset, ..at };
        Some(Guard { at, bytes, writes: self.writes, check: self.check })
    }
}
