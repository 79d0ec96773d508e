//! What bytes a value is made of: bytes of memory or of another value.
//!
//! Invariant: a value is the number whose bytes, lowest first, are the ones named here, and then
//! masked; no byte that the mask leaves out is named.

use super::local::{Value, Values};
use crate::ir::{Binary, Check, Fill, Op, Operand, Reg};
use ebpfvm_asm::{AluOp, Size, Width};

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// From memory as it was after so many writes in the block, counted from an address.
    Memory {
        /// Value of the base.
        base: Value,
        /// Value of the index and its shift.
        index: Option<(Value, u8)>,
        /// How often memory was written before.
        epoch: u32,
    },
    /// From another value, counted from its lowest byte.
    Value(Value),
}

/// A byte that is zero.
pub(super) const ZERO: i32 = i32::MIN;

/// The bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Where all of them come from.
    pub(super) from: From,
    /// Their offsets there, or [`ZERO`].
    pub(super) bytes: [i32; 8],
    /// Which bits are taken.
    pub(super) mask: u64,
    /// Nobody else reads what the value was made from.
    pub(super) is_alone: bool,
}

/// Bytes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Of the first in memory.
    pub(super) offset: i32,
    /// How many.
    pub(super) size: Size,
    /// The first is the highest of the value.
    pub(super) swap: bool,
}

impl Parts {
    /// A value as it is.
    pub(super) fn whole(values: &Values, value: Value) -> Parts {
        let bytes = std::array::from_fn(|at| at as i32);
        let parts = Parts { from: From::Value(value), bytes, mask: u64::MAX, is_alone: false };
        match values.is_zero_extended(value) {
            true => parts.masked(u32::MAX.into()),
            false => parts,
        }
    }

    fn masked(mut self, mask: u64) -> Parts {
        self.mask &= mask;
        for (at, byte) in self.bytes.iter_mut().enumerate() {
            if self.mask >> (8 * at) & 0xff == 0 {
                *byte = ZERO;
            }
        }
        self
    }

    /// Shifted to the left by bytes.
    fn left(self, by: usize) -> Parts {
        let mut bytes = [ZERO; 8];
        bytes[by..].copy_from_slice(&self.bytes[..8 - by]);
        Parts { bytes, mask: self.mask << (8 * by), ..self }
    }

    /// Shifted to the right by bytes.
    fn right(self, by: usize) -> Parts {
        let mut bytes = [ZERO; 8];
        bytes[..8 - by].copy_from_slice(&self.bytes[by..]);
        Parts { bytes, mask: self.mask >> (8 * by), ..self }
    }

    /// The lowest bytes in reverse order, and no others.
    fn swapped(self, size: Size) -> Parts {
        let count = size.bytes() as usize;
        let mut parts = self.masked(low_mask(size)).left(8 - count);
        parts.bytes.reverse();
        Parts { mask: parts.mask.swap_bytes(), ..parts }
    }

    /// With the bytes of another one that are zero here.
    fn joined(self, other: Parts) -> Option<Parts> {
        if self.from != other.from {
            return None;
        }
        let mut bytes = self.bytes;
        for (byte, other) in bytes.iter_mut().zip(other.bytes) {
            match (*byte, other) {
                (ZERO, _) => *byte = other,
                (_, ZERO) => {}
                _ => return None,
            }
        }
        let is_alone = self.is_alone && other.is_alone;
        Some(Parts { bytes, mask: self.mask | other.mask, is_alone, ..self })
    }

    /// Whether the bytes are the same.
    pub(super) fn same(&self, other: &Parts) -> bool {
        (self.from, self.bytes, self.mask) == (other.from, other.bytes, other.mask)
    }

    /// The bytes in a row that the value consists of; it may be masked still.
    pub(super) fn run(&self) -> Option<Run> {
        let count = self.bytes.iter().position(|byte| *byte == ZERO).unwrap_or(8);
        if self.bytes[count..].iter().any(|byte| *byte != ZERO) {
            return None;
        }
        let size = size_of_bytes(count)?;
        row(&self.bytes[..count]).map(|(offset, swap)| Run { offset, size, swap })
    }

    /// Whether the mask takes all bits of these many bytes.
    pub(super) fn is_full(&self, size: Size) -> bool {
        self.mask == low_mask(size)
    }
}

/// The bits that so many bytes have.
pub(super) fn low_mask(size: Size) -> u64 {
    u64::MAX >> (64 - size.bits())
}

/// The size of so many bytes.
pub(super) fn size_of_bytes(count: usize) -> Option<Size> {
    [Size::B, Size::H, Size::W, Size::Dw].into_iter().find(|size| size.bytes() as usize == count)
}

