/* A map of every kind that needs no other. */
#include "defs.h"

#define PLAIN(name, kind, k, v, n)      \
	struct {                        \
		__uint(type, kind);     \
		__type(key, k);         \
		__type(value, v);       \
		__uint(max_entries, n); \
	} name SEC(".maps");
#define FLAGGED(name, kind, k, v, n, f) \
	struct {                        \
		__uint(type, kind);     \
		__type(key, k);         \
		__type(value, v);       \
		__uint(max_entries, n); \
		__uint(map_flags, f);   \
	} name SEC(".maps");

struct pair {
	u32 a, b;
};
struct lpm {
	u32 prefix;
	u8 address[4];
};
struct storage_key {
	u64 cgroup;
	u32 kind;
	u32 pad;
};

PLAIN(hash, 1, struct pair, u64, 16)
PLAIN(array, 2, u32, struct pair, 16)
PLAIN(prog_array, 3, u32, u32, 16)
PLAIN(perf_event_array, 4, u32, u32, 0)
PLAIN(percpu_hash, 5, u64, struct pair, 16)
PLAIN(percpu_array, 6, u32, struct pair, 16)
struct {
	__uint(type, 7);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
	__uint(max_entries, 16);
} stack_trace SEC(".maps");
PLAIN(cgroup_array, 8, u32, u32, 16)
PLAIN(lru_hash, 9, u32, u64, 16)
FLAGGED(lru_percpu_hash, 10, u32, u64, 16, 2)
FLAGGED(lpm_trie, 11, struct lpm, u32, 16, 1)
PLAIN(devmap, 14, u32, struct pair, 16)
PLAIN(sockmap, 15, u32, u64, 16)
PLAIN(cpumap, 16, u32, u32, 1)
PLAIN(xskmap, 17, u32, u32, 16)
PLAIN(sockhash, 18, u64, u64, 16)
PLAIN(cgroup_storage, 19, struct storage_key, u64, 0)
PLAIN(reuseport_sockarray, 20, u32, u64, 16)
PLAIN(percpu_cgroup_storage, 21, struct storage_key, u64, 0)
struct {
	__uint(type, 22);
	__type(value, u64);
	__uint(max_entries, 16);
} queue SEC(".maps");
struct {
	__uint(type, 23);
	__uint(value_size, 8);
	__uint(max_entries, 16);
} stack SEC(".maps");
FLAGGED(sk_storage, 24, int, u64, 0, 1)
PLAIN(devmap_hash, 25, u32, u32, 16)
struct {
	__uint(type, 27);
	__uint(max_entries, 100);
} ringbuf SEC(".maps");
FLAGGED(inode_storage, 28, int, u64, 0, 1)
FLAGGED(task_storage, 29, int, u64, 0, 1)
struct {
	__uint(type, 31);
	__uint(max_entries, 3 * 4096);
} user_ringbuf SEC(".maps");
FLAGGED(cgrp_storage, 32, int, u64, 0, 1)

SEC("xdp")
int use(struct xdp_md *ctx)
{
	u32 key = 1;
	struct pair pair = { 1, 2 };

	return !!map_lookup_elem(&hash, &pair) + !!map_lookup_elem(&array, &key) +
	       !!map_lookup_elem(&percpu_array, &key) + !!map_lookup_elem(&lru_hash, &key);
}

char license_text[] SEC("license") = "GPL";
