//! Which values the arguments of helpers take (`check_reg_type` with `compatible_reg_types`,
//! `check_func_arg_reg_off`).
//!
//! Pointers to kernel types occur in the lists because messages name them; no value has such a type,
//! so none is taken.

use crate::reject::{CallReason, Reason};
use crate::state::{DynptrKind, Flags, Kind, MapId, MapRef, SubprogId, Value};
use ebpfvm_asm::Reg;
use ebpfvm_spec::helper::{Arg, DynptrUse, MemAccess};
use std::mem::discriminant;

/// A type that an argument takes.
#[derive(Clone, Copy, Debug)]
struct Type {
    /// A value of the base type, of which only the base type counts; none: a pointer to a kernel
    /// type.
    kind: Option<Kind>,
    /// Exactly these modifiers.
    flags: Flags,
    /// The name in messages.
    name: &'static str,
}

const fn plain(kind: Kind) -> Type {
    Type { kind: Some(kind), flags: Flags::NONE, name: kind.name() }
}

const fn kernel(name: &'static str) -> Type {
    Type { kind: None, flags: Flags::NONE, name }
}

const ANY_MAP: MapRef = MapRef { map: MapId(0), uid: 0 };
const MAP_VALUE: Type = plain(Kind::MapValue(ANY_MAP));
const STACK: Type = plain(Kind::Stack { frame: 0 });
const SOCK: Type = plain(Kind::Sock);
const SOCK_COMMON: Type = plain(Kind::SockCommon);
const TCP_SOCK: Type = plain(Kind::TcpSock);
const XDP_SOCK: Type = plain(Kind::XdpSock);
const DYNPTR: Kind = Kind::Dynptr { kind: DynptrKind::Local, first_slot: true };
const MEM: Kind = Kind::Mem { bytes: 0, dynptr: 0 };
const RINGBUF_MEM: Type = Type { kind: Some(MEM), flags: Flags::RINGBUF, name: "ringbuf_mem" };

const MEMORY: &[Type] = &[
    STACK,
    plain(Kind::Packet { range: 0 }),
    plain(Kind::PacketMeta { range: 0 }),
    plain(Kind::MapKey(ANY_MAP)),
    MAP_VALUE,
    plain(MEM),
    RINGBUF_MEM,
    plain(Kind::Buf),
    kernel("trusted_ptr_"),
];
const SOCKETS: &[Type] = &[SOCK_COMMON, SOCK, TCP_SOCK, XDP_SOCK];
const SOCKETS_OR_KERNEL: &[Type] =
    &[SOCK_COMMON, SOCK, TCP_SOCK, XDP_SOCK, kernel("ptr_"), kernel("trusted_ptr_")];
const KERNEL: &[Type] = &[kernel("ptr_"), kernel("trusted_ptr_"), kernel("rcu_ptr_")];
const PER_CPU: &[Type] =
    &[kernel("percpu_ptr_"), kernel("percpu_rcu_ptr_"), kernel("percpu_trusted_ptr_")];
const CONTEXT: &[Type] = &[plain(Kind::Ctx)];
const MAP: &[Type] = &[plain(Kind::MapPtr(ANY_MAP))];
const NUMBER: &[Type] = &[plain(Kind::Scalar)];
const FUNCTION: &[Type] = &[plain(Kind::Func(SubprogId(0)))];
const RECORD: &[Type] = &[RINGBUF_MEM];
const VALUE: &[Type] = &[MAP_VALUE];
const STACKS: &[Type] = &[STACK];
const DYNPTRS: &[Type] = &[STACK, plain(DYNPTR)];
const FULL_SOCKET: &[Type] = &[SOCK];
const FIELD_HOLDERS: &[Type] = &[MAP_VALUE, kernel("ptr_")];

/// What an argument takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    takes: &'static [Type],
    /// Whether null is taken.
    pub(crate) nullable: bool,
    /// Whether memory that is only read is taken.
    read_only: bool,
    /// Whether the call ends the reference that it holds.
    pub(crate) releases: bool,
}

impl Rule {
    /// Exactly these types.
    const fn of(takes: &'static [Type]) -> Rule {
        Rule { takes, nullable: false, read_only: false, releases: false }
    }

    const fn nullable(self, nullable: bool) -> Rule {
        Rule { nullable, ..self }
    }

    const fn read_only(self, read_only: bool) -> Rule {
        Rule { read_only, ..self }
    }

