// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A token bucket for each source network: the clock is the number of packets seen.
#include "net.h"

struct bucket {
	__s64 tokens;
	__u64 last;
	__u32 dropped;
	__u32 passed;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, __u8);
	__type(value, __u64[2]);
} by_protocol SEC(".maps");

volatile __u64 now;
const volatile __s32 rate = 40, burst = 900;

static __noinline __s64 refill(struct bucket *b, __u64 time)
{
	__s64 tokens = b->tokens + (__s64)(time - b->last) * rate;

	b->last = time;
	return tokens > burst ? burst : tokens;
}

SEC("tc")
int rate_limit(struct __sk_buff *skb)
{
	struct iphdr ip;
	__u64 time = __sync_add_and_fetch(&now, 1);

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)) < 0)
		return TC_ACT_SHOT;
	__u32 network = ip.saddr & bpf_htonl(0xffffff00);
	struct bucket *b = bpf_map_lookup_elem(&buckets, &network);

	if (!b) {
		struct bucket new = {.tokens = burst, .last = time};

		bpf_map_update_elem(&buckets, &network, &new, BPF_NOEXIST);
		b = bpf_map_lookup_elem(&buckets, &network);
		if (!b)
			return TC_ACT_SHOT;
	}
	__u64 *sums = bpf_map_lookup_elem(&by_protocol, &ip.protocol);

	if (sums) {
		sums[0]++;
		sums[1] += skb->len;
	} else {
		__u64 first[2] = {1, skb->len};

		bpf_map_update_elem(&by_protocol, &ip.protocol, first, BPF_ANY);
	}
	__s64 tokens = refill(b, time) - (__s64)skb->len;

	if (tokens < 0) {
		b->dropped++;
		return TC_ACT_SHOT;
	}
	b->tokens = tokens;
	b->passed++;
	skb->priority = tokens;
	skb->cb[1] = tokens >> 2;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
