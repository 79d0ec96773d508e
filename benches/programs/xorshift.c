// SPDX-License-Identifier: MIT OR Apache-2.0
// 65,536 rounds of a xorshift generator: a chain of shifts and exclusive ors in registers.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	uint64_t x = len | 1;

	(void)mem;
	for (uint32_t i = 0; i < 65536; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}
