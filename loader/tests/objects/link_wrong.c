/* Declarations that do not fit link_b.c, one for each value of WRONG. */
#include "link_defs.h"

#if WRONG == 1
extern u64 factor;
#define USE factor
#elif WRONG == 2
extern u32 triple(u32 x, u32 y);
#define USE triple(1, 2)
#elif WRONG == 3
struct {
	__uint(type, 2);
	__uint(max_entries, 5);
	__type(key, u32);
	__type(value, struct entry);
} counters SEC(".maps") weak;
static u32 key;
#define USE (map_lookup_elem(&counters, &key) != 0)
#elif WRONG == 4
extern u32 factor(u32 x);
#define USE factor(1)
#else
#define USE 0
#endif

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	return USE;
}

#if WRONG == 5
char license_text[] SEC("license") = "BSD";
#endif
