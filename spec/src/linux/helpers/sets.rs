//! Sets of program types that share helpers (the `*_func_proto` functions), and attach types that
//! narrow them.

use crate::attach::{AttachType, AttachTypeSet};
use crate::helper::AttachRule;
use crate::program::ProgType::*;
use crate::program::{ProgType, ProgTypeSet};

const fn of(types: &[ProgType]) -> ProgTypeSet {
    ProgTypeSet::of(types)
}

pub(super) const ALL: ProgTypeSet = ProgTypeSet::ALL;
/// What `bpf_base_func_proto` serves: all types but one, which picks a few from it.
pub(super) const BASE: ProgTypeSet = ALL.without(LIRC);
pub(super) const LIRC: ProgTypeSet = of(&[LircMode2]);
pub(super) const XDP: ProgTypeSet = of(&[Xdp, Raw]);
pub(super) const CLS: ProgTypeSet = of(&[SchedCls, SchedAct]);
const LWT: ProgTypeSet = of(&[LwtIn, LwtOut, LwtXmit, LwtSeg6local]);
const XMIT: ProgTypeSet = of(&[LwtXmit]);
pub(super) const LWT_ENCAP: ProgTypeSet = of(&[LwtIn, LwtXmit]);
pub(super) const LWT_SEG6: ProgTypeSet = of(&[LwtSeg6local]);
pub(super) const SK_SKB: ProgTypeSet = of(&[SkSkb]);
pub(super) const SK_MSG: ProgTypeSet = of(&[SkMsg]);
pub(super) const SK_LOOKUP: ProgTypeSet = of(&[SkLookup]);
pub(super) const SK_REUSEPORT: ProgTypeSet = of(&[SkReuseport]);
pub(super) const SOCK_OPS: ProgTypeSet = of(&[SockOps]);
pub(super) const SOCK_ADDR: ProgTypeSet = of(&[CgroupSockAddr]);
pub(super) const CGROUP_SKB: ProgTypeSet = of(&[CgroupSkb]);
pub(super) const CGROUP_SOCK: ProgTypeSet = of(&[CgroupSock]);
pub(super) const SYSCTL: ProgTypeSet = of(&[CgroupSysctl]);
pub(super) const SYSCALL: ProgTypeSet = of(&[Syscall]);
pub(super) const STRUCT_OPS: ProgTypeSet = of(&[StructOps]);
pub(super) const LSM: ProgTypeSet = of(&[Lsm]);
pub(super) const KPROBE: ProgTypeSet = of(&[Kprobe]);
pub(super) const PERF: ProgTypeSet = of(&[PerfEvent]);
const FILTERS: ProgTypeSet = of(&[SocketFilter, CgroupSkb, SkReuseport]);

