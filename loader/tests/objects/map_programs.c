/* Arrays of programs with initial values, static ones and gaps among them. */
#include "defs.h"

int one(struct xdp_md *ctx);
int two(struct xdp_md *ctx);

struct {
	__uint(type, 3);
	__uint(max_entries, 10);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} sparse SEC(".maps") = {
	.values = { [0] = &two, [3] = &one, [9] = &two },
};

struct {
	__uint(type, 3);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} plain SEC(".maps");

SEC("xdp")
int one(struct xdp_md *ctx)
{
	tail_call(ctx, &sparse, 9);
	return 1;
}

SEC("xdp")
int two(struct xdp_md *ctx)
{
	tail_call(ctx, &plain, ctx->data & 1);
	return 2;
}

char license_text[] SEC("license") = "GPL";
