//! Frames of network drivers (XDP).

use super::sets::*;
use super::terms::*;
use super::{Row, row};
use crate::helper::Ret;

#[rustfmt::skip] // a table is read by its columns
pub(super) const ROWS: &[Row] = &[
    row(44, "xdp_adjust_head", &[CTX, ANY], Ret::Integer, CHANGES, XDP),
    row(51, "redirect_map", &[MAP, ANY, ANY], Ret::Integer, NONE, XDP),
    row(54, "xdp_adjust_meta", &[CTX, ANY], Ret::Integer, CHANGES, XDP),
    row(65, "xdp_adjust_tail", &[CTX, ANY], Ret::Integer, CHANGES, XDP),
    row(188, "xdp_get_buff_len", &[CTX], Ret::Integer, NONE, XDP),
    row(188, "xdp_get_buff_len", &[btf("xdp_buff")], Ret::Integer, NONE, BTF_TRACING_OR_SYSCALL),
    row(189, "xdp_load_bytes", &[CTX, ANY, WRITE, SIZE], Ret::Integer, NONE, XDP),
    row(190, "xdp_store_bytes", &[CTX, ANY, READ, SIZE], Ret::Integer, NONE, XDP),
];
