// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v2
// Functions: local, global, eight deep, with pointers to the caller's stack, and tail calls that make
// a chain and a loop; globals of all kinds.
#include "net.h"

struct step {
	__u32 offset;
	__u32 depth;
	__u64 sum;
	__u8 bytes[24];
};

__u64 sums[9];
static volatile __u8 flags[4] = {1, 2, 3, 4};
static const __u32 table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
const volatile __s16 factors[4] SEC(".rodata.factors") = {-3, 5, -7, 11};
struct {
	__s8 small;
	__s64 large;
	const char *name;
} mixed SEC(".data.mixed") = {-1, -2, 0};

#define LEVEL(n, next)                                                           \
	static __noinline __u64 level##n(struct step *s, __u64 x)                \
	{                                                                        \
		struct step mine = *s;                                           \
		mine.depth++;                                                    \
		mine.bytes[(n) * 2] ^= x;                                        \
		mine.sum += table[(x >> (n)) & 15] * factors[(n) & 3];           \
		__u64 result = next(&mine, x * 31 + (n)) ^ mine.sum;             \
		s->sum += mine.bytes[((n) * 2 + 2) % 24] + mine.depth;           \
		return result;                                                   \
	}

static __noinline __u64 last(struct step *s, __u64 x)
{
	s->bytes[0] = x;
	sums[s->depth & 7] += x;
	return x ^ s->sum;
}

LEVEL(5, last)
LEVEL(4, level5)
LEVEL(3, level4)
LEVEL(2, level3)
LEVEL(1, level2)

__noinline int global_mix(__u32 a, __u32 b)
{
	__s32 difference = a - b;

	mixed.small += (__s8)a;
	mixed.large += (__s64)difference * mixed.small;
	return (difference >> 2) + (__s32)(a % (b | 1));
}

__noinline int read_word(struct xdp_md *ctx, __u32 offset)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	if (offset > 1000)
		return -1;
	if (data + offset + 4 > data_end)
		return -2;
	return *(__s32 *)(data + offset);
}

SEC("xdp")
int functions(struct xdp_md *ctx)
{
	struct step s = {.offset = 12};
	__u32 word = read_word(ctx, s.offset), second = read_word(ctx, 23);
	__u64 x = level1(&s, word);

	flags[word & 3] += second;
	sums[8] = x + s.sum;
	word = global_mix(word, second);
	return (word ^ x) % 5;
}

int chain_one(struct xdp_md *ctx);
int chain_two(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(void *));
} chain SEC(".maps") = {.values = {[0] = (void *)&chain_one, [3] = (void *)&chain_two}};

__u32 entered[2];

static __noinline int jump(struct xdp_md *ctx, __u32 to)
{
	bpf_tail_call(ctx, &chain, to);
	return to;
}

SEC("xdp")
int chain_one(struct xdp_md *ctx)
{
	int word = read_word(ctx, 14);

	entered[0]++;
	if (bpf_xdp_adjust_head(ctx, 1))
		return XDP_DROP;
	return jump(ctx, word & 3) + 1;
}

SEC("xdp")
int chain_two(struct xdp_md *ctx)
{
	entered[1]++;
	int result = jump(ctx, entered[1] % 4);

	entered[1] += 100;
	return result == 2 ? XDP_TX : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
