//! Helper prototypes (`struct bpf_func_proto` instances and the `*_func_proto` selections of
//! `kernel/bpf/helpers.c`, `net/core/filter.c` and `kernel/trace/bpf_trace.c`, Linux 6.18).

use super::helper_names::HELPER_NAMES;
use crate::helper::{Arg, Effect, HelperProto, MemAccess, MemSize, Ret};
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

const ALL: ProgTypeSet = ProgTypeSet::ALL;
const XDP: ProgTypeSet = ProgTypeSet::of(&[ProgType::Xdp, ProgType::Raw]);
const CLS: ProgTypeSet = ProgTypeSet::of(&[ProgType::SchedCls, ProgType::SchedAct]);
const LWT_XMIT: ProgTypeSet = ProgTypeSet::of(&[ProgType::LwtXmit]);
const LWT: ProgTypeSet = ProgTypeSet::of(&[
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
    ProgType::LwtSeg6local,
]);
const SK_SKB: ProgTypeSet = ProgTypeSet::of(&[ProgType::SkSkb]);
const FILTERS: ProgTypeSet =
    ProgTypeSet::of(&[ProgType::SocketFilter, ProgType::CgroupSkb, ProgType::SkReuseport]);
const TRACING: ProgTypeSet = ProgTypeSet::of(&[
    ProgType::Kprobe,
    ProgType::Tracepoint,
    ProgType::PerfEvent,
    ProgType::RawTracepoint,
    ProgType::RawTracepointWritable,
    ProgType::Tracing,
    ProgType::Lsm,
    ProgType::Syscall,
    ProgType::Raw,
]);
const CLS_CGROUP: ProgTypeSet = CLS.union(ProgTypeSet::of(&[ProgType::CgroupSkb]));
const CLS_XDP: ProgTypeSet = CLS.union(XDP);
const CLS_XMIT: ProgTypeSet = CLS.union(LWT_XMIT);
const CLS_SK_SKB: ProgTypeSet = CLS.union(SK_SKB);
const CLS_XMIT_SK_SKB: ProgTypeSet = CLS_XMIT.union(SK_SKB);
const CLS_LWT: ProgTypeSet = CLS.union(LWT);
const SKB: ProgTypeSet =
    CLS_LWT.union(SK_SKB).union(FILTERS).union(ProgTypeSet::of(&[ProgType::FlowDissector]));
/// What `bpf_sk_base_func_proto` serves.
const NETWORK: ProgTypeSet = SKB.union(XDP).union(ProgTypeSet::of(&[
    ProgType::CgroupSock,
    ProgType::CgroupSockAddr,
    ProgType::CgroupSysctl,
    ProgType::SkLookup,
    ProgType::SkMsg,
    ProgType::SockOps,
]));
const EVENTS: ProgTypeSet = ALL.without(ProgTypeSet::of(&[
    ProgType::SkReuseport,
    ProgType::FlowDissector,
    ProgType::Netfilter,
]));

const READ: Arg = Arg::Mem { access: MemAccess::Read, size: MemSize::NextArg, nullable: false };
const READ_OR_NULL: Arg =
    Arg::Mem { access: MemAccess::Read, size: MemSize::NextArg, nullable: true };
const WRITE: Arg = Arg::Mem { access: MemAccess::Write, size: MemSize::NextArg, nullable: false };
const WRITE_OR_NULL: Arg =
    Arg::Mem { access: MemAccess::Write, size: MemSize::NextArg, nullable: true };
const U64_OUT: Arg =
    Arg::Mem { access: MemAccess::Write, size: MemSize::Fixed(8), nullable: false };
const U32_INOUT: Arg =
    Arg::Mem { access: MemAccess::ReadWrite, size: MemSize::Fixed(4), nullable: false };
const SIZE: Arg = Arg::Size { zero: false };
const SIZE_OR_ZERO: Arg = Arg::Size { zero: true };
const ANY: Arg = Arg::Anything;

const fn helper(
    id: u32,
    name: &'static str,
    args: &[Arg],
    ret: Ret,
    effects: Effect,
    allowed: ProgTypeSet,
) -> HelperProto {
    let since = HELPER_NAMES[id as usize - 1].1;
    let mut all = [Arg::None; 5];
    let mut i = 0;
    while i < args.len() {
        all[i] = args[i];
        i += 1;
    }
    HelperProto { id, name: Cow::Borrowed(name), since, args: all, ret, effects, allowed }
}

const NONE: Effect = Effect::NONE;
const GPL: Effect = Effect::GPL_ONLY;
const PACKET: Effect = Effect::CHANGES_PACKET;

