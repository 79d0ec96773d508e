//! Time, numbers, text, the current task and control flow.

use super::sets::*;
use super::terms::*;
use super::{Row, row};
use crate::helper::{Arg, Callback, Effect, Ret};

#[rustfmt::skip] // a table is read by its columns
pub(super) const ROWS: &[Row] = &[
    row(5, "ktime_get_ns", &[], Ret::Integer, NONE, ALL),
    row(6, "trace_printk", &[READ, SIZE], Ret::Integer, GPL.and(PERFMON), ALL),
    row(7, "get_prandom_u32", &[], Ret::Integer, NONE, ALL),
    row(8, "get_smp_processor_id", &[], Ret::Cpu, Effect::FAST_CALL, BASE),
    row(12, "tail_call", &[CTX, MAP, ANY], Ret::TailCall, CHANGES, ALL),
    row(14, "get_current_pid_tgid", &[], Ret::Integer, NONE, BASE),
    row(15, "get_current_uid_gid", &[], Ret::Integer, NONE, BASE),
    row(16, "get_current_comm", &[WRITE, SIZE], Ret::Integer, PERFMON, BASE),
    row(37, "current_task_under_cgroup", &[MAP, ANY], Ret::Integer, BPF, BASE),
    row(42, "get_numa_node_id", &[], Ret::Integer, NONE, BASE),
    row(77, "rc_repeat", &[CTX], Ret::Integer, GPL, LIRC),
    row(78, "rc_keydown", &[CTX, ANY, ANY, ANY], Ret::Integer, GPL, LIRC),
    row(80, "get_current_cgroup_id", &[], Ret::Integer, BPF, BASE),
    row(92, "rc_pointer_rel", &[CTX, ANY, ANY], Ret::Integer, GPL, LIRC),
    row(101, "sysctl_get_name", &[CTX, READ_WRITE, SIZE, ANY], Ret::Integer, NONE, SYSCTL),
    row(102, "sysctl_get_current_value", &[CTX, WRITE, SIZE], Ret::Integer, NONE, SYSCTL),
    row(103, "sysctl_get_new_value", &[CTX, WRITE, SIZE], Ret::Integer, NONE, SYSCTL),
    row(104, "sysctl_set_new_value", &[CTX, READ, SIZE], Ret::Integer, NONE, SYSCTL),
    row(105, "strtol", &[READ, SIZE, ANY, U64_OUT], Ret::Integer, NONE, BASE),
    row(106, "strtoul", &[READ, SIZE, ANY, U64_OUT], Ret::Integer, NONE, BASE),
    row(118, "jiffies64", &[], Ret::Integer, BPF, BASE),
    row(120, "get_ns_current_pid_tgid", &[ANY, ANY, WRITE, SIZE], Ret::Integer, NONE, BASE),
    row(123, "get_current_ancestor_cgroup_id", &[ANY], Ret::Integer, BPF, BASE),
    row(125, "ktime_get_boot_ns", &[], Ret::Integer, NONE, ALL),
    row(149, "snprintf_btf", &[READ_WRITE, SIZE, READ, SIZE, ANY], Ret::Integer, PERFMON, BASE),
    row(160, "ktime_get_coarse_ns", &[], Ret::Integer, NONE, NETWORK),
    row(165, "snprintf", &[READ_WRITE_OR_NULL, SIZE_OR_ZERO, Arg::ConstStr, READ_OR_NULL, SIZE_OR_ZERO], Ret::Integer, GPL.and(PERFMON), BASE),
    row(166, "sys_bpf", &[ANY, READ, SIZE], Ret::Integer, SLEEPS.and(PERFMON), SYSCALL),
    row(167, "btf_find_by_name_kind", &[READ, SIZE, ANY, ANY], Ret::Integer, SLEEPS, SYSCALL),
    row(168, "sys_close", &[ANY], Ret::Integer, SLEEPS, SYSCALL),
    row(177, "trace_vprintk", &[READ, SIZE, READ_OR_NULL, SIZE_OR_ZERO], Ret::Integer, GPL.and(PERFMON), BASE),
    row(179, "kallsyms_lookup_name", &[READ, SIZE_OR_ZERO, ANY, U64_OUT], Ret::Integer, NONE, SYSCALL),
    row(181, "loop", &[ANY, Arg::Callback(Callback::Loop), Arg::CallbackCtx, ANY], Ret::Integer, BPF, BASE),
    row(182, "strncmp", &[READ, SIZE, Arg::ConstStr], Ret::Integer, NONE, BASE),
    row(186, "get_retval", &[], Ret::Integer, NONE, RETVAL).only(RETVAL_HOOKS),
    row(187, "set_retval", &[ANY], Ret::Integer, NONE, RETVAL).only(RETVAL_HOOKS),
    row(208, "ktime_get_tai_ns", &[], Ret::Integer, NONE, BASE),
];
