/* Every attribute of map definitions. */
#include "defs.h"

struct key {
	u32 addr;
	u16 port;
	u16 pad;
};
struct value {
	u64 packets, bytes;
};

struct {
	__uint(type, 1);
	__type(key, struct key);
	__type(value, struct value);
	__uint(max_entries, 1024);
	__uint(map_flags, 1 | 4);
	__uint(numa_node, 0);
	__uint(pinning, 1);
} flows SEC(".maps");

struct {
	__uint(type, 2);
	__uint(key_size, 4);
	__uint(value_size, 8);
	__uint(max_entries, 4);
} counters SEC(".maps");

struct {
	__uint(type, 27);
	__uint(max_entries, 5000);
} events SEC(".maps");

struct {
	__uint(type, 30);
	__type(value, u64);
	__uint(max_entries, 100);
	__uint(map_extra, 5);
} bloom SEC(".maps");

struct inner {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 2);
} inner_a SEC(".maps"), inner_b SEC(".maps");

struct {
	__uint(type, 12);
	__uint(key_size, 4);
	__uint(max_entries, 3);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { [0] = &inner_a, [2] = &inner_b },
};

int target(struct xdp_md *ctx);

struct {
	__uint(type, 3);
	__uint(key_size, 4);
	__uint(max_entries, 8);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {
	.values = { [5] = &target },
};

SEC("xdp")
int target(struct xdp_md *ctx)
{
	u32 i = 1;
	u64 *c = map_lookup_elem(&counters, &i);
	if (c)
		__sync_fetch_and_add(c, 1);
	return 2;
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	struct key k = { .addr = 1, .port = 2 };
	struct value *v = map_lookup_elem(&flows, &k);
	if (v)
		v->packets++;
	tail_call(ctx, &jumps, 5);
	return 1;
}

char license_text[] SEC("license") = "Dual MIT/GPL";
