/* Compiled without -g: no BTF, so subprograms, data and legacy maps have no types. */
#include "defs.h"

struct bpf_map_def {
	u32 type, key_size, value_size, max_entries, map_flags;
};

struct bpf_map_def SEC("maps") old = { 1, 4, 8, 16, 0 };
u32 counter = 1;
static volatile u64 zero;
const volatile u32 limit = 3;

static noinline u64 below(u64 x)
{
	return x + ktime_get_ns();
}

SEC("xdp")
int use(struct xdp_md *ctx)
{
	u32 key = limit;

	zero++;
	return map_lookup_elem(&old, &key) ? counter : below(counter);
}
