// SPDX-License-Identifier: MIT OR Apache-2.0
// What programs that trace are given: registers, the record of a tracepoint, arguments, a sample, and
// the memory of a process. Needs no kernel: the host gives all of it.
#include "../include/bpf.h"

char LICENSE[] SEC("license") = "GPL";

// The registers that hold the first two arguments, as the x86_64 kernel saves them.
struct registers {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct opened {
	__u32 pid;
	__s32 length;
	char name[16];
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct opened);
} last_opened SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} samples SEC(".maps");

static long (*const bpf_probe_read_user_str)(void *dst, __u32 size, const void *from) = (void *)114;

static int opened(const char *name)
{
	__u32 zero = 0;
	struct opened *last = bpf_map_lookup_elem(&last_opened, &zero);

	if (!last)
		return 0;
	last->pid = bpf_get_current_pid_tgid() >> 32;
	last->length = bpf_probe_read_user_str(last->name, sizeof(last->name), name);
	bpf_get_current_comm(last->comm, sizeof(last->comm));
	return last->length;
}

// do_sys_openat2(int dfd, const char *filename, ...)
SEC("kprobe/do_sys_openat2")
int on_open(struct registers *regs)
{
	return opened((const char *)regs->si);
}

// A function of a process: fopen(const char *pathname, ...)
SEC("uprobe")
int on_fopen(struct registers *regs)
{
	return opened((const char *)regs->di);
}

// The record of sys_enter_openat: a header of 8 bytes, the number of the call, its arguments.
struct sys_enter {
	__u64 header;
	__s64 id;
	__u64 args[6];
};

SEC("tracepoint/syscalls/sys_enter_openat")
int on_enter(struct sys_enter *record)
{
	return opened((const char *)record->args[1]);
}

// sys_enter(struct pt_regs *regs, long id)
SEC("raw_tracepoint/sys_enter")
int on_raw_enter(__u64 *args)
{
	return args[1] == 257;
}

struct sample {
	struct registers regs;
	__u64 sample_period;
	__u64 addr;
};

SEC("perf_event")
int on_sample(struct sample *sample)
{
	__u64 ip = sample->regs.ip, period = sample->sample_period;
	__u64 *sum = bpf_map_lookup_elem(&samples, &ip);

	if (sum)
		__sync_fetch_and_add(sum, period);
	else
		bpf_map_update_elem(&samples, &ip, &period, BPF_ANY);
	return 0;
}

// Run by a call of bpf(), with an argument that comes back changed.
struct request {
	__u32 left, right;
	__u64 product;
};

SEC("syscall")
int multiply(struct request *request)
{
	request->product = (__u64)request->left * request->right;
	return 0;
}
