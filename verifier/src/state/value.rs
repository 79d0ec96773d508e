//! What a register or a spilled slot holds.

use crate::domain::Scalar;
use std::fmt;

/// A map that a program uses: an index into [`Subject::maps`](crate::subject::Subject::maps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MapId(pub u32);

/// A function of the program: an index into the functions in the order of their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct SubprogId(pub u32);

/// A map, and which lookup in an outer map it came from (`map_ptr`, `map_uid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MapRef {
    /// The map; of a map found in an outer map, that map's inner definition.
    pub(crate) map: MapId,
    /// Number of the lookup that gave it; 0 if it did not come from one.
    pub(crate) uid: u32,
}

/// What a dynptr points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DynptrKind {
    /// Memory of the program.
    Local,
    /// A ring-buffer record; a reference.
    Ringbuf,
}

/// The base type of a value (`enum bpf_reg_type` without its flags, and what each type has beside).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Nothing: reading it is an error.
    Uninit,
    /// A number.
    Scalar,
    /// The context.
    Ctx,
    /// A map itself.
    MapPtr(MapRef),
    /// A value of a map.
    MapValue(MapRef),
    /// A key of a map, given to callbacks.
    MapKey(MapRef),
    /// A place of the stack of the frame with this number.
    Stack {
        /// Frame, 0 for the program's entry.
        frame: u8,
    },
    /// The packet; so many bytes from the variable part of the offset on may be accessed.
    Packet {
        /// Bytes, 0 if not compared with the end yet; or [`BEYOND_PACKET_END`], [`AT_PACKET_END`].
        range: i32,
    },
    /// The metadata before the packet, likewise.
    PacketMeta {
        /// As for [`Kind::Packet`].
        range: i32,
    },
    /// The end of the packet.
    PacketEnd,
    /// What a flow dissector fills in.
    FlowKeys,
    /// A full socket.
    Sock,
    /// A socket of any state.
    SockCommon,
    /// A TCP socket.
    TcpSock,
    /// An XDP socket.
    XdpSock,
    /// The buffer of a writable tracepoint.
    TpBuffer,
    /// Memory of this many bytes.
    Mem {
        /// Size.
        bytes: u32,
        /// The dynptr whose data it is (`dynptr_id`), 0 for none.
        dynptr: u32,
    },
    /// A buffer whose length is known only when it runs.
    Buf,
    /// A function of the program.
    Func(SubprogId),
    /// A dynptr: one that a callback was given, or a slot of one on the stack.
    Dynptr {
        /// What it points to.
        kind: DynptrKind,
        /// Of a slot, whether it is the first of the two.
        first_slot: bool,
    },
}

/// The range of a packet pointer that is known to be at the end, or beyond.
pub(crate) const AT_PACKET_END: i32 = -1;
/// The range of a packet pointer that is known to be beyond the end.
pub(crate) const BEYOND_PACKET_END: i32 = -2;

/// Modifiers of a type (`enum bpf_type_flag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Flags(u16);

impl Flags {
    /// No modifier.
    pub(crate) const NONE: Flags = Flags(0);
    /// May be null.
    pub(crate) const MAYBE_NULL: Flags = Flags(1 << 0);
    /// Only read.
    pub(crate) const READ_ONLY: Flags = Flags(1 << 1);
    /// A ring-buffer record.
    pub(crate) const RINGBUF: Flags = Flags(1 << 2);
    /// Memory of a user process.
    pub(crate) const USER: Flags = Flags(1 << 3);
    /// A per-CPU variable.
    pub(crate) const PERCPU: Flags = Flags(1 << 4);
    /// Not to be trusted: may be stale.
    pub(crate) const UNTRUSTED: Flags = Flags(1 << 5);
    /// Trusted as an argument of kernel functions.
    pub(crate) const TRUSTED: Flags = Flags(1 << 6);
    /// Under the protection of RCU.
    pub(crate) const RCU: Flags = Flags(1 << 7);
    /// An object that the program allocated.
    pub(crate) const ALLOC: Flags = Flags(1 << 8);
    /// A reference that others own.
    pub(crate) const NON_OWNING: Flags = Flags(1 << 9);

    /// Both.
    pub(crate) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These without the others.
    pub(crate) const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` are in it.
    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How a number hangs together with others of its `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Link {
    /// It equals them.
    #[default]
    Equal,
    /// It is the common number plus `offset`, added in 32 bits (`BPF_ADD_CONST32`).
    Plus32,
    /// It is the common number plus `offset`, added in 64 bits (`BPF_ADD_CONST64`).
    Plus64,
}

/// What a register or a spilled slot holds (`struct bpf_reg_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// Base type.
    pub(crate) kind: Kind,
    /// Modifiers of the type.
    pub(crate) flags: Flags,
    /// Of a number: its exact value matters to a verdict on the way to here.
    pub(crate) precise: bool,
    /// Of a number with `id`: how it differs from the others.
    pub(crate) link: Link,
    /// Of a pointer: the fixed part of its offset in bytes. Of a number with a [`Link`] that is not
    /// `Equal`: the difference.
    pub(crate) offset: i32,
    /// Shared by numbers that are equal, by pointers with the same variable offset, or by copies of
    /// a pointer that may be null; 0 for none.
    pub(crate) id: u32,
    /// The reference that it holds or belongs to; 0 for none.
    pub(crate) ref_id: u32,
    /// Of a number: what is known of it. Of a pointer: the variable part of its offset.
    pub(crate) scalar: Scalar,
}

