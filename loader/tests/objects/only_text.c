/* The only function of an object is a program, though it is in .text. */
#include "defs.h"

u32 count;

int only(void *ctx)
{
	return count++;
}

char license_text[] SEC("license") = "GPL";
