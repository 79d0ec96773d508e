// SPDX-License-Identifier: MIT OR Apache-2.0
// A program at a route puts packets for 198.51.100.0/24 into a tunnel: an IPv4 header before them.
#include "../include/contexts.h"

#define PREFIX bpf_htonl(0xc6336400)
#define MASK bpf_htonl(0xffffff00)

SEC("lwt_xmit")
int lwt_encap(struct __sk_buff *skb)
{
	struct iphdr inner;

	// The packet begins with its IP header: there is no link-layer header yet.
	if (skb->protocol != bpf_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(skb, 0, &inner, sizeof(inner)))
		return BPF_OK;
	if ((inner.daddr & MASK) != PREFIX)
		return BPF_OK;
	if (inner.ttl <= 1)
		return BPF_DROP;

	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = inner.tos,
		.tot_len = bpf_htons(bpf_ntohs(inner.tot_len) + sizeof(outer)),
		.ttl = 64,
		.protocol = IPPROTO_IPIP,
		.saddr = bpf_htonl(0xc0000201),
		.daddr = bpf_htonl(0xcb007101),
	};

	// A checksum of 0 is filled in.
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer)))
		return BPF_DROP;
	return BPF_OK;
}
