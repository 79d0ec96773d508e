// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v4
// A firewall as a pipeline of tail calls with state in metadata and a map of maps; token buckets under
// locks; a classifier that rewrites addresses with checksums; capture.
#include "project.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} stages SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, __u32);
} list SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct inner);
} lists SEC(".maps") = { .values = { &list } };

struct bucket {
	struct bpf_spin_lock lock;
	__u32 tokens;
	__u64 time;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} captured SEC(".maps");

struct meta {
	__u32 offset;
	__u16 proto, stage;
};

const volatile __u32 rate = 1000, burst = 4000;
__u64 dropped, passed;

SEC("xdp")
int stage_parse(struct xdp_md *ctx)
{
	void *data, *end;
	struct meta *meta;
	struct ethhdr *eth;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	meta = (void *)(long)ctx->data_meta;
	eth = data;
	if ((void *)(meta + 1) > data || (void *)(eth + 1) > end)
		return XDP_DROP;
	meta->offset = sizeof(*eth);
	meta->proto = eth->h_proto;
	meta->stage = 1;
	bpf_tail_call(ctx, &stages, eth->h_proto == bpf_htons(ETH_P_IP) ? 1 : 2);
	return XDP_PASS;
}

SEC("xdp")
int stage_lists(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct meta *meta = (void *)(long)ctx->data_meta;
	struct iphdr *ip;
	__u32 i, offset;
	void *inner;

	if ((void *)(meta + 1) > data)
		return XDP_ABORTED;
	offset = meta->offset;
	if (offset > 64)
		return XDP_ABORTED;
	ip = data + offset;
	if ((void *)(ip + 1) > end)
		return XDP_DROP;
#pragma clang loop unroll(disable)
	for (i = 0; i < 4; i++) {
		__u32 key = i, *verdict;

		inner = bpf_map_lookup_elem(&lists, &key);
		if (!inner)
			continue;
		verdict = bpf_map_lookup_elem(inner, i & 1 ? &ip->daddr : &ip->saddr);
		if (verdict && *verdict == XDP_DROP) {
			__sync_fetch_and_add(&dropped, 1);
			return XDP_DROP;
		}
	}
	meta->stage = 2;
	bpf_tail_call(ctx, &stages, 3);
	return XDP_PASS;
}

SEC("xdp")
int stage_rate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__u64 now = bpf_ktime_get_ns(), add;
	struct bucket *b;
	__be32 source;
	int verdict;

	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	source = ip->saddr;
	b = bpf_map_lookup_elem(&buckets, &source);
	if (!b) {
		struct bucket fresh = { .tokens = burst, .time = now };

		bpf_map_update_elem(&buckets, &source, &fresh, BPF_NOEXIST);
		return XDP_PASS;
	}
	bpf_spin_lock(&b->lock);
	add = (now - b->time) * rate / 1000000000;
	if (add) {
		b->tokens = b->tokens + add > burst ? burst : b->tokens + add;
		b->time = now;
	}
	verdict = b->tokens ? XDP_PASS : XDP_DROP;
	if (b->tokens)
		b->tokens--;
	bpf_spin_unlock(&b->lock);
	if (verdict == XDP_PASS)
		__sync_fetch_and_add(&passed, 1);
	return verdict;
}

SEC("xdp")
int capture(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct {
		__u64 time;
		__u32 bytes, ifindex;
	} header = {};
	__u64 bytes = end - data;

	header.time = bpf_ktime_get_ns();
	header.bytes = bytes;
	header.ifindex = ctx->ingress_ifindex;
	if (bytes > 256)
		bytes = 256;
	bpf_perf_event_output(ctx, &captured, bytes << 32 | BPF_F_CURRENT_CPU, &header,
			      sizeof(header));
	return XDP_PASS;
}

#define IP_AT sizeof(struct ethhdr)

SEC("tc")
int translate(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__be32 from, to, *mapped;
	__u32 check, zero = 0;
	__u8 protocol;
	void *inner;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return TC_ACT_OK;
	inner = bpf_map_lookup_elem(&lists, &zero);
	if (!inner)
		return TC_ACT_OK;
	from = ip->daddr;
	protocol = ip->protocol;
	mapped = bpf_map_lookup_elem(inner, &from);
	if (!mapped)
		return TC_ACT_OK;
	to = *mapped;
	switch (protocol) {
	case IPPROTO_TCP:
		check = IP_AT + sizeof(*ip) + __builtin_offsetof(struct tcphdr, check);
		break;
	case IPPROTO_UDP:
		check = IP_AT + sizeof(*ip) + __builtin_offsetof(struct udphdr, check);
		break;
	default:
		check = 0;
	}
	if (check && bpf_l4_csum_replace(skb, check, from, to,
					 sizeof(to) | BPF_F_PSEUDO_HDR |
						 (protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0)))
		return TC_ACT_SHOT;
	bpf_l3_csum_replace(skb, IP_AT + __builtin_offsetof(struct iphdr, check), from, to, sizeof(to));
	bpf_skb_store_bytes(skb, IP_AT + __builtin_offsetof(struct iphdr, daddr), &to, sizeof(to), 0);
	return bpf_redirect(skb->ifindex, 0);
}
