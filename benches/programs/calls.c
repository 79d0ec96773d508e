// SPDX-License-Identifier: MIT OR Apache-2.0
// 16,384 calls of a small function of the same program.
#include "bench.h"

NOINLINE uint64_t step(uint64_t a, uint64_t b)
{
	OPAQUE(a);
	return (a ^ b) + (a >> 3);
}

ENTRY(void *mem, uint64_t len)
{
	uint64_t x = len;

	(void)mem;
	for (uint64_t i = 0; i < 16384; i++)
		x = step(x, i);
	return x;
}
