// SPDX-License-Identifier: MIT OR Apache-2.0
// The FNV-1a hash, 64 bits wide, of the memory.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	const uint8_t *bytes = mem;
	uint64_t hash = 0xcbf29ce484222325ull;

	for (uint64_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	return hash;
}
