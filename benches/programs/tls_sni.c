// SPDX-License-Identifier: MIT OR Apache-2.0
// Finds the server's name in a TLS ClientHello (RFC 8446, RFC 6066) and hashes it.
#include "bench.h"

#define EXTENSIONS_MAX 32
#define NAME_MAX 64

ENTRY(void *mem, uint64_t len)
{
	const uint8_t *hello = mem;
	uint64_t hash = 0xcbf29ce484222325ull, at;

	// A handshake record with a ClientHello; version and random number follow.
	if (len < 44 || hello[0] != 22 || hello[5] != 1)
		return 0;
	at = 43;
	at += 1 + hello[at];
	if (at + 2 > len)
		return 0;
	at += 2 + be16(hello + at);
	if (at + 1 > len)
		return 0;
	at += 1 + hello[at];
	at += 2;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (at + 4 > len)
			return 0;

		uint32_t type = be16(hello + at), bytes = be16(hello + at + 2);

		at += 4;
		if (type) {
			at += bytes;
			continue;
		}
		if (at + 5 > len)
			return 0;

		uint32_t name_bytes = be16(hello + at + 3);

		at += 5;
#pragma clang loop unroll(disable)
		for (uint32_t k = 0; k < NAME_MAX; k++) {
			if (k == name_bytes)
				return hash & POSITIVE;
			uint64_t next = at + k;

			// Keeps the check about what is accessed.
			OPAQUE(next);
			if (next >= len)
				return 0;
			hash = (hash ^ hello[next]) * 0x100000001b3ull;
		}
		return 0;
	}
	return 0;
}
