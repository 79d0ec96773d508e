// SPDX-License-Identifier: MIT OR Apache-2.0
// The Toeplitz hash, by which network cards spread flows, of 64 flows. The memory holds the key of
// 40 bytes and the flows: addresses and ports, 12 bytes each.
#include "bench.h"

#define KEY_BYTES 40
#define FLOW_BYTES 12
#define FLOWS 64

ENTRY(void *mem, uint64_t len)
{
	const uint8_t *key = mem, *flow = key + KEY_BYTES;
	uint64_t sum = 0;

	if (len < KEY_BYTES + FLOWS * FLOW_BYTES)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < FLOWS; i++, flow += FLOW_BYTES) {
		// The 32 bits of the key above the next byte, and that byte.
		uint64_t window = (uint64_t)be16(key) << 16 | be16(key + 2);
		uint32_t hash = 0;

#pragma clang loop unroll(disable)
		for (int k = 0; k < FLOW_BYTES; k++) {
			uint32_t byte = flow[k];

			window = window << 8 | key[k + 4];
			for (int bit = 0; bit < 8; bit++)
				hash ^= -(byte >> (7 - bit) & 1) & (uint32_t)(window >> (8 - bit));
		}
		sum = sum * 31 + hash;
	}
	return sum;
}
