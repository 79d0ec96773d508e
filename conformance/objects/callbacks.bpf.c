// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Functions that helpers call: loops, and walks over the elements of every kind of map that has them. The
// packet says what is done. What is recorded does not depend on the order of hash tables.
#include "net.h"

#define __unused __attribute__((unused))

struct element {
	__u64 sum;
	__u32 visits;
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 11);
	__type(key, __u32);
	__type(value, struct element);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 7);
	__type(key, __u32);
	__type(value, struct element);
} percpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 24);
	__type(key, __u16);
	__type(value, struct element);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 24);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u16);
	__type(value, struct element);
} unallocated SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 24);
	__type(key, __u16);
	__type(value, struct element);
} percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u16);
	__type(value, struct element);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u16);
	__type(value, struct element);
} lru_percpu SEC(".maps");

__u64 answers[16];
__u8 plan[256];

struct walk {
	__u64 sum;
	__u32 visits;
	__u32 stop_at;
	__u16 remove;
	__u16 add;
	__u32 nested;
};

static long in_order(void *map __unused, __u32 *key, struct element *value, struct walk *walk)
{
	value->sum = value->sum * 3 + walk->sum + *key;
	value->visits++;
	value->last = walk->visits++;
	walk->sum = walk->sum * 31 + value->sum;
	return walk->stop_at && walk->visits >= walk->stop_at;
}

static long nothing(void *map __unused, __u16 *key, struct element *value, __u64 *sum)
{
	*sum += *key + value->visits;
	return 0;
}

static long each_key(void *map, __u16 *key, struct element *value, struct walk *walk)
{
	__u16 name = *key;

	value->sum += name;
	value->visits++;
	walk->sum += name * 0x10001u + value->visits;
	walk->visits++;
	if (walk->nested) {
		__u64 inner = 0;

		walk->sum += bpf_for_each_map_elem(&array, nothing, &inner, 0);
		walk->nested--;
	}
	if (walk->remove && name % walk->remove == 0) {
		bpf_map_delete_elem(map, key);
		/* The key is the one that went. */
		walk->sum += *key;
	}
	return walk->stop_at && walk->visits >= walk->stop_at;
}

/* What one byte of the packet stands for. */
static long step(__u32 index, __u32 *bytes)
{
	__u32 at = index * 4, op, key;
	struct element fresh = {};
	struct walk walk = {};
	__u16 name;
	long result;

	if (at + 3 >= *bytes || at > 250)
		return 1;
	op = plan[at] & 15;
	key = plan[at + 1];
	name = key % 40;
	fresh.sum = key;
	walk.stop_at = plan[at + 2] & 7;
	walk.remove = plan[at + 2] >> 5;
	walk.nested = plan[at + 3] & 1;
	walk.sum = plan[at + 3];
	switch (op) {
	case 0:
		result = bpf_for_each_map_elem(&array, in_order, &walk, plan[at + 3] == 255);
		break;
	case 1:
		result = bpf_for_each_map_elem(&percpu_array, in_order, &walk, 0);
		break;
	case 2:
		result = bpf_map_update_elem(&hash, &name, &fresh, key & 3);
		break;
	case 3:
		result = bpf_map_update_elem(&unallocated, &name, &fresh, 0);
		break;
	case 4:
		result = bpf_map_update_elem(&percpu_hash, &name, &fresh, key & 1);
		break;
	case 5:
		result = bpf_map_update_elem(&lru, &name, &fresh, 0);
		break;
	case 6:
		result = bpf_map_update_elem(&lru_percpu, &name, &fresh, 0);
		break;
	/* Where a walk stops depends on the order, so these show only how many there were. */
	case 7:
		walk.remove = 0;
		result = bpf_for_each_map_elem(&hash, nothing, &walk.sum, plan[at + 3] == 255);
		break;
	case 8:
		walk.stop_at = 0;
		result = bpf_for_each_map_elem(&hash, each_key, &walk, 0);
		break;
	case 9:
		walk.stop_at = 0;
		result = bpf_for_each_map_elem(&unallocated, each_key, &walk, 0);
		break;
	case 10:
		walk.stop_at = 0;
		result = bpf_for_each_map_elem(&percpu_hash, each_key, &walk, 0);
		break;
	case 11:
		walk.stop_at = 0;
		result = bpf_for_each_map_elem(&lru, each_key, &walk, 0);
		break;
	case 12:
		walk.stop_at = 0;
		result = bpf_for_each_map_elem(&lru_percpu, each_key, &walk, 0);
		break;
	default:
		result = bpf_for_each_map_elem(&array, in_order, &walk, 0);
	}
	answers[op] = answers[op] * 7 + walk.sum + walk.visits * 5 + result;
	return 0;
}

SEC("tc")
int elements(struct __sk_buff *skb)
{
	__u32 bytes = skb->len;
	long steps;

	if (bytes > sizeof(plan))
		bytes = sizeof(plan);
	if (bytes == 0 || bpf_skb_load_bytes(skb, 0, plan, bytes))
		return TC_ACT_SHOT;
	steps = bpf_loop(100, step, &bytes, 0);
	return steps;
}

struct counting {
	__u64 sum;
	__u32 rounds;
	__u32 stop;
};

static long inner(__u32 index, struct counting *counting)
{
	counting->sum += index;
	return counting->sum % 61 == counting->stop;
}

static long outer(__u32 index, struct counting *counting)
{
	struct counting mine = {.stop = index & 63, .sum = counting->sum};

	counting->rounds += bpf_loop(index, inner, &mine, 0);
	counting->sum = counting->sum * 5 + mine.sum;
	return counting->rounds > counting->stop * 8;
}

__u64 counts[4];

SEC("xdp")
int loops(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct counting counting = {};
	long result;

	if (data + 14 > end)
		return XDP_ABORTED;
	counting.stop = data[13];
	result = bpf_loop(data[12], outer, &counting, data[11] == 255);
	counts[0] += result;
	counts[1] += counting.rounds;
	counts[2] ^= counting.sum;
	/* The upper half of the error number depends on whether Linux writes the loop into the code. */
	counts[3] += (__u32)bpf_loop(0x800001 + (data[10] & 1), inner, &counting, 0);
	return counting.sum & 0xffff;
}

char LICENSE[] SEC("license") = "GPL";
