// SPDX-License-Identifier: MIT OR Apache-2.0
// A histogram of latencies, as tracing tools keep it: logarithms of 256 numbers, each counted in a
// per-CPU array.
#include "bench.h"

#define LATENCIES 256
#define BUCKETS 64

MAP(0, buckets, PERCPU_ARRAY, uint32_t, uint64_t, BUCKETS);

INLINE uint32_t log2_u32(uint32_t v)
{
	uint32_t log = (v > 0xffff) << 4, shift;

	v >>= log;
	shift = (v > 0xff) << 3;
	v >>= shift;
	log |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	log |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	log |= shift;
	return log | v >> 1;
}

ENTRY(void *mem, uint64_t len)
{
	const uint64_t *latencies = mem;
	uint64_t sum = 0;

	if (len < LATENCIES * sizeof(*latencies))
		return 0;
#pragma clang loop unroll(disable)
	for (uint32_t i = 0; i < LATENCIES; i++) {
		uint32_t high = latencies[i] >> 32, low = latencies[i];
		uint32_t bucket = high ? log2_u32(high) + 32 : log2_u32(low);
		uint64_t *count = LOOKUP(buckets, &bucket);

		if (!count)
			return 0;
		*count += 1;
		sum = sum * 31 + *count;
	}
	return sum;
}
