/* Maps of maps: inner definitions, initial values, values that are named twice or not at all. */
#include "defs.h"

struct inner_hash {
	__uint(type, 1);
	__type(key, u64);
	__type(value, u32);
	__uint(max_entries, 10);
	__uint(map_flags, 1);
} inner_one SEC(".maps"), inner_two SEC(".maps");

struct inner_ring {
	__uint(type, 27);
	__uint(max_entries, 5000);
} ring_one SEC(".maps");

struct inner_sized {
	__uint(type, 2);
	__uint(key_size, 4);
	__uint(value_size, 24);
	__uint(max_entries, 3);
	__uint(map_flags, 1 << 12);
} sized_one SEC(".maps");

struct {
	__uint(type, 12);
	__type(key, u32);
	__type(value, u32);
	__uint(max_entries, 5);
	__array(values, struct inner_hash);
} array_of_hashes SEC(".maps") = {
	.values = { [4] = &inner_one, [1] = &inner_two, [2] = &inner_one },
};

struct {
	__uint(type, 13);
	__type(key, u32);
	__uint(value_size, 4);
	__uint(max_entries, 8);
	__array(values, struct inner_sized);
} hash_of_arrays SEC(".maps") = {
	.values = { &sized_one },
};

struct {
	__uint(type, 12);
	__uint(key_size, 4);
	__uint(max_entries, 2);
	__array(values, struct inner_ring);
} array_of_rings SEC(".maps") = {
	.values = { &ring_one },
};

/* Its inner map is described on the spot and has no instance. */
struct {
	__uint(type, 13);
	__type(key, u64);
	__uint(max_entries, 2);
	__array(values, struct {
		__uint(type, 2);
		__type(key, u32);
		__type(value, u64);
		__uint(max_entries, 1);
	});
} empty_outer SEC(".maps");

SEC("xdp")
int use(struct xdp_md *ctx)
{
	u32 key = 1;
	u64 wide = 1;
	void *inner = map_lookup_elem(&array_of_hashes, &key);

	if (inner && map_lookup_elem(inner, &wide))
		return 1;
	inner = map_lookup_elem(&hash_of_arrays, &key);
	if (inner && map_lookup_elem(inner, &key))
		return 2;
	return !!map_lookup_elem(&empty_outer, &wide) + !!map_lookup_elem(&array_of_rings, &key);
}

char license_text[] SEC("license") = "GPL";
