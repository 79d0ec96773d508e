/* Types that the target has twice: refused if the answers differ. */
#include "core.h"

struct twice {
	u32 x, y;
} core;
struct agreed {
	u32 x;
} core;

ASK(differ, ((struct twice *)*ctx)->x)
ASK(differ_size, type_size(struct twice))
ASK(agree, ((struct agreed *)*ctx)->x)
ASK(agree_exists, type_exists(struct agreed))
ASK(differ_exists, field_exists(((struct twice *)*ctx)->x))

char license_text[] SEC("license") = "GPL";
