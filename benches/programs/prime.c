// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts primes among 200 numbers by trial division.
#include "bench.h"

INLINE uint32_t is_prime(uint32_t n)
{
	if (n < 4)
		return n > 1;
	if (n % 2 == 0)
		return 0;
	for (uint32_t divisor = 3; divisor * divisor <= n; divisor += 2)
		if (n % divisor == 0)
			return 0;
	return 1;
}

ENTRY(void *mem, uint64_t len)
{
	uint64_t primes = 0;

	(void)mem;
	for (uint32_t i = 0; i < 200; i++)
		primes += is_prime((uint32_t)len * 64 + i);
	return primes;
}
