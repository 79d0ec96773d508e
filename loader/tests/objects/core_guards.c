/* Accesses to what the target lacks, behind a question whether it has it and without one. */
#include "core.h"

struct shrunken {
	u32 kept, gone;
} core;

extern int no_such_function(int x) SEC(".ksyms") weak;

/* On the stack, where a program may read it without help. */
SEC("xdp")
int guarded(struct xdp_md *ctx)
{
	struct shrunken s = { .kept = 7 };
	struct shrunken *volatile p = &s;

	if (field_exists(p->gone))
		return p->gone;
	if (no_such_function)
		return no_such_function(1);
	return 3;
}

SEC("xdp")
int unguarded(struct xdp_md *ctx)
{
	struct shrunken s = { .kept = 7 };
	struct shrunken *volatile p = &s;

	return p->gone;
}

SEC("xdp")
int unguarded_function(struct xdp_md *ctx)
{
	return no_such_function(1);
}

char license_text[] SEC("license") = "GPL";
