// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Tracing tools beside those of tracing.bpf.c: records in reserved and in scratch memory, the wait for a CPU,
// frames of a stack, arguments in a loop, calls by cgroup.
#include "project.h"

char LICENSE[] SEC("license") = "GPL";

#define NAME_BYTES 256
#define SLOTS 27

struct open_event {
	__u64 time;
	__u32 pid, uid;
	__s32 result, flags;
	char comm[16];
	char name[NAME_BYTES];
};

struct pending {
	__u64 time;
	const char *name;
	__s32 flags;
};

struct histogram {
	__u64 total, sum;
	__u32 slots[SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, struct pending);
} opens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64);
} starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct histogram);
} latencies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct open_event);
} scratch SEC(".maps");

const volatile __u32 only_pid = 0;
const volatile __u32 only_uid = ~0u;
const volatile _Bool failed_only = 0;
const volatile _Bool in_ms = 0;
const volatile __u64 least_us = 100;

static const struct histogram empty;

static __always_inline _Bool is_wanted(__u64 id)
{
	__u32 pid = id >> 32;

	if (only_pid && only_pid != pid)
		return 0;
	if (only_uid != ~0u && only_uid != (__u32)bpf_get_current_uid_gid())
		return 0;
	return 1;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int open_enter(struct sys_enter *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pending pending = {};

	if (!is_wanted(id))
		return 0;
	pending.time = bpf_ktime_get_ns();
	pending.name = (const char *)ctx->args[1];
	pending.flags = ctx->args[2];
	bpf_map_update_elem(&opens, &id, &pending, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int open_leave(struct sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pending *pending = bpf_map_lookup_elem(&opens, &id);
	struct open_event *event;

	if (!pending)
		return 0;
	if (failed_only && ctx->ret >= 0)
		goto done;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		goto done;
	event->time = bpf_ktime_get_ns() - pending->time;
	event->pid = id >> 32;
	event->uid = bpf_get_current_uid_gid();
	event->result = ctx->ret;
	event->flags = pending->flags;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_probe_read_user_str(event->name, sizeof(event->name), pending->name);
	bpf_ringbuf_submit(event, 0);
done:
	bpf_map_delete_elem(&opens, &id);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int open_leave_perf(struct sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pending *pending = bpf_map_lookup_elem(&opens, &id);
	struct open_event *event;
	__u32 zero = 0;
	long length;

	if (!pending)
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	event->pid = id >> 32;
	event->result = ctx->ret;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	length = bpf_probe_read_user_str(event->name, sizeof(event->name), pending->name);
	if (length < 0 || length > NAME_BYTES)
		return 0;
	bpf_perf_event_output(ctx, &perf_events, BPF_F_CURRENT_CPU, event,
			      __builtin_offsetof(struct open_event, name) + (length & (NAME_BYTES - 1)));
	return 0;
}

SEC("tracepoint/sched/sched_wakeup")
int wakeup(__u64 *ctx)
{
	__u32 pid = ((__u32 *)ctx)[6];
	__u64 now;

	if (!pid || (only_pid && pid != only_pid))
		return 0;
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&starts, &pid, &now, BPF_ANY);
	return 0;
}

static __noinline int account(__u32 key, __u64 delta)
{
	struct histogram *h = bpf_map_lookup_elem(&latencies, &key);
	__u32 slot;

	if (!h) {
		bpf_map_update_elem(&latencies, &key, &empty, BPF_NOEXIST);
		h = bpf_map_lookup_elem(&latencies, &key);
		if (!h)
			return -1;
	}
	delta /= in_ms ? 1000000 : 1000;
	slot = log2_u64(delta);
	if (slot >= SLOTS)
		slot = SLOTS - 1;
	__sync_fetch_and_add(&h->slots[slot], 1);
	__sync_fetch_and_add(&h->total, 1);
	__sync_fetch_and_add(&h->sum, delta);
	return slot;
}

SEC("tracepoint/sched/sched_switch")
int run_queue(__u64 *ctx)
{
	__u32 pid = ((__u32 *)ctx)[14];
	__u64 *start = bpf_map_lookup_elem(&starts, &pid);
	__s64 delta;

	if (!start)
		return 0;
	delta = bpf_ktime_get_ns() - *start;
	bpf_map_delete_elem(&starts, &pid);
	if (delta < 0 || (__u64)delta < least_us * 1000)
		return 0;
	account(pid, delta);
	return 0;
}

/* Follows a chain of frame pointers of a user's stack. */
struct walk {
	__u64 frame;
	__u64 ips[32];
	__u32 depth;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

SEC("kprobe/do_nanosleep")
int walk_frames(struct pt_regs *ctx)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);
	__u64 pair[2];
	int i;

	if (!walk)
		return 0;
	walk->frame = ctx->bp;
	walk->depth = 0;
	for (i = 0; i < 32; i++) {
		if (bpf_probe_read_user(pair, sizeof(pair), (void *)walk->frame))
			break;
		if (pair[0] <= walk->frame)
			break;
		walk->ips[i] = pair[1];
		walk->frame = pair[0];
		walk->depth++;
	}
	bpf_perf_event_output(ctx, &perf_events, BPF_F_CURRENT_CPU, walk, sizeof(*walk));
	return 0;
}

struct exec_event {
	__u32 pid, args, bytes;
	char comm[16];
	char text[20 * 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct exec_event);
} execs SEC(".maps");

static const struct exec_event no_exec;

/* Collects the arguments of a new program one after the other, in a loop. */
SEC("tracepoint/syscalls/sys_enter_execve")
int exec_enter(struct sys_enter *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	const char **args = (const char **)ctx->args[1];
	struct exec_event *event;
	const char *arg = 0;
	int i;

	if (bpf_map_update_elem(&execs, &pid, &no_exec, BPF_NOEXIST))
		return 0;
	event = bpf_map_lookup_elem(&execs, &pid);
	if (!event)
		return 0;
	event->pid = pid;
#pragma clang loop unroll(disable)
	for (i = 0; i < 20; i++) {
		long n;

		if (bpf_probe_read_user(&arg, sizeof(arg), &args[i]) || !arg)
			break;
		if (event->bytes > sizeof(event->text) - 64)
			break;
		n = bpf_probe_read_user_str(&event->text[event->bytes], 64, arg);
		if (n < 0 || n > 64)
			break;
		event->args++;
		event->bytes += n;
	}
	return 0;
}

/* Raw arguments: the number of the system call counts for the cgroup. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64[2]);
	__type(value, __u64);
} calls_of SEC(".maps");

SEC("raw_tracepoint/sys_enter")
int count_calls(__u64 *ctx)
{
	__u64 key[2] = { bpf_get_current_cgroup_id(), ctx[1] }, one = 1;
	__u64 *count = bpf_map_lookup_elem(&calls_of, key);

	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&calls_of, key, &one, BPF_ANY);
	return 0;
}
