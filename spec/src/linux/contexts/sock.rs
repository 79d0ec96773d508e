//! The contexts of programs that see a socket, its messages or a lookup of it.

use super::{address, array, layout, number};
use crate::attach::{AttachType, AttachTypeSet};
use crate::context::{Access, ContextDef, Field, FieldKind, Pointee, Sizes};
use crate::program::{ProgType, ProgTypeSet};

const NONE: Access = Access::NONE;
const SOCK: FieldKind = FieldKind::Pointer(Pointee::Sock);
const SOCK_OR_NULL: FieldKind = FieldKind::PointerOrNull(Pointee::Sock);
const SOCK_COMMON_OR_NULL: FieldKind = FieldKind::PointerOrNull(Pointee::SockCommon);

/// `struct bpf_sock` of programs at a cgroup.
mod cgroup_sock {
    use super::*;

    const TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupSock]);
    const WORD: Access = Access::by(TYPES, Sizes::WORD);
    /// Parts from the first byte.
    const HEAD: Access = Access::by(TYPES, Sizes::WORD_PARTS).starting_in(1);
    const PARTS: Access = Access::by(TYPES, Sizes::WORD_PARTS);
    const LIFE: Access = WORD.attached(AttachTypeSet::of(&[
        AttachType::CGROUP_INET_SOCK_CREATE,
        AttachType::CGROUP_INET_SOCK_RELEASE,
    ]));
    const BIND4: AttachTypeSet = AttachTypeSet::of(&[AttachType::CGROUP_INET4_POST_BIND]);
    const BIND6: AttachTypeSet = AttachTypeSet::of(&[AttachType::CGROUP_INET6_POST_BIND]);

    pub(super) static FIELDS: [Field; 14] = [
        number(0, 4, "bound_dev_if", LIFE, LIFE),
        number(4, 4, "family", HEAD, NONE),
        number(8, 4, "type", HEAD, NONE),
        number(12, 4, "protocol", HEAD, NONE),
        number(16, 4, "mark", LIFE, LIFE),
        number(20, 4, "priority", LIFE, LIFE),
        number(24, 4, "src_ip4", PARTS.attached(BIND4), NONE),
        array(28, 16, 4, "src_ip6", PARTS.attached(BIND6), NONE),
        number(44, 4, "src_port", HEAD.attached(BIND4.union(BIND6)), NONE),
        // Two bytes and padding: read with it, but the padding not alone.
        number(48, 4, "dst_port", PARTS.starting_in(2), NONE),
        number(52, 4, "dst_ip4", PARTS, NONE),
        array(56, 16, 4, "dst_ip6", PARTS, NONE),
        number(72, 4, "state", HEAD, NONE),
        number(76, 4, "rx_queue_mapping", HEAD, NONE),
    ];
}

/// `struct bpf_sock`
pub(crate) fn sock() -> ContextDef {
    layout("bpf_sock", 80, &cgroup_sock::FIELDS)
}

/// `struct bpf_sock_addr`: addresses of the family of the attach type only.
mod addr {
    use super::*;

