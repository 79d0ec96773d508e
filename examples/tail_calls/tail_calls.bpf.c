// SPDX-License-Identifier: MIT OR Apache-2.0
// A dispatcher that jumps to one program per layer 4 protocol through a program array. The array
// is filled where it is defined, so that the object file is complete by itself.
#include "../include/bpf.h"

int xdp_tcp(struct xdp_md *ctx);
int xdp_udp(struct xdp_md *ctx);
int xdp_icmp(struct xdp_md *ctx);
int xdp_forever(struct xdp_md *ctx);

// A protocol number of IANA's that no packet carries (253: for experimentation, RFC 3692).
#define PROTOCOL_EXPERIMENT 253

// Index: the IPv4 header's protocol number.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 256);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} per_protocol SEC(".maps") = {
	.values = {
		[IPPROTO_ICMP] = (void *)&xdp_icmp,
		[IPPROTO_TCP] = (void *)&xdp_tcp,
		[IPPROTO_UDP] = (void *)&xdp_udp,
		[PROTOCOL_EXPERIMENT] = (void *)&xdp_forever,
	},
};

// Packets that no program was there for, and rounds that xdp_forever made.
__u64 unhandled;
__u64 rounds;

static __always_inline struct iphdr *ipv4(struct xdp_md *ctx, __u32 payload_bytes)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) + payload_bytes > data_end)
		return 0;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return 0;
	return ip;
}

SEC("xdp")
int xdp_dispatch(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx, 0);

	if (!ip)
		return XDP_PASS;
	bpf_tail_call(ctx, &per_protocol, ip->protocol);
	// Only reached when the array has no program at this index.
	__sync_fetch_and_add(&unhandled, 1);
	return XDP_PASS;
}

// Connections to ports below 1024 pass, others are dropped.
SEC("xdp")
int xdp_tcp(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx, sizeof(struct tcphdr));

	if (!ip)
		return XDP_DROP;
	struct tcphdr *tcp = (void *)(ip + 1);
	return bpf_ntohs(tcp->dest) < 1024 ? XDP_PASS : XDP_DROP;
}

// DNS passes, other datagrams are dropped.
SEC("xdp")
int xdp_udp(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx, sizeof(struct udphdr));

	if (!ip)
		return XDP_DROP;
	struct udphdr *udp = (void *)(ip + 1);
	return udp->dest == bpf_htons(53) ? XDP_PASS : XDP_DROP;
}

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8

// Answers a ping in place: addresses swapped, type changed, checksum mended (RFC 1624).
SEC("xdp")
int xdp_icmp(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx, sizeof(struct icmphdr));

	if (!ip)
		return XDP_DROP;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct icmphdr *icmp = (void *)(ip + 1);

	if (icmp->type != ICMP_ECHO_REQUEST || icmp->code != 0)
		return XDP_PASS;

	struct ethhdr link = *eth;

	__builtin_memcpy(eth->h_dest, link.h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, link.h_dest, ETH_ALEN);
	__be32 source = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = source;
	icmp->type = ICMP_ECHO_REPLY;

	__u32 sum = icmp->checksum + bpf_htons(ICMP_ECHO_REQUEST << 8);

	icmp->checksum = sum + (sum >> 16);
	return XDP_TX;
}

// Calls itself until the limit of tail calls stops it; the call then does nothing.
SEC("xdp")
int xdp_forever(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&rounds, 1);
	bpf_tail_call(ctx, &per_protocol, PROTOCOL_EXPERIMENT);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
