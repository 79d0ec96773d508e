// SPDX-License-Identifier: MIT OR Apache-2.0
// Compares two blocks of 192 bytes on the stack byte by byte, eight times, each time with the
// difference at another place.
#include "bench.h"

#define BYTES 192

ENTRY(void *mem, uint64_t len)
{
	uint8_t left[BYTES], right[BYTES];
	const uint8_t *from = mem;
	uint64_t sum = 0;

	if (len < BYTES)
		return 0;
#pragma clang loop unroll(disable) vectorize(disable)
	for (int i = 0; i < BYTES; i++) {
		left[i] = from[i];
		right[i] = from[i];
		// Keeps the loop a loop: as a block copy it would be unrolled.
		OPAQUE(from);
	}
#pragma clang loop unroll(disable)
	for (uint32_t round = 1; round <= 8; round++) {
		uint8_t *l = left, *r = right;
		uint32_t at = 0;

		OPAQUE(l);
		OPAQUE(r);
		r[round * 20] ^= 1;
#pragma clang loop unroll(disable)
		while (at < BYTES && l[at] == r[at])
			at++;
		sum = sum * 33 + at;
		r[round * 20] ^= 1;
	}
	return sum;
}
