//! Tracing: memory of the kernel and of processes, stacks, arguments of probed functions, security hooks.

use super::sets::*;
use super::terms::*;
use super::{Row, row};
use crate::helper::{Arg, Callback, Effect, Ret};
use crate::program::ProgTypeSet;

#[rustfmt::skip] // a table is read by its columns
pub(super) const ROWS: &[Row] = &[
    row(4, "probe_read", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, TRACING),
    row(22, "perf_event_read", &[MAP, ANY], Ret::Integer, GPL.and(PERFMON), BASE),
    row(27, "get_stackid", &[CTX, MAP, ANY], Ret::Integer, GPL, TRACING_BUT_PERF),
    row(27, "get_stackid", &[CTX, MAP, ANY], Ret::Integer, NONE, PERF),
    row(35, "get_current_task", &[], Ret::Integer, GPL.and(PERFMON), BASE),
    // Of a kernel that is locked down (`security_locked_down`): nobody.
    row(36, "probe_write_user", &[ANY, READ, SIZE], Ret::Integer, GPL.and(ADMIN), ProgTypeSet::NONE),
    row(45, "probe_read_str", &[WRITE, SIZE_OR_ZERO, ANY], Ret::SizeOrErrno, GPL, TRACING),
    row(55, "perf_event_read_value", &[MAP, ANY, WRITE, SIZE], Ret::Integer, GPL.and(PERFMON), BASE),
    row(56, "perf_prog_read_value", &[CTX, WRITE, SIZE], Ret::Integer, GPL, PERF),
    // Of a kernel without `CONFIG_BPF_KPROBE_OVERRIDE`: nobody.
    row(58, "override_return", &[CTX, ANY], Ret::Integer, GPL, ProgTypeSet::NONE),
    row(67, "get_stack", &[CTX, WRITE, SIZE_OR_ZERO, ANY], Ret::SizeOrErrno, GPL.and(Effect::SLEEPS_IF_SLEEPABLE), TRACING),
    row(109, "send_signal", &[ANY], Ret::Integer, PERFMON, BASE),
    row(112, "probe_read_user", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL.and(PERFMON), BASE),
    row(113, "probe_read_kernel", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, GPL.and(PERFMON), BASE),
    row(114, "probe_read_user_str", &[WRITE, SIZE_OR_ZERO, ANY], Ret::SizeOrErrno, GPL.and(PERFMON), BASE),
    row(115, "probe_read_kernel_str", &[WRITE, SIZE_OR_ZERO, ANY], Ret::SizeOrErrno, GPL.and(PERFMON), BASE),
    row(117, "send_signal_thread", &[ANY], Ret::Integer, PERFMON, BASE),
    row(119, "read_branch_records", &[CTX, READ_WRITE_OR_NULL, SIZE_OR_ZERO, ANY], Ret::Integer, GPL, PERF),
    row(141, "get_task_stack", &[btf("task_struct"), WRITE, SIZE_OR_ZERO, ANY], Ret::SizeOrErrno, PERFMON.and(Effect::SLEEPS_IF_SLEEPABLE), BASE),
    row(147, "d_path", &[btf("path"), READ_WRITE, SIZE_OR_ZERO], Ret::Integer, SOME_HOOKS, BTF_TRACING_OR_SYSCALL),
    row(148, "copy_from_user", &[WRITE, SIZE_OR_ZERO, ANY], Ret::Integer, SLEEPS.and(PERFMON), BASE),
    row(158, "get_current_task_btf", &[], Ret::BtfId { name: "task_struct", nullable: false, trusted: true }, GPL.and(PERFMON), BASE),
    row(159, "bprm_opts_set", &[btf("linux_binprm"), ANY], Ret::Integer, NONE, LSM),
    row(161, "ima_inode_hash", &[btf("inode"), WRITE, SIZE], Ret::Integer, SLEEPS.and(SOME_HOOKS), LSM),
    row(162, "sock_from_file", &[btf("file")], Ret::BtfId { name: "socket", nullable: true, trusted: false }, NONE, BTF_TRACING_OR_SYSCALL),
    row(173, "get_func_ip", &[CTX], Ret::Integer, GPL, PROBED).only(PROBED_HOOKS),
    row(173, "get_func_ip", &[CTX], Ret::Integer, NONE, KPROBE).only(MULTI_PROBES),
    row(174, "get_attach_cookie", &[CTX], Ret::Integer, NONE, COOKIES).only(COOKIE_HOOKS),
    row(175, "task_pt_regs", &[btf("task_struct")], Ret::BtfId { name: "pt_regs", nullable: false, trusted: false }, GPL.and(PERFMON), BASE),
    row(176, "get_branch_snapshot", &[WRITE, SIZE_OR_ZERO], Ret::Integer, GPL.and(PERFMON), BASE),
    row(180, "find_vma", &[btf("task_struct"), ANY, Arg::Callback(Callback::FindVma), Arg::CallbackCtx, ANY], Ret::Integer, PERFMON, BASE),
    row(183, "get_func_arg", &[CTX, ANY, U64_OUT], Ret::Integer, NONE, BTF_TRACING).only(TRAMPOLINES),
    row(184, "get_func_ret", &[CTX, U64_OUT], Ret::Integer, NONE, BTF_TRACING).only(TRAMPOLINES),
    row(185, "get_func_arg_cnt", &[CTX], Ret::Integer, NONE, BTF_TRACING).only(TRAMPOLINES),
    row(191, "copy_from_user_task", &[WRITE, SIZE_OR_ZERO, ANY, btf("task_struct"), ANY], Ret::Integer, GPL.and(SLEEPS).and(PERFMON), BASE),
    row(193, "ima_file_hash", &[btf("file"), WRITE, SIZE], Ret::Integer, SLEEPS.and(SOME_HOOKS), LSM),
];
