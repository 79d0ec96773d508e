// SPDX-License-Identifier: MIT OR Apache-2.0
// Integer logarithms by halving steps, of 128 numbers: branches and shifts.
#include "bench.h"

INLINE uint32_t log2_floor(uint64_t v)
{
	uint32_t log = 0;

	if (v >> 32) {
		v >>= 32;
		log += 32;
	}
	if (v >> 16) {
		v >>= 16;
		log += 16;
	}
	if (v >> 8) {
		v >>= 8;
		log += 8;
	}
	if (v >> 4) {
		v >>= 4;
		log += 4;
	}
	if (v >> 2) {
		v >>= 2;
		log += 2;
	}
	return log + (v >> 1);
}

ENTRY(void *mem, uint64_t len)
{
	uint64_t v = len + 1, sum = 0;

	(void)mem;
	for (int i = 0; i < 128; i++) {
		v = v * 6364136223846793005ull + 1442695040888963407ull;
		sum += log2_floor(v >> (v & 63));
	}
	return sum;
}