/// The prototypes, by number.
#[rustfmt::skip] // a table is read by its columns
pub static HELPERS: &[HelperProto] = &[
    helper(1, "map_lookup_elem", &[Arg::Map, Arg::MapKey], Ret::MapValueOrNull, NONE, ALL),
    helper(2, "map_update_elem", &[Arg::Map, Arg::MapKey, Arg::MapValue(MemAccess::Read), ANY], Ret::Integer, NONE, ALL),
    helper(3, "map_delete_elem", &[Arg::Map, Arg::MapKey], Ret::Integer, NONE, ALL),
    helper(4, "probe_read", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, TRACING),
    helper(5, "ktime_get_ns", &[], Ret::Integer, NONE, ALL),
    helper(6, "trace_printk", &[READ, SIZE, ANY, ANY, ANY], Ret::Integer, GPL, ALL),
    helper(7, "get_prandom_u32", &[], Ret::Integer, NONE, ALL),
    helper(8, "get_smp_processor_id", &[], Ret::Integer, NONE, ALL),
    helper(9, "skb_store_bytes", &[Arg::Ctx, ANY, READ, SIZE, ANY], Ret::Integer, PACKET, CLS_XMIT_SK_SKB),
    helper(10, "l3_csum_replace", &[Arg::Ctx, ANY, ANY, ANY, ANY], Ret::Integer, PACKET, CLS_XMIT),
    helper(11, "l4_csum_replace", &[Arg::Ctx, ANY, ANY, ANY, ANY], Ret::Integer, PACKET, CLS_XMIT),
    helper(12, "tail_call", &[Arg::Ctx, Arg::Map, ANY], Ret::TailCall, NONE, ALL),
    helper(14, "get_current_pid_tgid", &[], Ret::Integer, NONE, ALL),
    helper(15, "get_current_uid_gid", &[], Ret::Integer, NONE, ALL),
    helper(16, "get_current_comm", &[WRITE, SIZE], Ret::Integer, NONE, ALL),
    helper(18, "skb_vlan_push", &[Arg::Ctx, ANY, ANY], Ret::Integer, PACKET, CLS),
    helper(19, "skb_vlan_pop", &[Arg::Ctx], Ret::Integer, PACKET, CLS),
    helper(23, "redirect", &[ANY, ANY], Ret::Integer, NONE, CLS_XDP.union(LWT_XMIT)),
    helper(24, "get_route_realm", &[Arg::Ctx], Ret::Integer, NONE, CLS_LWT),
    helper(25, "perf_event_output", &[Arg::Ctx, Arg::Map, ANY, READ, SIZE_OR_ZERO], Ret::Integer, GPL, EVENTS),
    helper(26, "skb_load_bytes", &[Arg::Ctx, ANY, WRITE, SIZE], Ret::Integer, NONE, SKB),
    helper(28, "csum_diff", &[READ_OR_NULL, SIZE_OR_ZERO, READ_OR_NULL, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, CLS_LWT.union(XDP)),
    helper(31, "skb_change_proto", &[Arg::Ctx, ANY, ANY], Ret::Integer, PACKET, CLS),
    helper(32, "skb_change_type", &[Arg::Ctx, ANY], Ret::Integer, PACKET, CLS),
    helper(34, "get_hash_recalc", &[Arg::Ctx], Ret::Integer, NONE, CLS_LWT),
    helper(38, "skb_change_tail", &[Arg::Ctx, ANY, ANY], Ret::Integer, PACKET, CLS_XMIT_SK_SKB),
    helper(39, "skb_pull_data", &[Arg::Ctx, ANY], Ret::Integer, PACKET, CLS_LWT.union(SK_SKB)),
    helper(40, "csum_update", &[Arg::Ctx, ANY], Ret::Integer, NONE, CLS_XMIT),
    helper(41, "set_hash_invalid", &[Arg::Ctx], Ret::Integer, NONE, CLS_XMIT),
    helper(42, "get_numa_node_id", &[], Ret::Integer, NONE, ALL),
    helper(43, "skb_change_head", &[Arg::Ctx, ANY, ANY], Ret::Integer, PACKET, CLS_XMIT_SK_SKB),
    helper(44, "xdp_adjust_head", &[Arg::Ctx, ANY], Ret::Integer, PACKET, XDP),
    helper(45, "probe_read_str", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, TRACING),
    helper(48, "set_hash", &[Arg::Ctx, ANY], Ret::Integer, NONE, CLS),
    helper(50, "skb_adjust_room", &[Arg::Ctx, ANY, ANY, ANY], Ret::Integer, PACKET, CLS_SK_SKB),
    helper(51, "redirect_map", &[Arg::Map, ANY, ANY], Ret::Integer, NONE, XDP),
    helper(54, "xdp_adjust_meta", &[Arg::Ctx, ANY], Ret::Integer, PACKET, XDP),
    helper(65, "xdp_adjust_tail", &[Arg::Ctx, ANY], Ret::Integer, PACKET, XDP),
    helper(68, "skb_load_bytes_relative", &[Arg::Ctx, ANY, WRITE, SIZE, ANY], Ret::Integer, NONE, CLS.union(FILTERS)),
    helper(80, "get_current_cgroup_id", &[], Ret::Integer, NONE, ALL),
    helper(87, "map_push_elem", &[Arg::Map, Arg::MapValue(MemAccess::Read), ANY], Ret::Integer, NONE, ALL),
    helper(88, "map_pop_elem", &[Arg::Map, Arg::MapValue(MemAccess::Write)], Ret::Integer, NONE, ALL),
    helper(89, "map_peek_elem", &[Arg::Map, Arg::MapValue(MemAccess::Write)], Ret::Integer, NONE, ALL),
    helper(97, "skb_ecn_set_ce", &[Arg::Ctx], Ret::Integer, NONE, CLS_CGROUP),
    helper(105, "strtol", &[READ, SIZE, ANY, U64_OUT], Ret::Integer, NONE, ALL),
    helper(106, "strtoul", &[READ, SIZE, ANY, U64_OUT], Ret::Integer, NONE, ALL),
    helper(112, "probe_read_user", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, ALL),
    helper(113, "probe_read_kernel", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, ALL),
    helper(114, "probe_read_user_str", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, ALL),
    helper(115, "probe_read_kernel_str", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, ALL),
    helper(118, "jiffies64", &[], Ret::Integer, NONE, ALL),
    helper(125, "ktime_get_boot_ns", &[], Ret::Integer, NONE, ALL),
    helper(130, "ringbuf_output", &[Arg::Map, READ, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, ALL),
    helper(131, "ringbuf_reserve", &[Arg::Map, Arg::AllocSize, ANY], Ret::MemOrNull, Effect::ACQUIRES, ALL),
    helper(132, "ringbuf_submit", &[Arg::RingbufRecord, ANY], Ret::Void, Effect::RELEASES, ALL),
    helper(133, "ringbuf_discard", &[Arg::RingbufRecord, ANY], Ret::Void, Effect::RELEASES, ALL),
    helper(134, "ringbuf_query", &[Arg::Map, ANY], Ret::Integer, NONE, ALL),
    helper(135, "csum_level", &[Arg::Ctx, ANY], Ret::Integer, NONE, CLS_XMIT),
    helper(152, "redirect_neigh", &[ANY, READ_OR_NULL, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, CLS),
    helper(155, "redirect_peer", &[ANY, ANY], Ret::Integer, NONE, CLS),
    helper(160, "ktime_get_coarse_ns", &[], Ret::Integer, NONE, NETWORK),
    helper(163, "check_mtu", &[Arg::Ctx, ANY, U32_INOUT, ANY, ANY], Ret::Integer, NONE, CLS_XDP),
    helper(165, "snprintf", &[WRITE_OR_NULL, SIZE_OR_ZERO, Arg::ConstStr, READ_OR_NULL, SIZE_OR_ZERO], Ret::Integer, NONE, ALL),
    helper(177, "trace_vprintk", &[READ, SIZE, READ_OR_NULL, SIZE_OR_ZERO], Ret::Integer, GPL, ALL),
    helper(182, "strncmp", &[READ, SIZE, Arg::ConstStr], Ret::Integer, NONE, ALL),
    helper(188, "xdp_get_buff_len", &[Arg::Ctx], Ret::Integer, NONE, XDP),
    helper(189, "xdp_load_bytes", &[Arg::Ctx, ANY, WRITE, SIZE], Ret::Integer, NONE, XDP),
    helper(190, "xdp_store_bytes", &[Arg::Ctx, ANY, READ, SIZE], Ret::Integer, NONE, XDP),
    helper(192, "skb_set_tstamp", &[Arg::Ctx, ANY, ANY], Ret::Integer, NONE, CLS),
    helper(195, "map_lookup_percpu_elem", &[Arg::Map, Arg::MapKey, ANY], Ret::MapValueOrNull, NONE, ALL),
    helper(208, "ktime_get_tai_ns", &[], Ret::Integer, NONE, ALL),
];

/// The prototypes as values of a platform.
pub fn helpers() -> impl Iterator<Item = HelperProto> {
    HELPERS.iter().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototypes_have_the_names_of_their_numbers() {
        for proto in HELPERS {
            assert_eq!(proto.name, HELPER_NAMES[proto.id as usize - 1].0);
        }
    }
}