pub(super) const CLS_CGROUP: ProgTypeSet = CLS.union(CGROUP_SKB);
pub(super) const CLS_XDP: ProgTypeSet = CLS.union(XDP);
pub(super) const CLS_XMIT: ProgTypeSet = CLS.union(XMIT);
pub(super) const CLS_SK_SKB: ProgTypeSet = CLS.union(SK_SKB);
pub(super) const CLS_XMIT_SK_SKB: ProgTypeSet = CLS_XMIT.union(SK_SKB);
pub(super) const CLS_LWT: ProgTypeSet = CLS.union(LWT);
pub(super) const CLS_LWT_SK_SKB: ProgTypeSet = CLS_LWT.union(SK_SKB);
pub(super) const CLS_LWT_XDP: ProgTypeSet = CLS_LWT.union(XDP);
pub(super) const CLS_XDP_XMIT: ProgTypeSet = CLS_XMIT.union(XDP);
pub(super) const CLS_FILTERS: ProgTypeSet = CLS.union(FILTERS);
/// Types that load bytes of a packet.
pub(super) const SKB: ProgTypeSet = CLS_LWT_SK_SKB.union(FILTERS).union(of(&[FlowDissector]));
pub(super) const BASE_WITHOUT_SKB: ProgTypeSet = BASE.without(CLS_LWT);
/// What `bpf_sk_base_func_proto` serves, and TCP's congestion control.
pub(super) const NETWORK: ProgTypeSet = SKB.union(XDP).union(of(&[
    CgroupSock,
    CgroupSockAddr,
    CgroupSysctl,
    SkLookup,
    SkMsg,
    SockOps,
    StructOps,
]));
/// Types that look sockets up.
pub(super) const SK_FINDERS: ProgTypeSet = CLS_XDP.union(SK_SKB).union(CGROUP_SKB);
pub(super) const SK_RELEASERS: ProgTypeSet = SK_FINDERS.union(SOCK_ADDR).union(SK_LOOKUP);
pub(super) const TCP_SOCK: ProgTypeSet = CLS_CGROUP.union(of(&[SockOps, CgroupSockopt]));
pub(super) const SOCKET_UID: ProgTypeSet = CLS_CGROUP.union(of(&[SocketFilter, SkSkb]));
pub(super) const NETNS_COOKIE: ProgTypeSet = CLS_CGROUP.union(of(&[
    SocketFilter,
    SockOps,
    SkMsg,
    CgroupSock,
    CgroupSockAddr,
    CgroupSockopt,
]));
/// Types whose context stands for a socket.
pub(super) const COOKIE_CTX: ProgTypeSet =
    SOCKET_UID.union(of(&[SockOps, CgroupSock, CgroupSockAddr]));
pub(super) const COOKIE_SOCK: ProgTypeSet = of(&[SkReuseport, Tracing, Lsm, Syscall]);
pub(super) const SKC_CASTERS: ProgTypeSet = CLS_LWT_XDP.union(of(&[
    SocketFilter,
    SockOps,
    SkSkb,
    SkMsg,
    FlowDissector,
    CgroupSkb,
    CgroupSockAddr,
    SkLookup,
]));
/// Types whose own table has the casts (`tracing_prog_func_proto`), which asks for no capability.
pub(super) const SKC_TRACERS: ProgTypeSet = of(&[Syscall, Tracing, Lsm]);
pub(super) const SK_STORAGE: ProgTypeSet =
    CLS_CGROUP.union(of(&[SockOps, SkMsg, CgroupSockAddr, CgroupSockopt, Lsm, StructOps]));
pub(super) const SOCK_OPTIONS_CTX: ProgTypeSet = of(&[SockOps, CgroupSockAddr]);
/// Of `struct_ops`, only TCP's congestion control, and not in every function.
pub(super) const SOCK_OPTIONS_SOCK: ProgTypeSet = of(&[CgroupSockopt, Tracing, Lsm, StructOps]);

pub(super) const TRACING_BTF: ProgTypeSet = of(&[Tracing]);
pub(super) const BTF_TRACING: ProgTypeSet = of(&[Tracing, Lsm]);
pub(super) const TRACING_SYSCALL: ProgTypeSet = of(&[Tracing, Syscall]);
pub(super) const BTF_TRACING_OR_SYSCALL: ProgTypeSet = BTF_TRACING.union(SYSCALL);
const PROBES: ProgTypeSet =
    of(&[Kprobe, Tracepoint, PerfEvent, RawTracepoint, RawTracepointWritable]);
pub(super) const TRACING: ProgTypeSet = PROBES.union(BTF_TRACING_OR_SYSCALL).union(of(&[Raw]));
pub(super) const TRACING_BUT_PERF: ProgTypeSet = TRACING.without(PERF);
pub(super) const PROBED: ProgTypeSet = of(&[Kprobe, Tracing]);
pub(super) const COOKIES: ProgTypeSet = PROBES.union(BTF_TRACING);
pub(super) const EVENTS: ProgTypeSet =
    BASE.without(of(&[SkReuseport, FlowDissector, Netfilter, StructOps]));

pub(super) const CGROUP: ProgTypeSet = of(&[
    SockOps,
    CgroupDevice,
    CgroupSysctl,
    CgroupSkb,
    CgroupSock,
    CgroupSockAddr,
    CgroupSockopt,
    Lsm,
]);
pub(super) const RETVAL: ProgTypeSet = CGROUP.without(of(&[SockOps, CgroupSkb]));

