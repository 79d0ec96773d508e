/* The first of the files that are linked: what it uses is mostly defined in link_b.c. */
#include "link_defs.h"

extern u32 triple(u32 x);
extern weak u32 nowhere(u32 x);
extern u32 factor;
extern const volatile u32 table[4];
extern u32 own_section SEC(".data.own");
extern struct counters counters SEC(".maps");

/* Weak here, strong there. */
weak noinline u32 chosen(u32 x)
{
	return opaque(x) + 1;
}

/* Weak in both: the first one counts. */
weak noinline u32 first_one(u32 x)
{
	return opaque(x) + 10;
}

weak u32 level = 1;

/* Defined in both with the same attributes. */
struct counters both SEC(".maps") weak;

/* Names that both files have for themselves. */
static u8 odd = 3;
static u64 state;
static const volatile u8 low = 5;

static noinline u32 local(u32 x)
{
	state += opaque(x);
	return (u32)state + odd + low;
}

static long each(void *map, u32 *key, struct entry *value, u64 *sum)
{
	*sum += value->count + *key;
	return 0;
}

noinline u32 from_a(u32 x)
{
	return local(x) + 1000;
}

/* 3 * 7 + 5 (factor) + 30 (table[2]) + 6 (own_section) = 62 */
SEC("xdp")
int externs(struct xdp_md *ctx)
{
	return triple(opaque(7)) + factor + table[opaque(2) & 3] + own_section;
}

/* 102 + 11 + 2 = 115 */
SEC("xdp")
int weaks(struct xdp_md *ctx)
{
	return chosen(opaque(2)) + first_one(opaque(1)) + level;
}

/* 4 + 3 + 5 = 12, then 2 more */
SEC("xdp")
int locals(struct xdp_md *ctx)
{
	return local(4);
}

/* 40, and what file b left in the other map */
SEC("xdp")
int maps(struct xdp_md *ctx)
{
	u32 key = 1;
	struct entry *e = map_lookup_elem(&counters, &key);
	if (!e)
		return 0;
	e->count = 40;
	e = map_lookup_elem(&both, &key);
	return e ? 40 + e->count : 0;
}

SEC("xdp")
int sum(struct xdp_md *ctx)
{
	u64 sum = 0;
	for_each_map_elem(&counters, each, &sum, 0);
	return sum;
}

char license_text[] SEC("license") = "GPL";
