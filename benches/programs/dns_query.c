// SPDX-License-Identifier: MIT OR Apache-2.0
// Reads the question of a DNS query over UDP and IPv4 and hashes its name in lower case.
#include "bench.h"

#define NAME_MAX 64

PACKET
{
	const uint8_t *ip = data + 14, *udp = ip + 20, *dns = udp + 8, *at = dns + 12;
	uint64_t hash = 0xcbf29ce484222325ull;
	uint32_t left = 0;

	if (at > end || be16(data + 12) != 0x0800 || ip[0] != 0x45 || ip[9] != 17)
		return 0;
	if (be16(udp + 2) != 53 || be16(dns + 4) != 1 || dns[2] & 0x80)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < NAME_MAX; i++, at++) {
		if (at + 1 > end)
			return 0;

		uint8_t c = *at;

		if (!left) {
			if (!c)
				break;
			// Queries do not compress their name.
			if (c > 63)
				return 0;
			left = c;
			c = '.';
		} else {
			left--;
			if (c >= 'A' && c <= 'Z')
				c |= 0x20;
		}
		hash = (hash ^ c) * 0x100000001b3ull;
	}
	if (at + 5 > end)
		return 0;
	return (hash ^ (uint32_t)be16(at + 1) << 16 ^ be16(at + 3)) & POSITIVE;
}
