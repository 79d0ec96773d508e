// SPDX-License-Identifier: MIT OR Apache-2.0
// A program with a common mistake: it compares the end of the packet with the end of the IP header
// and then reads the TCP header behind it. Linux refuses to load it; here it runs, and stops at the
// first packet that ends too early.
#include "../include/bpf.h"

SEC("xdp")
int missing_check(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	return tcp->dest == bpf_htons(23) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