impl Value {
    /// Nothing.
    pub(crate) const UNINIT: Value = Value {
        kind: Kind::Uninit,
        flags: Flags::NONE,
        precise: false,
        link: Link::Equal,
        offset: 0,
        id: 0,
        ref_id: 0,
        scalar: Scalar::TOP,
    };

    /// Any number.
    pub(crate) const UNKNOWN: Value = Value { kind: Kind::Scalar, ..Value::UNINIT };

    /// This number.
    pub(crate) fn constant(value: u64) -> Value {
        Value::number(Scalar::constant(value))
    }

    /// A number of which this is known.
    pub(crate) const fn number(scalar: Scalar) -> Value {
        Value { scalar, ..Value::UNKNOWN }
    }

    /// A pointer with offset 0.
    pub(crate) fn pointer(kind: Kind) -> Value {
        Value { kind, scalar: Scalar::constant(0), ..Value::UNINIT }
    }

    /// The same with these modifiers too.
    pub(crate) const fn with(mut self, flags: Flags) -> Value {
        self.flags = self.flags.and(flags);
        self
    }

    /// The same with this id.
    pub(crate) const fn with_id(mut self, id: u32) -> Value {
        self.id = id;
        self
    }

    /// The place at `offset` bytes from the top of a frame's stack.
    pub(crate) fn stack(frame: u8, offset: i32) -> Value {
        Value { offset, ..Value::pointer(Kind::Stack { frame }) }
    }

    /// Whether both are equal but for whether they matter.
    #[inline]
    pub(crate) fn is_like(&self, other: &Value) -> bool {
        // Loops mostly differ in a bound.
        self.scalar.full.umin == other.scalar.full.umin
            && self.kind == other.kind
            && self.id == other.id
            && self.scalar == other.scalar
            && self.flags == other.flags
            && self.link == other.link
            && self.offset == other.offset
            && self.ref_id == other.ref_id
    }

    /// Whether it is a number.
    pub(crate) const fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Scalar)
    }

    /// Whether it is a pointer of any type.
    pub(crate) const fn is_pointer(&self) -> bool {
        !matches!(self.kind, Kind::Scalar | Kind::Uninit)
    }

    /// Whether it may be null.
    pub(crate) const fn may_be_null(&self) -> bool {
        self.flags.has(Flags::MAYBE_NULL)
    }

    /// The number, if it is known exactly.
    pub(crate) fn as_const(&self) -> Option<u64> {
        if self.is_number() { self.scalar.as_const() } else { None }
    }

    /// Whether it is the number 0 (`register_is_null`).
    pub(crate) fn is_null(&self) -> bool {
        self.as_const() == Some(0)
    }

    /// Whether it points into a packet or its metadata (`reg_is_pkt_pointer`).
    pub(crate) const fn is_packet(&self) -> bool {
        matches!(self.kind, Kind::Packet { .. } | Kind::PacketMeta { .. })
    }

    /// The map that a map pointer, key or value belongs to.
    pub(crate) const fn map(&self) -> Option<MapRef> {
        match self.kind {
            Kind::MapPtr(map) | Kind::MapValue(map) | Kind::MapKey(map) => Some(map),
            _ => None,
        }
    }

    /// The type as messages write it: `map_value_or_null` (`reg_type_str`).
    pub(crate) const fn type_name(&self) -> TypeName {
        TypeName { kind: self.kind, flags: self.flags }
    }
}

/// The name of a type in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypeName {
    /// Base type.
    pub(crate) kind: Kind,
    /// Modifiers.
    pub(crate) flags: Flags,
}

impl Kind {
    /// The name of the base type in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Uninit => "?",
            Kind::Scalar => "scalar",
            Kind::Ctx => "ctx",
            Kind::MapPtr(_) => "map_ptr",
            Kind::MapValue(_) => "map_value",
            Kind::MapKey(_) => "map_key",
            Kind::Stack { .. } => "fp",
            Kind::Packet { .. } => "pkt",
            Kind::PacketMeta { .. } => "pkt_meta",
            Kind::PacketEnd => "pkt_end",
            Kind::FlowKeys => "flow_keys",
            Kind::Sock => "sock",
            Kind::SockCommon => "sock_common",
            Kind::TcpSock => "tcp_sock",
            Kind::XdpSock => "xdp_sock",
            Kind::TpBuffer => "tp_buffer",
            Kind::Mem { .. } => "mem",
            Kind::Buf => "buf",
            Kind::Func(_) => "func",
            Kind::Dynptr { .. } => "dynptr_ptr",
        }
    }
}

/// Prefixes of modifiers in the order in which they are written.
const PREFIXES: [(Flags, &str); 7] = [
    (Flags::READ_ONLY, "rdonly_"),
    (Flags::RINGBUF, "ringbuf_"),
    (Flags::USER, "user_"),
    (Flags::PERCPU, "percpu_"),
    (Flags::RCU, "rcu_"),
    (Flags::UNTRUSTED, "untrusted_"),
    (Flags::TRUSTED, "trusted_"),
];

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (flag, prefix) in PREFIXES {
            if self.flags.has(flag) {
                f.write_str(prefix)?;
            }
        }
        f.write_str(self.kind.name())?;
        f.write_str(if self.flags.has(Flags::MAYBE_NULL) { "_or_null" } else { "" })
    }
}
