/* Section names with what the program attaches to, with `?` before them, and almost-names. */
#include "defs.h"

#define PROGRAM(section, name) \
	SEC(section)           \
	int name(void *ctx)    \
	{                      \
		return 0;      \
	}

PROGRAM("kprobe/do_exit", kprobe_)
PROGRAM("kprobe/do_exit+0x4", kprobe_offset)
PROGRAM("kretprobe/do_exit", kretprobe_)
PROGRAM("kprobe.multi/vfs_*", kprobe_multi)
PROGRAM("kretprobe.multi/vfs_*", kretprobe_multi)
PROGRAM("kprobe.session/vfs_*", kprobe_session)
PROGRAM("uprobe//bin/sh:main", uprobe_)
PROGRAM("uprobe.s//bin/sh:main+4", uprobe_sleepable)
PROGRAM("uretprobe/libc.so.6:malloc", uretprobe_)
PROGRAM("uprobe.multi//bin/sh:*", uprobe_multi)
PROGRAM("uprobe.multi.s//bin/sh:*", uprobe_multi_sleepable)
PROGRAM("uprobe.session//bin/sh:*", uprobe_session)
PROGRAM("ksyscall/openat", ksyscall_)
PROGRAM("kretsyscall/openat", kretsyscall_)
PROGRAM("usdt//bin/sh:provider:name", usdt_)
PROGRAM("tp/sched/sched_switch", tp_)
PROGRAM("tracepoint/syscalls/sys_enter_open", tracepoint_)
PROGRAM("raw_tp/sched_switch", raw_tp_)
PROGRAM("raw_tracepoint/sched_switch", raw_tracepoint_)
PROGRAM("raw_tp.w/nbd_send_request", raw_tp_writable)
PROGRAM("tp_btf/sched_switch", tp_btf_)
PROGRAM("fentry/do_exit", fentry_)
PROGRAM("fentry.s/bpf_testmod:function", fentry_module)
PROGRAM("fexit/do_exit", fexit_)
PROGRAM("fmod_ret/security_file_open", fmod_ret_)
PROGRAM("freplace/function", freplace_)
PROGRAM("lsm/file_open", lsm_)
PROGRAM("lsm.s/file_open", lsm_sleepable)
PROGRAM("lsm_cgroup/socket_create", lsm_cgroup_)
PROGRAM("iter/task", iter_)
PROGRAM("iter.s/task", iter_sleepable)
PROGRAM("struct_ops/ssthresh", struct_ops_)
PROGRAM("struct_ops.s/ssthresh", struct_ops_sleepable)

PROGRAM("?kprobe/do_exit", not_loaded_target)
PROGRAM("?xdp", not_loaded)
PROGRAM("?cgroup/connect4", not_loaded_cgroup)

/* These are names of nothing. */
PROGRAM("xdp/mine", unknown_xdp)
PROGRAM("xdp_pass", unknown_suffix)
PROGRAM("tc/other", unknown_tc)
PROGRAM("kprobe.other/x", unknown_kprobe)
PROGRAM("??xdp", unknown_question)

char license_text[] SEC("license") = "GPL";
