/* Functions outside .text, which are programs too; calls from one section to another. */
#include "defs.h"

SEC("xdp/helpers")
noinline u64 elsewhere(u64 x)
{
	return x * 5 + ktime_get_ns();
}

static noinline u64 in_text(u64 x)
{
	return x + ktime_get_ns() + elsewhere(x);
}

SEC("xdp")
int calls_both(struct xdp_md *ctx)
{
	return in_text(ctx->data) + elsewhere(ctx->data_end);
}

SEC("xdp")
noinline int neighbour(struct xdp_md *ctx)
{
	return ktime_get_ns();
}

SEC("xdp")
int calls_neighbour(struct xdp_md *ctx)
{
	return neighbour(ctx) + 1;
}

char license_text[] SEC("license") = "GPL";
