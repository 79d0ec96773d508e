// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Timers in values of arrays and hash tables: made, set, started and cancelled in every order that the
// packet says, their elements replaced and removed. `answers` starts none that fires soon; `clocks`
// does (tests/timers.rs).
#include "net.h"

#define __unused __attribute__((unused))
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7
#define BPF_F_TIMER_ABS 1
#define HOUR_NS 3600000000000ull

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *)169;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 ns, __u64 flags) = (void *)171;
static long (*const bpf_timer_cancel)(struct bpf_timer *timer) = (void *)172;

struct element {
	__u64 before;
	struct bpf_timer timer;
	__u32 rounds;
	__u32 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct element);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct element);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct element);
} lru SEC(".maps");

__u64 answered[16];
__u8 plan[256];

static int quiet(void *map __unused, __u32 *key __unused, struct element *value)
{
	value->rounds++;
	return 0;
}

static int other(void *map __unused, __u32 *key, struct element *value)
{
	value->after += *key;
	return 0;
}

static __always_inline void note(__u32 which, long answer)
{
	answered[which & 15] = answered[which & 15] * 13 + answer;
}

#define ACT(map)                                                                      \
	do {                                                                          \
		struct element *value = bpf_map_lookup_elem(&map, &key);              \
		if (!value) {                                                         \
			note(0, bpf_map_update_elem(&map, &key, &fresh, op & 3));     \
			break;                                                        \
		}                                                                     \
		switch (op) {                                                         \
		case 0:                                                               \
			note(1, bpf_timer_init(&value->timer, &map, flags));          \
			break;                                                        \
		case 1:                                                               \
		case 2:                                                               \
			note(2, bpf_timer_init(&value->timer, &map, CLOCK_MONOTONIC)); \
			note(3, bpf_timer_set_callback(&value->timer, quiet));        \
			break;                                                        \
		case 3:                                                               \
			note(4, bpf_timer_set_callback(&value->timer, other));        \
			break;                                                        \
		case 4:                                                               \
		case 5:                                                               \
			note(5, bpf_timer_start(&value->timer, HOUR_NS, flags & 2));  \
			break;                                                        \
		case 6:                                                               \
			note(6, bpf_timer_start(&value->timer, ~0ull >> (flags & 1), flags & 0xe)); \
			break;                                                        \
		case 7:                                                               \
		case 8:                                                               \
			note(7, bpf_timer_cancel(&value->timer));                     \
			break;                                                        \
		case 9:                                                               \
			note(8, bpf_map_update_elem(&map, &key, &fresh, flags & 3));  \
			note(9, bpf_timer_cancel(&value->timer));                     \
			break;                                                        \
		case 10:                                                              \
			note(10, bpf_map_delete_elem(&map, &key));                    \
			break;                                                        \
		case 11:                                                              \
			note(11, bpf_timer_start(&value->timer, HOUR_NS, flags));     \
			note(12, bpf_timer_cancel(&value->timer));                    \
			note(12, bpf_timer_start(&value->timer, HOUR_NS, 0));         \
			break;                                                        \
		default:                                                              \
			value->before += op;                                          \
		}                                                                     \
	} while (0)

static long step(__u32 index, __u32 *bytes)
{
	__u32 at = index * 3, op, key, flags;
	struct element fresh = {};

	if (at + 3 > *bytes || at > 252)
		return 1;
	op = plan[at] & 15;
	key = plan[at + 1] >> 2 & 3;
	flags = plan[at + 2];
	if (flags > 20)
		flags &= 7;
	fresh.before = flags;
	fresh.after = key;
	switch (plan[at + 1] & 3) {
	case 0:
		ACT(array);
		break;
	case 1:
		ACT(lru);
		break;
	default:
		ACT(hash);
	}
	return 0;
}

SEC("tc")
int answers(struct __sk_buff *skb)
{
	__u32 bytes = skb->len;

	if (bytes > sizeof(plan))
		bytes = sizeof(plan);
	if (bytes == 0 || bpf_skb_load_bytes(skb, 0, plan, bytes))
		return TC_ACT_SHOT;
	return bpf_loop(100, step, &bytes, 0);
}

/* What timers did, in order. */
__u32 fired[64];
__u32 count;

static __always_inline void record(__u32 what)
{
	__u32 place = count++;

	if (place < 64)
		fired[place] = what;
}

static int ticks(void *map __unused, __u32 *key, struct element *value)
{
	record(100 + *key);
	if (++value->rounds < 4)
		record(200 + bpf_timer_start(&value->timer, 40000000, 0));
	return 0;
}

static int stops(void *map, __u32 *key, struct element *value)
{
	__u32 next = *key + 1;
	struct element *neighbour = bpf_map_lookup_elem(&hash, &next);

	record(300 + *key);
	/* Itself it cannot wait for. */
	record(400 + -bpf_timer_cancel(&value->timer));
	if (neighbour) {
		record(500 + bpf_timer_cancel(&neighbour->timer));
		record(500 + -bpf_timer_start(&neighbour->timer, 1000000, 0));
	}
	record(600 + bpf_timer_start(&value->timer, HOUR_NS, 0));
	record(600 + -bpf_map_delete_elem(map, key));
	record(600 + -bpf_timer_cancel(&value->timer));
	return 0;
}

static __always_inline void arm(void *map, struct element *value, void *callback, __u64 ns,
				__u64 flags, __u64 clock)
{
	record(bpf_timer_init(&value->timer, map, clock));
	record(bpf_timer_set_callback(&value->timer, callback));
	record(bpf_timer_start(&value->timer, ns, flags));
}

static __always_inline void in_array(__u32 key, __u64 ns, __u64 clock)
{
	struct element *value = bpf_map_lookup_elem(&array, &key);

	if (value)
		arm(&array, value, ticks, ns, 0, clock);
}

static __always_inline void in_hash(__u32 key, void *callback, __u64 ns, __u64 flags, __u64 clock)
{
	struct element fresh = {}, *value;

	record(bpf_map_update_elem(&hash, &key, &fresh, 0));
	value = bpf_map_lookup_elem(&hash, &key);
	if (value)
		arm(&hash, value, callback, ns, flags, clock);
}

SEC("lwt_in")
int clocks(struct __sk_buff *skb __unused)
{
	in_array(0, 30000000, CLOCK_MONOTONIC);
	in_array(1, 20000000, CLOCK_BOOTTIME);
	in_array(2, 10000000, CLOCK_REALTIME);
	in_hash(10, stops, bpf_ktime_get_ns() + 205000000, BPF_F_TIMER_ABS, CLOCK_MONOTONIC);
	in_hash(11, ticks, 225000000, 0, CLOCK_REALTIME);
	in_hash(12, ticks, 245000000, 0, CLOCK_MONOTONIC);
	in_hash(14, ticks, ~0ull, 0, CLOCK_MONOTONIC);
	return count;
}

/* For a look at the maps. */
SEC("lwt_in")
int counted(struct __sk_buff *skb __unused)
{
	return count;
}

char LICENSE[] SEC("license") = "GPL";
