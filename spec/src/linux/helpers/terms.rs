//! The words that the tables are written in.

use crate::helper::{Arg, Effect, MemAccess, MemSize};

const fn memory(access: MemAccess, nullable: bool) -> Arg {
    Arg::Mem { access, size: MemSize::NextArg, nullable }
}

pub(super) const ANY: Arg = Arg::Anything;
pub(super) const CTX: Arg = Arg::Ctx;
pub(super) const MAP: Arg = Arg::Map;
pub(super) const KEY: Arg = Arg::MapKey;
pub(super) const VALUE: Arg = Arg::MapValue(MemAccess::Read);
pub(super) const VALUE_OUT: Arg = Arg::MapValue(MemAccess::Write);
pub(super) const VALUE_OR_NULL: Arg = Arg::MapValueOrNull;
pub(super) const READ: Arg = memory(MemAccess::Read, false);
pub(super) const READ_OR_NULL: Arg = memory(MemAccess::Read, true);
pub(super) const WRITE: Arg = memory(MemAccess::Write, false);
pub(super) const READ_WRITE: Arg = memory(MemAccess::ReadWrite, false);
pub(super) const READ_WRITE_OR_NULL: Arg = memory(MemAccess::ReadWrite, true);
pub(super) const SIZE: Arg = Arg::Size { zero: false };
pub(super) const SIZE_OR_ZERO: Arg = Arg::Size { zero: true };
pub(super) const U64_OUT: Arg =
    Arg::Mem { access: MemAccess::Write, size: MemSize::FixedAligned(8), nullable: false };
pub(super) const U32_INOUT: Arg =
    Arg::Mem { access: MemAccess::ReadWrite, size: MemSize::FixedAligned(4), nullable: false };
pub(super) const SOCK: Arg = Arg::Sock { nullable: false, released: false };
pub(super) const SOCK_OR_NULL: Arg = Arg::Sock { nullable: true, released: false };

/// A header of this many bytes.
pub(super) const fn fixed(bytes: u32) -> Arg {
    Arg::Mem { access: MemAccess::Read, size: MemSize::Fixed(bytes), nullable: false }
}

/// A pointer to this type of the kernel.
pub(super) const fn btf(name: &'static str) -> Arg {
    Arg::BtfId { name, nullable: false }
}

/// A pointer to this type of the kernel, or null.
pub(super) const fn btf_or_null(name: &'static str) -> Arg {
    Arg::BtfId { name, nullable: true }
}

pub(super) const NONE: Effect = Effect::NONE;
pub(super) const GPL: Effect = Effect::GPL_ONLY;
pub(super) const CHANGES: Effect = Effect::CHANGES_PACKET;
pub(super) const PACKET_MEMORY: Effect = Effect::PACKET_MEMORY;
pub(super) const ACQUIRES: Effect = Effect::ACQUIRES;
pub(super) const RELEASES: Effect = Effect::RELEASES;
pub(super) const SLEEPS: Effect = Effect::MAY_SLEEP;
pub(super) const SOME_HOOKS: Effect = Effect::SOME_HOOKS;
pub(super) const BPF: Effect = Effect::NEEDS_BPF;
pub(super) const PERFMON: Effect = Effect::NEEDS_PERFMON;
pub(super) const ADMIN: Effect = PERFMON.and(Effect::NEEDS_ADMIN);
