/* Functions whose address is taken: in programs, in subprograms, by each other, in two programs. */
#include "defs.h"

struct {
	__uint(type, 1);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 4);
} sums SEC(".maps");

static long inner(u32 i, u64 *sum)
{
	*sum += i;
	return 0;
}

static long outer(u32 i, u64 *sum)
{
	loop(3, inner, sum, 0);
	return *sum > 100;
}

static long each(void *map, u32 *key, u64 *value, u64 *sum)
{
	*sum += *value;
	loop(2, outer, sum, 0);
	return 0;
}

long visible(u32 i, u64 *sum)
{
	*sum -= i;
	return 0;
}

static noinline u64 all(u64 start)
{
	for_each_map_elem(&sums, each, &start, 0);
	return start;
}

SEC("tc")
int nested(void *ctx)
{
	return all(ktime_get_ns());
}

SEC("tc")
int direct(void *ctx)
{
	u64 sum = 0;

	loop(5, outer, &sum, 0);
	loop(6, visible, &sum, 0);
	return sum + all(1);
}

SEC("?xdp")
int conditional(void *ctx)
{
	u64 sum = 0;

	loop(7, ktime_get_ns() & 1 ? (void *)inner : (void *)visible, &sum, 0);
	return sum;
}

char license_text[] SEC("license") = "GPL";
