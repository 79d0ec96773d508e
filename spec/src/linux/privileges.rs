//! Which capabilities programs and maps take (`bpf_prog_load` and `map_create` of
//! `kernel/bpf/syscall.c`, Linux 6.18). Those of helpers and context fields stand in their rows:
//! [`Effect::NEEDS_BPF`](crate::Effect), [`Access::needs_bpf`](crate::Access).

use crate::map::MapType::*;
use crate::map::{MapType, MapTypeSet};
use crate::program::ProgType as T;
use crate::program::{ProgType, ProgTypeSet};
use std::ops::BitOr;

/// Capabilities of a process. `CAP_SYS_ADMIN` stands for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(pub u8);

impl Capabilities {
    /// None.
    pub const NONE: Capabilities = Capabilities(0);
    /// `CAP_BPF`
    pub const BPF: Capabilities = Capabilities(1 << 0);
    /// `CAP_NET_ADMIN`
    pub const NET_ADMIN: Capabilities = Capabilities(1 << 1);
    /// `CAP_PERFMON`
    pub const PERFMON: Capabilities = Capabilities(1 << 2);

    /// Whether all of `needed` are among them.
    pub const fn has(self, needed: Capabilities) -> bool {
        self.0 & needed.0 == needed.0
    }
}

impl BitOr for Capabilities {
    type Output = Capabilities;

    fn bitor(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }
}

/// The longest program that loads without `CAP_BPF`, in slots (`BPF_MAXINSNS`).
pub const MAX_UNPRIVILEGED_SLOTS: u32 = 4096;

/// Types that everybody may load, where the kernel is open to everybody at all
/// (`kernel.unprivileged_bpf_disabled`).
const OPEN: ProgTypeSet = ProgTypeSet::of(&[T::SocketFilter, T::CgroupSkb]);

/// `is_net_admin_prog_type`
const NETWORK: ProgTypeSet = ProgTypeSet::of(&[
    T::SchedCls,
    T::SchedAct,
    T::Xdp,
    T::LwtIn,
    T::LwtOut,
    T::LwtXmit,
    T::LwtSeg6local,
    T::SkSkb,
    T::SkMsg,
    T::FlowDissector,
    T::CgroupDevice,
    T::CgroupSock,
    T::CgroupSockAddr,
    T::CgroupSockopt,
    T::CgroupSysctl,
    T::SockOps,
    T::Ext,
    T::Netfilter,
]);

/// `is_perfmon_prog_type`
const TRACING: ProgTypeSet = ProgTypeSet::of(&[
    T::Kprobe,
    T::Tracepoint,
    T::PerfEvent,
    T::RawTracepoint,
    T::RawTracepointWritable,
    T::Tracing,
    T::Lsm,
    T::StructOps,
    T::Ext,
]);

/// What it takes to load a program of this type.
pub fn needed_for_program(prog_type: ProgType) -> Capabilities {
    let rows = [
        (NETWORK, Capabilities::NET_ADMIN),
        (TRACING, Capabilities::PERFMON),
        (ProgTypeSet::ALL.without(OPEN), Capabilities::BPF),
    ];
    let needed = rows.into_iter().filter(|(types, _)| types.contains(prog_type));
    needed.fold(Capabilities::NONE, |all, (_, needed)| all | needed)
}

/// Maps that everybody may create, where the kernel is open to everybody at all.
const OPEN_MAPS: MapTypeSet = MapTypeSet::of(&[
    Array,
    PercpuArray,
    ProgArray,
    PerfEventArray,
    CgroupArray,
    ArrayOfMaps,
    Hash,
    PercpuHash,
    HashOfMaps,
    Ringbuf,
    UserRingbuf,
    CgroupStorage,
    PercpuCgroupStorage,
]);

/// Maps of sockets and devices, which do not ask for `CAP_BPF`.
const NETWORK_MAPS: MapTypeSet = MapTypeSet::of(&[Sockmap, Sockhash, Devmap, DevmapHash, Xskmap]);

/// What it takes to create a map of this kind.
pub fn needed_for_map(kind: MapType) -> Capabilities {
    if OPEN_MAPS.contains(kind) {
        Capabilities::NONE
    } else if NETWORK_MAPS.contains(kind) {
        Capabilities::NET_ADMIN
    } else {
        Capabilities::BPF
    }
}
