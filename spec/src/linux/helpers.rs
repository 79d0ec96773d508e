//! Helper prototypes (`struct bpf_func_proto` instances and the `*_func_proto` selections of
//! `kernel/bpf/helpers.c`, `net/core/filter.c` and `kernel/trace/bpf_trace.c`, Linux 6.18).

use crate::helper::{Arg, Effect, HelperProto, MemAccess, MemSize, Ret};
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

const ALL: ProgTypeSet = ProgTypeSet::ALL;
const XDP: ProgTypeSet = ProgTypeSet::of(&[ProgType::Xdp, ProgType::Raw]);
const CLS: ProgTypeSet = ProgTypeSet::of(&[ProgType::SchedCls, ProgType::SchedAct]);
const SKB: ProgTypeSet = ProgTypeSet::of(&[
    ProgType::SocketFilter,
    ProgType::SchedCls,
    ProgType::SchedAct,
    ProgType::CgroupSkb,
    ProgType::FlowDissector,
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
    ProgType::LwtSeg6local,
    ProgType::SkSkb,
    ProgType::Netfilter,
]);
const CLS_XDP: ProgTypeSet = CLS.union(XDP);
const CLS_LWT: ProgTypeSet = CLS.union(ProgTypeSet::of(&[ProgType::LwtXmit, ProgType::SkSkb]));

const READ: Arg = Arg::Mem { access: MemAccess::Read, size: MemSize::NextArg, nullable: false };
const READ_OR_NULL: Arg =
    Arg::Mem { access: MemAccess::Read, size: MemSize::NextArg, nullable: true };
const WRITE: Arg = Arg::Mem { access: MemAccess::Write, size: MemSize::NextArg, nullable: false };
const SIZE: Arg = Arg::Size { zero: false };
const SIZE_OR_ZERO: Arg = Arg::Size { zero: true };
const ANY: Arg = Arg::Anything;

const fn helper(
    id: u32,
    name: &'static str,
    since: &'static str,
    args: &[Arg],
    ret: Ret,
    effects: Effect,
    allowed: ProgTypeSet,
) -> HelperProto {
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
    helper(1, "map_lookup_elem", "3.18", &[Arg::Map, Arg::MapKey], Ret::MapValueOrNull, NONE, ALL),
    helper(2, "map_update_elem", "3.18", &[Arg::Map, Arg::MapKey, Arg::MapValue(MemAccess::Read), ANY], Ret::Integer, NONE, ALL),
    helper(3, "map_delete_elem", "3.18", &[Arg::Map, Arg::MapKey], Ret::Integer, NONE, ALL),
    helper(5, "ktime_get_ns", "4.1", &[], Ret::Integer, NONE, ALL),
    helper(6, "trace_printk", "4.1", &[READ, SIZE, ANY, ANY, ANY], Ret::Integer, GPL, ALL),
    helper(7, "get_prandom_u32", "4.1", &[], Ret::Integer, NONE, ALL),
    helper(8, "get_smp_processor_id", "4.1", &[], Ret::Integer, NONE, ALL),
    helper(9, "skb_store_bytes", "4.1", &[Arg::Ctx, ANY, READ, SIZE, ANY], Ret::Integer, PACKET, CLS_LWT),
    helper(10, "l3_csum_replace", "4.1", &[Arg::Ctx, ANY, ANY, ANY, ANY], Ret::Integer, PACKET, CLS_LWT),
    helper(11, "l4_csum_replace", "4.1", &[Arg::Ctx, ANY, ANY, ANY, ANY], Ret::Integer, PACKET, CLS_LWT),
    helper(12, "tail_call", "4.2", &[Arg::Ctx, Arg::Map, ANY], Ret::TailCall, NONE, ALL),
    helper(14, "get_current_pid_tgid", "4.2", &[], Ret::Integer, NONE, ALL),
    helper(16, "get_current_comm", "4.2", &[WRITE, SIZE], Ret::Integer, NONE, ALL),
    helper(23, "redirect", "4.4", &[ANY, ANY], Ret::Integer, NONE, CLS_XDP),
    helper(25, "perf_event_output", "4.4", &[Arg::Ctx, Arg::Map, ANY, READ, SIZE_OR_ZERO], Ret::Integer, GPL, ALL),
    helper(26, "skb_load_bytes", "4.5", &[Arg::Ctx, ANY, WRITE, SIZE], Ret::Integer, NONE, SKB),
    helper(28, "csum_diff", "4.6", &[READ_OR_NULL, SIZE_OR_ZERO, READ_OR_NULL, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, ALL),
    helper(44, "xdp_adjust_head", "4.10", &[Arg::Ctx, ANY], Ret::Integer, PACKET, XDP),
    helper(51, "redirect_map", "4.14", &[Arg::Map, ANY, ANY], Ret::Integer, NONE, CLS_XDP),
    helper(54, "xdp_adjust_meta", "4.15", &[Arg::Ctx, ANY], Ret::Integer, PACKET, XDP),
    helper(65, "xdp_adjust_tail", "4.18", &[Arg::Ctx, ANY], Ret::Integer, PACKET, XDP),
    helper(125, "ktime_get_boot_ns", "5.8", &[], Ret::Integer, NONE, ALL),
    helper(130, "ringbuf_output", "5.8", &[Arg::Map, READ, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, ALL),
    helper(131, "ringbuf_reserve", "5.8", &[Arg::Map, Arg::AllocSize, ANY], Ret::MemOrNull, Effect::ACQUIRES, ALL),
    helper(132, "ringbuf_submit", "5.8", &[Arg::RingbufRecord, ANY], Ret::Void, Effect::RELEASES, ALL),
    helper(133, "ringbuf_discard", "5.8", &[Arg::RingbufRecord, ANY], Ret::Void, Effect::RELEASES, ALL),
    helper(134, "ringbuf_query", "5.8", &[Arg::Map, ANY], Ret::Integer, NONE, ALL),
];

/// The prototypes as values of a platform.
pub fn helpers() -> impl Iterator<Item = HelperProto> {
    HELPERS.iter().cloned()
}
