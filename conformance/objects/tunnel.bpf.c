// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Takes packets out of VXLAN, with the network's number as metadata, and answers echo requests in it.
#include "net.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct event {
	__u32 vni;
	__u32 bytes;
	__u8 mac[ETH_ALEN];
	__u16 kind;
};

static __noinline int record(struct xdp_md *ctx, __u32 vni)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return -1;
	event->vni = vni;
	event->bytes = data_end - data;
	event->kind = vni % 3;
	if (data + ETH_ALEN > data_end || event->kind == 2) {
		bpf_ringbuf_discard(event, 0);
		return 1;
	}
	__builtin_memcpy(event->mac, data, ETH_ALEN);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("xdp")
int vxlan(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;
	__u32 *vxlan;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	udp = (void *)ip + ip->ihl * 4;
	vxlan = (void *)(udp + 1);
	if ((void *)(vxlan + 2) > data_end || udp->dest != bpf_htons(4789))
		return XDP_PASS;
	if (!(vxlan[0] & bpf_htonl(0x08000000)))
		return XDP_DROP;
	__u32 vni = bpf_ntohl(vxlan[1]) >> 8;
	__u64 *count = bpf_map_lookup_elem(&networks, &vni);
	__u64 first = 1;

	if (count)
		*count += first;
	else
		bpf_map_update_elem(&networks, &vni, &first, BPF_ANY);
	if (bpf_xdp_adjust_head(ctx, (void *)(vxlan + 2) - data))
		return XDP_ABORTED;
	if (bpf_xdp_adjust_meta(ctx, -8))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	__u32 *meta = (void *)(long)ctx->data_meta;

	if ((void *)(meta + 2) > data)
		return XDP_ABORTED;
	meta[0] = vni;
	meta[1] = ~vni;
	return record(ctx, vni) < 0 ? XDP_DROP : XDP_PASS;
}

static volatile __u32 echoes[2];

SEC("xdp")
int echo(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct icmphdr *icmp = (void *)(ip + 1);
		__be32 address;

		if ((void *)(icmp + 1) > data_end || ip->ihl != 5 ||
		    ip->protocol != IPPROTO_ICMP || icmp->type != 8)
			return XDP_PASS;
		address = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = address;
		__be32 old = *(__be32 *)icmp;
		icmp->type = 0;
		icmp->checksum = 0;
		__be32 new = *(__be32 *)icmp;
		old &= bpf_htonl(0xffff0000);
		__s64 sum = bpf_csum_diff(&old, 4, &new, 4, (__u16)~icmp->checksum);
		icmp->checksum = csum_fold(sum);
		echoes[0]++;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		struct icmphdr *icmp = (void *)(ip + 1);
		struct in6 address;

		if ((void *)(icmp + 1) > data_end || ip->nexthdr != IPPROTO_ICMPV6 ||
		    icmp->type != 128)
			return XDP_PASS;
		address = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = address;
		icmp->type = 129;
		icmp->checksum = csum_fold((__u16)~icmp->checksum + 1);
		echoes[1]++;
	} else {
		return XDP_PASS;
	}
	swap_mac(eth);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
