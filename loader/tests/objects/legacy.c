/* Map definitions as libbpf took them before 1.0. */
#include "defs.h"

struct bpf_map_def {
	u32 type, key_size, value_size, max_entries, map_flags;
};

struct bpf_map_def SEC("maps") first = { 1, 4, 8, 100, 1 };
struct bpf_map_def SEC("maps") second = { 2, 4, 16, 2, 0 };

SEC("xdp")
int prog(struct xdp_md *ctx)
{
	u32 key = 1;
	return map_lookup_elem(&second, &key) && map_lookup_elem(&first, &key);
}
