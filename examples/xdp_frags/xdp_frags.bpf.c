// SPDX-License-Identifier: MIT OR Apache-2.0
// Jumbo frames lie in several pages. A program sees the first directly; helpers reach the others.
// This one checks that an IPv4 packet is as long as it says, cuts off what is too much, and
// overwrites the last four bytes with a seal.
#include "../include/contexts.h"

#define SEAL 0x4c414553

SEC("xdp.frags")
int xdp_frags(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u64 all = bpf_xdp_get_buff_len(ctx);

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	__u64 wanted = sizeof(*eth) + bpf_ntohs(ip->tot_len);

	if (wanted > all)
		return XDP_DROP;
	if (wanted < all && bpf_xdp_adjust_tail(ctx, (int)wanted - (int)all))
		return XDP_ABORTED;

	__u32 seal = SEAL;

	if (bpf_xdp_store_bytes(ctx, wanted - sizeof(seal), &seal, sizeof(seal)))
		return XDP_ABORTED;
	return XDP_TX;
}
