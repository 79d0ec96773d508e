/* Lines of several files, of inlined functions and of macros, that follow their functions. */
#include "defs.h"
#include "lines.h"

static noinline u64 late(u64 x)
{
	return inlined_from_header(x) + ktime_get_ns();
}

SEC("tc")
int one(void *ctx)
{
	u64 x = ktime_get_ns();

	x += inlined_from_header(x);
	return late(x);
}

SEC("xdp")
int two(void *ctx)
{
	return from_header(1) + late(2);
}

SEC("xdp")
int three(void *ctx)
{
	return late(3);
}

char license_text[] SEC("license") = "GPL";
