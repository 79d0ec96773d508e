/* Types as wholes: ids, existence, sizes, matches. */
#include "core.h"

struct present {
	int a, b;
};
typedef struct present present_t;
typedef int (*handler)(struct present *p, u32 n);
typedef int (*other_handler)(struct present *p);
union choice {
	u64 wide;
};
enum state {
	STATE_A = 1,
	STATE_B = 2,
};
struct alike {
	struct present *p;
	u32 n;
};
struct unlike {
	u32 n;
};
struct missing {
	int x;
};
typedef struct missing missing_t;
enum missing_enum {
	MISSING = 1,
};

#define EACH(name, t)                               \
	ASK(name##_id_local, type_id_local(t))      \
	ASK(name##_id_target, type_id_target(t))    \
	ASK(name##_exists, type_exists(t))          \
	ASK(name##_size, type_size(t))              \
	ASK(name##_matches, type_matches(t))

EACH(present, struct present)
EACH(typedef_, present_t)
EACH(pointer_to_function, handler)
EACH(union_, union choice)
EACH(enum_, enum state)
EACH(alike, struct alike)
EACH(unlike, struct unlike)
EACH(missing, struct missing)
EACH(missing_typedef, missing_t)
EACH(missing_enum, enum missing_enum)
EACH(number, u32)
ASK(wrong_handler_exists, type_exists(other_handler))
ASK(wrong_handler_matches, type_matches(other_handler))

char license_text[] SEC("license") = "GPL";
