//! Helper prototypes: what a helper takes, gives and does (`struct bpf_func_proto`).

use crate::attach::{AttachType, AttachTypeSet};
use crate::map::{MapType, MapTypeSet};
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

/// How a helper uses memory that an argument points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemAccess {
    /// Reads it; all of it must be initialised (`MEM_RDONLY`).
    Read,
    /// Writes it; it need not be initialised (`MEM_UNINIT | MEM_WRITE`).
    Write,
    /// Reads and writes it; all of it must be initialised (`MEM_WRITE`).
    ReadWrite,
}

impl MemAccess {
    /// Whether the verifier treats what was in the memory as overwritten.
    pub const fn writes(self) -> bool {
        matches!(self, MemAccess::Write | MemAccess::ReadWrite)
    }
}

/// How long the memory is that an argument points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemSize {
    /// As the next argument says, an [`Arg::Size`].
    NextArg,
    /// This many bytes.
    Fixed(u32),
    /// This many bytes, aligned to as many whatever the program's flags say (`MEM_ALIGNED`).
    FixedAligned(u32),
}

/// What a dynptr argument is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DynptrUse {
    /// A dynptr of any kind, which the helper leaves as it is (`MEM_RDONLY`).
    Read,
    /// Free stack, where the helper makes a dynptr to memory of the program.
    NewLocal,
    /// Free stack, where the helper makes a dynptr to a ring-buffer record; a reference.
    NewRingbuf,
    /// A dynptr to a ring-buffer record; the call ends it.
    ReleaseRingbuf,
}

/// How a function of the program is called back, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callback {
    /// For each element: map, key, value, context; 0 or 1 is returned.
    MapElement,
    /// For each round: index (a number), context; 0 or 1 is returned.
    Loop,
    /// Later: map, key, value; 0 is returned.
    Timer,
    /// At most once: `task_struct`, `vm_area_struct`, context; 0 or 1 is returned.
    FindVma,
    /// For each sample: a dynptr that is only read, context; 0 or 1 is returned.
    UserRingbuf,
}

impl Callback {
    /// Whether the function is called after the helper has returned.
    pub const fn is_later(self) -> bool {
        matches!(self, Callback::Timer)
    }
}

/// What an argument must be (`enum bpf_arg_type` with its flags).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// There is no such argument.
    None,
    /// Any initialised value; no pointer in unprivileged programs.
    Anything,
    /// The context.
    Ctx,
    /// The context or null.
    CtxOrNull,
    /// A map. Arguments of kind `MapKey` and `MapValue` refer to it.
    Map,
    /// Memory of the map's key size, read.
    MapKey,
    /// Memory of the map's value size.
    MapValue(MemAccess),
    /// Memory of the map's value size, read, or null.
    MapValueOrNull,
    /// Memory.
    Mem {
        /// What the helper does with it.
        access: MemAccess,
        /// Its length.
        size: MemSize,
        /// Whether null is taken (with a size of 0).
        nullable: bool,
    },
    /// The size of the memory that the argument before points to, in bytes.
    Size {
        /// Whether 0 is taken.
        zero: bool,
    },
    /// The size of the memory that the helper returns in bytes, a constant; 0 is taken.
    AllocSize,
    /// A ring-buffer record from `ringbuf_reserve`; the call ends it.
    RingbufRecord,
    /// A pointer to a constant, zero-terminated string in a read-only map.
    ConstStr,
    /// A `bpf_spin_lock` in a map value or an allocated object.
    SpinLock,
    /// A `bpf_timer` in a map value.
    Timer,
    /// A dynptr on the stack, or that a callback was given.
    Dynptr(DynptrUse),
    /// A function of the program.
    Callback(Callback),
    /// What the callback is given as context: a stack pointer or null.
    CallbackCtx,
    /// A socket that the verifier knows as such: `sock_common`, `sock`, `tcp_sock`, `xdp_sock`.
    SockCommon,
    /// A full socket (`sock`) or null.
    SocketOrNull,
    /// [`Arg::SockCommon`], or a trusted pointer to a kernel type that begins with a `sock_common`.
    Sock {
        /// Whether null is taken.
        nullable: bool,
        /// Whether the call ends the reference that it holds, which must be one.
        released: bool,
    },
    /// A pointer to this type of the kernel, trusted or under RCU protection.
    BtfId {
        /// Name of the structure.
        name: &'static str,
        /// Whether null is taken, or a pointer that may be null.
        nullable: bool,
    },
    /// Where a kernel pointer lies in a map value or an allocated object.
    KptrSlot,
    /// A reference to an object of the slot's type, or null; the call takes it over.
    KptrOrNull,
    /// A per-CPU variable of the kernel or a per-CPU object.
    PerCpu,
}

