// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts processes that end, by their name. The record is laid out as the tracepoint's format file
// says.
#include "../include/tracing.h"

struct exit_record {
	__u64 common;
	char comm[16];
	__s32 pid;
	__s32 prio;
};

struct name {
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct name);
	__type(value, __u64);
} ended SEC(".maps");

SEC("tracepoint/sched/sched_process_exit")
int on_exit(struct exit_record *record)
{
	struct name name;
	__u64 one = 1, *count;

	// Byte by byte: records are read in the sizes of their fields.
	for (int i = 0; i < 16; i++)
		name.comm[i] = record->comm[i];
	count = bpf_map_lookup_elem(&ended, &name);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&ended, &name, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
