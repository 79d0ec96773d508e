/* What a kernel must have: each thing in a program of its own. */
#include "defs.h"

struct bpf_spin_lock {
	u32 val;
};

struct locked {
	struct bpf_spin_lock lock;
	int counter;
};

struct {
	__uint(type, 1); /* hash */
	__uint(map_flags, 1);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, struct locked);
} counters SEC(".maps");

struct {
	__uint(type, 27); /* ringbuf */
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, 3); /* prog_array */
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} jumps SEC(".maps");

extern void bpf_rcu_read_lock(void) SEC(".ksyms");
extern void bpf_preempt_disable(void) SEC(".ksyms") weak;

static void (*const spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static void (*const ringbuf_discard)(void *record, u64 flags) = (void *)133;
static long (*const dynptr_write)(void *ptr, u32 offset, void *src, u32 len, u64 flags) =
	(void *)202;

static noinline int helped(struct xdp_md *ctx)
{
	tail_call(ctx, &jumps, 0);
	return ctx->data;
}

SEC("xdp")
int calls(struct xdp_md *ctx)
{
	return helped(ctx) + 1;
}

SEC("tc/ingress")
int loops(struct xdp_md *ctx)
{
	u64 sum = 0;
	for (u32 i = 0; i < ctx->data; i++)
		sum += ktime_get_ns() * i;
	return sum;
}

SEC("fentry.s/do_exit")
int kernel(void *ctx)
{
	bpf_rcu_read_lock();
	if (bpf_preempt_disable)
		bpf_preempt_disable();
	return 0;
}

/* The newest thing of all, in a program that is not loaded. */
SEC("?xdp")
int not_loaded(struct xdp_md *ctx)
{
	return dynptr_write(ctx, 0, ctx, 4, 0);
}

SEC("xdp")
int locks(struct xdp_md *ctx)
{
	int key = 0;
	struct locked *value = map_lookup_elem(&counters, &key);
	if (value)
		spin_lock(&value->lock);
	ringbuf_discard(&events, 0);
	return (s32)ctx->data_end / (s32)ctx->data;
}

char license_text[] SEC("license") = "GPL";
