/* Subprograms of subprograms: shared ones, more than one way to the same, deep chains. */
#include "defs.h"

static noinline u64 ground(u64 x)
{
	return x + ktime_get_ns();
}

static noinline u64 third(u64 x)
{
	return ground(x) * 3;
}

noinline u64 second(u64 x)
{
	return third(x) + ground(x + 1);
}

static noinline u64 first(u64 x)
{
	return second(x) + third(x) + ground(x);
}

static noinline u64 apart(u64 x)
{
	return x ^ ktime_get_ns();
}

SEC("xdp")
int down(struct xdp_md *ctx)
{
	return first(ctx->data);
}

SEC("xdp")
int across(struct xdp_md *ctx)
{
	return apart(ctx->data) + ground(ctx->data_end) + second(1);
}

SEC("tc")
int other_section(struct xdp_md *ctx)
{
	return third(ctx->data) + apart(1);
}

char license_text[] SEC("license") = "GPL";
