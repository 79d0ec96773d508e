// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Tools that watch a kernel: files opened, programs started, histograms of block I/O, retransmissions,
// sampled stacks, time off the CPU. Kernel memory is read at offsets that the host sets, as before CO-RE.
#include "project.h"

#define NAME 128
#define ARGS 20
#define ARG_BYTES 64
#define SLOTS 27

const volatile __u32 target_tgid = 0;
const volatile __u32 target_uid = 0xffffffff;
const volatile __u8 failed_only = 0;
const volatile __u64 min_ns = 1000;
const volatile __u8 milliseconds = 0;
const volatile __u8 per_disk = 1;

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

/* ---- Files opened ---------------------------------------------------------------------------- */

struct open_args {
	const char *name;
	int flags;
	__u32 mode;
};

struct open_event {
	__u64 time;
	__u32 pid;
	__u32 uid;
	__s32 ret;
	__s32 flags;
	char comm[16];
	char name[NAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct open_args);
} opening SEC(".maps");

static __always_inline int is_traced(__u64 id)
{
	__u32 uid;

	if (target_tgid && target_tgid != id >> 32)
		return 0;
	if (target_uid != 0xffffffff) {
		uid = bpf_get_current_uid_gid();
		if (target_uid != uid)
			return 0;
	}
	return 1;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct sys_enter *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct open_args args = {};
	__u32 pid = id;

	if (!is_traced(id))
		return 0;
	args.name = (const char *)ctx->args[1];
	args.flags = ctx->args[2];
	args.mode = ctx->args[3];
	bpf_map_update_elem(&opening, &pid, &args, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int exit_openat(struct sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct open_event event = {};
	struct open_args *args;
	__u32 pid = id;

	args = bpf_map_lookup_elem(&opening, &pid);
	if (!args)
		return 0;
	if (failed_only && ctx->ret >= 0)
		goto out;
	event.time = bpf_ktime_get_ns();
	event.pid = id >> 32;
	event.uid = bpf_get_current_uid_gid();
	event.ret = ctx->ret;
	event.flags = args->flags;
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	bpf_probe_read_user_str(event.name, sizeof(event.name), args->name);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
out:
	bpf_map_delete_elem(&opening, &pid);
	return 0;
}

/* ---- Programs started ------------------------------------------------------------------------ */

struct exec_event {
	__u32 pid;
	__u32 uid;
	__s32 ret;
	__u32 count;
	__u32 bytes;
	char comm[16];
	char args[ARGS * ARG_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct exec_event);
} starting SEC(".maps");

static const struct exec_event no_event;

SEC("tracepoint/syscalls/sys_enter_execve")
int enter_execve(struct sys_enter *ctx)
{
	const char *const *argv = (void *)ctx->args[1], *argument;
	__u64 id = bpf_get_current_pid_tgid();
	struct exec_event *event;
	__u32 pid = id;
	long bytes;

	if (!is_traced(id))
		return 0;
	if (bpf_map_update_elem(&starting, &pid, &no_event, BPF_NOEXIST))
		return 0;
	event = bpf_map_lookup_elem(&starting, &pid);
	if (!event)
		return 0;
	event->pid = id >> 32;
	event->uid = bpf_get_current_uid_gid();
	bytes = bpf_probe_read_user_str(event->args, ARG_BYTES, (void *)ctx->args[0]);
	if (bytes < 0 || bytes > ARG_BYTES)
		return 0;
	event->bytes += bytes;
	event->count++;
#pragma clang loop unroll(full)
	for (int i = 1; i < ARGS; i++) {
		if (bpf_probe_read_user(&argument, sizeof(argument), &argv[i]) || !argument)
			return 0;
		if (event->bytes > (ARGS - 1) * ARG_BYTES)
			return 0;
		bytes = bpf_probe_read_user_str(&event->args[event->bytes], ARG_BYTES, argument);
		if (bytes < 0 || bytes > ARG_BYTES)
			return 0;
		event->count++;
		event->bytes += bytes;
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_execve")
int exit_execve(struct sys_exit *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid();
	struct exec_event *event = bpf_map_lookup_elem(&starting, &pid);
	__u64 bytes;

	if (!event)
		return 0;
	event->ret = ctx->ret;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bytes = (__u64)&((struct exec_event *)0)->args + event->bytes;
	if (bytes <= sizeof(*event))
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, bytes);
	bpf_map_delete_elem(&starting, &pid);
	return 0;
}

/* ---- Latency of block I/O -------------------------------------------------------------------- */

struct histogram_key {
	__u32 disk;
	__u32 flags;
};

struct histogram {
	__u32 slots[SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, __u64);
} requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct histogram_key);
	__type(value, struct histogram);
} histograms SEC(".maps");

static const struct histogram no_histogram;

SEC("raw_tracepoint/block_rq_issue")
int block_issue(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 request = ctx->args[0], now = bpf_ktime_get_ns();

	bpf_map_update_elem(&requests, &request, &now, 0);
	return 0;
}

SEC("raw_tracepoint/block_rq_complete")
int block_complete(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 request = ctx->args[0], now = bpf_ktime_get_ns(), *issued, slot, disk = 0;
	struct histogram_key key = {};
	struct histogram *histogram;
	__s64 delta;

	issued = bpf_map_lookup_elem(&requests, &request);
	if (!issued)
		return 0;
	delta = now - *issued;
	if (delta < 0)
		goto out;
	if (per_disk) {
		bpf_probe_read_kernel(&disk, sizeof(disk), (void *)request + 0x68);
		bpf_probe_read_kernel(&key.disk, sizeof(key.disk), (void *)disk + 0x10);
		bpf_probe_read_kernel(&key.flags, sizeof(key.flags), (void *)request + 0x18);
	}
	histogram = bpf_map_lookup_elem(&histograms, &key);
	if (!histogram) {
		bpf_map_update_elem(&histograms, &key, &no_histogram, BPF_NOEXIST);
		histogram = bpf_map_lookup_elem(&histograms, &key);
		if (!histogram)
			goto out;
	}
	delta /= milliseconds ? 1000000 : 1000;
	slot = log2_u64(delta);
	if (slot >= SLOTS)
		slot = SLOTS - 1;
	__sync_fetch_and_add(&histogram->slots[slot], 1);
out:
	bpf_map_delete_elem(&requests, &request);
	return 0;
}

/* ---- TCP retransmissions --------------------------------------------------------------------- */

struct retransmission {
	__u64 time;
	__u32 pid;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__u8 state;
	__u8 pad[5];
	__u8 local[16];
	__u8 remote[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} ring SEC(".maps");

SEC("kprobe/tcp_retransmit_skb")
int tcp_retransmit(struct pt_regs *ctx)
{
	void *sk = (void *)PT_PARM1(ctx);
	struct retransmission *r;
	__u16 family = 0;

	bpf_probe_read_kernel(&family, sizeof(family), sk + 16);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	r->time = bpf_ktime_get_ns();
	r->pid = bpf_get_current_pid_tgid() >> 32;
	r->family = family;
	bpf_probe_read_kernel(&r->state, 1, sk + 18);
	bpf_probe_read_kernel(&r->local_port, 2, sk + 14);
	if (bpf_probe_read_kernel(&r->remote_port, 2, sk + 12)) {
		bpf_ringbuf_discard(r, 0);
		return 0;
	}
	r->remote_port = bpf_ntohs(r->remote_port);
	if (family == AF_INET) {
		bpf_probe_read_kernel(r->local, 4, sk + 4);
		bpf_probe_read_kernel(r->remote, 4, sk);
	} else {
		bpf_probe_read_kernel(r->local, 16, sk + 72);
		bpf_probe_read_kernel(r->remote, 16, sk + 56);
	}
	bpf_ringbuf_submit(r, 0);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} entered SEC(".maps");

SEC("kprobe/vfs_read")
int function_enter(struct pt_regs *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();

	if (PT_PARM3(ctx) > 1 << 20 || !is_traced(id))
		return 0;
	bpf_map_update_elem(&entered, &id, &now, BPF_ANY);
	return 0;
}

SEC("kretprobe/vfs_read")
int function_exit(struct pt_regs *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), *start = bpf_map_lookup_elem(&entered, &id), ns;
	struct histogram_key key = {.disk = 1};
	struct histogram *histogram;

	if (!start)
		return 0;
	ns = bpf_ktime_get_ns() - *start;
	bpf_map_delete_elem(&entered, &id);
	key.flags = (__s64)PT_RC(ctx) < 0;
	histogram = bpf_map_lookup_elem(&histograms, &key);
	if (histogram) {
		__u64 slot = log2_u64(ns);

		if (slot < SLOTS)
			__sync_fetch_and_add(&histogram->slots[slot], 1);
	}
	return 0;
}

/* ---- Stacks ---------------------------------------------------------------------------------- */

struct stack_key {
	__u32 pid;
	__s32 user;
	__s32 kernel;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct stack_key);
	__type(value, __u64);
} samples SEC(".maps");

