// SPDX-License-Identifier: MIT OR Apache-2.0
// The CRC-32 of Ethernet with a table, of 1,500 bytes. The memory holds the table and the bytes.
#include "bench.h"

struct memory {
	uint32_t table[256];
	uint8_t bytes[];
};

ENTRY(void *mem, uint64_t len)
{
	const struct memory *memory = mem;
	uint32_t crc = ~0u;

	if (len < sizeof(*memory))
		return 0;
	len -= sizeof(*memory);
	for (uint64_t i = 0; i < len; i++)
		crc = crc >> 8 ^ memory->table[(crc ^ memory->bytes[i]) & 0xff];
	return ~crc & POSITIVE;
}
