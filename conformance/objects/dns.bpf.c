// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v2
// Reads the question of DNS queries over UDP: counts names by hash and type, answers too frequent ones
// with "truncated" so that the client comes back over TCP.
#include "net.h"

#define MAX_NAME 64
#define LIMIT 3

struct dnshdr {
	__be16 id;
	__u8 flags;
	__u8 code;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additional;
};

struct question {
	__u64 name_hash;
	__u16 type;
	__u16 labels;
	__u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct question);
	__type(value, __u64);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} problems SEC(".maps");

enum { SHORT, COMPRESSED, LONG_NAME, NOT_ONE, ANSWER, FULL };

static __always_inline void problem(__u32 which)
{
	__u64 *count = bpf_map_lookup_elem(&problems, &which);

	if (count)
		*count += 1;
}

static __noinline int parse_name(struct xdp_md *ctx, __u32 offset, struct question *out)
{
	__u64 hash = 0xcbf29ce484222325;
	__u8 left = 0;
	int i;

	for (i = 0; i < MAX_NAME; i++) {
		void *data = (void *)(long)ctx->data;
		void *data_end = (void *)(long)ctx->data_end;

		if (offset > 0xff)
			return -1;
		__u8 *at = data + offset + i;

		if ((void *)(at + 1) > data_end) {
			problem(SHORT);
			return -1;
		}
		__u8 c = *at;

		if (left == 0) {
			if (c == 0)
				break;
			if (c & 0xc0) {
				problem(COMPRESSED);
				return -1;
			}
			left = c;
			out->labels++;
		} else {
			left--;
			if (c >= 'A' && c <= 'Z')
				c |= 0x20;
		}
		hash = (hash ^ c) * 0x100000001b3;
	}
	if (i == MAX_NAME) {
		problem(LONG_NAME);
		return -1;
	}
	out->name_hash = hash;
	out->length = i;
	return i + 1;
}

SEC("xdp")
int dns(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct question question = {};
	__u32 offset;
	__u8 *ip = data + sizeof(*eth);
	__u32 ip_bytes;

	if ((void *)(ip + sizeof(struct iphdr)) > data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *v4 = (void *)ip;

		if (v4->protocol != IPPROTO_UDP || v4->ihl < 5)
			return XDP_PASS;
		ip_bytes = v4->ihl * 4;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *v6 = (void *)ip;

		if ((void *)(v6 + 1) > data_end || v6->nexthdr != IPPROTO_UDP)
			return XDP_PASS;
		ip_bytes = sizeof(*v6);
	} else {
		return XDP_PASS;
	}
	struct udphdr *udp = (void *)ip + ip_bytes;

	if ((void *)(udp + 1) > data_end || udp->dest != bpf_htons(53))
		return XDP_PASS;
	struct dnshdr *dns = (void *)(udp + 1);

	if ((void *)(dns + 1) > data_end) {
		problem(SHORT);
		return XDP_DROP;
	}
	if (dns->flags & 0x80) {
		problem(ANSWER);
		return XDP_DROP;
	}
	if (dns->questions != bpf_htons(1)) {
		problem(NOT_ONE);
		return XDP_PASS;
	}
	offset = sizeof(*eth) + ip_bytes + sizeof(*udp) + sizeof(*dns);
	int name_bytes = parse_name(ctx, offset, &question);

	if (name_bytes < 0)
		return XDP_DROP;
	__be16 type_class[2];

	if (bpf_xdp_load_bytes(ctx, offset + name_bytes, type_class, sizeof(type_class))) {
		problem(SHORT);
		return XDP_DROP;
	}
	question.type = bpf_ntohs(type_class[0]);
	__u64 *seen = bpf_map_lookup_elem(&names, &question);

	if (!seen) {
		__u64 one = 1;

		if (bpf_map_update_elem(&names, &question, &one, BPF_NOEXIST))
			problem(FULL);
		return XDP_PASS;
	}
	if (__sync_fetch_and_add(seen, 1), *seen <= LIMIT)
		return XDP_PASS;

	// The pointers were lost in the call.
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	struct iphdr *v4 = (void *)(eth + 1);

	if ((void *)(v4 + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_DROP;
	udp = (void *)v4 + v4->ihl * 4;
	dns = (void *)(udp + 1);
	if ((void *)(dns + 1) > data_end)
		return XDP_DROP;
	dns->flags |= 0x82;
	udp->check = 0;
	__be16 port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	__be32 address = v4->saddr;
	v4->saddr = v4->daddr;
	v4->daddr = address;
	swap_mac(eth);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
