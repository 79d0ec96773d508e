// SPDX-License-Identifier: MIT OR Apache-2.0
// Sorts 48 numbers on the stack.
#include "bench.h"

#define COUNT 48

ENTRY(void *mem, uint64_t len)
{
	uint64_t values[COUNT], sum = 0;
	uint32_t x = (uint32_t)len;

	(void)mem;
	for (int i = 0; i < COUNT; i++) {
		x = x * 1103515245 + 12345;
		values[i] = x >> 8;
	}
#pragma clang loop unroll(disable)
	for (int end = COUNT - 1; end > 0; end--) {
#pragma clang loop unroll(disable)
		for (int i = 0; i < end; i++) {
			if (values[i] > values[i + 1]) {
				uint64_t larger = values[i];

				values[i] = values[i + 1];
				values[i + 1] = larger;
			}
		}
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < COUNT; i++)
		sum = sum * 31 + values[i];
	return sum;
}
