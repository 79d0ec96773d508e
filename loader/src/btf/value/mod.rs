//! Values through their types: bytes of a map or global to JSON and back.
//!
//! Integers are numbers (strings of hex digits beyond 64 bits), `bool` is true or false, enums are
//! the names of their values, pointers are hex strings, arrays of `char` are strings if they hold
//! text, structs and unions are objects with the members of anonymous members among their own.

mod format;
mod parse;

pub use format::to_json;
pub use parse::from_json;

use ebpfvm_asm::ByteOrder;
use ebpfvm_spec::btf::{Btf, IntEncoding, Kind, LayoutError, TypeId};
use std::fmt;

/// Most JSON values that one call makes; a type can ask for far more than its bytes hold, with empty
/// elements or with unions in unions.
pub const MAX_NODES: usize = 1 << 20;
/// How deep types may nest in a value.
pub const MAX_DEPTH: usize = 64;
/// Largest value that is made from JSON, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// Why a value cannot be shown or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", at(.path))]
pub struct ValueError {
    /// Members and indexes on the way to the place: `.a[3].b`; empty for the whole value.
    pub path: String,
    /// What is wrong there.
    pub problem: ValueProblem,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueProblem {
    /// The type has no values.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Values of this type cannot be shown or read.
    #[error("type {id} ({kind}) has no values")]
    NoValue {
        /// The type.
        id: TypeId,
        /// Its kind.
        kind: &'static str,
    },
    /// The bytes end before the value does.
    #[error("the type has {needed} bytes, there are {found}")]
    Short {
        /// Where the value ends, in bytes.
        needed: u64,
        /// Bytes there are.
        found: usize,
    },
    /// More than [`MAX_NODES`], [`MAX_DEPTH`] or [`MAX_BYTES`].
    #[error("the type is too large to be shown or read ({0})")]
    TooLarge(&'static str),
    /// JSON of another shape.
    #[error("found {found}, expected {expected}")]
    Mismatch {
        /// What the JSON holds.
        found: String,
        /// What the type wants.
        expected: String,
    },
    /// No member has this name.
    #[error("there is no member '{name}'; there are {known}")]
    NoMember {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("at {path}: ") }
}

impl ValueProblem {
    pub(crate) fn here(self) -> ValueError {
        ValueError { path: String::new(), problem: self }
    }
}

impl ValueError {
    /// Adds a step in front of the path, on the way out.
    fn under(mut self, step: impl fmt::Display) -> ValueError {
        self.path = format!("{step}{}", self.path);
        self
    }
}

impl From<LayoutError> for ValueError {
    fn from(error: LayoutError) -> ValueError {
        ValueProblem::from(error).here()
    }
}

/// A run of bits that holds a number.
#[derive(Clone, Copy, Debug)]
struct Bits {
    /// Offset from the start of the value, counted as BTF does: from the least significant bit in
    /// little-endian data, from the most significant one in big-endian data.
    offset: u64,
    /// 1 to 128.
    count: u32,
    order: ByteOrder,
}

impl Bits {
    fn end_bytes(&self) -> u64 {
        (self.offset + u64::from(self.count)).div_ceil(8)
    }

    /// Reads the bits as an unsigned number.
    fn read(&self, bytes: &[u8]) -> Result<u128, ValueError> {
        let mut value = 0;
        for bit in 0..u64::from(self.count) {
            let at = self.offset + bit;
            let byte = usize::try_from(at / 8).ok().and_then(|i| bytes.get(i));
            let Some(byte) = byte else {
                let (needed, found) = (self.end_bytes(), bytes.len());
                return Err(ValueProblem::Short { needed, found }.here());
            };
            let (shift, place) = match self.order {
                ByteOrder::Little => (at % 8, bit),
                ByteOrder::Big => (7 - at % 8, u64::from(self.count) - 1 - bit),
            };
            value |= u128::from(byte >> shift & 1) << place;
        }
        Ok(value)
    }

    /// Writes the low bits of a number.
    fn write(&self, bytes: &mut [u8], value: u128) -> Result<(), ValueError> {
        let (needed, found) = (self.end_bytes(), bytes.len());
        if needed > found as u64 {
            return Err(ValueProblem::Short { needed, found }.here());
        }
        for bit in 0..u64::from(self.count) {
            let at = self.offset + bit;
            let (shift, place) = match self.order {
                ByteOrder::Little => (at % 8, bit),
                ByteOrder::Big => (7 - at % 8, u64::from(self.count) - 1 - bit),
            };
            let byte = &mut bytes[(at / 8) as usize];
            *byte = *byte & !(1 << shift) | ((value >> place & 1) as u8) << shift;
        }
        Ok(())
    }
}

/// The bits of an integer at `offset` bits, or of a bit field there.
fn int_bits(kind: &Kind, offset: u64, bitfield_bits: u32, order: ByteOrder) -> Option<Bits> {
    let (bytes, int_offset, int_bits) = match *kind {
        Kind::Int { bytes, bit_offset, bits, .. } => (bytes, bit_offset, bits),
        Kind::Enum { bytes, .. } | Kind::Float { bytes } => (bytes, 0, 0),
        Kind::Ptr(_) => (ebpfvm_spec::btf::POINTER_BYTES, 0, 0),
        _ => return None,
    };
    if bytes > 16 {
        return None;
    }
    // Old compilers tell a bit field by an integer type that is narrower than its bytes.
    let (offset, count) = match (bitfield_bits, int_bits) {
        (0, n) if n != 0 && u32::from(n) != 8 * bytes => (offset + u64::from(int_offset), n.into()),
        (0, _) => (offset, 8 * bytes),
        (n, _) => (offset, n),
    };
    (1..=128).contains(&count).then_some(Bits { offset, count, order })
}

/// Whether elements of this type make up text: the compiler marks `char` only by its name.
fn is_char(btf: &Btf, id: TypeId) -> bool {
    let Ok((id, Kind::Int { bytes: 1, encoding, .. })) = btf.resolve(id) else { return false };
    encoding.char || btf.name(id) == "char"
}

fn is_bool(btf: &Btf, id: TypeId, encoding: IntEncoding) -> bool {
    encoding.bool || matches!(btf.name(id), "bool" | "_Bool")
}