/// Whether offsets go up or down by one: the lowest of them, and whether they go down.
pub(super) fn row(bytes: &[i32]) -> Option<(i32, bool)> {
    let (first, last) = (*bytes.first()?, *bytes.last()?);
    if bytes.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1])) {
        Some((first, false))
    } else if bytes.windows(2).all(|pair| pair[1].checked_add(1) == Some(pair[0])) {
        Some((last, true))
    } else {
        None
    }
}

/// The bytes of what the operations of a block make.
pub(super) struct Table {
    parts: Vec<Option<Parts>>,
}

impl Table {
    /// Of no block.
    pub(super) fn new() -> Table {
        Table { parts: Vec::new() }
    }

    /// Goes to the beginning of a block of so many operations.
    pub(super) fn enter(&mut self, insts: usize) {
        self.parts.clear();
        self.parts.resize(insts, None);
    }

    /// Sets the bytes of what an operation makes.
    pub(super) fn set(&mut self, at: usize, parts: Option<Parts>) {
        self.parts[at] = parts;
    }

    /// The bytes of a value.
    pub(super) fn of(&self, values: &Values, value: Value) -> Parts {
        let parts = values.maker(value).and_then(|at| self.parts[at]);
        parts.unwrap_or_else(|| Parts::whole(values, value))
    }

    /// The bytes of what an operation makes here; none if they are not told.
    pub(super) fn made(&self, values: &Values, op: &Op) -> Option<Parts> {
        let of = |reg| {
            let value = values.of(reg);
            let parts = self.of(values, value);
            Parts { is_alone: parts.is_alone && values.has_one_reader(value), ..parts }
        };
        match *op {
            Op::Load { size, fill: Fill::Zero, swap, check: Check::None, at, .. } => {
                let from = From::Memory {
                    base: values.of(at.base),
                    index: at.index.map(|(index, scale)| (values.of(index), scale)),
                    epoch: values.epoch(),
                };
                at.offset.checked_add(7)?;
                let bytes = std::array::from_fn(|byte| at.offset + byte as i32);
                let parts = Parts { from, bytes, mask: u64::MAX, is_alone: true };
                let parts = parts.masked(low_mask(size));
                Some(if swap { parts.swapped(size) } else { parts })
            }
            Op::Move { width: Width::W32, src, .. } => Some(of(src).masked(u32::MAX.into())),
            Op::Extend { size, fill: Fill::Zero, src, .. } => Some(of(src).masked(low_mask(size))),
            Op::Swap { size, src, .. } => Some(of(src).swapped(size)),
            Op::Bits { shift, bits, src, .. } if shift.is_multiple_of(8) => {
                Some(of(src).right(shift as usize / 8).masked(u64::MAX >> (64 - bits)))
            }
            Op::Binary { op: Binary::Alu(op), width, lhs, rhs: Operand::Imm(imm), .. } => {
                let low = if width == Width::W32 { u32::MAX.into() } else { u64::MAX };
                let bits = imm as u32 & (width.bits() - 1);
                let bytes = bits.is_multiple_of(8).then_some(bits as usize / 8);
                match op {
                    AluOp::And => Some(of(lhs).masked(i64::from(imm) as u64 & low)),
                    AluOp::Lsh => Some(of(lhs).left(bytes?).masked(low)),
                    AluOp::Rsh => Some(of(lhs).masked(low).right(bytes?)),
                    _ => None,
                }
            }
            Op::Binary {
                op: Binary::Alu(AluOp::Or | AluOp::Xor | AluOp::Add),
                width,
                lhs,
                rhs: Operand::Reg(rhs),
                ..
            } => {
                let low = if width == Width::W32 { u32::MAX.into() } else { u64::MAX };
                of(lhs).masked(low).joined(of(rhs).masked(low))
            }
            _ => None,
        }
    }

    /// A register whose lowest bytes are these, in this order or, then true, in the reverse.
    pub(super) fn find(&self, values: &Values, from: From, bytes: &[i32]) -> Option<(Reg, bool)> {
        let size = size_of_bytes(bytes.len())?;
        (0..Reg::COUNT as u8).map(Reg::new).find_map(|reg| {
            let parts = self.of(values, values.of(reg));
            let low = &parts.bytes[..bytes.len()];
            if parts.from != from || parts.mask & low_mask(size) != low_mask(size) {
                return None;
            }
            if low == bytes {
                Some((reg, false))
            } else if low.iter().eq(bytes.iter().rev()) {
                Some((reg, true))
            } else {
                None
            }
        })
    }
}