/// What a helper returns (`enum bpf_return_type` with its flags).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Nothing; `r0` is not to be used.
    Void,
    /// A number.
    Integer,
    /// A number: at most what the [`Arg::Size`] could be, at least -4095 (`do_refine_retval_range`).
    SizeOrErrno,
    /// A number below that of the machine's CPUs.
    Cpu,
    /// The address of a value of the map argument.
    MapValue,
    /// What the map argument gives ([`MapType::lookup_gives`]), or null; the verifier's log has it
    /// as a value until null is ruled out, and as a reference from the call on if it is one.
    MapValueOrNull,
    /// The address of a ring-buffer record of [`Arg::AllocSize`] bytes, or null.
    RingbufRecordOrNull,
    /// The address of [`Arg::AllocSize`] bytes of the dynptr argument, or null.
    DynptrMemOrNull,
    /// A full socket (`sock`) or null.
    SocketOrNull,
    /// A `tcp_sock` or null.
    TcpSockOrNull,
    /// A `sock_common` or null.
    SockCommonOrNull,
    /// A pointer to a type of the kernel.
    BtfId {
        /// Name of the structure.
        name: &'static str,
        /// Whether it may be null.
        nullable: bool,
        /// Whether it is trusted as an argument of kernel functions.
        trusted: bool,
    },
    /// What was in the [`Arg::KptrSlot`], or null.
    KptrOrNull,
    /// The [`Arg::PerCpu`] variable of one CPU: memory that is only read, or a pointer to its type.
    PerCpu {
        /// Whether it may be null.
        nullable: bool,
    },
    /// Does not return (`tail_call` when it succeeds).
    TailCall,
}

/// What a call does besides its result, and what it asks of the program. Combined with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Effect(pub u32);

impl Effect {
    /// Nothing else.
    pub const NONE: Effect = Effect(0);
    /// Only for programs with a GPL-compatible licence.
    pub const GPL_ONLY: Effect = Effect(1 << 0);
    /// Packet pointers taken before are invalid afterwards.
    pub const CHANGES_PACKET: Effect = Effect(1 << 1);
    /// Only in sleepable programs, outside of RCU, preempt and lock regions.
    pub const MAY_SLEEP: Effect = Effect(1 << 2);
    /// The result is a reference that must be released (`is_acquire_function`, but for maps of
    /// sockets, see [`MapType::lookup_gives`]). What [`DynptrUse::NewRingbuf`] makes is one as well.
    pub const ACQUIRES: Effect = Effect(1 << 3);
    /// Releases the reference that an argument holds.
    pub const RELEASES: Effect = Effect(1 << 4);
    /// Packet pointers are taken where memory is (`pkt_access`).
    pub const PACKET_MEMORY: Effect = Effect(1 << 5);
    /// As [`Effect::MAY_SLEEP`] in sleepable programs, nothing in others.
    pub const SLEEPS_IF_SLEEPABLE: Effect = Effect(1 << 6);
    /// The result is the argument under another type and shares its reference
    /// (`is_ptr_cast_function`).
    pub const CASTS: Effect = Effect(1 << 7);
    /// Takes the lock that is the argument.
    pub const LOCKS: Effect = Effect(1 << 8);
    /// Gives the lock back.
    pub const UNLOCKS: Effect = Effect(1 << 9);
    /// Leaves the caller-saved registers that are no arguments unchanged (`allow_fastcall`).
    pub const FAST_CALL: Effect = Effect(1 << 10);
    /// Only with `CAP_BPF`.
    pub const NEEDS_BPF: Effect = Effect(1 << 11);
    /// Only with `CAP_PERFMON`, where the program type itself does not ask for it.
    pub const NEEDS_PERFMON: Effect = Effect(1 << 12);
    /// Only with `CAP_SYS_ADMIN`; comes with [`Effect::NEEDS_PERFMON`].
    pub const NEEDS_ADMIN: Effect = Effect(1 << 16);
    /// Only in programs attached to certain functions, which the kernel lists.
    pub const SOME_HOOKS: Effect = Effect(1 << 13);
    /// Changes which elements the map argument has, which maps that programs only read refuse.
    pub const CHANGES_MAP: Effect = Effect(1 << 14);

