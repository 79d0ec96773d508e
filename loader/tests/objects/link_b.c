/* The second of the files that are linked: what link_a.c uses. */
#include "link_defs.h"

struct owner {
	u32 id;
	struct entry *entries;
};

extern u32 from_a(u32 x);

static u8 odd = 9;
static u64 state;
static const volatile u8 low = 2;
static volatile const char text[] = "some text";

u32 factor = 5;
const volatile u32 table[4] = { 10, 20, 30, 40 };
u32 own_section SEC(".data.own") = 6;
u32 level = 2;
struct owner *latest;

struct counters counters SEC(".maps");
struct counters both SEC(".maps") weak;

struct {
	__uint(type, 3);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, int(void *));
} jumps SEC(".maps");

static noinline u32 local(u32 x)
{
	state += opaque(x) * 2;
	return (u32)state + odd + low;
}

noinline u32 triple(u32 x)
{
	return opaque(x) * 3;
}

noinline u32 chosen(u32 x)
{
	return opaque(x) + 100;
}

weak noinline u32 first_one(u32 x)
{
	return opaque(x) + 20;
}

static long each(void *map, u32 *key, struct entry *value, u64 *sum)
{
	*sum += 1;
	return 0;
}

/* 2 * 4 + 9 + 2 = 19, from_a: 1 + 3 + 5 + 1000 = 1009, "some text"[5] = 't' = 116 */
SEC("xdp")
int other(struct xdp_md *ctx)
{
	return local(4) + from_a(1) + text[opaque(5) & 7];
}

/* 4 elements, once for each of two maps */
SEC("xdp")
int count(struct xdp_md *ctx)
{
	u64 sum = 0;
	for_each_map_elem(&counters, each, &sum, 0);
	for_each_map_elem(&both, each, &sum, 0);
	return sum;
}

/* The count that file a gave, and 2 for it to find */
SEC("xdp")
int swap(struct xdp_md *ctx)
{
	u32 key = 1;
	struct entry *e = map_lookup_elem(&both, &key);
	if (!e)
		return 0;
	e->count = 2;
	e = map_lookup_elem(&counters, &key);
	return e ? e->count : 0;
}

struct task_struct {
	int pid;
} core;

/* A relocation about types, a global that is never set. */
SEC("kprobe/do_exit")
int typed(struct task_struct *p)
{
	return __builtin_preserve_access_index(p->pid) + (latest != 0);
}

char license_text[] SEC("license") = "GPL";
