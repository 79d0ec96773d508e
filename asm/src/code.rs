//! A whole program: instructions addressed by slot.

use crate::decode::{DecodeError, DecodeErrorKind, decode};
use crate::encode::{EncodeError, encode};
use crate::insn::Insn;
use crate::slot::{ByteOrder, SLOT_BYTES, Slot};
use std::fmt;

/// The position of an instruction: the index of its first slot, as the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pc(pub u32);

impl Pc {
    /// The position as an index of slots.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The position that a jump with this offset at `self` goes to, or none if that is before the
    /// first slot or beyond the range of positions.
    pub const fn jump(self, offset: i32) -> Option<Pc> {
        let target = self.0 as i64 + 1 + offset as i64;
        if target < 0 || target > u32::MAX as i64 { None } else { Some(Pc(target as u32)) }
    }
}

impl fmt::Display for Pc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A decoded program.
///
/// Positions count slots, so that jump offsets, line information and the kernel's log agree; the
/// second slot of a wide instruction holds no instruction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Code {
    by_slot: Vec<Option<Insn>>,
}

/// Why an instruction cannot go where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Outside the program.
    #[error("the target is instruction {target}, outside the program of {slots} slots")]
    Outside {
        /// The target, counted in slots.
        target: i64,
        /// Size of the program in slots.
        slots: usize,
    },
    /// Into the second slot of a wide instruction.
    #[error("the target, instruction {0}, is the second half of a 64-bit immediate load")]
    InWide(Pc),
}

impl Code {
    /// Decodes a program.
    ///
    /// # Errors
    /// The first slot that is not an instruction, and why.
    pub fn decode(slots: &[Slot]) -> Result<Code, DecodeError> {
        let mut by_slot = Vec::with_capacity(slots.len());
        let mut rest = slots;
        while !rest.is_empty() {
            let insn = decode(rest).map_err(|kind| DecodeError { slot: by_slot.len(), kind })?;
            by_slot.push(Some(insn));
            by_slot.resize(by_slot.len() + insn.slots() - 1, None);
            rest = &rest[insn.slots()..];
        }
        Ok(Code { by_slot })
    }

    /// Decodes a program from bytes.
    ///
    /// # Errors
    /// As [`Code::decode`]; bytes beyond the last whole slot are [`DecodeErrorKind::Truncated`].
    pub fn from_bytes(bytes: &[u8], order: ByteOrder) -> Result<Code, DecodeError> {
        let slots = Slot::all_from_bytes(bytes, order).map_err(|_| DecodeError {
            slot: bytes.len() / SLOT_BYTES,
            kind: DecodeErrorKind::Truncated,
        })?;
        Code::decode(&slots)
    }

    /// Where a jump or call at `pc` goes, whose offset counts slots from the next one.
    ///
    /// # Errors
    /// [`TargetError`] if no instruction is there.
    pub fn target(&self, pc: Pc, offset: i32) -> Result<Pc, TargetError> {
        let target = pc.jump(offset).filter(|target| target.index() < self.len());
        let target = target.ok_or(TargetError::Outside {
            target: i64::from(pc.0) + 1 + i64::from(offset),
            slots: self.len(),
        })?;
        self.get(target).map(|_| target).ok_or(TargetError::InWide(target))
    }

    /// The instruction at `pc`; none past the end and in the middle of a wide instruction.
    pub fn get(&self, pc: Pc) -> Option<&Insn> {
        self.by_slot.get(pc.index())?.as_ref()
    }

    /// Replaces the instruction at `pc` by one that takes as many slots.
    ///
    /// # Panics
    /// If there is no instruction at `pc` or the new one takes another number of slots.
    pub fn replace(&mut self, pc: Pc, insn: Insn) {
        let place = self.by_slot[pc.index()].as_mut().expect("an instruction starts at pc");
        assert_eq!(place.slots(), insn.slots(), "a replacement takes the same slots");
        *place = insn;
    }

    /// Appends an instruction and returns its position.
    pub fn push(&mut self, insn: Insn) -> Pc {
        let pc = Pc(self.by_slot.len() as u32);
        self.by_slot.push(Some(insn));
        self.by_slot.resize(self.by_slot.len() + insn.slots() - 1, None);
        pc
    }

    /// The instructions with their positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Pc, &Insn)> {
        self.by_slot
            .iter()
            .enumerate()
            .filter_map(|(i, insn)| insn.as_ref().map(|insn| (Pc(i as u32), insn)))
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// Whether there is no instruction.
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// Encodes the program.
    ///
    /// # Errors
    /// The first instruction that has no encoding.
    pub fn encode(&self) -> Result<Vec<Slot>, EncodeError> {
        let mut slots = Vec::with_capacity(self.len());
        for (_, insn) in self.iter() {
            let (first, second) = encode(insn)?;
            slots.push(first);
            slots.extend(second);
        }
        Ok(slots)
    }

    /// Encodes the program as bytes.
    ///
    /// # Errors
    /// The first instruction that has no encoding.
    pub fn to_bytes(&self, order: ByteOrder) -> Result<Vec<u8>, EncodeError> {
        Ok(self.encode()?.into_iter().flat_map(|slot| slot.to_bytes(order)).collect())
    }
}

impl FromIterator<Insn> for Code {
    fn from_iter<I: IntoIterator<Item = Insn>>(insns: I) -> Code {
        let mut code = Code::default();
        for insn in insns {
            code.push(insn);
        }
        code
    }
}
