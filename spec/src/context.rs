//! Contexts: what `r1` points to when a program starts, field by field.
//!
//! A program sees the layout of Linux's user-space headers (`struct xdp_md`, `struct __sk_buff`),
//! in which a pointer has 32 bits. The machine keeps a context as one 8-byte cell for every 4 bytes
//! of that layout, so that a pointer fits: the byte at `offset` in a field that starts at `start`
//! lies at [`host_offset`], and a field has twice its size. Checked engines translate addresses on the way, and for
//! verified programs the accesses are rewritten once; both use this table.

use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// A number.
    Scalar,
    /// The address of the first byte of the packet.
    PacketStart,
    /// The address after the last byte of the packet.
    PacketEnd,
    /// The address of the metadata before the packet.
    PacketMeta,
    /// The address of something that helpers take, or null; named in the verifier's messages.
    Pointer(&'static str),
}

/// Whether memory is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A load.
    Read,
    /// A store.
    Write,
}

/// What a program may do with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Program types that may read it.
    pub read: ProgTypeSet,
    /// Program types that may write it.
    pub write: ProgTypeSet,
    /// The smallest access in bytes: 1 for a field that may be read in parts, otherwise its unit.
    pub min_bytes: u32,
    /// The largest access in bytes.
    pub max_bytes: u32,
}

/// A field of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name, as in the header.
    pub name: Cow<'static, str>,
    /// Offset in bytes.
    pub offset: u32,
    /// Size in bytes; of an array, all of it.
    pub bytes: u32,
    /// What it holds.
    pub kind: FieldKind,
    /// Who may access it, and how.
    pub access: Access,
}

/// The layout of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextDef {
    /// Name of the struct.
    pub name: Cow<'static, str>,
    /// Size in bytes.
    pub bytes: u32,
    /// Fields in order of their offsets, without overlap.
    pub fields: Cow<'static, [Field]>,
}

/// The offset in the host's context of the byte at `offset` of the program's view, in a field that
/// starts at `start`.
pub const fn host_offset(start: u32, offset: u32) -> u32 {
    2 * start + (offset - start)
}

impl ContextDef {
    /// The field that has the byte at `offset`.
    pub fn field_at(&self, offset: u32) -> Option<&Field> {
        let after = self.fields.partition_point(|f| f.offset <= offset);
        let field = self.fields[..after].last()?;
        (offset < field.offset + field.bytes).then_some(field)
    }

    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The field that an access of `bytes` at `offset` by a program of this type touches, if it is
    /// one that the context allows: inside one field, aligned to its size, of a size and in a
    /// direction that the field takes.
    pub fn access(
        &self,
        prog_type: ProgType,
        offset: u32,
        bytes: u32,
        direction: Direction,
    ) -> Option<&Field> {
        let field = self.field_at(offset)?;
        let allowed = match direction {
            Direction::Read => field.access.read,
            Direction::Write => field.access.write,
        };
        let sizes = field.access.min_bytes.max(1)..=field.access.max_bytes;
        let fits = sizes.contains(&bytes)
            && offset.is_multiple_of(bytes)
            && offset.checked_add(bytes)? <= field.offset + field.bytes;
        (fits && allowed.contains(prog_type)).then_some(field)
    }

    /// The size of the host's context in bytes.
    pub const fn host_bytes(&self) -> u32 {
        2 * self.bytes
    }
}
