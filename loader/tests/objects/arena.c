/* Globals in an arena. */
#include "defs.h"

#define arena_space __attribute__((address_space(1)))

struct {
	__uint(type, 33);
	__uint(map_flags, 1 << 10);
	__uint(max_entries, 16);
	__ulong(map_extra, 1ull << 44);
} arena SEC(".maps");

int arena_space first SEC(".addr_space.1") = 7;
int arena_space second SEC(".addr_space.1") = 8;

SEC("syscall")
int prog(void *ctx)
{
	u32 zero = 0;
	map_lookup_elem(&arena, &zero);
	return first;
}

char license_text[] SEC("license") = "GPL";
