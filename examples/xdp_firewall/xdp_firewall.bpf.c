// SPDX-License-Identifier: MIT OR Apache-2.0
// Drops IPv4 packets whose source address is in the map `blocked`, and TCP connections to telnet.
// Counts what happened per reason, on each CPU for itself.
#include "../include/bpf.h"

enum reason {
	REASON_PASSED,
	REASON_NOT_IPV4,
	REASON_MALFORMED,
	REASON_BLOCKED_SOURCE,
	REASON_BLOCKED_PORT,
	REASON_COUNT,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

// IPv4 source address in network order -> number of packets that it sent since it was blocked.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, __u64);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

#define PORT_TELNET 23
#define MAX_VLAN_TAGS 2

static __always_inline int finish(enum reason reason, __u64 bytes, int action)
{
	__u32 key = reason;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter) {
		counter->packets += 1;
		counter->bytes += bytes;
	}
	return action;
}

SEC("xdp")
int xdp_firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	__u64 bytes = data_end - data;
	struct ethhdr *eth = data;
	void *next = eth + 1;

	if (next > data_end)
		return finish(REASON_MALFORMED, bytes, XDP_DROP);

	__be16 protocol = eth->h_proto;
#pragma unroll
	for (int tag = 0; tag < MAX_VLAN_TAGS; tag++) {
		struct vlan_hdr *vlan = next;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > data_end)
			return finish(REASON_MALFORMED, bytes, XDP_DROP);
		protocol = vlan->h_vlan_encapsulated_proto;
		next = vlan + 1;
	}
	if (protocol != bpf_htons(ETH_P_IP))
		return finish(REASON_NOT_IPV4, bytes, XDP_PASS);

	struct iphdr *ip = next;

	if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5)
		return finish(REASON_MALFORMED, bytes, XDP_DROP);

	__be32 source = ip->saddr;
	__u64 *hits = bpf_map_lookup_elem(&blocked, &source);

	if (hits) {
		__sync_fetch_and_add(hits, 1);
		return finish(REASON_BLOCKED_SOURCE, bytes, XDP_DROP);
	}

	void *transport = (void *)ip + ip->ihl * 4;
	__be16 port = 0;

	if (ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = transport;

		if ((void *)(tcp + 1) > data_end)
			return finish(REASON_MALFORMED, bytes, XDP_DROP);
		port = tcp->dest;
	} else if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = transport;

		if ((void *)(udp + 1) > data_end)
			return finish(REASON_MALFORMED, bytes, XDP_DROP);
	}
	if (port == bpf_htons(PORT_TELNET))
		return finish(REASON_BLOCKED_PORT, bytes, XDP_DROP);

	return finish(REASON_PASSED, bytes, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
