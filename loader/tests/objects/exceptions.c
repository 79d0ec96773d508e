/* A callback for exceptions that only a tag names, beside one that is also called. */
#include "defs.h"

noinline int handler(u64 cookie)
{
	return cookie + 1 + ktime_get_ns();
}

noinline int called_handler(u64 cookie)
{
	return cookie + 2 + ktime_get_ns();
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:handler")))
int only_tagged(void *ctx)
{
	return 0;
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:called_handler")))
int tagged_and_called(void *ctx)
{
	return called_handler(5);
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:nobody")))
int tagged_with_nobody(void *ctx)
{
	return 0;
}

char license_text[] SEC("license") = "GPL";
