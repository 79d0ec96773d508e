// SPDX-License-Identifier: MIT OR Apache-2.0
// What the processes of a control group may send: everything within a byte budget for each
// destination, except to one network. On cgroup hooks the packet begins at its IP header.
#include "../include/bpf.h"

#define BLOCKED 0
#define ALLOWED 1

#define IP4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

// Set before loading: the network that is out of bounds, and the budget in bytes.
const volatile __be32 denied_network = IP4(203, 0, 113, 0);
const volatile __be32 denied_mask = IP4(255, 255, 255, 0);
const volatile __u64 budget_bytes = 200;

// IPv4 destination in network order -> bytes that were sent, on each CPU for itself.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, __u64);
} sent SEC(".maps");

struct denied {
	__u64 by_network;
	__u64 by_budget;
} denied;

SEC("cgroup_skb/egress")
int egress_policy(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > data_end || ip->version != 4)
		return ALLOWED;

	__be32 to = ip->daddr;

	if ((to & denied_mask) == denied_network) {
		__sync_fetch_and_add(&denied.by_network, 1);
		return BLOCKED;
	}

	__u64 *bytes = bpf_map_lookup_elem(&sent, &to);

	if (!bytes) {
		__u64 first = skb->len;

		bpf_map_update_elem(&sent, &to, &first, BPF_ANY);
		return ALLOWED;
	}
	if (*bytes + skb->len > budget_bytes) {
		__sync_fetch_and_add(&denied.by_budget, 1);
		return BLOCKED;
	}
	*bytes += skb->len;
	return ALLOWED;
}

// Coming back is always allowed, and gives the peer its budget back.
SEC("cgroup_skb/ingress")
int ingress_policy(struct __sk_buff *skb)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) == 0 && ip.version == 4)
		bpf_map_delete_elem(&sent, &ip.saddr);
	return ALLOWED;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
