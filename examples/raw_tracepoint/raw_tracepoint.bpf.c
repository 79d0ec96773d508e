// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts the errors that system calls end with: the second argument of the tracepoint sys_exit is
// what the call returned.
#include "../include/tracing.h"

#define MAX_ERRNO 133

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_ERRNO + 1);
	__type(key, __u32);
	__type(value, __u64);
} errors SEC(".maps");

SEC("raw_tracepoint/sys_exit")
int on_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__s64 result = ctx->args[1];
	__u32 error = -result;
	__u64 *count;

	if (result >= 0)
		return 0;
	count = bpf_map_lookup_elem(&errors, &error);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
