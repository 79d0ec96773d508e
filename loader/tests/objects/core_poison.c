/* What the target lacks: instructions of every form are replaced, guarded or not. */
#include "core.h"

struct shrunken {
	u32 kept, gone;
	struct {
		u64 nested;
	} inner;
	u32 bits : 4, more : 28;
} core;
struct nowhere {
	u64 x;
} core;
enum wide_nowhere {
	WIDE_NOWHERE = 0x100000000ull,
};

#define T ((struct shrunken *)*ctx)

u64 answer;

ASK(load, T->gone)
ASK(store, (T->gone = 1, 0))
ASK(store_register, (T->gone = ktime_get_ns(), 0))
ASK(number, field_offset(T->gone))
ASK(nested, T->inner.nested)
ASK(bit_field, field_lshift(T->more))
ASK(type, ((struct nowhere *)*ctx)->x)
ASK(guarded, field_exists(T->gone) ? T->gone : T->kept)
ASK(guarded_type, type_exists(struct nowhere) ? ((struct nowhere *)*ctx)->x : 7)
ASK(wide, (answer = enum_value(enum wide_nowhere, WIDE_NOWHERE), 0))

static noinline u32 beneath(struct shrunken *t)
{
	return t->gone + ktime_get_ns();
}

ASK(in_subprogram, beneath(T))

char license_text[] SEC("license") = "GPL";
