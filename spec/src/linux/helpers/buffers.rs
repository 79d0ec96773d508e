//! Ring buffers, perf events, dynptrs and seq files: where programs put what they found.

use super::sets::*;
use super::terms::*;
use super::{Row, row};
use crate::helper::{Arg, Callback, DynptrUse, Ret};

#[rustfmt::skip] // a table is read by its columns
pub(super) const ROWS: &[Row] = &[
    row(25, "perf_event_output", &[CTX, MAP, ANY, READ, SIZE_OR_ZERO], Ret::Integer, GPL, EVENTS),
    row(111, "skb_output", &[btf("sk_buff"), MAP, ANY, READ, SIZE_OR_ZERO], Ret::Integer, GPL, BTF_TRACING_OR_SYSCALL),
    row(121, "xdp_output", &[btf("xdp_buff"), MAP, ANY, READ, SIZE_OR_ZERO], Ret::Integer, GPL, BTF_TRACING_OR_SYSCALL),
    row(126, "seq_printf", &[btf("seq_file"), READ, SIZE, READ_OR_NULL, SIZE_OR_ZERO], Ret::Integer, GPL, TRACING_BTF).only(ITERATORS),
    row(127, "seq_write", &[btf("seq_file"), READ, SIZE_OR_ZERO], Ret::Integer, GPL, TRACING_BTF).only(ITERATORS),
    row(130, "ringbuf_output", &[MAP, READ, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, BASE),
    row(131, "ringbuf_reserve", &[MAP, Arg::AllocSize, ANY], Ret::RingbufRecordOrNull, ACQUIRES, BASE),
    row(132, "ringbuf_submit", &[Arg::RingbufRecord, ANY], Ret::Void, RELEASES, BASE),
    row(133, "ringbuf_discard", &[Arg::RingbufRecord, ANY], Ret::Void, RELEASES, BASE),
    row(134, "ringbuf_query", &[MAP, ANY], Ret::Integer, NONE, BASE),
    row(150, "seq_printf_btf", &[btf("seq_file"), READ, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, TRACING_BTF).only(ITERATORS),
    row(197, "dynptr_from_mem", &[WRITE, SIZE_OR_ZERO, ANY, Arg::Dynptr(DynptrUse::NewLocal)], Ret::Integer, BPF, BASE),
    row(198, "ringbuf_reserve_dynptr", &[MAP, ANY, ANY, Arg::Dynptr(DynptrUse::NewRingbuf)], Ret::Integer, BPF, BASE),
    row(199, "ringbuf_submit_dynptr", &[Arg::Dynptr(DynptrUse::ReleaseRingbuf), ANY], Ret::Void, RELEASES.and(BPF), BASE),
    row(200, "ringbuf_discard_dynptr", &[Arg::Dynptr(DynptrUse::ReleaseRingbuf), ANY], Ret::Void, RELEASES.and(BPF), BASE),
    row(201, "dynptr_read", &[WRITE, SIZE_OR_ZERO, Arg::Dynptr(DynptrUse::Read), ANY, ANY], Ret::Integer, BPF, BASE),
    row(202, "dynptr_write", &[Arg::Dynptr(DynptrUse::Read), ANY, READ, SIZE_OR_ZERO, ANY], Ret::Integer, BPF, BASE),
    row(203, "dynptr_data", &[Arg::Dynptr(DynptrUse::Read), ANY, Arg::AllocSize], Ret::DynptrMemOrNull, BPF, BASE),
    row(209, "user_ringbuf_drain", &[MAP, Arg::Callback(Callback::UserRingbuf), Arg::CallbackCtx, ANY], Ret::Integer, BPF, BASE),
];
