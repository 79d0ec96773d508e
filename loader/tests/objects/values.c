/* Types to show values through. */
#include "defs.h"

enum color { RED = 1, GREEN = 2, BELOW = -3 };
enum big { HUGE = 0x100000000ull };

struct point {
	s32 x, y;
};

struct all {
	u8 byte;
	_Bool yes;
	char letter;
	s64 negative;
	enum color color;
	enum big big;
	char name[8];
	u8 mac[6];
	struct point points[2];
	u32 low : 3, mid : 7, high : 22;
	s32 small : 4;
	union {
		u32 word;
		u8 parts[4];
	};
	struct {
		u16 inside;
	};
	void *pointer;
	double real;
	unsigned __int128 wide;
	struct point *to;
	int (*call)(int, struct all *);
	const volatile char *const texts[2];
};

struct packed_t {
	u8 a;
	u32 b;
} __attribute__((packed));

typedef struct {
	int anonymous;
} named_by_typedef;

struct node {
	struct node *next;
	struct list *list;
	named_by_typedef t;
	int gap __attribute__((aligned(16)));
};

struct list {
	struct node first;
};

struct all everything = {
	.byte = 200, .yes = 1, .letter = 'x', .negative = -5, .color = BELOW, .big = HUGE,
	.name = "abc", .mac = { 2, 0, 0, 0, 0, 1 }, .points = { { 1, -2 }, { 3, 4 } },
	.low = 5, .mid = 100, .high = 123456, .small = -3, .word = 0x04030201, .inside = 77,
	.pointer = (void *)0x1234, .real = 1.5, .wide = ((unsigned __int128)1 << 100) | 1,
};
struct packed_t packed = { 1, 2 };
struct node node;
struct list list;

SEC("raw")
int prog(void *mem)
{
	return everything.byte + packed.b + node.t.anonymous + list.first.gap;
}
