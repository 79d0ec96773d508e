// SPDX-License-Identifier: MIT OR Apache-2.0
// 16,384 calls of a helper, on words on the stack.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	uint64_t sum = len;

	(void)mem;
	for (uint32_t i = 0; i < 16384; i++) {
		uint32_t from = i, to = i * 0x9e3779b1;

		sum = CSUM_DIFF(&from, &to, sum);
	}
	return sum;
}
