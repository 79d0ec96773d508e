// SPDX-License-Identifier: MIT OR Apache-2.0
// A netfilter program that accepts so many packets a second and drops the rest. It looks at no packet:
// the fields of its context point to structs of the kernel, which only a kernel has.
#include "../include/contexts.h"

#define SECOND_NS 1000000000ULL

struct budget {
	__u64 second;
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

const volatile __u64 packets_per_second = 3;

SEC("netfilter")
int limit(void *ctx)
{
	(void)ctx;
	__u32 key = 0;
	struct budget *budget = bpf_map_lookup_elem(&budgets, &key);
	__u64 second = bpf_ktime_get_ns() / SECOND_NS;

	if (!budget)
		return NF_DROP;
	if (budget->second != second) {
		budget->second = second;
		budget->packets = 0;
	}
	if (budget->packets >= packets_per_second)
		return NF_DROP;
	budget->packets++;
	return NF_ACCEPT;
}
