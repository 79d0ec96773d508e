// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A pipeline of tail calls that hands its state over in per-CPU memory, in the packet's metadata and in
// cb; tail calls from subprograms; a dispatcher whose chain of programs is a table of global functions.
#include "project.h"

#define STAGES 8

struct state {
	__u32 source;
	__u32 dest;
	__u16 ports[2];
	__u8 protocol;
	__u8 stage;
	__u16 offset;
	__u32 trail[STAGES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGES);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline struct state *state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&states, &zero);
}

static __always_inline int drop(struct __sk_buff *skb, __u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&drops, &reason);

	if (count)
		*count += skb->len;
	return TC_ACT_SHOT;
}

SEC("tc")
int stage_parse(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct state *s = state();

	if (!s)
		return TC_ACT_SHOT;
	if ((void *)(ip + 1) > end) {
		if (bpf_skb_pull_data(skb, 34))
			return drop(skb, 1);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		eth = data;
		ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return drop(skb, 2);
	}
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	s->source = ip->saddr;
	s->dest = ip->daddr;
	s->protocol = ip->protocol;
	s->offset = 14 + ip->ihl * 4;
	s->stage = 0;
	skb->cb[0] = s->offset;
	skb->cb[1] = bpf_get_hash_recalc(skb);
	bpf_tail_call(skb, &next, 1);
	return drop(skb, 200);
}

SEC("tc")
int stage_ports(struct __sk_buff *skb)
{
	struct state *s = state();
	__u32 index;

	if (!s)
		return TC_ACT_SHOT;
	if (skb->cb[0] != s->offset)
		return drop(skb, 3);
	if (bpf_skb_load_bytes(skb, s->offset, s->ports, sizeof(s->ports)))
		return drop(skb, 4);
	index = s->stage++ & (STAGES - 1);
	s->trail[index] = skb->cb[1];
	bpf_tail_call(skb, &next, s->protocol == IPPROTO_TCP ? 2 : 3);
	return drop(skb, 201);
}

static __noinline int hand_over(struct __sk_buff *skb, __u32 stage)
{
	bpf_tail_call(skb, &next, stage);
	return TC_ACT_OK;
}

static __noinline int choose(struct __sk_buff *skb, struct state *s)
{
	if (s->ports[1] == bpf_htons(80))
		return hand_over(skb, 4);
	if (s->ports[1] == bpf_htons(443))
		return hand_over(skb, 5);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int stage_tcp(struct __sk_buff *skb)
{
	struct state *s = state();
	int verdict;

	if (!s)
		return TC_ACT_SHOT;
	verdict = choose(skb, s);
	if (verdict == TC_ACT_UNSPEC)
		verdict = hand_over(skb, s->stage & (STAGES - 1));
	return verdict ? TC_ACT_SHOT : TC_ACT_OK;
}

struct meta {
	__u32 magic;
	__u32 mark;
	__u64 time;
};

SEC("xdp")
int stage_tag(struct xdp_md *xdp)
{
	struct meta *meta;
	void *data;

	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(*meta)))
		return XDP_PASS;
	meta = (void *)(long)xdp->data_meta;
	data = (void *)(long)xdp->data;
	if ((void *)(meta + 1) > data)
		return XDP_ABORTED;
	meta->magic = 0xfeedface;
	meta->mark = xdp->rx_queue_index;
	meta->time = bpf_ktime_get_ns();
	return XDP_PASS;
}

SEC("tc")
int stage_tagged(struct __sk_buff *skb)
{
	struct meta *meta = (void *)(long)skb->data_meta;
	void *data = (void *)(long)skb->data;

	if ((void *)(meta + 1) > data)
		return TC_ACT_UNSPEC;
	if (meta->magic != 0xfeedface)
		return TC_ACT_SHOT;
	skb->mark = meta->mark;
	skb->priority = bpf_ktime_get_ns() - meta->time > 1000000;
	return TC_ACT_OK;
}

#define MEMBER(n)                                         \
	__noinline int member##n(struct xdp_md *ctx)      \
	{                                                 \
		volatile int ret = 31;                    \
		if (!ctx)                                 \
			return XDP_ABORTED;               \
		return ret;                               \
	}
MEMBER(0) MEMBER(1) MEMBER(2) MEMBER(3) MEMBER(4) MEMBER(5) MEMBER(6) MEMBER(7) MEMBER(8) MEMBER(9)

struct config {
	__u8 enabled;
	__u8 pad[3];
	__u32 chain[10];
};
static volatile const struct config config = {.enabled = 7};

/* The shape of a dispatcher of several XDP programs: members are to be replaced. */
SEC("xdp")
int chain(struct xdp_md *ctx)
{
	__u8 enabled = config.enabled;
	int ret;

#define CALL(n)                                           \
	if (enabled < n + 1)                              \
		goto out;                                 \
	ret = member##n(ctx);                             \
	if (!((1u << (ret & 31)) & config.chain[n]))      \
		return ret & 3;
	CALL(0) CALL(1) CALL(2) CALL(3) CALL(4) CALL(5) CALL(6) CALL(7) CALL(8) CALL(9)
out:
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
