/* Data sections without a variable that others could name. */
#include "defs.h"

static volatile u32 number = 1;
static volatile u32 zero;
static const volatile u32 fixed = 2;
static u64 pair[2] = { 3, 4 };

static noinline u64 *second(void)
{
	return &pair[1];
}

SEC("tc")
int use(void *ctx)
{
	zero = number + fixed;
	return *second() + pair[0]++;
}

char license_text[] SEC("license") = "GPL";
