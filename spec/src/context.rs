//! Contexts: what `r1` points to when a program starts, field by field.
//!
//! A program sees the layout of Linux's user-space headers (`struct xdp_md`, `struct __sk_buff`),
//! in which a pointer has 32 bits. The machine keeps a context as one 8-byte cell for every 4 bytes
//! of that layout, so that a pointer fits: the byte at `offset` in a field that starts at `start`
//! lies at [`ContextDef::host_offset`], and a field has twice its size. Checked engines translate
//! addresses on the way, and for verified programs the accesses are rewritten once; both use this
//! table. Contexts that Linux does not translate either are kept as they are.

use crate::attach::{AttachType, AttachTypeSet};
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

/// What a pointer in a context points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pointee {
    /// A socket of any state (`PTR_TO_SOCK_COMMON`).
    SockCommon,
    /// A full socket (`PTR_TO_SOCKET`).
    Sock,
    /// A TCP socket (`PTR_TO_TCP_SOCK`).
    TcpSock,
    /// A socket of a network driver's queue (`PTR_TO_XDP_SOCK`).
    XdpSock,
    /// What a flow dissector fills in (`PTR_TO_FLOW_KEYS`).
    FlowKeys,
    /// The buffer of a writable tracepoint (`PTR_TO_TP_BUFFER`).
    TpBuffer,
}

impl Pointee {
    /// The name in the verifier's messages; a pointer that may be null has `_or_null` after it.
    pub const fn name(self) -> &'static str {
        match self {
            Pointee::SockCommon => "sock_common",
            Pointee::Sock => "sock",
            Pointee::TcpSock => "tcp_sock",
            Pointee::XdpSock => "xdp_sock",
            Pointee::FlowKeys => "flow_keys",
            Pointee::TpBuffer => "tp_buffer",
        }
    }
}

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
    /// The address of something that helpers take.
    Pointer(Pointee),
    /// The same, or null.
    PointerOrNull(Pointee),
}

/// Whether memory is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A load.
    Read,
    /// A store.
    Write,
}

/// A set of access sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes(u8);

impl Sizes {
    /// A whole 4-byte unit.
    pub const WORD: Sizes = Sizes(4);
    /// A whole 8-byte unit.
    pub const DWORD: Sizes = Sizes(8);
    /// A 4-byte unit or a part of it.
    pub const WORD_PARTS: Sizes = Sizes(4 | 2 | 1);
    /// Any size.
    pub const ANY: Sizes = Sizes(8 | 4 | 2 | 1);
    /// A byte.
    pub const BYTE: Sizes = Sizes(1);

    /// Sizes in either set.
    pub const fn or(self, other: Sizes) -> Sizes {
        Sizes(self.0 | other.0)
    }

    /// Sizes in this set but not in the other.
    pub const fn without(self, other: Sizes) -> Sizes {
        Sizes(self.0 & !other.0)
    }

    /// Whether an access of this many bytes is in the set.
    pub const fn contains(self, bytes: u32) -> bool {
        matches!(bytes, 1 | 2 | 4 | 8) && self.0 as u32 & bytes != 0
    }
}

/// Who may access a field in one direction, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Program types that may.
    pub prog_types: ProgTypeSet,
    /// Expected attach types that may.
    pub attach_types: AttachTypeSet,
    /// Sizes of the accesses. Every access is aligned to its size.
    pub sizes: Sizes,
    /// An access starts in so many first bytes of a unit: 1 for fields of which the kernel allows
    /// only the first part.
    pub starts: u32,
    /// Program types of which only those with `CAP_BPF` may.
    pub needs_bpf: ProgTypeSet,
}

impl Access {
    /// Nobody may.
    pub const NONE: Access = Access::by(ProgTypeSet::NONE, Sizes(0));

    /// Programs of these types may, with every attach type and anywhere in the field.
    pub const fn by(prog_types: ProgTypeSet, sizes: Sizes) -> Access {
        Access {
            prog_types,
            attach_types: AttachTypeSet::ALL,
            sizes,
            starts: u32::MAX,
            needs_bpf: ProgTypeSet::NONE,
        }
    }

