// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts in a thousand counters of an array.
#include "bench.h"

MAP(0, counters, ARRAY, uint32_t, uint64_t, 1000);

ENTRY(void *mem, uint64_t len)
{
	uint64_t sum = 0;

	(void)mem;
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t key = i;
		uint64_t *counter = LOOKUP(counters, &key);

		if (!counter)
			return 0;
		*counter += len + i;
		sum = sum * 31 + *counter;
	}
	return sum;
}
