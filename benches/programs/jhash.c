// SPDX-License-Identifier: MIT OR Apache-2.0
// Bob Jenkins' hash (lookup3, 2006, public domain) of the memory, in whole blocks of twelve bytes.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	const uint32_t *k = mem;
	uint32_t a = 0xdeadbeef + (uint32_t)len, b = a, c = a;

	for (; len > 12; len -= 12, k += 3) {
		a += k[0];
		b += k[1];
		c += k[2];
		a -= c, a ^= rotl(c, 4), c += b;
		b -= a, b ^= rotl(a, 6), a += c;
		c -= b, c ^= rotl(b, 8), b += a;
		a -= c, a ^= rotl(c, 16), c += b;
		b -= a, b ^= rotl(a, 19), a += c;
		c -= b, c ^= rotl(b, 4), b += a;
	}
	return jhash_final(a, b, c) & POSITIVE;
}
