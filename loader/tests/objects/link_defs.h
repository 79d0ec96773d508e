/* What the files that are linked to one object share. */
#ifndef LINK_DEFS_H
#define LINK_DEFS_H
#include "defs.h"

struct owner;

struct entry {
	u64 count;
	struct owner *owner;
	struct entry *next;
};

struct counters {
	__uint(type, 2);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct entry);
};

/* Keeps the compiler from knowing what x is. */
static inline_always u32 opaque(u32 x)
{
	asm volatile("" : "+r"(x));
	return x;
}

#endif
