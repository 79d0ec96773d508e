// SPDX-License-Identifier: MIT OR Apache-2.0
// 16,384 atomic additions to four counters.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	uint64_t *counters = mem;

	for (int i = 0; i < 4; i++)
		counters[i] = 0;
	for (uint64_t i = 0; i < 16384; i++)
		__sync_fetch_and_add(&counters[i & 3], len + i);
	return counters[0] + counters[1] + counters[2] + counters[3];
}
