// SPDX-License-Identifier: MIT OR Apache-2.0
// Of the sockets that share a port, the first byte of the payload says which one gets the datagram.
#include "../include/sockets.h"

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} group SEC(".maps");

SEC("sk_reuseport")
int by_payload(struct sk_reuseport_md *ctx)
{
	struct udphdr *udp = ctx->data;
	__u8 *payload = (__u8 *)(udp + 1);
	__u32 key;

	if (ctx->ip_protocol != IPPROTO_UDP || (void *)(payload + 1) > ctx->data_end)
		return SK_DROP;
	key = *payload & 3;
	// Without a socket in that slot the kernel chooses by the hash.
	bpf_sk_select_reuseport(ctx, &group, &key, 0);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