static __always_inline void add(struct stack_key *key, __u64 n)
{
	__u64 *sum = bpf_map_lookup_elem(&samples, key), zero = 0;

	if (!sum) {
		bpf_map_update_elem(&samples, key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&samples, key);
	}
	if (sum)
		__sync_fetch_and_add(sum, n);
}

SEC("perf_event")
int profile(struct bpf_perf_event_data *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct stack_key key = {};

	if (!(__u32)id || !is_traced(id))
		return 0;
	key.pid = id >> 32;
	key.kernel = bpf_get_stackid(ctx, &stacks, 0);
	key.user = bpf_get_stackid(ctx, &stacks, 1 << 8);
	if (key.kernel < 0 && key.user < 0 && !ctx->regs.ip)
		return 0;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	add(&key, ctx->sample_period ? ctx->sample_period : 1);
	return 0;
}

struct raw_stack {
	__u32 bytes;
	__u32 pad;
	__u64 frames[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct raw_stack);
} raw_stacks SEC(".maps");

SEC("perf_event")
int profile_raw(struct bpf_perf_event_data *ctx)
{
	__u32 zero = 0;
	struct raw_stack *stack = bpf_map_lookup_elem(&raw_stacks, &zero);
	long bytes, more;

	if (!stack)
		return 0;
	bytes = bpf_get_stack(ctx, stack->frames, sizeof(stack->frames), 1 << 8);
	if (bytes < 0)
		return 0;
	stack->bytes = bytes;
	if (bytes < (long)sizeof(stack->frames)) {
		more = bpf_get_stack(ctx, (void *)stack->frames + bytes,
				     sizeof(stack->frames) - bytes, 0);
		if (more > 0)
			stack->bytes += more;
	}
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, stack, sizeof(*stack));
	return 0;
}

