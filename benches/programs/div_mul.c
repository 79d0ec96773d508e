// SPDX-License-Identifier: MIT OR Apache-2.0
// Divisions and remainders, by constants and by values, and multiplications.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	uint64_t x = len * 0x9e3779b97f4a7c15ull, sum = 0;

	(void)mem;
	for (uint64_t i = 1; i <= 8192; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		sum += x / 10;
		sum += x % 1000003;
		sum ^= (x >> 16) / (i + 7);
		sum += x % (i | 1);
	}
	return sum;
}
