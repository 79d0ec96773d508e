/* A table of functions for the kernel. */
#include "defs.h"

struct table {
	int (*open)(void *ctx);
	u32 flags;
};

SEC("struct_ops/open")
int do_open(void *ctx)
{
	return 0;
}

SEC(".struct_ops.link")
struct table mine = { .open = (void *)do_open, .flags = 5 };

char license_text[] SEC("license") = "GPL";
