// SPDX-License-Identifier: MIT OR Apache-2.0
// Packets by the second: the first packet starts a timer, which puts the count aside every second.
#include "../include/bpf.h"

#define SECOND_NS 1000000000ULL
#define CLOCK_MONOTONIC 1

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *)169;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 ns, __u64 flags) = (void *)171;

struct rate {
	__u64 packets;
	__u64 last_second;
	__u64 seconds;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rate);
} rates SEC(".maps");

static int every_second(void *map, __u32 *key, struct rate *rate)
{
	(void)map;
	(void)key;
	rate->last_second = rate->packets;
	rate->packets = 0;
	rate->seconds++;
	bpf_timer_start(&rate->timer, SECOND_NS, 0);
	return 0;
}

SEC("tc")
int count(struct __sk_buff *skb)
{
	(void)skb;
	__u32 key = 0;
	struct rate *rate = bpf_map_lookup_elem(&rates, &key);

	if (!rate)
		return TC_ACT_OK;
	// All but the first find that there is a timer already.
	if (!bpf_timer_init(&rate->timer, &rates, CLOCK_MONOTONIC)) {
		bpf_timer_set_callback(&rate->timer, every_second);
		bpf_timer_start(&rate->timer, SECOND_NS, 0);
	}
	__sync_fetch_and_add(&rate->packets, 1);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
