// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v1
// Walks the extension headers of IPv6, with the oldest instruction set.
#include "net.h"

#define MAX_HEADERS 8

struct seen {
	__u32 packets;
	__u16 offset;
	__u8 headers;
	__u8 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct seen);
} by_transport SEC(".maps");

__u64 fragments, unknown, cut;
__u16 longest;

SEC("xdp")
int ipv6_walk(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	__u32 offset = sizeof(*eth) + sizeof(*ip);
	__u8 next;
	int headers;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	next = ip->nexthdr;
	for (headers = 0; headers < MAX_HEADERS; headers++) {
		struct ipv6_opt_hdr opt;
		__u32 bytes;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH && next != IPPROTO_DSTOPTS)
			break;
		if (bpf_xdp_load_bytes(ctx, offset, &opt, sizeof(opt)) < 0) {
			__sync_fetch_and_add(&cut, 1);
			return XDP_DROP;
		}
		switch (next) {
		case IPPROTO_FRAGMENT:
			fragments++;
			bytes = 8;
			break;
		case IPPROTO_AH:
			bytes = (opt.hdrlen + 2) * 4;
			break;
		case IPPROTO_ROUTING:
			// Type 0 is forbidden (RFC 5095).
			if (opt.hdrlen > 2)
				return XDP_DROP;
		default:
			bytes = (opt.hdrlen + 1) * 8;
		}
		next = opt.nexthdr;
		offset += bytes;
	}
	if (headers == MAX_HEADERS)
		return XDP_ABORTED;
	if (longest < offset)
		longest = offset;
	__u32 key = next;
	struct seen *seen = bpf_map_lookup_elem(&by_transport, &key);

	if (!seen)
		return XDP_ABORTED;
	seen->packets++;
	seen->offset = offset;
	seen->headers |= 1 << headers;
	seen->last = headers;
	switch (next) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMPV6: {
		__u32 ports;

		if (bpf_xdp_load_bytes(ctx, offset, &ports, sizeof(ports)) < 0)
			return XDP_DROP;
		ports ^= 0x01010101;
		// Packets are writable through the helper, too.
		if (headers && bpf_xdp_store_bytes(ctx, offset, &ports, sizeof(ports)) < 0)
			return XDP_ABORTED;
		return XDP_PASS;
	}
	case IPPROTO_NONE:
		return XDP_DROP;
	default:
		unknown++;
		return XDP_PASS;
	}
}

char LICENSE[] SEC("license") = "GPL";