    pub(super) const TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupSockAddr]);
    const WORD: Access = Access::by(TYPES, Sizes::WORD);
    const PARTS: Access = Access::by(TYPES, Sizes::WORD_PARTS);
    const WIDE: Access = Access::by(TYPES, Sizes::WORD.or(Sizes::DWORD));
    const WIDE_PARTS: Access = Access::by(TYPES, Sizes::ANY);
    const V4: AttachTypeSet = AttachTypeSet::of(&[
        AttachType::CGROUP_INET4_BIND,
        AttachType::CGROUP_INET4_CONNECT,
        AttachType::CGROUP_INET4_GETPEERNAME,
        AttachType::CGROUP_INET4_GETSOCKNAME,
        AttachType::CGROUP_UDP4_SENDMSG,
        AttachType::CGROUP_UDP4_RECVMSG,
    ]);
    const V6: AttachTypeSet = AttachTypeSet::of(&[
        AttachType::CGROUP_INET6_BIND,
        AttachType::CGROUP_INET6_CONNECT,
        AttachType::CGROUP_INET6_GETPEERNAME,
        AttachType::CGROUP_INET6_GETSOCKNAME,
        AttachType::CGROUP_UDP6_SENDMSG,
        AttachType::CGROUP_UDP6_RECVMSG,
    ]);
    const SEND4: AttachTypeSet = AttachTypeSet::of(&[AttachType::CGROUP_UDP4_SENDMSG]);
    const SEND6: AttachTypeSet = AttachTypeSet::of(&[AttachType::CGROUP_UDP6_SENDMSG]);

    pub(super) static FIELDS: [Field; 10] = [
        number(0, 4, "user_family", WORD, NONE),
        number(4, 4, "user_ip4", PARTS.attached(V4), WORD.attached(V4)),
        array(8, 16, 4, "user_ip6", WIDE_PARTS.attached(V6), WIDE.attached(V6)),
        number(24, 4, "user_port", PARTS, WORD),
        number(28, 4, "family", WORD, NONE),
        number(32, 4, "type", WORD, NONE),
        number(36, 4, "protocol", WORD, NONE),
        number(40, 4, "msg_src_ip4", PARTS.attached(SEND4), WORD.attached(SEND4)),
        array(44, 16, 4, "msg_src_ip6", WIDE_PARTS.attached(SEND6), WIDE.attached(SEND6)),
        address(64, 8, "sk", SOCK, TYPES),
    ];
}

/// `struct bpf_sock_addr`
pub(crate) fn sock_addr() -> ContextDef {
    layout("bpf_sock_addr", 72, &addr::FIELDS)
}

/// `struct bpf_sock_ops`
mod ops {
    use super::*;

    const TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::SockOps]);
    const WORD: Access = Access::by(TYPES, Sizes::WORD);
    const DWORD: Access = Access::by(TYPES, Sizes::DWORD);
    const HEAD: Access = Access::by(TYPES, Sizes::WORD_PARTS).starting_in(1);

    /// Read whole.
    const fn word(offset: u32, name: &'static str) -> Field {
        number(offset, 4, name, WORD, NONE)
    }

    pub(super) static FIELDS: [Field; 42] = [
        word(0, "op"),
        // A union with `args`, of which the first element takes the reply.
        number(4, 4, "reply", WORD, WORD),
        array(8, 12, 4, "replylong", WORD, NONE),
        word(20, "family"),
        word(24, "remote_ip4"),
        word(28, "local_ip4"),
        array(32, 16, 4, "remote_ip6", WORD, NONE),
        array(48, 16, 4, "local_ip6", WORD, NONE),
        word(64, "remote_port"),
        word(68, "local_port"),
        word(72, "is_fullsock"),
        word(76, "snd_cwnd"),
        word(80, "srtt_us"),
        word(84, "bpf_sock_ops_cb_flags"),
        word(88, "state"),
        word(92, "rtt_min"),
        word(96, "snd_ssthresh"),
        word(100, "rcv_nxt"),
        word(104, "snd_nxt"),
        word(108, "snd_una"),
        word(112, "mss_cache"),
        word(116, "ecn_flags"),
        word(120, "rate_delivered"),
        word(124, "rate_interval_us"),
        word(128, "packets_out"),
        word(132, "retrans_out"),
        word(136, "total_retrans"),
        word(140, "segs_in"),
        word(144, "data_segs_in"),
        word(148, "segs_out"),
        word(152, "data_segs_out"),
        word(156, "lost_out"),
        word(160, "sacked_out"),
        number(164, 4, "sk_txhash", WORD, WORD),
        number(168, 8, "bytes_received", DWORD, NONE),
        number(176, 8, "bytes_acked", DWORD, NONE),
        address(184, 8, "sk", SOCK_OR_NULL, TYPES),
        address(192, 8, "skb_data", FieldKind::PacketStart, TYPES),
        address(200, 8, "skb_data_end", FieldKind::PacketEnd, TYPES),
        word(208, "skb_len"),
        number(212, 4, "skb_tcp_flags", HEAD, NONE),
        number(216, 8, "skb_hwtstamp", DWORD, NONE),
    ];
}

