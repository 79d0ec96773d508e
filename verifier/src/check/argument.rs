//! Which values the arguments of helpers take (`check_reg_type` with `compatible_reg_types`,
//! `check_func_arg_reg_off`).
//!
//! Pointers to kernel types occur in the lists because messages name them; no value has such a type,
//! so none is taken.

use crate::reject::{CallReason, Reason};
use crate::state::{DynptrKind, Flags, Kind, MapId, MapRef, SubprogId, Value};
use crate::step::Step;
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

/// What an argument takes; none of those that take everything or are not there.
pub(crate) const fn rule(arg: Arg) -> Option<Rule> {
    let rule = |takes| Some(Rule { takes, nullable: false, read_only: false, releases: false });
    let or_null = |takes| Some(Rule { takes, nullable: true, read_only: false, releases: false });
    match arg {
        Arg::None | Arg::Anything => None,
        Arg::Ctx => rule(&[plain(Kind::Ctx)]),
        Arg::CtxOrNull => or_null(&[plain(Kind::Ctx)]),
        Arg::Map => rule(&[plain(Kind::MapPtr(ANY_MAP))]),
        Arg::MapKey | Arg::MapValue(_) => rule(MEMORY),
        Arg::MapValueOrNull => or_null(MEMORY),
        Arg::Mem { access, nullable, .. } => Some(Rule {
            takes: MEMORY,
            nullable,
            read_only: matches!(access, MemAccess::Read),
            releases: false,
        }),
        Arg::Size { .. } | Arg::AllocSize => rule(&[plain(Kind::Scalar)]),
        Arg::RingbufRecord => Some(Rule {
            takes: &[RINGBUF_MEM],
            nullable: false,
            read_only: false,
            releases: true,
        }),
        Arg::ConstStr | Arg::Timer => rule(&[MAP_VALUE]),
        Arg::SpinLock | Arg::KptrSlot => rule(FIELD_HOLDERS),
        Arg::Dynptr(usage) => Some(Rule {
            takes: &[STACK, plain(DYNPTR)],
            nullable: false,
            read_only: matches!(usage, DynptrUse::Read),
            releases: matches!(usage, DynptrUse::ReleaseRingbuf),
        }),
        Arg::Callback(_) => rule(&[plain(Kind::Func(SubprogId(0)))]),
        Arg::CallbackCtx => or_null(&[STACK]),
        Arg::SockCommon => rule(SOCKETS),
        Arg::SocketOrNull => or_null(&[SOCK]),
        Arg::Sock { nullable, released } => {
            Some(Rule { takes: SOCKETS_OR_KERNEL, nullable, read_only: false, releases: released })
        }
        Arg::BtfId { nullable, .. } => {
            Some(Rule { takes: KERNEL, nullable, read_only: false, releases: false })
        }
        Arg::KptrOrNull => {
            Some(Rule { takes: KERNEL, nullable: true, read_only: false, releases: true })
        }
        Arg::PerCpu => rule(PER_CPU),
    }
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
    pub(crate) fn check_offset(
        &self,
        step: &mut Step<'_, '_>,
        value: &Value,
        reg: Reg,
    ) -> Result<(), Reason> {
        if self.releases {
            // The reference is that of the dynptr, wherever on the stack it lies.
            if matches!(value.kind, Kind::Stack { .. }) {
                return Ok(());
            }
            if value.offset != 0 {
                return Err(CallReason::ReleaseOffset { reg: reg.number() }.into());
            }
            return super::fixed_offset(step, value, reg, false);
        }
        if may_be_moved(value) { Ok(()) } else { super::fixed_offset(step, value, reg, false) }
    }
}

/// Whether helpers take pointers of this type at every offset.
fn may_be_moved(value: &Value) -> bool {
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
