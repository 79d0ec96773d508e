// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Timers: sessions that end by themselves, a periodic rotation, timers beside locks; and what waits in
// queues, values for each CPU read by another, maps of maps that hold hash tables, a Bloom filter.
#include "project.h"

struct session {
	__u64 bytes;
	__u32 id;
	__u32 state;
	struct bpf_timer idle;
	struct bpf_spin_lock lock;
	__u32 renewals;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct session);
} sessions SEC(".maps");

struct epoch {
	struct bpf_timer timer;
	__u32 number;
	__u32 running;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct epoch);
} epochs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 256);
	__type(value, __u64);
} ended SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 4096);
	__type(value, __u64);
} met SEC(".maps");

struct table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} table0 SEC(".maps"), table1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 16);
	__type(key, __u32);
	__array(values, struct table);
} by_epoch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct table);
} pair SEC(".maps") = {.values = {(void *)&table0, (void *)&table1}};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64[2]);
} sums SEC(".maps");

#define IDLE_NS 30000000000ull

static int session_idle(void *map, __u64 *key, struct session *session)
{
	__u64 id = *key;

	bpf_spin_lock(&session->lock);
	session->state = 2;
	bpf_spin_unlock(&session->lock);
	bpf_map_push_elem(&ended, &id, BPF_EXIST);
	bpf_map_delete_elem(map, key);
	return 0;
}

SEC("tc")
int session_packet(struct __sk_buff *skb)
{
	__u64 key = (__u64)skb->ifindex << 32 | bpf_get_hash_recalc(skb);
	struct session *session, fresh = {.state = 1};

	session = bpf_map_lookup_elem(&sessions, &key);
	if (!session) {
		if (bpf_map_update_elem(&sessions, &key, &fresh, BPF_NOEXIST))
			return TC_ACT_SHOT;
		session = bpf_map_lookup_elem(&sessions, &key);
		if (!session)
			return TC_ACT_SHOT;
		if (bpf_timer_init(&session->idle, &sessions, 1))
			return TC_ACT_SHOT;
		bpf_timer_set_callback(&session->idle, session_idle);
	}
	bpf_spin_lock(&session->lock);
	session->bytes += skb->len;
	session->renewals++;
	bpf_spin_unlock(&session->lock);
	bpf_timer_start(&session->idle, IDLE_NS, 0);
	return TC_ACT_OK;
}

SEC("tc")
int session_end(struct __sk_buff *skb)
{
	__u64 key = (__u64)skb->ifindex << 32 | skb->mark;
	struct session *session = bpf_map_lookup_elem(&sessions, &key);

	if (!session)
		return TC_ACT_UNSPEC;
	if (bpf_timer_cancel(&session->idle) < 0)
		return TC_ACT_SHOT;
	return bpf_map_delete_elem(&sessions, &key) ? TC_ACT_SHOT : TC_ACT_OK;
}

static int rotate(__unused void *map, __unused __u32 *key, struct epoch *epoch)
{
	__u32 number = ++epoch->number;
	__u64 word = number, *old;
	void *table;

	for (int i = 0; i < 8; i++) {
		if (bpf_map_pop_elem(&ended, &word))
			break;
		table = bpf_map_lookup_elem(&by_epoch, &number);
		if (!table)
			continue;
		old = bpf_map_lookup_elem(table, &word);
		if (old)
			*old += 1;
		else
			bpf_map_update_elem(table, &word, &word, BPF_ANY);
	}
	bpf_timer_start(&epoch->timer, 1000000000, 0);
	return 0;
}

SEC("tc")
int start_epochs(__unused struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct epoch *epoch = bpf_map_lookup_elem(&epochs, &zero);

	if (!epoch || __sync_lock_test_and_set(&epoch->running, 1))
		return TC_ACT_UNSPEC;
	bpf_timer_init(&epoch->timer, &epochs, 1);
	bpf_timer_set_callback(&epoch->timer, rotate);
	return bpf_timer_start(&epoch->timer, 0, 0) ? TC_ACT_SHOT : TC_ACT_OK;
}

static long add_lane(__u32 cpu, __u64 *sum)
{
	__u32 key = 1;
	__u64 *lane = bpf_map_lookup_percpu_elem(&sums, &key, cpu);

	if (!lane)
		return 1;
	sum[0] += lane[0];
	sum[1] += lane[1];
	return 0;
}

SEC("xdp")
int sum_lanes(struct xdp_md *xdp)
{
	__u64 sum[2] = {}, key, *value, one = 1;
	__u32 which = xdp->rx_queue_index & 1;
	void *table;

	bpf_loop(128, add_lane, sum, 0);
	key = sum[0] ^ sum[1];
	if (!bpf_map_peek_elem(&met, &key))
		return XDP_DROP;
	bpf_map_push_elem(&met, &key, BPF_ANY);
	table = bpf_map_lookup_elem(&pair, &which);
	if (!table)
		return XDP_ABORTED;
	value = bpf_map_lookup_elem(table, &key);
	if (!value) {
		bpf_map_update_elem(table, &key, &one, BPF_NOEXIST);
		which ^= 1;
		table = bpf_map_lookup_elem(&pair, &which);
		if (table)
			bpf_map_delete_elem(table, &key);
		return XDP_PASS;
	}
	*value += 1;
	return *value > 100 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
