/* Relocations of several sections, and of functions that several of their programs share. */
#include "core.h"

struct present {
	int a, b;
} core;

static noinline int shared(struct present *p)
{
	return p->b + ktime_get_ns();
}

SEC("kprobe/one")
int first(void **ctx)
{
	return shared(*ctx) + ((struct present *)ctx[1])->a;
}

SEC("kprobe/two")
int second(void **ctx)
{
	return ((struct present *)ctx[2])->b + shared(ctx[1]);
}

SEC("?kprobe/three")
int third(void **ctx)
{
	return shared(*ctx);
}

char license_text[] SEC("license") = "GPL";
