// SPDX-License-Identifier: MIT OR Apache-2.0
// Encodes 900 bytes in base 64 (RFC 4648). The memory holds the alphabet, the bytes, and room for
// the text.
#include "bench.h"

#define BYTES 900

struct memory {
	uint8_t alphabet[64];
	uint8_t bytes[BYTES];
	uint8_t text[BYTES / 3 * 4];
};

ENTRY(void *mem, uint64_t len)
{
	struct memory *memory = mem;
	uint8_t *text = memory->text;
	uint32_t last = 0;

	if (len < sizeof(*memory))
		return 0;
#pragma clang loop unroll(disable)
	for (uint32_t i = 0; i < BYTES; i += 3, text += 4) {
		const uint8_t *in = memory->bytes + i;
		uint32_t group = in[0] << 16 | in[1] << 8 | in[2];

		text[0] = memory->alphabet[group >> 18];
		text[1] = memory->alphabet[group >> 12 & 63];
		text[2] = memory->alphabet[group >> 6 & 63];
		text[3] = memory->alphabet[group & 63];
		last = last * 31 + group;
	}
	return last & POSITIVE;
}