/// `struct bpf_sock_ops`
pub(crate) fn sock_ops() -> ContextDef {
    layout("bpf_sock_ops", 224, &ops::FIELDS)
}

/// `struct sk_msg_md`
mod msg {
    use super::*;

    const TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::SkMsg]);
    const WORD: Access = Access::by(TYPES, Sizes::WORD);

    pub(super) static FIELDS: [Field; 11] = [
        address(0, 8, "data", FieldKind::PacketStart, TYPES),
        address(8, 8, "data_end", FieldKind::PacketEnd, TYPES),
        number(16, 4, "family", WORD, NONE),
        number(20, 4, "remote_ip4", WORD, NONE),
        number(24, 4, "local_ip4", WORD, NONE),
        array(28, 16, 4, "remote_ip6", WORD, NONE),
        array(44, 16, 4, "local_ip6", WORD, NONE),
        number(60, 4, "remote_port", WORD, NONE),
        number(64, 4, "local_port", WORD, NONE),
        number(68, 4, "size", WORD, NONE),
        address(72, 8, "sk", SOCK, TYPES),
    ];
}

/// `struct sk_msg_md`
pub(crate) fn sk_msg() -> ContextDef {
    layout("sk_msg_md", 80, &msg::FIELDS)
}

/// `struct bpf_sk_lookup`
mod lookup {
    use super::*;

    const TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::SkLookup]);
    const PARTS: Access = Access::by(TYPES, Sizes::WORD_PARTS);

    pub(super) static FIELDS: [Field; 10] = [
        address(0, 8, "sk", SOCK_OR_NULL, TYPES),
        number(8, 4, "family", PARTS, NONE),
        number(12, 4, "protocol", PARTS, NONE),
        number(16, 4, "remote_ip4", PARTS, NONE),
        array(20, 16, 4, "remote_ip6", PARTS, NONE),
        // Two bytes and padding that may be read.
        number(36, 4, "remote_port", PARTS, NONE),
        number(40, 4, "local_ip4", PARTS, NONE),
        array(44, 16, 4, "local_ip6", PARTS, NONE),
        number(60, 4, "local_port", PARTS, NONE),
        number(64, 4, "ingress_ifindex", PARTS, NONE),
    ];
}

/// `struct bpf_sk_lookup`
pub(crate) fn sk_lookup() -> ContextDef {
    layout("bpf_sk_lookup", 72, &lookup::FIELDS)
}

/// `struct sk_reuseport_md`
mod reuseport {
    use super::*;

    const TYPES: ProgTypeSet = ProgTypeSet::of(&[ProgType::SkReuseport]);
    const WORD: Access = Access::by(TYPES, Sizes::WORD);
    const PARTS: Access = Access::by(TYPES, Sizes::WORD_PARTS);
    const HALVES: Access = Access::by(TYPES, Sizes::WORD_PARTS.without(Sizes::BYTE));

    pub(super) static FIELDS: [Field; 9] = [
        address(0, 8, "data", FieldKind::PacketStart, TYPES),
        address(8, 8, "data_end", FieldKind::PacketEnd, TYPES),
        number(16, 4, "len", PARTS, NONE),
        number(20, 4, "eth_protocol", HALVES, NONE),
        number(24, 4, "ip_protocol", PARTS, NONE),
        number(28, 4, "bind_inany", PARTS, NONE),
        number(32, 4, "hash", WORD, NONE),
        address(40, 8, "sk", SOCK, TYPES),
        address(48, 8, "migrating_sk", SOCK_COMMON_OR_NULL, TYPES),
    ];
}

/// `struct sk_reuseport_md`
pub(crate) fn sk_reuseport() -> ContextDef {
    layout("sk_reuseport_md", 56, &reuseport::FIELDS)
}
