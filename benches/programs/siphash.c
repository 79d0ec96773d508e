// SPDX-License-Identifier: MIT OR Apache-2.0
// SipHash-2-4 (Aumasson and Bernstein, 2012) of the memory, in whole words of eight bytes.
#include "bench.h"

struct state {
	uint64_t a, b, c, d;
};

INLINE uint64_t rotl64(uint64_t v, int bits)
{
	return v << bits | v >> (64 - bits);
}

INLINE void round(struct state *s)
{
	s->a += s->b;
	s->c += s->d;
	s->b = rotl64(s->b, 13) ^ s->a;
	s->d = rotl64(s->d, 16) ^ s->c;
	s->a = rotl64(s->a, 32) + s->d;
	s->c += s->b;
	s->d = rotl64(s->d, 21) ^ s->a;
	s->b = rotl64(s->b, 17) ^ s->c;
	s->c = rotl64(s->c, 32);
}

ENTRY(void *mem, uint64_t len)
{
	const uint64_t *words = mem;
	struct state s = {
		.a = 0x736f6d6570736575ull ^ 0x0706050403020100ull,
		.b = 0x646f72616e646f6dull ^ 0x0f0e0d0c0b0a0908ull,
		.c = 0x6c7967656e657261ull ^ 0x0706050403020100ull,
		.d = 0x7465646279746573ull ^ 0x0f0e0d0c0b0a0908ull,
	};

	for (uint64_t i = 0; i < len / 8; i++) {
		s.d ^= words[i];
		round(&s);
		round(&s);
		s.a ^= words[i];
	}
	s.d ^= len << 56;
	round(&s);
	round(&s);
	s.a ^= len << 56;
	s.c ^= 0xff;
	for (int i = 0; i < 4; i++)
		round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}
