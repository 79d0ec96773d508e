// SPDX-License-Identifier: MIT OR Apache-2.0
// Eratosthenes' sieve over the memory, a byte a number.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	uint8_t *composite = mem;
	uint64_t primes = 0;

#pragma clang loop unroll(disable) vectorize(disable)
	for (uint64_t i = 0; i < len; i++) {
		composite[i] = 0;
		// Keeps the loop a loop: it would become a call of memset on the host.
		OPAQUE(composite);
	}
	for (uint64_t i = 2; i * i < len; i++)
		if (!composite[i])
			for (uint64_t k = i * i; k < len; k += i)
				composite[k] = 1;
	for (uint64_t i = 2; i < len; i++)
		primes += !composite[i];
	return primes;
}
