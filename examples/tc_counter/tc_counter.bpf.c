// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts packets and bytes on a tc hook: per IP protocol in an array, per EtherType in a hash that
// fills itself. Lets everything through and marks what it could not classify.
#include "../include/bpf.h"

struct traffic {
	__u64 packets;
	__u64 bytes;
};

// Index: the IPv4 header's protocol number.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct traffic);
} by_ip_protocol SEC(".maps");

// Key: EtherType in host byte order.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u16);
	__type(value, struct traffic);
} by_ethertype SEC(".maps");

#define MARK_NOT_IPV4 0x1

static __always_inline void count(struct traffic *traffic, __u32 bytes)
{
	__sync_fetch_and_add(&traffic->packets, 1);
	__sync_fetch_and_add(&traffic->bytes, bytes);
}

static void count_ethertype(__u16 ethertype, __u32 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&by_ethertype, &ethertype);

	if (!traffic) {
		struct traffic none = {};

		// Another CPU may have been faster; its entry is as good as ours.
		bpf_map_update_elem(&by_ethertype, &ethertype, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&by_ethertype, &ethertype);
		if (!traffic)
			return;
	}
	count(traffic, bytes);
}

SEC("tc")
int tc_counter(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	count_ethertype(bpf_ntohs((__u16)skb->protocol), skb->len);

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP)) {
		skb->mark = MARK_NOT_IPV4;
		return TC_ACT_OK;
	}

	__u32 key = ip->protocol;
	struct traffic *traffic = bpf_map_lookup_elem(&by_ip_protocol, &key);

	if (traffic)
		count(traffic, skb->len);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
