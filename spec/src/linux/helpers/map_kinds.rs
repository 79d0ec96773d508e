//! Which helpers go with which kinds of maps (`check_map_func_compatibility` of
//! `kernel/bpf/verifier.c`, Linux 6.18). Both sides restrict: some maps take only certain helpers,
//! some helpers only certain maps. A pair is allowed when neither side forbids it.

use super::sets;
use crate::attach::{AttachType, AttachTypeSet};
use crate::helper::{MapRule, MapUse};
use crate::linux::HELPER_NAMES;
use crate::map::MapType::*;
use crate::map::{MapType, MapTypeSet};
use crate::program::{ProgType, ProgTypeSet};

/// Maps that only these helpers take. A map that has no row is taken by every helper.
const BY_MAP: &[(&[MapType], &[&str])] = &[
    (&[ProgArray], &["tail_call"]),
    (
        &[PerfEventArray],
        &[
            "perf_event_read",
            "perf_event_read_value",
            "perf_event_output",
            "skb_output",
            "xdp_output",
        ],
    ),
    (&[Ringbuf], &["ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr"]),
    (&[UserRingbuf], &["user_ringbuf_drain"]),
    (&[StackTrace], &["get_stackid"]),
    (&[CgroupArray], &["skb_under_cgroup", "current_task_under_cgroup"]),
    (&[CgroupStorage, PercpuCgroupStorage], &["get_local_storage"]),
    (&[Devmap, DevmapHash, Xskmap], &["redirect_map", "map_lookup_elem"]),
    (&[Cpumap], &["redirect_map"]),
    (&[ArrayOfMaps, HashOfMaps], &["map_lookup_elem"]),
    (
        &[Sockmap],
        &[
            "sk_redirect_map",
            "sock_map_update",
            "msg_redirect_map",
            "sk_select_reuseport",
            "map_lookup_elem",
        ],
    ),
    (
        &[Sockhash],
        &[
            "sk_redirect_hash",
            "sock_hash_update",
            "msg_redirect_hash",
            "sk_select_reuseport",
            "map_lookup_elem",
        ],
    ),
    (&[ReuseportSockarray], &["sk_select_reuseport"]),
    (&[Queue, Stack], &["map_peek_elem", "map_pop_elem", "map_push_elem"]),
    (&[SkStorage], &["sk_storage_get", "sk_storage_delete", "kptr_xchg"]),
    (&[InodeStorage], &["inode_storage_get", "inode_storage_delete", "kptr_xchg"]),
    (&[TaskStorage], &["task_storage_get", "task_storage_delete", "kptr_xchg"]),
    (&[CgrpStorage], &["cgrp_storage_get", "cgrp_storage_delete", "kptr_xchg"]),
    (&[BloomFilter], &["map_peek_elem", "map_push_elem"]),
];

/// Helpers that take only these maps. A helper that has no row takes every map.
const BY_HELPER: &[(&[&str], &[MapType])] = &[
    (&["tail_call"], &[ProgArray]),
    (
        &[
            "perf_event_read",
            "perf_event_read_value",
            "perf_event_output",
            "skb_output",
            "xdp_output",
        ],
        &[PerfEventArray],
    ),
    (&["ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr"], &[Ringbuf]),
    (&["user_ringbuf_drain"], &[UserRingbuf]),
    (&["get_stackid"], &[StackTrace]),
    (&["skb_under_cgroup", "current_task_under_cgroup"], &[CgroupArray]),
    (&["redirect_map"], &[Devmap, DevmapHash, Cpumap, Xskmap]),
    (&["sk_redirect_map", "msg_redirect_map", "sock_map_update"], &[Sockmap]),
    (&["sk_redirect_hash", "msg_redirect_hash", "sock_hash_update"], &[Sockhash]),
    (&["get_local_storage"], &[CgroupStorage, PercpuCgroupStorage]),
    (&["sk_select_reuseport"], &[ReuseportSockarray, Sockmap, Sockhash]),
    (&["map_pop_elem"], &[Queue, Stack]),
    (&["map_peek_elem", "map_push_elem"], &[Queue, Stack, BloomFilter]),
    (&["map_lookup_percpu_elem"], &[PercpuArray, PercpuHash, LruPercpuHash]),
    (&["sk_storage_get", "sk_storage_delete"], &[SkStorage]),
    (&["inode_storage_get", "inode_storage_delete"], &[InodeStorage]),
    (&["task_storage_get", "task_storage_delete"], &[TaskStorage]),
    (&["cgrp_storage_get", "cgrp_storage_delete"], &[CgrpStorage]),
];

/// Maps that `for_each_map_elem` can walk; of others the kernel says `callback function not allowed
/// for map` (`map_for_each_callback` of `struct bpf_map_ops`).
pub const ITERABLE: MapTypeSet =
    MapTypeSet::of(&[Hash, LruHash, PercpuHash, LruPercpuHash, Array, PercpuArray]);

