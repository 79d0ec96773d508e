/* Flavours: what stands after three underscores is not part of a type's name. */
#include "core.h"

struct flavoured___one {
	u32 value;
} core;
struct flavoured___two {
	u64 gone;
	u32 value;
} core;
struct moved {
	u32 value;
} core;
struct moved___new {
	u32 value, fresh;
} core;
enum state___mine {
	STATE_A___mine = 11,
	STATE_B___other = 12,
};
struct present___x___y {
	int a;
} core;
/* No flavour: nothing before the underscores. */
struct ___plain {
	int a;
} core;

#define AS(t) ((struct t *)*ctx)

ASK(one, AS(flavoured___one)->value)
ASK(two, AS(flavoured___two)->value)
ASK(two_gone, field_exists(AS(flavoured___two)->gone))
ASK(base, AS(moved)->value)
ASK(other, AS(moved___new)->value)
ASK(fresh, field_exists(AS(moved___new)->fresh))
ASK(twice, AS(present___x___y)->a)
ASK(twice_exists, type_exists(struct present___x___y))
ASK(plain_exists, type_exists(struct ___plain))
ASK(enumerator, enum_value(enum state___mine, STATE_A___mine))
ASK(enumerator_exists, enum_exists(enum state___mine, STATE_B___other))

char license_text[] SEC("license") = "GPL";
