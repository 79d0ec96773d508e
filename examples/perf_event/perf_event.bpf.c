// SPDX-License-Identifier: MIT OR Apache-2.0
// A profiler: counts samples by the stack of the process, weighted by the period.
#include "../include/tracing.h"

#define DEPTH 16

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, DEPTH * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} samples SEC(".maps");

__u64 without_stack;

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	long id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	__u64 period = ctx->sample_period, *sum;
	__u32 key = id;

	if (id < 0) {
		without_stack += period;
		return 0;
	}
	sum = bpf_map_lookup_elem(&samples, &key);
	if (sum)
		__sync_fetch_and_add(sum, period);
	else
		bpf_map_update_elem(&samples, &key, &period, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
