// SPDX-License-Identifier: MIT OR Apache-2.0
// The Internet checksum (RFC 1071) of the memory, 16 bits at a time.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	const uint16_t *words = mem;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < len / 2; i++)
		sum += words[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