    const fn releases(self, releases: bool) -> Rule {
        Rule { releases, ..self }
    }
}

/// What an argument takes; none of those that take everything or are not there.
pub(crate) fn rule(arg: Arg) -> Option<Rule> {
    Some(match arg {
        Arg::None | Arg::Anything => return None,
        Arg::Ctx => Rule::of(CONTEXT),
        Arg::CtxOrNull => Rule::of(CONTEXT).nullable(true),
        Arg::Map => Rule::of(MAP),
        Arg::MapKey | Arg::MapValue(_) => Rule::of(MEMORY),
        Arg::MapValueOrNull => Rule::of(MEMORY).nullable(true),
        Arg::Mem { access, nullable, .. } => {
            Rule::of(MEMORY).nullable(nullable).read_only(access == MemAccess::Read)
        }
        Arg::Size { .. } | Arg::AllocSize => Rule::of(NUMBER),
        Arg::RingbufRecord => Rule::of(RECORD).releases(true),
        Arg::ConstStr | Arg::Timer => Rule::of(VALUE),
        Arg::SpinLock | Arg::KptrSlot => Rule::of(FIELD_HOLDERS),
        Arg::Dynptr(usage) => Rule::of(DYNPTRS)
            .read_only(usage == DynptrUse::Read)
            .releases(usage == DynptrUse::ReleaseRingbuf),
        Arg::Callback(_) => Rule::of(FUNCTION),
        Arg::CallbackCtx => Rule::of(STACKS).nullable(true),
        Arg::SockCommon => Rule::of(SOCKETS),
        Arg::SocketOrNull => Rule::of(FULL_SOCKET).nullable(true),
        Arg::Sock { nullable, released } => {
            Rule::of(SOCKETS_OR_KERNEL).nullable(nullable).releases(released)
        }
        Arg::BtfId { nullable, .. } => Rule::of(KERNEL).nullable(nullable),
        Arg::KptrOrNull => Rule::of(KERNEL).nullable(true).releases(true),
        Arg::PerCpu => Rule::of(PER_CPU),
    })
}

impl Rule {
    /// Whether the type of a value is one that the argument takes (`check_reg_type`).
    ///
    /// # Errors
    /// If it is not.
    pub(crate) fn check_type(&self, value: &Value, reg: Reg) -> Result<(), Reason> {
        let mut flags = value.flags;
        if self.read_only {
            flags = flags.without(Flags::READ_ONLY);
        }
        if self.nullable {
            flags = flags.without(Flags::MAYBE_NULL);
        }
        let base = discriminant(&value.kind);
        let fits = |t: &Type| t.flags == flags && t.kind.is_some_and(|k| discriminant(&k) == base);
        if self.takes.iter().any(fits) {
            return Ok(());
        }
        let expected: Vec<&str> = self.takes.iter().map(|t| t.name).collect();
        Err(CallReason::Type {
            reg: reg.number(),
            found: value.type_name().to_string(),
            expected: expected.join(", "),
        }
        .into())
    }

    /// Whether a value of a fitting type may have the offset that it has
    /// (`check_func_arg_reg_off`).
    ///
    /// # Errors
    /// If it may not.
    pub(crate) fn check_offset(&self, value: &Value, reg: Reg) -> Result<(), Reason> {
        if self.releases {
            // The reference is that of the dynptr, wherever on the stack it lies.
            if matches!(value.kind, Kind::Stack { .. }) {
                return Ok(());
            }
            if value.offset != 0 {
                return Err(CallReason::ReleaseOffset { reg: reg.number() }.into());
            }
            return super::fixed_offset(value, reg, false);
        }
        if may_be_moved(value) { Ok(()) } else { super::fixed_offset(value, reg, false) }
    }
}

/// Whether helpers take pointers of this type at every offset.
pub(crate) fn may_be_moved(value: &Value) -> bool {
    let no_flags = value.flags == Flags::NONE;
    match value.kind {
        Kind::Scalar
        | Kind::Stack { .. }
        | Kind::Packet { .. }
        | Kind::PacketMeta { .. }
        | Kind::MapKey(_)
        | Kind::MapValue(_) => no_flags,
        Kind::Mem { .. } => {
            no_flags || value.flags == Flags::READ_ONLY || value.flags == Flags::RINGBUF
        }
        Kind::Buf => no_flags || value.flags == Flags::READ_ONLY,
        _ => false,
    }
}