const fn rule(prog_types: ProgTypeSet, attach: &[AttachType]) -> AttachRule {
    AttachRule { prog_types, attach: AttachTypeSet::of(attach) }
}

/// Where a trampoline is at a function.
const FUNCTION: [AttachType; 3] =
    [AttachType::TRACE_FENTRY, AttachType::TRACE_FEXIT, AttachType::MODIFY_RETURN];
/// Many functions with one program.
const MULTI: [AttachType; 4] = [
    AttachType::TRACE_KPROBE_MULTI,
    AttachType::TRACE_UPROBE_MULTI,
    AttachType::TRACE_KPROBE_SESSION,
    AttachType::TRACE_UPROBE_SESSION,
];

pub(super) const LSM_CGROUP_HOOKS: &[AttachRule] = &[rule(LSM, &[AttachType::LSM_CGROUP])];
/// Where no system call waits for the value: `BPF_CGROUP_INET_INGRESS`, `_INET_EGRESS`,
/// `_SOCK_OPS`, and `_RECVMSG`, `_GETPEERNAME` and `_GETSOCKNAME` of each address family.
pub(super) const RETVAL_HOOKS: &[AttachRule] = &[
    AttachRule {
        prog_types: RETVAL.without(LSM),
        attach: AttachTypeSet::all_but(&[
            AttachType::CGROUP_INET_INGRESS,
            AttachType::CGROUP_INET_EGRESS,
            AttachType::CGROUP_SOCK_OPS,
            AttachType::CGROUP_UDP4_RECVMSG,
            AttachType::CGROUP_UDP6_RECVMSG,
            AttachType::CGROUP_INET4_GETPEERNAME,
            AttachType::CGROUP_INET6_GETPEERNAME,
            AttachType::CGROUP_INET4_GETSOCKNAME,
            AttachType::CGROUP_INET6_GETSOCKNAME,
            AttachType::CGROUP_UNIX_RECVMSG,
            AttachType::CGROUP_UNIX_GETPEERNAME,
            AttachType::CGROUP_UNIX_GETSOCKNAME,
        ]),
    },
    rule(LSM, &[AttachType::LSM_CGROUP]),
];
pub(super) const ITERATORS: &[AttachRule] = &[rule(TRACING_BTF, &[AttachType::TRACE_ITER])];
/// Programs that a trampoline calls (`bpf_prog_has_trampoline`).
pub(super) const TRAMPOLINES: &[AttachRule] =
    &[rule(TRACING_BTF, &FUNCTION), rule(LSM, &[AttachType::LSM_MAC])];
pub(super) const PROBED_HOOKS: &[AttachRule] = &[
    rule(TRACING_BTF, &FUNCTION),
    AttachRule { prog_types: KPROBE, attach: AttachTypeSet::all_but(&MULTI) },
];
pub(super) const MULTI_PROBES: &[AttachRule] = &[rule(KPROBE, &MULTI)];
pub(super) const COOKIE_HOOKS: &[AttachRule] = &[
    rule(TRACING_BTF, &[AttachType::TRACE_RAW_TP, FUNCTION[0], FUNCTION[1], FUNCTION[2]]),
    rule(LSM, &[AttachType::LSM_MAC]),
];
/// Iterators over TCP and UDP sockets only; of the LSM's functions those with a socket.
pub(super) const SOCK_OPTION_HOOKS: &[AttachRule] = &[
    rule(of(&[CgroupSockopt]), &[AttachType::CGROUP_SETSOCKOPT]),
    rule(TRACING_BTF, &[AttachType::TRACE_ITER]),
    rule(LSM, &[AttachType::LSM_CGROUP]),
];
/// `BPF_CGROUP_INET4_CONNECT` and `BPF_CGROUP_INET6_CONNECT`.
pub(super) const CONNECT_HOOKS: &[AttachRule] =
    &[rule(SOCK_ADDR, &[AttachType::CGROUP_INET4_CONNECT, AttachType::CGROUP_INET6_CONNECT])];
