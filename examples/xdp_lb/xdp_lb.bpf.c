// SPDX-License-Identifier: MIT OR Apache-2.0
// A small layer 4 load balancer. A packet to the service's address goes to one of four backends,
// chosen by a hash of its flow, in one of two ways:
//
//   xdp_lb_nat    rewrites destination MAC and IP address and mends both checksums;
//   xdp_lb_encap  leaves the packet as it is and puts an outer IPv4 header before it (IP in IP).
#include "../include/bpf.h"

#define IP4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define BACKENDS 4

struct backend {
	__be32 address;
	__u8 mac[ETH_ALEN];
};

// Constants that user space may set before the program is loaded (section .rodata).
const volatile __be32 service_address = IP4(198, 51, 100, 80);
const volatile __be16 service_port = bpf_htons(80);
const volatile __be32 balancer_address = IP4(198, 51, 100, 1);
const volatile struct backend backends[BACKENDS] = {
	{IP4(10, 0, 0, 11), {0x02, 0, 0, 0, 0, 0x11}},
	{IP4(10, 0, 0, 12), {0x02, 0, 0, 0, 0, 0x12}},
	{IP4(10, 0, 0, 13), {0x02, 0, 0, 0, 0, 0x13}},
	{IP4(10, 0, 0, 14), {0x02, 0, 0, 0, 0, 0x14}},
};

// Counters (section .bss) and a setting that may change while it runs (section .data).
__u64 forwarded_packets[BACKENDS];
__u64 passed_packets;
__u32 outer_ttl = 64;

struct parsed {
	struct ethhdr *eth;
	struct iphdr *ip;
	__sum16 *check;
	__u32 flow;
};

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

// Fills `out` for a whole TCP or UDP packet to the service; false: not ours.
static __always_inline int parse(struct xdp_md *ctx, struct parsed *out)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__be16 source, dest;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	// Options and fragments take the slow path.
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff) || ip->daddr != service_address)
		return 0;

	if (ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)(ip + 1);

		if ((void *)(tcp + 1) > data_end)
			return 0;
		source = tcp->source;
		dest = tcp->dest;
		out->check = &tcp->check;
	} else if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(ip + 1);

		if ((void *)(udp + 1) > data_end)
			return 0;
		source = udp->source;
		dest = udp->dest;
		out->check = &udp->check;
	} else {
		return 0;
	}
	if (dest != service_port)
		return 0;

	out->eth = eth;
	out->ip = ip;
	out->flow = mix(mix(mix(0, ip->saddr), source), ip->protocol);
	return 1;
}

static __always_inline __sum16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void set_mac(__u8 *to, const volatile __u8 *from)
{
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		to[i] = from[i];
}

static __always_inline int pass(void)
{
	__sync_fetch_and_add(&passed_packets, 1);
	return XDP_PASS;
}

SEC("xdp")
int xdp_lb_nat(struct xdp_md *ctx)
{
	struct parsed packet;

	if (!parse(ctx, &packet))
		return pass();

	__u32 index = packet.flow % BACKENDS;
	const volatile struct backend *backend = &backends[index];
	__be32 from = packet.ip->daddr;
	__be32 to = backend->address;

	// A UDP checksum of 0 says that there is none, and it stays so.
	if (packet.ip->protocol == IPPROTO_TCP || *packet.check != 0) {
		__sum16 check = fold(bpf_csum_diff(&from, sizeof(from), &to, sizeof(to),
						   (__u16)~*packet.check));

		// The other spelling of zero: 0 itself means "none" (RFC 768).
		*packet.check = packet.ip->protocol == IPPROTO_UDP && !check ? 0xffff : check;
	}
	packet.ip->check = fold(
		bpf_csum_diff(&from, sizeof(from), &to, sizeof(to), (__u16)~packet.ip->check));
	packet.ip->daddr = to;
	set_mac(packet.eth->h_source, packet.eth->h_dest);
	set_mac(packet.eth->h_dest, backend->mac);

	__sync_fetch_and_add(&forwarded_packets[index], 1);
	return XDP_TX;
}

SEC("xdp")
int xdp_lb_encap(struct xdp_md *ctx)
{
	struct parsed packet;

	if (!parse(ctx, &packet))
		return pass();

	__u32 index = packet.flow % BACKENDS;
	const volatile struct backend *backend = &backends[index];
	__u16 inner_bytes = bpf_ntohs(packet.ip->tot_len);
	struct ethhdr link = *packet.eth;

	// All pointers into the packet are void from here on.
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_ABORTED;

	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *outer = (void *)(eth + 1);

	if ((void *)(outer + 1) > data_end)
		return XDP_ABORTED;

	set_mac(eth->h_dest, backend->mac);
	set_mac(eth->h_source, link.h_dest);
	eth->h_proto = link.h_proto;
	outer->version = 4;
	outer->ihl = sizeof(*outer) / 4;
	outer->tos = 0;
	outer->tot_len = bpf_htons(inner_bytes + sizeof(*outer));
	outer->id = 0;
	outer->frag_off = 0;
	outer->ttl = outer_ttl;
	outer->protocol = IPPROTO_IPIP;
	outer->check = 0;
	outer->saddr = balancer_address;
	outer->daddr = backend->address;
	outer->check = fold(bpf_csum_diff(0, 0, (__be32 *)outer, sizeof(*outer), 0));

	__sync_fetch_and_add(&forwarded_packets[index], 1);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