    /// Both.
    pub const fn and(self, other: Effect) -> Effect {
        Effect(self.0 | other.0)
    }

    /// Whether all effects of `other` are in this one.
    pub const fn has(self, other: Effect) -> bool {
        self.0 & other.0 == other.0
    }
}

/// That programs of some types may call a helper only with certain expected attach types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachRule {
    /// The program types that it is about.
    pub prog_types: ProgTypeSet,
    /// The attach types that it leaves them.
    pub attach: AttachTypeSet,
}

/// That a helper takes some kinds of maps from some programs only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapRule {
    /// The kinds that it is about.
    pub maps: MapTypeSet,
    /// The types of programs from which they are taken.
    pub prog_types: ProgTypeSet,
    /// Their expected attach types.
    pub attach: AttachTypeSet,
}

/// Which maps a helper takes as [`Arg::Map`]; of a helper that takes a [`Arg::KptrSlot`], the maps
/// whose values the slot may lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapUse {
    /// Kinds that it takes from every program.
    pub always: MapTypeSet,
    /// Kinds that it takes from some programs only; one rule that fits is enough.
    pub sometimes: &'static [MapRule],
}

impl MapUse {
    /// Every kind from every program.
    pub const ANY: MapUse = MapUse { always: MapTypeSet::ALL, sometimes: &[] };
}

/// Why a helper does not take a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapRefusal {
    /// It never takes this kind: `cannot pass map_type %d into func %s#%d`.
    Kind,
    /// It takes this kind from other programs; the kernel says `cannot update sockmap in this
    /// context` before the message of [`MapRefusal::Kind`].
    Context,
}

/// The prototype of a helper. Where a helper takes other arguments in other program types, it has
/// several, of which no two allow the same type and attach type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperProto {
    /// Number, as in the call instruction.
    pub id: u32,
    /// Name without `bpf_`.
    pub name: Cow<'static, str>,
    /// First Linux release that has it; empty for an embedder's own.
    pub since: &'static str,
    /// Arguments.
    pub args: [Arg; 5],
    /// Result.
    pub ret: Ret,
    /// Effects.
    pub effects: Effect,
    /// Program types that may call it. A program of type `ext` may call what its target may.
    pub allowed: ProgTypeSet,
    /// Which of them may only with certain attach types.
    pub attach: &'static [AttachRule],
    /// Which maps it takes.
    pub maps: MapUse,
}

impl HelperProto {
    /// Whether a program of this type and with this expected attach type may call it.
    pub fn allows(&self, prog_type: ProgType, attach: AttachType) -> bool {
        self.allowed.contains(prog_type)
            && (self.attach.iter())
                .filter(|rule| rule.prog_types.contains(prog_type))
                .all(|rule| rule.attach.contains(attach))
    }

    /// Whether a program of this type and with this expected attach type may give it a map of this
    /// kind (`check_map_func_compatibility`).
    ///
    /// # Errors
    /// Why not.
    pub fn takes_map(
        &self,
        kind: MapType,
        prog_type: ProgType,
        attach: AttachType,
    ) -> Result<(), MapRefusal> {
        if self.maps.always.contains(kind) {
            return Ok(());
        }
        let mut refusal = MapRefusal::Kind;
        for rule in self.maps.sometimes.iter().filter(|rule| rule.maps.contains(kind)) {
            if rule.prog_types.contains(prog_type) && rule.attach.contains(attach) {
                return Ok(());
            }
            refusal = MapRefusal::Context;
        }
        Err(refusal)
    }

    /// Whether both allow the same type with the same attach type.
    pub fn overlaps(&self, other: &HelperProto) -> bool {
        ProgType::ALL.iter().any(|prog_type| {
            let both = |attach| self.allows(*prog_type, attach) && other.allows(*prog_type, attach);
            self.allowed.contains(*prog_type)
                && other.allowed.contains(*prog_type)
                && (0..=64).map(AttachType).any(both)
        })
    }
}
