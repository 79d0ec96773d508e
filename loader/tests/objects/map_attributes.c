/* Attributes that few maps have, and unusual ways to say the usual ones. */
#include "defs.h"

typedef u32 key_t;
typedef struct {
	u64 parts[3];
} value_t;
enum limits {
	SMALL = 7,
};

struct numa {
	__uint(type, 1);
	__type(key, key_t);
	__type(value, value_t);
	__uint(max_entries, SMALL);
	__uint(map_flags, 1 | 4);
	__uint(numa_node, 0);
} numa SEC(".maps");

struct {
	__uint(type, 30);
	__type(value, u64);
	__uint(max_entries, 100);
	__uint(map_extra, 5);
} bloom SEC(".maps");

struct {
	__uint(type, 30);
	__uint(value_size, 12);
	__uint(max_entries, 100);
	__ulong(map_extra, 7);
} bloom_long SEC(".maps");

struct {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1);
	__uint(pinning, 1);
} pinned SEC(".maps");

struct {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1);
	__uint(pinning, 0);
} not_pinned SEC(".maps");

/* Sizes beside types, in any order. */
struct {
	__uint(value_size, 24);
	__type(value, value_t);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__type(key, u32);
	__uint(type, 1);
} both SEC(".maps");

struct {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u8[4096]);
	__uint(max_entries, 2);
	__uint(map_flags, (1 << 10) | (1 << 7));
} mapped SEC(".maps");

struct {
	__uint(type, 1);
	__type(key, u8[16]);
	__type(value, struct {
		short x;
		u8 y[3];
	});
	__uint(max_entries, 1 << 16);
	__uint(map_flags, (1 << 6) | (1 << 8));
} anonymous SEC(".maps");

/* Two variables of one type. */
struct shared_definition {
	__uint(type, 6);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 4);
} twin_one SEC(".maps"), twin_two SEC(".maps");

SEC("xdp")
int use(struct xdp_md *ctx)
{
	u32 key = 0;

	return !!map_lookup_elem(&twin_one, &key) + !!map_lookup_elem(&twin_two, &key) +
	       !!map_lookup_elem(&numa, &key) + !!map_lookup_elem(&both, &key) +
	       !!map_lookup_elem(&mapped, &key);
}

char license_text[] SEC("license") = "GPL";
