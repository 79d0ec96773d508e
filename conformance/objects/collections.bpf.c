// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Maps that are no tables: queues, stacks, Bloom filters; values for each CPU; maps of maps.
#include "net.h"

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 7);
	__type(value, __u64);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 5);
	__type(value, __u32[3]);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 10000);
	__type(value, __u32);
	__uint(map_extra, 5);
} met SEC(".maps");

__u32 answers[8];

SEC("tc")
int queues(struct __sk_buff *skb)
{
	__u64 value = (__u64)skb->len << 32 | skb->protocol;
	__u32 three[3] = {skb->len, skb->mark, skb->pkt_type}, length = skb->len & 127;
	long error = bpf_map_push_elem(&waiting, &value, skb->len & 1 ? BPF_EXIST : BPF_ANY);

	answers[0] += -error;
	if (skb->len % 3 == 0) {
		error = bpf_map_pop_elem(&waiting, &value);
		answers[1] += error ? -error : (__u32)(value >> 32);
	}
	error = bpf_map_peek_elem(&waiting, &value);
	answers[2] ^= error ? 0x80000000 : (__u32)value;
	error = bpf_map_push_elem(&recent, three, BPF_ANY);
	answers[3] += -error;
	if (error || skb->len % 4 == 0)
		error = bpf_map_pop_elem(&recent, three);
	answers[4] = answers[4] * 31 + three[0] + three[2];
	error = bpf_map_peek_elem(&recent, three);
	answers[5] = answers[5] * 31 + three[0] - error;
	if (bpf_map_peek_elem(&met, &length)) {
		answers[6]++;
		return bpf_map_push_elem(&met, &length, BPF_ANY) ? TC_ACT_SHOT : TC_ACT_OK;
	}
	answers[7]++;
	return TC_ACT_UNSPEC;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32[3]);
} lanes SEC(".maps");

__u64 word = 0x0123456789abcdef;
__u32 half = 0x76543210;

SEC("xdp")
int atomics(struct xdp_md *ctx)
{
	__u32 bytes = (__u32)(ctx->data_end - ctx->data), key = bytes & 15;
	__u32 *lane = bpf_map_lookup_elem(&lanes, &key);
	__u32 cpu = bpf_get_smp_processor_id();
	__u64 old;

	if (!lane)
		return XDP_ABORTED;
	old = __sync_fetch_and_add(&word, bytes);
	old ^= __sync_fetch_and_xor(&word, old << 7);
	lane[0] += __sync_fetch_and_or(&half, bytes);
	lane[1] = __sync_fetch_and_and(&half, ~(bytes << 3));
	old += __sync_lock_test_and_set(&half, bytes * 0x9e3779b1);
	old += __sync_val_compare_and_swap(&word, old & 1 ? word : 5, old);
	lane = bpf_map_lookup_percpu_elem(&lanes, &key, cpu);
	if (lane)
		lane[2] += old >> 32 ^ old;
	lane = bpf_map_lookup_percpu_elem(&lanes, &key, 100000);
	return lane ? XDP_DROP : 1 + old % 3;
}

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} even SEC(".maps"), odd SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {.values = {[0] = &even, [2] = &odd}};

SEC("socket")
int nested(struct __sk_buff *skb)
{
	__u32 which = skb->len % 4, slot = skb->len / 4 % 5;
	void *map = bpf_map_lookup_elem(&outer, &which);

	if (!map)
		return 7;
	__u64 *value = bpf_map_lookup_elem(map, &slot);

	if (!value)
		return 9;
	*value = *value * 3 + skb->len;
	return *value;
}

char LICENSE[] SEC("license") = "GPL";