    /// Only programs of these attach types may.
    pub const fn attached(mut self, attach_types: AttachTypeSet) -> Access {
        self.attach_types = attach_types;
        self
    }

    /// Programs of these types only with `CAP_BPF`.
    pub const fn with_bpf(mut self, prog_types: ProgTypeSet) -> Access {
        self.needs_bpf = prog_types;
        self
    }

    /// Only accesses that start in the first `bytes` bytes of a unit are allowed.
    pub const fn starting_in(mut self, bytes: u32) -> Access {
        self.starts = bytes;
        self
    }
}

/// A field of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name, as in the header.
    pub name: Cow<'static, str>,
    /// Offset in bytes.
    pub offset: u32,
    /// Size in bytes; of an array, all of it. Padding that may be read with a field belongs to it.
    pub bytes: u32,
    /// Size in bytes of an element; of a field that is no array, all of it.
    pub unit: u32,
    /// What it holds.
    pub kind: FieldKind,
    /// Who may read it, and how.
    pub read: Access,
    /// Who may write it, and how.
    pub write: Access,
}

/// An access to a context at a known offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextAccess {
    /// Type of the program.
    pub prog_type: ProgType,
    /// Its expected attach type.
    pub attach_type: AttachType,
    /// Offset in bytes.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Whether it reads or writes.
    pub direction: Direction,
    /// Whether it is a load that extends the sign, which no pointer allows.
    pub sign_extends: bool,
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
    /// Whether the kernel's own context differs from what the program sees (`convert_ctx_access`).
    /// One that does not may be given to global functions and kfuncs as memory; the kernel then
    /// checks only that the last byte may be accessed (`check_helper_mem_access`).
    pub translated: bool,
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

    /// The field that an access touches, if it is one that the context allows: inside one field,
    /// aligned to its size, and of a size, direction and place that the field takes
    /// (`is_valid_access` of `struct bpf_verifier_ops`).
    pub fn access(&self, access: &ContextAccess) -> Option<&Field> {
        let ContextAccess { offset, bytes, .. } = *access;
        let field = self.field_at(offset)?;
        let allowed = match access.direction {
            Direction::Read => &field.read,
            Direction::Write => &field.write,
        };
        let fits = allowed.sizes.contains(bytes)
            && offset.is_multiple_of(bytes)
            && offset.checked_add(bytes)? <= field.offset + field.bytes
            && (offset - field.offset) % field.unit < allowed.starts
            && !(access.sign_extends && field.kind != FieldKind::Scalar);
        let may = allowed.prog_types.contains(access.prog_type)
            && allowed.attach_types.contains(access.attach_type);
        (fits && may).then_some(field)
    }

    /// The same for a program that may have no `CAP_BPF`.
    pub fn access_with(&self, access: &ContextAccess, has_bpf: bool) -> Option<&Field> {
        let field = self.access(access)?;
        let allowed = match access.direction {
            Direction::Read => &field.read,
            Direction::Write => &field.write,
        };
        (has_bpf || !allowed.needs_bpf.contains(access.prog_type)).then_some(field)
    }

    /// The offset in the host's context of the byte at `offset` of the program's view, in a field
    /// that starts at `start`. A context that is not translated is the same memory for both: it may
    /// be given to functions as such.
    pub const fn host_offset(&self, start: u32, offset: u32) -> u32 {
        if self.translated { 2 * start + (offset - start) } else { offset }
    }

    /// Whether programs of this type may have all of it as memory that they write to: it is laid out
    /// as they see it, and holds numbers only that they may read and write however they are attached.
    pub fn is_memory(&self, prog_type: ProgType) -> bool {
        let may = |access: &Access| {
            access.prog_types.contains(prog_type)
                && access.attach_types == AttachTypeSet::ALL
                && access.needs_bpf == ProgTypeSet::NONE
        };
        let is_free = |f: &Field| f.kind == FieldKind::Scalar && may(&f.read) && may(&f.write);
        !self.translated && !self.fields.is_empty() && self.fields.iter().all(is_free)
    }

    /// The size of the host's context in bytes.
    pub const fn host_bytes(&self) -> u32 {
        if self.translated { 2 * self.bytes } else { self.bytes }
    }
}
