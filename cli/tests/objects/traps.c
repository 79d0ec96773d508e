// SPDX-License-Identifier: MIT OR Apache-2.0
// Programs that no verifier takes: each does one thing that checked runs stop at.
// Built by rebuild.sh beside it.
#include "../../../examples/include/bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} empty SEC(".maps");

SEC("xdp")
int past_the_end(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u32 sum = 0;

	for (__u32 i = 0; i < 2000; i++)
		sum += data[i];
	return sum & 1 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int null_value(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&empty, &key);

	*value += 1;
	return XDP_PASS;
}

SEC("xdp")
int speaks_first(struct xdp_md *ctx)
{
	__u32 *meta = (void *)(long)ctx->data_meta;

	bpf_printk("about to fail");
	return meta[-1];
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
