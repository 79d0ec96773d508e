// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Rate limiters whose buckets are guarded by spin locks: per address, per class, and one that paces with
// departure times; and a policer without locks by compare-and-exchange.
#include "project.h"

struct bucket {
	struct bpf_spin_lock lock;
	__u32 drops;
	__u64 tokens;
	__u64 time;
};

struct rate {
	__u64 bytes_per_second;
	__u64 burst;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct bucket);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct bucket);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct rate);
} rates SEC(".maps");

static __always_inline int take(struct bucket *b, const struct rate *rate, __u32 bytes, __u64 now)
{
	__u64 passed, tokens;
	int pass;

	bpf_spin_lock(&b->lock);
	passed = now - b->time;
	if (passed > 1000000000)
		passed = 1000000000;
	tokens = b->tokens + passed * rate->bytes_per_second / 1000000000;
	if (tokens > rate->burst)
		tokens = rate->burst;
	pass = tokens >= bytes;
	if (pass)
		tokens -= bytes;
	else
		b->drops++;
	b->tokens = tokens;
	b->time = now;
	bpf_spin_unlock(&b->lock);
	return pass;
}

SEC("xdp")
int limit_address(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u64 now = bpf_ktime_get_ns();
	struct bucket *b, fresh = {};
	struct rate *rate;
	__u32 class = 0;
	__be32 address;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	rate = bpf_map_lookup_elem(&rates, &class);
	if (!rate)
		return XDP_ABORTED;
	address = ip->saddr;
	b = bpf_map_lookup_elem(&addresses, &address);
	if (!b) {
		fresh.tokens = rate->burst;
		fresh.time = now;
		bpf_map_update_elem(&addresses, &address, &fresh, BPF_NOEXIST);
		return XDP_PASS;
	}
	return take(b, rate, end - data, now) ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int limit_class(struct __sk_buff *skb)
{
	__u32 class = skb->priority & 15;
	struct bucket *b = bpf_map_lookup_elem(&classes, &class);
	struct rate *rate = bpf_map_lookup_elem(&rates, &class);

	if (!b || !rate)
		return TC_ACT_OK;
	if (take(b, rate, skb->len, bpf_ktime_get_ns()))
		return TC_ACT_OK;
	/* What is over its rate borrows from the parent class. */
	class >>= 2;
	b = bpf_map_lookup_elem(&classes, &class);
	rate = bpf_map_lookup_elem(&rates, &class);
	if (b && rate && take(b, rate, skb->len, bpf_ktime_get_ns()))
		return TC_ACT_OK;
	return bpf_skb_ecn_set_ce(skb) ? TC_ACT_OK : TC_ACT_SHOT;
}

#define HORIZON 2000000000ull

SEC("tc")
int pace(struct __sk_buff *skb)
{
	__u32 class = skb->mark % 16;
	struct rate *rate = bpf_map_lookup_elem(&rates, &class);
	struct bucket *b = bpf_map_lookup_elem(&classes, &class);
	__u64 now, departure, delay, at;

	if (!rate || !b || !rate->bytes_per_second)
		return TC_ACT_OK;
	now = bpf_ktime_get_ns();
	at = skb->tstamp;
	if (at < now)
		at = now;
	delay = (__u64)skb->wire_len * 1000000000 / rate->bytes_per_second;
	bpf_spin_lock(&b->lock);
	departure = b->time + delay;
	if (departure <= at) {
		b->time = at;
		bpf_spin_unlock(&b->lock);
		return TC_ACT_OK;
	}
	if (departure - now >= HORIZON) {
		b->drops++;
		bpf_spin_unlock(&b->lock);
		return TC_ACT_SHOT;
	}
	b->time = departure;
	bpf_spin_unlock(&b->lock);
	skb->tstamp = departure;
	return TC_ACT_OK;
}

__u64 shared_tokens = 1000000;
__u64 last_refill;

SEC("tc")
int police(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_coarse_ns(), last = last_refill, tokens;

	if (now - last > 1000000 && __sync_val_compare_and_swap(&last_refill, last, now) == last)
		__sync_fetch_and_add(&shared_tokens, (now - last) >> 10);
	for (int i = 0; i < 4; i++) {
		tokens = shared_tokens;
		if (tokens < skb->len)
			return TC_ACT_SHOT;
		if (__sync_val_compare_and_swap(&shared_tokens, tokens, tokens - skb->len) ==
		    tokens)
			return TC_ACT_OK;
	}
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
