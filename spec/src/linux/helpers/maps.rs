//! Maps, storage bound to kernel objects, locks, timers and kernel pointers in map values.

use super::sets::*;
use super::terms::*;
use super::{Row, row};
use crate::helper::{Arg, Callback, Effect, Ret};

#[rustfmt::skip] // a table is read by its columns
pub(super) const ROWS: &[Row] = &[
    row(1, "map_lookup_elem", &[MAP, KEY], Ret::MapValueOrNull, PACKET_MEMORY, ALL),
    row(2, "map_update_elem", &[MAP, KEY, VALUE, ANY], Ret::Integer, PACKET_MEMORY.and(Effect::CHANGES_MAP), ALL),
    row(3, "map_delete_elem", &[MAP, KEY], Ret::Integer, PACKET_MEMORY.and(Effect::CHANGES_MAP), ALL),
    row(81, "get_local_storage", &[MAP, ANY], Ret::MapValue, NONE, CGROUP).only(LSM_CGROUP_HOOKS),
    row(87, "map_push_elem", &[MAP, VALUE, ANY], Ret::Integer, PACKET_MEMORY.and(Effect::CHANGES_MAP), ALL),
    row(88, "map_pop_elem", &[MAP, VALUE_OUT], Ret::Integer, Effect::CHANGES_MAP, ALL),
    row(89, "map_peek_elem", &[MAP, VALUE_OUT], Ret::Integer, NONE, ALL),
    row(93, "spin_lock", &[Arg::SpinLock], Ret::Void, BPF.and(Effect::LOCKS), BASE),
    row(94, "spin_unlock", &[Arg::SpinLock], Ret::Void, BPF.and(Effect::UNLOCKS), BASE),
    row(107, "sk_storage_get", &[MAP, SOCK, VALUE_OR_NULL, ANY], Ret::MapValueOrNull, NONE, SK_STORAGE),
    row(107, "sk_storage_get", &[MAP, CTX, VALUE_OR_NULL, ANY], Ret::MapValueOrNull, NONE, CGROUP_SOCK),
    row(107, "sk_storage_get", &[MAP, btf_or_null("sock_common"), VALUE_OR_NULL, ANY], Ret::MapValueOrNull, SOME_HOOKS, TRACING_SYSCALL),
    row(108, "sk_storage_delete", &[MAP, SOCK], Ret::Integer, NONE, SK_STORAGE),
    row(108, "sk_storage_delete", &[MAP, btf_or_null("sock_common")], Ret::Integer, SOME_HOOKS, TRACING_SYSCALL),
    row(145, "inode_storage_get", &[MAP, btf_or_null("inode"), VALUE_OR_NULL, ANY], Ret::MapValueOrNull, NONE, LSM),
    row(146, "inode_storage_delete", &[MAP, btf_or_null("inode")], Ret::Integer, NONE, LSM),
    row(153, "per_cpu_ptr", &[Arg::PerCpu, ANY], Ret::PerCpu { nullable: true }, BPF, BASE),
    row(154, "this_cpu_ptr", &[Arg::PerCpu], Ret::PerCpu { nullable: false }, BPF, BASE),
    row(156, "task_storage_get", &[MAP, btf_or_null("task_struct"), VALUE_OR_NULL, ANY], Ret::MapValueOrNull, BPF, BASE),
    row(157, "task_storage_delete", &[MAP, btf_or_null("task_struct")], Ret::Integer, BPF, BASE),
    row(164, "for_each_map_elem", &[MAP, Arg::Callback(Callback::MapElement), Arg::CallbackCtx, ANY], Ret::Integer, BPF, BASE),
    row(169, "timer_init", &[Arg::Timer, MAP, ANY], Ret::Integer, GPL.and(BPF), BASE),
    row(170, "timer_set_callback", &[Arg::Timer, Arg::Callback(Callback::Timer)], Ret::Integer, GPL.and(BPF), BASE),
    row(171, "timer_start", &[Arg::Timer, ANY, ANY], Ret::Integer, GPL.and(BPF), BASE),
    row(172, "timer_cancel", &[Arg::Timer], Ret::Integer, GPL.and(BPF), BASE),
    row(194, "kptr_xchg", &[Arg::KptrSlot, Arg::KptrOrNull], Ret::KptrOrNull, ACQUIRES.and(RELEASES).and(BPF), BASE),
    row(195, "map_lookup_percpu_elem", &[MAP, KEY, ANY], Ret::MapValueOrNull, PACKET_MEMORY, BASE),
    row(210, "cgrp_storage_get", &[MAP, btf_or_null("cgroup"), VALUE_OR_NULL, ANY], Ret::MapValueOrNull, BPF, BASE),
    row(211, "cgrp_storage_delete", &[MAP, btf_or_null("cgroup")], Ret::Integer, BPF, BASE),
];
