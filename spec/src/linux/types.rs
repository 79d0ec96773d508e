//! Program types: contexts, verdicts, return values, attach types.

use super::contexts;
use crate::attach::{AttachType, AttachTypeSet};
use crate::platform::{ObjectDef, PacketAccess, ProgTypeDef, ReturnRange};
use crate::program::ProgType;
use std::borrow::Cow;

/// The machine whose registers probes see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Arch {
    /// 64-bit x86.
    #[default]
    X86_64,
    /// 64-bit Arm.
    Arm64,
}

type Verdicts = &'static [(u64, &'static str)];

/// `enum xdp_action` of `include/uapi/linux/bpf.h`.
const XDP_VERDICTS: Verdicts =
    &[(0, "XDP_ABORTED"), (1, "XDP_DROP"), (2, "XDP_PASS"), (3, "XDP_TX"), (4, "XDP_REDIRECT")];

/// `TC_ACT_*` of `include/uapi/linux/pkt_cls.h`.
const TC_VERDICTS: Verdicts = &[
    (0xffff_ffff, "TC_ACT_UNSPEC"),
    (0, "TC_ACT_OK"),
    (1, "TC_ACT_RECLASSIFY"),
    (2, "TC_ACT_SHOT"),
    (3, "TC_ACT_PIPE"),
    (4, "TC_ACT_STOLEN"),
    (5, "TC_ACT_QUEUED"),
    (6, "TC_ACT_REPEAT"),
    (7, "TC_ACT_REDIRECT"),
    (8, "TC_ACT_TRAP"),
];

/// What the cgroup hooks make of the lowest bit; the second tells an outgoing flow to slow down.
const CGROUP_SKB_VERDICTS: Verdicts = &[(0, "DROP"), (1, "PASS"), (2, "DROP_CN"), (3, "PASS_CN")];

/// Whether what the process asked for is done.
const CGROUP_VERDICTS: Verdicts = &[(0, "DENY"), (1, "ALLOW")];

/// The second bit lets `bind` take a privileged port (`BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE`).
const SOCK_ADDR_VERDICTS: Verdicts =
    &[(0, "DENY"), (1, "ALLOW"), (3, "ALLOW_NO_CAP_NET_BIND_SERVICE")];

/// `enum bpf_ret_code` of `include/uapi/linux/bpf.h` as far as tunnels use it.
const LWT_VERDICTS: Verdicts =
    &[(0, "BPF_OK"), (2, "BPF_DROP"), (7, "BPF_REDIRECT"), (128, "BPF_LWT_REROUTE")];

/// The same as far as the flow dissector uses it.
const DISSECTOR_VERDICTS: Verdicts =
    &[(0, "BPF_OK"), (2, "BPF_DROP"), (129, "BPF_FLOW_DISSECTOR_CONTINUE")];

/// `enum sk_action` of `include/uapi/linux/bpf.h`.
const SK_VERDICTS: Verdicts = &[(0, "SK_DROP"), (1, "SK_PASS")];

/// `NF_*` of `include/uapi/linux/netfilter.h`, those that programs may return.
const NF_VERDICTS: Verdicts = &[(0, "NF_DROP"), (1, "NF_ACCEPT")];

/// The range for all attach types.
const fn within(min: i64, max: i64) -> ReturnRange {
    ReturnRange { attach_types: AttachTypeSet::ALL, min, max }
}

/// The range for some attach types.
const fn at(attach_types: &[AttachType], min: i64, max: i64) -> ReturnRange {
    ReturnRange { attach_types: AttachTypeSet::of(attach_types), min, max }
}

const BOOLEAN: &[ReturnRange] = &[within(0, 1)];
const SKB_RETURNS: &[ReturnRange] = &[at(&[AttachType::CGROUP_INET_EGRESS], 0, 3), within(0, 1)];
const KPROBE_RETURNS: &[ReturnRange] =
    &[at(&[AttachType::TRACE_KPROBE_SESSION, AttachType::TRACE_UPROBE_SESSION], 0, 1)];
