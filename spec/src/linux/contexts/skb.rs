//! The context of programs that see a socket buffer.

use super::{address, array, layout, untranslated};
use crate::context::{Access, ContextDef, Field, FieldKind, Pointee, Sizes};
use crate::program::{ProgType, ProgTypeSet};
use std::borrow::Cow;

const NOBODY: ProgTypeSet = ProgTypeSet::NONE;
const FILTER: ProgTypeSet = ProgTypeSet::of(&[ProgType::SocketFilter]);
const CLS: ProgTypeSet = ProgTypeSet::of(&[ProgType::SchedCls, ProgType::SchedAct]);
const CGROUP: ProgTypeSet = ProgTypeSet::of(&[ProgType::CgroupSkb]);
const LWT: ProgTypeSet = ProgTypeSet::of(&[
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
    ProgType::LwtSeg6local,
]);
const SK_SKB: ProgTypeSet = ProgTypeSet::of(&[ProgType::SkSkb]);
const DISSECTOR: ProgTypeSet = ProgTypeSet::of(&[ProgType::FlowDissector]);

const CLS_CGROUP: ProgTypeSet = CLS.union(CGROUP);
const CLS_SK_SKB: ProgTypeSet = CLS.union(SK_SKB);
const CGROUP_SK_SKB: ProgTypeSet = CGROUP.union(SK_SKB);
const CLS_CGROUP_LWT: ProgTypeSet = CLS_CGROUP.union(LWT);
/// All but the flow dissector, which sees addresses only.
const SKB: ProgTypeSet = FILTER.union(CLS_CGROUP_LWT).union(SK_SKB);

/// 4-byte numbers: read in parts by `read`, written whole by `write`.
const fn word(
    offset: u32,
    bytes: u32,
    name: &'static str,
    read: ProgTypeSet,
    write: ProgTypeSet,
) -> Field {
    let (read, write) = (Access::by(read, Sizes::WORD_PARTS), Access::by(write, Sizes::WORD));
    array(offset, bytes, 4, name, read, write)
}

/// 4-byte numbers of an address, read whole.
const fn ip(offset: u32, bytes: u32, name: &'static str) -> Field {
    array(offset, bytes, 4, name, Access::by(CGROUP_SK_SKB, Sizes::WORD), Access::NONE)
}

/// A number of this size, accessed whole.
const fn whole(
    offset: u32,
    bytes: u32,
    name: &'static str,
    sizes: Sizes,
    read: ProgTypeSet,
    write: ProgTypeSet,
) -> Field {
    array(offset, bytes, bytes, name, Access::by(read, sizes), Access::by(write, sizes))
}

/// The packet itself, which programs of cgroups see with `CAP_BPF` only (`cg_skb_is_valid_access`).
const fn packet(offset: u32, name: &'static str, kind: FieldKind) -> Field {
    let types = SKB.without(FILTER).union(DISSECTOR);
    let read = Access::by(types, Sizes::WORD).with_bpf(CGROUP);
    let (name, write) = (Cow::Borrowed(name), Access::NONE);
    Field { name, offset, bytes: 4, unit: 4, kind, read, write }
}

static SK_BUFF: [Field; 34] = [
    word(0, 4, "len", SKB, NOBODY),
    word(4, 4, "pkt_type", SKB, NOBODY),
    word(8, 4, "mark", SKB.without(SK_SKB), CLS_CGROUP_LWT),
    word(12, 4, "queue_mapping", SKB, CLS),
    word(16, 4, "protocol", SKB, NOBODY),
    word(20, 4, "vlan_present", SKB, NOBODY),
    word(24, 4, "vlan_tci", SKB, NOBODY),
    word(28, 4, "vlan_proto", SKB, NOBODY),
    word(32, 4, "priority", SKB, CLS_CGROUP_LWT.union(SK_SKB)),
    word(36, 4, "ingress_ifindex", SKB, NOBODY),
    word(40, 4, "ifindex", SKB, NOBODY),
    word(44, 4, "tc_index", SKB, CLS_SK_SKB),
    array(
        48,
        20,
        4,
        "cb",
        Access::by(SKB, Sizes::ANY),
        Access::by(SKB.without(SK_SKB), Sizes::ANY),
    ),
    word(68, 4, "hash", SKB, NOBODY),
    word(72, 4, "tc_classid", CLS, CLS),
    packet(76, "data", FieldKind::PacketStart),
    packet(80, "data_end", FieldKind::PacketEnd),
    word(84, 4, "napi_id", SKB, NOBODY),
    word(88, 4, "family", CGROUP_SK_SKB, NOBODY),
    ip(92, 4, "remote_ip4"),
    ip(96, 4, "local_ip4"),
    ip(100, 16, "remote_ip6"),
    ip(116, 16, "local_ip6"),
    word(132, 4, "remote_port", CGROUP_SK_SKB, NOBODY),
    word(136, 4, "local_port", CGROUP_SK_SKB, NOBODY),
    address(140, 4, "data_meta", FieldKind::PacketMeta, CLS),
    address(144, 8, "flow_keys", FieldKind::Pointer(Pointee::FlowKeys), DISSECTOR),
    array(
        152,
        8,
        8,
        "tstamp",
        Access::by(CLS_CGROUP, Sizes::DWORD),
        Access::by(CLS_CGROUP, Sizes::DWORD).with_bpf(CGROUP),
    ),
    word(160, 4, "wire_len", CLS, NOBODY),
    word(164, 4, "gso_segs", SKB, NOBODY),
    address(168, 8, "sk", FieldKind::PointerOrNull(Pointee::SockCommon), SKB),
    word(176, 4, "gso_size", SKB, NOBODY),
    whole(180, 1, "tstamp_type", Sizes::BYTE, CLS, NOBODY),
    whole(184, 8, "hwtstamp", Sizes::DWORD, CLS_CGROUP, NOBODY),
];

/// `struct bpf_nf_ctx`: both of its fields point to structs of the kernel, which are not here, so
/// that programs may read neither.
pub(crate) fn nf() -> ContextDef {
    untranslated("bpf_nf_ctx", 16, &[])
}

/// `struct __sk_buff`
pub(crate) fn sk_buff() -> ContextDef {
    layout("__sk_buff", 192, &SK_BUFF)
}