struct off {
	__u64 since;
	struct stack_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct off);
} off SEC(".maps");

SEC("raw_tracepoint/sched_switch")
int off_cpu(struct bpf_raw_tracepoint_args *ctx)
{
	void *prev = (void *)ctx->args[1], *next = (void *)ctx->args[2];
	struct off *waited, fresh = {};
	__u32 pid = 0;
	__u64 ns;

	bpf_probe_read_kernel(&pid, sizeof(pid), prev + 0x4e8);
	if (pid) {
		fresh.since = bpf_ktime_get_ns();
		fresh.key.pid = pid;
		fresh.key.user = bpf_get_stackid(ctx, &stacks, 1 << 8);
		fresh.key.kernel = bpf_get_stackid(ctx, &stacks, 0);
		bpf_get_current_comm(fresh.key.comm, sizeof(fresh.key.comm));
		bpf_map_update_elem(&off, &pid, &fresh, BPF_ANY);
	}
	pid = 0;
	bpf_probe_read_kernel(&pid, sizeof(pid), next + 0x4e8);
	waited = bpf_map_lookup_elem(&off, &pid);
	if (!waited)
		return 0;
	ns = bpf_ktime_get_ns() - waited->since;
	if (ns >= min_ns)
		add(&waited->key, ns);
	bpf_map_delete_elem(&off, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
