//! Packets as `sk_buff`: bytes, shape, checksums, tunnels, routes.

use super::sets::*;
use super::terms::*;
use super::{Row, row};
use crate::helper::Ret;

#[rustfmt::skip] // a table is read by its columns
pub(super) const ROWS: &[Row] = &[
    row(9, "skb_store_bytes", &[CTX, ANY, READ, SIZE, ANY], Ret::Integer, CHANGES, CLS_XMIT_SK_SKB),
    row(10, "l3_csum_replace", &[CTX, ANY, ANY, ANY, ANY], Ret::Integer, CHANGES, CLS_XMIT),
    row(11, "l4_csum_replace", &[CTX, ANY, ANY, ANY, ANY], Ret::Integer, CHANGES, CLS_XMIT),
    row(13, "clone_redirect", &[CTX, ANY, ANY], Ret::Integer, CHANGES, CLS_XMIT),
    row(17, "get_cgroup_classid", &[], Ret::Integer, BPF, BASE_WITHOUT_SKB),
    row(17, "get_cgroup_classid", &[CTX], Ret::Integer, NONE, CLS_LWT),
    row(18, "skb_vlan_push", &[CTX, ANY, ANY], Ret::Integer, CHANGES, CLS),
    row(19, "skb_vlan_pop", &[CTX], Ret::Integer, CHANGES, CLS),
    row(20, "skb_get_tunnel_key", &[CTX, WRITE, SIZE, ANY], Ret::Integer, NONE, CLS_XMIT),
    row(21, "skb_set_tunnel_key", &[CTX, READ, SIZE, ANY], Ret::Integer, NONE, CLS_XMIT),
    row(23, "redirect", &[ANY, ANY], Ret::Integer, NONE, CLS_XDP_XMIT),
    row(24, "get_route_realm", &[CTX], Ret::Integer, NONE, CLS_LWT),
    row(26, "skb_load_bytes", &[CTX, ANY, WRITE, SIZE], Ret::Integer, NONE, SKB),
    row(28, "csum_diff", &[READ_OR_NULL, SIZE_OR_ZERO, READ_OR_NULL, SIZE_OR_ZERO, ANY], Ret::Integer, PACKET_MEMORY, CLS_LWT_XDP),
    row(29, "skb_get_tunnel_opt", &[CTX, WRITE, SIZE], Ret::Integer, NONE, CLS_XMIT),
    row(30, "skb_set_tunnel_opt", &[CTX, READ, SIZE], Ret::Integer, NONE, CLS_XMIT),
    row(31, "skb_change_proto", &[CTX, ANY, ANY], Ret::Integer, CHANGES, CLS),
    row(32, "skb_change_type", &[CTX, ANY], Ret::Integer, NONE, CLS),
    row(33, "skb_under_cgroup", &[CTX, MAP, ANY], Ret::Integer, NONE, CLS_LWT),
    row(34, "get_hash_recalc", &[CTX], Ret::Integer, NONE, CLS_LWT),
    row(38, "skb_change_tail", &[CTX, ANY, ANY], Ret::Integer, CHANGES, CLS_XMIT_SK_SKB),
    row(39, "skb_pull_data", &[CTX, ANY], Ret::Integer, CHANGES, CLS_LWT_SK_SKB),
    row(40, "csum_update", &[CTX, ANY], Ret::Integer, NONE, CLS_XMIT),
    row(41, "set_hash_invalid", &[CTX], Ret::Integer, NONE, CLS_XMIT),
    row(43, "skb_change_head", &[CTX, ANY, ANY], Ret::Integer, CHANGES, CLS_XMIT_SK_SKB),
    row(48, "set_hash", &[CTX, ANY], Ret::Integer, NONE, CLS),
    row(50, "skb_adjust_room", &[CTX, ANY, ANY, ANY], Ret::Integer, CHANGES, CLS_SK_SKB),
    row(66, "skb_get_xfrm_state", &[CTX, ANY, WRITE, SIZE, ANY], Ret::Integer, NONE, CLS),
    row(68, "skb_load_bytes_relative", &[CTX, ANY, WRITE, SIZE, ANY], Ret::Integer, NONE, CLS_FILTERS),
    row(69, "fib_lookup", &[CTX, READ_WRITE, SIZE, ANY], Ret::Integer, GPL, CLS_XDP),
    row(73, "lwt_push_encap", &[CTX, ANY, READ, SIZE], Ret::Integer, CHANGES, LWT_ENCAP),
    row(74, "lwt_seg6_store_bytes", &[CTX, ANY, READ, SIZE], Ret::Integer, CHANGES, LWT_SEG6),
    row(75, "lwt_seg6_adjust_srh", &[CTX, ANY, ANY], Ret::Integer, CHANGES, LWT_SEG6),
    row(76, "lwt_seg6_action", &[CTX, ANY, READ, SIZE], Ret::Integer, CHANGES, LWT_SEG6),
    row(79, "skb_cgroup_id", &[CTX], Ret::Integer, NONE, CLS_CGROUP),
    row(83, "skb_ancestor_cgroup_id", &[CTX, ANY], Ret::Integer, NONE, CLS_CGROUP),
    row(97, "skb_ecn_set_ce", &[CTX], Ret::Integer, NONE, CLS_CGROUP),
    row(135, "csum_level", &[CTX, ANY], Ret::Integer, NONE, CLS_XMIT),
    row(151, "skb_cgroup_classid", &[CTX], Ret::Integer, NONE, CLS),
    row(152, "redirect_neigh", &[ANY, READ_OR_NULL, SIZE_OR_ZERO, ANY], Ret::Integer, NONE, CLS),
    row(155, "redirect_peer", &[ANY, ANY], Ret::Integer, NONE, CLS),
    row(163, "check_mtu", &[CTX, ANY, U32_INOUT, ANY, ANY], Ret::Integer, GPL, CLS_XDP),
    row(192, "skb_set_tstamp", &[CTX, ANY, ANY], Ret::Integer, NONE, CLS),
];
