//! What sockets and flow keys show to programs that have a pointer to them
//! (`check_sock_access` and `check_flow_keys_access` of `kernel/bpf/verifier.c`, `*_is_valid_access`
//! of sockets in `net/core/filter.c`). Whatever the program's type, what counts is the pointer.

use super::{array, layout, number, untranslated};
use crate::context::Pointee;
use crate::context::{Access, ContextDef, Field, Sizes};
use crate::platform::{ObjectAccess, ObjectDef};
use crate::program::ProgTypeSet;
use std::borrow::Cow;

const ALL: ProgTypeSet = ProgTypeSet::ALL;
const NONE: Access = Access::NONE;
const WORD: Access = Access::by(ALL, Sizes::WORD);
const DWORD: Access = Access::by(ALL, Sizes::DWORD);
const PARTS: Access = Access::by(ALL, Sizes::WORD_PARTS);
/// Parts from the first byte.
const HEAD: Access = PARTS.starting_in(1);
const BYTES: Access = Access::by(ALL, Sizes::ANY);

/// Read whole.
const fn word(offset: u32, name: &'static str) -> Field {
    number(offset, 4, name, WORD, NONE)
}

/// `struct bpf_sock`. Of a socket in any state, all but what is only in full sockets.
static SOCK: [Field; 14] = [
    word(0, "bound_dev_if"),
    number(4, 4, "family", HEAD, NONE),
    number(8, 4, "type", HEAD, NONE),
    number(12, 4, "protocol", HEAD, NONE),
    word(16, "mark"),
    word(20, "priority"),
    number(24, 4, "src_ip4", PARTS, NONE),
    array(28, 16, 4, "src_ip6", PARTS, NONE),
    number(44, 4, "src_port", HEAD, NONE),
    // Two bytes and padding: read with it, but the padding not alone.
    number(48, 4, "dst_port", PARTS.starting_in(2), NONE),
    number(52, 4, "dst_ip4", PARTS, NONE),
    array(56, 16, 4, "dst_ip6", PARTS, NONE),
    number(72, 4, "state", HEAD, NONE),
    number(76, 4, "rx_queue_mapping", HEAD, NONE),
];

/// What every socket has: `type` up to `priority` are not among it.
fn is_common(field: &&Field) -> bool {
    !(8..24).contains(&field.offset)
}

/// `struct bpf_tcp_sock`
static TCP_SOCK: [Field; 26] = [
    word(0, "snd_cwnd"),
    word(4, "srtt_us"),
    word(8, "rtt_min"),
    word(12, "snd_ssthresh"),
    word(16, "rcv_nxt"),
    word(20, "snd_nxt"),
    word(24, "snd_una"),
    word(28, "mss_cache"),
    word(32, "ecn_flags"),
    word(36, "rate_delivered"),
    word(40, "rate_interval_us"),
    word(44, "packets_out"),
    word(48, "retrans_out"),
    word(52, "total_retrans"),
    word(56, "segs_in"),
    word(60, "data_segs_in"),
    word(64, "segs_out"),
    word(68, "data_segs_out"),
    word(72, "lost_out"),
    word(76, "sacked_out"),
    number(80, 8, "bytes_received", DWORD, NONE),
    number(88, 8, "bytes_acked", DWORD, NONE),
    word(96, "dsack_dups"),
    word(100, "delivered"),
    word(104, "delivered_ce"),
    word(108, "icsk_retransmits"),
];

/// `struct bpf_xdp_sock`
static XDP_SOCK: [Field; 1] = [word(0, "queue_id")];

/// Read and written as memory.
const fn bytes(offset: u32, bytes: u32, unit: u32, name: &'static str) -> Field {
    array(offset, bytes, unit, name, BYTES, BYTES)
}

/// `struct bpf_flow_keys`
static FLOW_KEYS: [Field; 13] = [
    bytes(0, 2, 2, "nhoff"),
    bytes(2, 2, 2, "thoff"),
    bytes(4, 2, 2, "addr_proto"),
    bytes(6, 1, 1, "is_frag"),
    bytes(7, 1, 1, "is_first_frag"),
    bytes(8, 1, 1, "is_encap"),
    bytes(9, 1, 1, "ip_proto"),
    bytes(10, 2, 2, "n_proto"),
    bytes(12, 2, 2, "sport"),
    bytes(14, 2, 2, "dport"),
    // A union with `ipv4_src` and `ipv4_dst`, its first two words.
    bytes(16, 32, 4, "ipv6"),
    bytes(48, 4, 4, "flags"),
    bytes(52, 4, 4, "flow_label"),
];

/// The layouts.
pub(crate) fn objects() -> Vec<ObjectDef> {
    let common: Vec<Field> = SOCK.iter().filter(is_common).cloned().collect();
    let fields = |pointee, layout| ObjectDef { pointee, layout, access: ObjectAccess::Fields };
    let sock_common = ContextDef { fields: Cow::Owned(common), ..layout("bpf_sock", 80, &SOCK) };
    vec![
        fields(Pointee::SockCommon, sock_common),
        fields(Pointee::Sock, layout("bpf_sock", 80, &SOCK)),
        fields(Pointee::TcpSock, layout("bpf_tcp_sock", 112, &TCP_SOCK)),
        fields(Pointee::XdpSock, layout("bpf_xdp_sock", 4, &XDP_SOCK)),
        ObjectDef {
            pointee: Pointee::FlowKeys,
            layout: untranslated("bpf_flow_keys", 56, &FLOW_KEYS),
            access: ObjectAccess::Memory,
        },
    ]
}