const SOCK_ADDR_RETURNS: &[ReturnRange] = &[
    at(&[AttachType::CGROUP_INET4_BIND, AttachType::CGROUP_INET6_BIND], 0, 3),
    at(
        &[
            AttachType::CGROUP_UDP4_RECVMSG,
            AttachType::CGROUP_UDP6_RECVMSG,
            AttachType::CGROUP_UNIX_RECVMSG,
            AttachType::CGROUP_INET4_GETPEERNAME,
            AttachType::CGROUP_INET6_GETPEERNAME,
            AttachType::CGROUP_UNIX_GETPEERNAME,
            AttachType::CGROUP_INET4_GETSOCKNAME,
            AttachType::CGROUP_INET6_GETSOCKNAME,
            AttachType::CGROUP_UNIX_GETSOCKNAME,
        ],
        1,
        1,
    ),
    within(0, 1),
];

/// `bpf_prog_load_check_attach` (`kernel/bpf/syscall.c`).
const SOCK_ATTACH: &[AttachType] = &[
    AttachType::CGROUP_INET_SOCK_CREATE,
    AttachType::CGROUP_INET_SOCK_RELEASE,
    AttachType::CGROUP_INET4_POST_BIND,
    AttachType::CGROUP_INET6_POST_BIND,
];
const SOCK_ADDR_ATTACH: &[AttachType] = &[
    AttachType::CGROUP_INET4_BIND,
    AttachType::CGROUP_INET6_BIND,
    AttachType::CGROUP_INET4_CONNECT,
    AttachType::CGROUP_INET6_CONNECT,
    AttachType::CGROUP_UNIX_CONNECT,
    AttachType::CGROUP_INET4_GETPEERNAME,
    AttachType::CGROUP_INET6_GETPEERNAME,
    AttachType::CGROUP_UNIX_GETPEERNAME,
    AttachType::CGROUP_INET4_GETSOCKNAME,
    AttachType::CGROUP_INET6_GETSOCKNAME,
    AttachType::CGROUP_UNIX_GETSOCKNAME,
    AttachType::CGROUP_UDP4_SENDMSG,
    AttachType::CGROUP_UDP6_SENDMSG,
    AttachType::CGROUP_UNIX_SENDMSG,
    AttachType::CGROUP_UDP4_RECVMSG,
    AttachType::CGROUP_UDP6_RECVMSG,
    AttachType::CGROUP_UNIX_RECVMSG,
];

/// What programs see of sockets and flow keys.
pub fn objects() -> Vec<ObjectDef> {
    contexts::objects()
}

/// The program types whose contexts need no kernel types, on x86_64.
pub fn prog_types() -> Vec<ProgTypeDef> {
    prog_types_of(Arch::default())
}

