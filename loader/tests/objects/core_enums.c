/* Enumerators: negative ones, large ones, 64-bit enums, enums that became wider or narrower. */
#include "core.h"

enum state {
	STATE_A = 1,
	STATE_B = 2,
	STATE_C = 3,
	STATE_GONE = 4,
};
enum flags {
	FLAG_FIRST = 1,
	FLAG_TOP = 0x80000000,
	FLAG_FLAVOUR = 2,
};
enum wide {
	WIDE_LOW = 1,
	WIDE_HIGH = 0x1000000000ull,
	WIDE_TOP = 0xffffffff00000000ull,
	WIDE_GONE = 0x3000000000ull,
};
enum wide_negative {
	WIDE_NEGATIVE = -0x1000000000ll,
};
enum was_wide {
	WAS_WIDE = 0x100000000ull,
};
enum became_wide {
	BECAME_WIDE = 3,
};
enum nowhere {
	NOWHERE = 3,
};
typedef enum state state_t;

#define ASK64(name, question)                      \
	u64 answer_##name;                         \
	SEC("raw_tp/x")                            \
	int name(void **ctx)                       \
	{                                          \
		answer_##name = (u64)(question);   \
		return 0;                          \
	}
#define EACH(e, v)                               \
	ASK64(exists_##v, enum_exists(e, v))     \
	ASK64(value_##v, enum_value(e, v))

EACH(enum state, STATE_A)
EACH(enum state, STATE_B)
EACH(enum state, STATE_C)
EACH(enum state, STATE_GONE)
EACH(enum flags, FLAG_FIRST)
EACH(enum flags, FLAG_TOP)
EACH(enum flags, FLAG_FLAVOUR)
EACH(enum wide, WIDE_LOW)
EACH(enum wide, WIDE_HIGH)
EACH(enum wide, WIDE_TOP)
EACH(enum wide, WIDE_GONE)
EACH(enum wide_negative, WIDE_NEGATIVE)
EACH(enum was_wide, WAS_WIDE)
EACH(enum became_wide, BECAME_WIDE)
EACH(enum nowhere, NOWHERE)
ASK64(typedef_value, enum_value(state_t, STATE_A))

char license_text[] SEC("license") = "GPL";
