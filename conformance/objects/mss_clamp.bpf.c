// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Lowers the maximum segment size that a SYN offers, and mends the checksum.
#include "net.h"

const volatile __u16 max_mss = 1200;
__u32 clamped, kept, malformed;
__u16 sizes[16];

static __always_inline int next_option(struct __sk_buff *skb, __u32 at, __u32 end, __u32 *mss_at)
{
	__u8 kind_length[2] = {};

	if (at >= end || bpf_skb_load_bytes(skb, at, kind_length, 1))
		return -1;
	if (kind_length[0] == 0)
		return -1;
	if (kind_length[0] == 1)
		return 1;
	if (bpf_skb_load_bytes(skb, at, kind_length, 2) || kind_length[1] < 2) {
		malformed++;
		return -1;
	}
	if (kind_length[0] == 2 && kind_length[1] == 4)
		*mss_at = at + 2;
	return kind_length[1];
}

SEC("tc")
int mss_clamp(struct __sk_buff *skb)
{
	struct iphdr ip;
	struct tcphdr tcp;
	__u32 l4, at, end, mss_at = 0;
	__be16 mss, new_mss = bpf_htons(max_mss);

	if (skb->protocol != bpf_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)) ||
	    ip.protocol != IPPROTO_TCP || ip.ihl < 5)
		return TC_ACT_OK;
	l4 = sizeof(struct ethhdr) + ip.ihl * 4;
	if (bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp)) || !(tcp.flags & TCP_FLAG_SYN))
		return TC_ACT_OK;
	at = l4 + sizeof(tcp);
	end = l4 + (tcp.doff_reserved >> 4) * 4;
	for (int i = 0; i < 10 && !mss_at; i++) {
		int bytes = next_option(skb, at, end, &mss_at);

		if (bytes < 0)
			break;
		at += bytes;
	}
	if (!mss_at || bpf_skb_load_bytes(skb, mss_at, &mss, sizeof(mss)))
		return TC_ACT_OK;
	sizes[bpf_ntohs(mss) >> 12] = bpf_ntohs(mss);
	if (bpf_ntohs(mss) <= max_mss) {
		kept++;
		return TC_ACT_OK;
	}
	// Options may lie at odd offsets, where the checksum's bytes are swapped: both ways are tried.
	if ((mss_at - l4) & 1) {
		__be32 from = (__be32)mss << 8, to = (__be32)new_mss << 8;

		if (bpf_l4_csum_replace(skb, l4 + 16, from, to, sizeof(to)))
			return TC_ACT_SHOT;
	} else if (bpf_l4_csum_replace(skb, l4 + 16, mss, new_mss, sizeof(mss))) {
		return TC_ACT_SHOT;
	}
	if (bpf_skb_store_bytes(skb, mss_at, &new_mss, sizeof(new_mss), 0))
		return TC_ACT_SHOT;
	clamped++;
	skb->mark = clamped << 16 | bpf_ntohs(mss);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