/// Where no locked socket can be met, so that updates cannot deadlock (`may_update_sockmap`).
const fn sockets(prog_types: ProgTypeSet, attach: AttachTypeSet) -> MapRule {
    MapRule { maps: MapTypeSet::of(&[Sockmap, Sockhash]), prog_types, attach }
}

const UNLOCKED: MapRule = sockets(
    ProgTypeSet::of(&[
        ProgType::SocketFilter,
        ProgType::SchedCls,
        ProgType::SchedAct,
        ProgType::Xdp,
        ProgType::SkReuseport,
        ProgType::FlowDissector,
        ProgType::SkLookup,
    ]),
    AttachTypeSet::ALL,
);
const ITERATORS: MapRule = sockets(sets::TRACING_BTF, AttachTypeSet::of(&[AttachType::TRACE_ITER]));
const SOCK_OPS: MapRule = sockets(sets::SOCK_OPS, AttachTypeSet::ALL);

/// Helpers that take maps from some programs only.
const SOMETIMES: &[(&str, &[MapRule])] = &[
    ("map_update_elem", &[UNLOCKED, ITERATORS]),
    ("map_delete_elem", &[UNLOCKED, ITERATORS, SOCK_OPS]),
];

/// Whether the helper with this number is among the named ones.
const fn is_among(id: u32, names: &[&str]) -> bool {
    let name = HELPER_NAMES[id as usize - 1].0.as_bytes();
    let mut i = 0;
    while i < names.len() {
        if is_same(name, names[i].as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// Which maps the helper with this number takes, by both tables.
pub(super) const fn taken_by(id: u32) -> MapUse {
    let mut always = MapTypeSet::ALL;
    let mut row = 0;
    while row < BY_MAP.len() {
        if !is_among(id, BY_MAP[row].1) {
            always = always.without(MapTypeSet::of(BY_MAP[row].0));
        }
        row += 1;
    }
    row = 0;
    while row < BY_HELPER.len() {
        if is_among(id, BY_HELPER[row].0) {
            always = always.intersection(MapTypeSet::of(BY_HELPER[row].1));
        }
        row += 1;
    }
    let mut sometimes: &[MapRule] = &[];
    row = 0;
    while row < SOMETIMES.len() {
        if is_among(id, &[SOMETIMES[row].0]) {
            sometimes = SOMETIMES[row].1;
        }
        row += 1;
    }
    MapUse { always, sometimes }
}

#[cfg(test)]
mod tests {
    use super::{BY_HELPER, BY_MAP, SOMETIMES};
    use crate::helper::{Arg, MapRefusal};
    use crate::linux::{HELPERS, helper_id};
    use crate::map::MapType;
    use crate::{AttachType, ProgType};

    #[test]
    fn the_tables_name_helpers_that_there_are() {
        let by_map = BY_MAP.iter().flat_map(|(_, names)| *names);
        let by_helper = BY_HELPER.iter().flat_map(|(names, _)| *names);
        let sometimes = SOMETIMES.iter().map(|(name, _)| name);
        for name in by_map.chain(by_helper).chain(sometimes) {
            assert!(helper_id(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_helper_with_a_map_takes_some_kind_and_no_kind_is_taken_by_none() {
        let with_map = || HELPERS.iter().filter(|p| p.args.contains(&Arg::Map));
        for proto in with_map() {
            let takes = |kind: &&MapType| proto.maps.always.contains(**kind);
            assert!(MapType::ALL.iter().any(|kind| takes(&kind)), "{}", proto.name);
        }
        for kind in MapType::ALL {
            assert!(with_map().any(|p| p.maps.always.contains(*kind)), "{}", kind.name());
        }
    }

    #[test]
    fn sockets_are_put_into_maps_by_some_programs_only() {
        let helper = |name| HELPERS.iter().find(|p| p.name == name).unwrap();
        let asked =
            |name, prog_type| helper(name).takes_map(MapType::Sockmap, prog_type, AttachType::NONE);
        assert_eq!(asked("map_update_elem", ProgType::Xdp), Ok(()));
        assert_eq!(asked("map_update_elem", ProgType::SockOps), Err(MapRefusal::Context));
        assert_eq!(asked("map_delete_elem", ProgType::SockOps), Ok(()));
        assert_eq!(asked("map_delete_elem", ProgType::Tracing), Err(MapRefusal::Context));
        assert_eq!(asked("map_push_elem", ProgType::Xdp), Err(MapRefusal::Kind));
        let iterators = helper("map_update_elem").takes_map(
            MapType::Sockhash,
            ProgType::Tracing,
            AttachType::TRACE_ITER,
        );
        assert_eq!(iterators, Ok(()));
    }
}
