/* A function that only a tag refers to. */
#include "defs.h"

noinline int handler(u64 cookie)
{
	return cookie + ktime_get_ns();
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:handler")))
int prog(void *ctx)
{
	return 0;
}

char license_text[] SEC("license") = "GPL";
