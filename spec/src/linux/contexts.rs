//! Context layouts (`include/uapi/linux/bpf.h`) with who may read and write each field
//! (`*_is_valid_access` in `net/core/filter.c`, Linux 6.18).

use crate::context::{Access, ContextDef, Field, FieldKind};
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

const NONE: ProgTypeSet = ProgTypeSet::NONE;
const XDP: ProgTypeSet = ProgTypeSet::of(&[ProgType::Xdp]);
const FILTER: ProgTypeSet = ProgTypeSet::of(&[ProgType::SocketFilter]);
const CLS: ProgTypeSet = ProgTypeSet::of(&[ProgType::SchedCls, ProgType::SchedAct]);
const CGROUP: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupSkb]);
const CLS_CGROUP: ProgTypeSet = CLS.union(CGROUP);
const SKB: ProgTypeSet = FILTER.union(CLS_CGROUP);

/// A field of 4-byte units that is accessed whole, unit by unit, by `read` and `write`.
const fn field(
    offset: u32,
    bytes: u32,
    name: &'static str,
    kind: FieldKind,
    read: ProgTypeSet,
    write: ProgTypeSet,
) -> Field {
    let access = Access { read, write, min_bytes: 4, max_bytes: 4 };
    Field { name: Cow::Borrowed(name), offset, bytes, kind, access }
}

/// Allows accesses from `min` to `max` bytes.
const fn sized(mut field: Field, min: u32, max: u32) -> Field {
    field.access.min_bytes = min;
    field.access.max_bytes = max;
    field
}

/// A number that may be accessed in parts.
const fn scalar(
    offset: u32,
    bytes: u32,
    name: &'static str,
    read: ProgTypeSet,
    write: ProgTypeSet,
) -> Field {
    sized(field(offset, bytes, name, FieldKind::Scalar, read, write), 1, 4)
}

static XDP_MD: [Field; 6] = [
    field(0, 4, "data", FieldKind::PacketStart, XDP, NONE),
    field(4, 4, "data_end", FieldKind::PacketEnd, XDP, NONE),
    field(8, 4, "data_meta", FieldKind::PacketMeta, XDP, NONE),
    field(12, 4, "ingress_ifindex", FieldKind::Scalar, XDP, NONE),
    field(16, 4, "rx_queue_index", FieldKind::Scalar, XDP, NONE),
    field(20, 4, "egress_ifindex", FieldKind::Scalar, XDP, NONE),
];

/// `struct xdp_md`
pub(super) fn xdp_md() -> ContextDef {
    ContextDef { name: "xdp_md".into(), bytes: 24, fields: Cow::Borrowed(&XDP_MD) }
}

static SK_BUFF: [Field; 34] = [
    scalar(0, 4, "len", SKB, NONE),
    scalar(4, 4, "pkt_type", SKB, NONE),
    scalar(8, 4, "mark", SKB, CLS_CGROUP),
    scalar(12, 4, "queue_mapping", SKB, CLS),
    scalar(16, 4, "protocol", SKB, NONE),
    scalar(20, 4, "vlan_present", SKB, NONE),
    scalar(24, 4, "vlan_tci", SKB, NONE),
    scalar(28, 4, "vlan_proto", SKB, NONE),
    scalar(32, 4, "priority", SKB, CLS_CGROUP),
    scalar(36, 4, "ingress_ifindex", SKB, NONE),
    scalar(40, 4, "ifindex", SKB, NONE),
    scalar(44, 4, "tc_index", SKB, CLS),
    sized(scalar(48, 20, "cb", SKB, SKB), 1, 8),
    scalar(68, 4, "hash", SKB, NONE),
    scalar(72, 4, "tc_classid", CLS, CLS),
    field(76, 4, "data", FieldKind::PacketStart, CLS_CGROUP, NONE),
    field(80, 4, "data_end", FieldKind::PacketEnd, CLS_CGROUP, NONE),
    scalar(84, 4, "napi_id", SKB, NONE),
    scalar(88, 4, "family", CGROUP, NONE),
    scalar(92, 4, "remote_ip4", CGROUP, NONE),
    scalar(96, 4, "local_ip4", CGROUP, NONE),
    scalar(100, 16, "remote_ip6", CGROUP, NONE),
    scalar(116, 16, "local_ip6", CGROUP, NONE),
    scalar(132, 4, "remote_port", CGROUP, NONE),
    scalar(136, 4, "local_port", CGROUP, NONE),
    field(140, 4, "data_meta", FieldKind::PacketMeta, CLS, NONE),
    sized(field(144, 8, "flow_keys", FieldKind::Pointer("flow_keys"), NONE, NONE), 8, 8),
    sized(field(152, 8, "tstamp", FieldKind::Scalar, CLS_CGROUP, CLS_CGROUP), 8, 8),
    scalar(160, 4, "wire_len", CLS, NONE),
    scalar(164, 4, "gso_segs", SKB, NONE),
    sized(field(168, 8, "sk", FieldKind::Pointer("sock_common"), SKB, NONE), 8, 8),
    scalar(176, 4, "gso_size", SKB, NONE),
    sized(field(180, 1, "tstamp_type", FieldKind::Scalar, SKB, NONE), 1, 1),
    sized(field(184, 8, "hwtstamp", FieldKind::Scalar, CLS_CGROUP, NONE), 8, 8),
];

/// `struct __sk_buff`
pub(super) fn sk_buff() -> ContextDef {
    ContextDef { name: "__sk_buff".into(), bytes: 192, fields: Cow::Borrowed(&SK_BUFF) }
}