/// The program types whose contexts need no kernel types.
pub fn prog_types_of(arch: Arch) -> Vec<ProgTypeDef> {
    use PacketAccess::{Helpers, Store};
    use ProgType as T;
    let def = |prog_type, context, verdicts| ProgTypeDef {
        verdicts: Cow::Borrowed(verdicts),
        ..ProgTypeDef::new(prog_type, Some(context))
    };
    let skb = |prog_type, verdicts| def(prog_type, contexts::sk_buff(), verdicts);
    let plain = |prog_type, context| def(prog_type, context, &[]);
    vec![
        skb(T::SocketFilter, &[]).with_legacy_loads(),
        plain(T::Kprobe, contexts::pt_regs(arch)).returning(KPROBE_RETURNS),
        skb(T::SchedCls, TC_VERDICTS).with_packet(Store).with_legacy_loads(),
        skb(T::SchedAct, TC_VERDICTS).with_packet(Store).with_legacy_loads(),
        plain(T::Tracepoint, contexts::tracepoint()),
        def(T::Xdp, contexts::xdp_md(), XDP_VERDICTS).with_packet(Store),
        plain(T::PerfEvent, contexts::perf_event(arch)),
        skb(T::CgroupSkb, CGROUP_SKB_VERDICTS)
            .with_packet(Helpers)
            .returning(SKB_RETURNS)
            .attached(&[AttachType::CGROUP_INET_INGRESS, AttachType::CGROUP_INET_EGRESS]),
        def(T::CgroupSock, contexts::sock(), CGROUP_VERDICTS)
            .returning(BOOLEAN)
            .attached(SOCK_ATTACH)
            .attached_by_default(AttachType::CGROUP_INET_SOCK_CREATE),
        skb(T::LwtIn, LWT_VERDICTS).with_packet(Helpers),
        skb(T::LwtOut, LWT_VERDICTS).with_packet(Helpers),
        skb(T::LwtXmit, LWT_VERDICTS).with_packet(Store),
        skb(T::LwtSeg6local, LWT_VERDICTS).with_packet(Helpers),
        plain(T::SockOps, contexts::sock_ops()).returning(BOOLEAN),
        skb(T::SkSkb, SK_VERDICTS).with_packet(Store),
        def(T::CgroupDevice, contexts::cgroup_dev(), CGROUP_VERDICTS).returning(BOOLEAN),
        def(T::SkMsg, contexts::sk_msg(), SK_VERDICTS).with_packet(Store),
        plain(T::RawTracepoint, contexts::raw_tracepoint()),
        plain(T::RawTracepointWritable, contexts::raw_tracepoint_writable()),
        def(T::CgroupSockAddr, contexts::sock_addr(), SOCK_ADDR_VERDICTS)
            .returning(SOCK_ADDR_RETURNS)
            .attached(SOCK_ADDR_ATTACH),
        plain(T::LircMode2, contexts::lirc()),
        def(T::SkReuseport, contexts::sk_reuseport(), SK_VERDICTS)
            .with_packet(Helpers)
            .attached(&[
                AttachType::SK_REUSEPORT_SELECT,
                AttachType::SK_REUSEPORT_SELECT_OR_MIGRATE,
            ])
            .attached_by_default(AttachType::SK_REUSEPORT_SELECT),
        skb(T::FlowDissector, DISSECTOR_VERDICTS).with_packet(Helpers),
        def(T::CgroupSysctl, contexts::sysctl(), CGROUP_VERDICTS).returning(BOOLEAN),
        def(T::CgroupSockopt, contexts::sockopt(), CGROUP_VERDICTS)
            .with_packet(Store)
            .returning(BOOLEAN)
            .attached(&[AttachType::CGROUP_GETSOCKOPT, AttachType::CGROUP_SETSOCKOPT]),
        def(T::SkLookup, contexts::sk_lookup(), SK_VERDICTS)
            .returning(BOOLEAN)
            .attached(&[AttachType::SK_LOOKUP]),
        def(T::Netfilter, contexts::nf(), NF_VERDICTS)
            .returning(BOOLEAN)
            .attached(&[AttachType::NETFILTER]),
        plain(T::Syscall, contexts::syscall()).attached(&[AttachType(0)]),
        ProgTypeDef { packet: Store, ..ProgTypeDef::new(T::Raw, None) },
    ]
}

impl ProgTypeDef {
    fn with_packet(self, packet: PacketAccess) -> ProgTypeDef {
        ProgTypeDef { packet, ..self }
    }

    fn with_legacy_loads(self) -> ProgTypeDef {
        ProgTypeDef { legacy_loads: true, ..self }
    }

    fn returning(self, returns: &'static [ReturnRange]) -> ProgTypeDef {
        ProgTypeDef { returns: Cow::Borrowed(returns), ..self }
    }

    fn attached(self, attach_types: &[AttachType]) -> ProgTypeDef {
        ProgTypeDef { attach_types: AttachTypeSet::of(attach_types), ..self }
    }

    fn attached_by_default(self, default_attach_type: AttachType) -> ProgTypeDef {
        ProgTypeDef { default_attach_type, ..self }
    }
}
