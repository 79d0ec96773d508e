//! Helper prototypes: what a helper takes, gives and does (`struct bpf_func_proto`).

use crate::program::ProgTypeSet;
use std::borrow::Cow;

/// How a helper uses memory that an argument points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemAccess {
    /// Reads it; all of it must be initialised.
    Read,
    /// Writes it; it need not be initialised.
    Write,
    /// Reads and writes it.
    ReadWrite,
}

/// How long the memory is that an argument points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemSize {
    /// As the next argument says, an [`Arg::Size`].
    NextArg,
    /// This many bytes.
    Fixed(u32),
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// There is no such argument.
    None,
    /// Any initialised value.
    Anything,
    /// The context.
    Ctx,
    /// A map. Arguments of kind `MapKey` and `MapValue` refer to it.
    Map,
    /// Memory of the map's key size, read.
    MapKey,
    /// Memory of the map's value size.
    MapValue(MemAccess),
    /// Memory.
    Mem {
        /// What the helper does with it.
        access: MemAccess,
        /// Its length.
        size: MemSize,
        /// Whether null is taken (with a size of 0).
        nullable: bool,
    },
    /// The size of the memory that the argument before points to.
    Size {
        /// Whether 0 is taken.
        zero: bool,
    },
    /// The size of the memory that the helper returns, a constant.
    AllocSize,
    /// A ring-buffer record from `ringbuf_reserve`; the call ends it.
    RingbufRecord,
    /// A pointer to a constant, zero-terminated string in a read-only map.
    ConstStr,
}

/// What a helper returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// Nothing; `r0` is not to be used.
    Void,
    /// A number.
    Integer,
    /// The address of a value of the map argument, or null.
    MapValueOrNull,
    /// The address of memory of [`Arg::AllocSize`] bytes, or null.
    MemOrNull,
    /// Does not return (`tail_call` when it succeeds).
    TailCall,
}

/// What a call does besides its result. Combined with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Effect(pub u32);

impl Effect {
    /// Nothing else.
    pub const NONE: Effect = Effect(0);
    /// Only for programs with a GPL-compatible licence.
    pub const GPL_ONLY: Effect = Effect(1 << 0);
    /// Packet pointers taken before are invalid afterwards.
    pub const CHANGES_PACKET: Effect = Effect(1 << 1);
    /// Only in sleepable programs.
    pub const MAY_SLEEP: Effect = Effect(1 << 2);
    /// The result is a reference that must be released.
    pub const ACQUIRES: Effect = Effect(1 << 3);
    /// Releases the reference that an argument holds.
    pub const RELEASES: Effect = Effect(1 << 4);

    /// Both.
    pub const fn and(self, other: Effect) -> Effect {
        Effect(self.0 | other.0)
    }

    /// Whether all effects of `other` are in this one.
    pub const fn has(self, other: Effect) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The prototype of a helper.
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
    /// Program types that may call it.
    pub allowed: ProgTypeSet,
}
