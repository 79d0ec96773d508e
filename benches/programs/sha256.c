// SPDX-License-Identifier: MIT OR Apache-2.0
// SHA-256 (FIPS 180-4) of 16 blocks. The memory holds the 64 constants of the rounds and the blocks.
#include "bench.h"

#define BLOCKS 16

struct memory {
	uint32_t constants[64];
	uint32_t blocks[BLOCKS][16];
};

INLINE uint32_t rotr(uint32_t v, int bits)
{
	return v >> bits | v << (32 - bits);
}

ENTRY(void *mem, uint64_t len)
{
	const struct memory *memory = mem;
	uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint32_t w[64];

	if (len < sizeof(*memory))
		return 0;
#pragma clang loop unroll(disable)
	for (int block = 0; block < BLOCKS; block++) {
		uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];

#pragma clang loop unroll(disable)
		for (int t = 0; t < 16; t++)
			w[t] = __builtin_bswap32(memory->blocks[block][t]);
#pragma clang loop unroll(disable)
		for (int t = 16; t < 64; t++) {
			uint32_t x = w[t - 15], y = w[t - 2];

			w[t] = w[t - 16] + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3) + w[t - 7] +
			       (rotr(y, 17) ^ rotr(y, 19) ^ y >> 10);
		}
#pragma clang loop unroll(disable)
		for (int t = 0; t < 64; t++) {
			uint32_t one = i + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) +
				       ((e & f) ^ (~e & g)) + memory->constants[t] + w[t];
			uint32_t two = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) +
				       ((a & b) ^ (a & c) ^ (b & c));

			i = g, g = f, f = e, e = d + one;
			d = c, c = b, b = a, a = one + two;
		}
		h[0] += a, h[1] += b, h[2] += c, h[3] += d;
		h[4] += e, h[5] += f, h[6] += g, h[7] += i;
	}
	return (h[0] ^ h[7]) & POSITIVE;
}
