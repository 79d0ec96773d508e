/* As tracing programs look: arguments from the context array, a kernel struct behind one of them. */
#include "defs.h"

struct task_struct {
	int pid;
	char comm[16];
} core;

struct event {
	u32 pid;
	char comm[16];
};

struct {
	__uint(type, 27);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

const volatile int only_pid;
static long (*const probe_read_kernel_str)(void *to, u32 bytes, const void *from) = (void *)115;
static void *(*const ringbuf_reserve)(void *ring, u64 bytes, u64 flags) = (void *)131;
static void (*const ringbuf_submit)(void *data, u64 flags) = (void *)132;

static inline_always int report(struct task_struct *t)
{
	struct event *e;

	if (only_pid && t->pid != only_pid)
		return 0;
	e = ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = t->pid;
	probe_read_kernel_str(e->comm, sizeof(e->comm), t->comm);
	ringbuf_submit(e, 0);
	return 0;
}

SEC("tp_btf/sched_switch")
int switched(u64 *ctx)
{
	return report((void *)ctx[2]);
}

SEC("fentry/wake_up_new_task")
int woken(u64 *ctx)
{
	return report((void *)ctx[0]);
}

SEC("iter/task")
int iterated(u64 *ctx)
{
	struct task_struct *t = (void *)ctx[1];

	return t ? report(t) : 0;
}

char license_text[] SEC("license") = "GPL";
