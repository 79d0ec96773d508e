/* What reading a bit field takes: the load, its place, the shifts, the sign. */
#include "core.h"

struct bits {
	u32 low : 3, mid : 7, top : 20;
	s32 sign : 4;
	u64 long_one : 33, rest : 12;
	u8 tiny : 2, tail : 6;
	int plain;
};

#define B ((struct bits *)*ctx)
#define EACH(f)                              \
	ASK(f##_offset, field_offset(B->f))  \
	ASK(f##_size, field_size(B->f))      \
	ASK(f##_exists, field_exists(B->f))  \
	ASK(f##_signed, field_signed(B->f))  \
	ASK(f##_lshift, field_lshift(B->f))  \
	ASK(f##_rshift, field_rshift(B->f))

EACH(low)
EACH(mid)
EACH(top)
EACH(sign)
EACH(long_one)
EACH(rest)
EACH(tiny)
EACH(tail)
EACH(plain)

/* As BPF_CORE_READ_BITFIELD reads one. */
SEC("raw_tp/x")
int whole(void **ctx)
{
	const void *p = (const void *)*ctx + field_offset(B->top);
	u64 val = 0;

	switch (field_size(B->top)) {
	case 1:
		val = *(const u8 *)p;
		break;
	case 2:
		val = *(const u16 *)p;
		break;
	case 4:
		val = *(const u32 *)p;
		break;
	case 8:
		val = *(const u64 *)p;
		break;
	}
	val <<= field_lshift(B->top);
	if (field_signed(B->top))
		return (s64)val >> field_rshift(B->top);
	return val >> field_rshift(B->top);
}

char license_text[] SEC("license") = "GPL";
