/* Subprograms: static and global, in .text and in the program's own section, shared, recursive in
 * depth, weak, hidden, and as callbacks. */
#include "defs.h"

struct {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 4);
} sums SEC(".maps");

static noinline u32 leaf(u32 x)
{
	return x * 3 + (u32)ktime_get_ns();
}

noinline u32 middle(u32 x)
{
	return leaf(x) + leaf(x + 1);
}

weak noinline u32 soft(u32 x)
{
	return x + (u32)ktime_get_ns();
}

hidden noinline u32 buried(u32 x)
{
	return x ^ (u32)ktime_get_ns();
}

static long each(void *map, u32 *key, u64 *value, void *ctx)
{
	*(u64 *)ctx += *value + leaf(*key);
	return 0;
}

static long step(u32 i, void *ctx)
{
	*(u64 *)ctx += i;
	return 0;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	return middle(ctx->data) + soft(ctx->data) + buried(ctx->data);
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	u64 total = 0;
	for_each_map_elem(&sums, each, &total, 0);
	loop(10, step, &total, 0);
	return total + leaf(ctx->data);
}

SEC("xdp")
int alone(struct xdp_md *ctx)
{
	return 2;
}

char license_text[] SEC("license") = "GPL";
