/* A static map definition, which libbpf does not take. */
#include "defs.h"

struct definition {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 4);
} shown SEC(".maps");
static struct definition not_shown SEC(".maps");

SEC("xdp")
int use(struct xdp_md *ctx)
{
	u32 key = 0;

	return !!map_lookup_elem(&shown, &key) + !!map_lookup_elem(&not_shown, &key);
}

char license_text[] SEC("license") = "GPL";
