/* Weak functions and hidden ones, static ones with one name in two scopes, one that nobody calls. */
#include "defs.h"

weak noinline u64 replaceable(u64 x)
{
	return x + ktime_get_ns();
}

weak hidden noinline u64 replaceable_hidden(u64 x)
{
	return x - ktime_get_ns();
}

hidden noinline u64 inside(u64 x)
{
	return replaceable(x) | replaceable_hidden(x);
}

noinline u64 never_called(u64 x)
{
	return inside(x);
}

SEC("tc")
int use(void *ctx)
{
	return inside(1) + replaceable(2);
}

SEC("tc")
weak int weak_program(void *ctx)
{
	return 1;
}

char license_text[] SEC("license") = "GPL";
