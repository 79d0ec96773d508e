// SPDX-License-Identifier: MIT OR Apache-2.0
// A packet firewall: Ethernet, up to two VLAN tags, IPv4, TCP and UDP; sources in a list and some
// ports are dropped. The packet begins with the list (a count and that many addresses); the Ethernet
// frame is behind it.
#include "bench.h"

#define DROP 1
#define PASS 2
#define LIST_MAX 16

struct header {
	uint32_t blocked_count;
	uint32_t blocked[LIST_MAX];
};

PACKET
{
	const struct header *header = (const struct header *)data;
	const uint8_t *at = (const uint8_t *)(header + 1);

	if (at + 14 > end || header->blocked_count > LIST_MAX)
		return DROP;

	uint16_t type = be16(at + 12);

	at += 14;
#pragma clang loop unroll(disable)
	for (int tag = 0; tag < 2 && (type == 0x8100 || type == 0x88a8); tag++) {
		if (at + 4 > end)
			return DROP;
		type = be16(at + 2);
		at += 4;
	}
	if (type != 0x0800)
		return PASS;
	if (at + 20 > end || at[0] >> 4 != 4 || (at[0] & 0xf) < 5)
		return DROP;

	uint32_t source = *(const uint32_t *)(at + 12);

#pragma clang loop unroll(disable)
	for (uint32_t i = 0; i < header->blocked_count; i++)
		if (header->blocked[i] == source)
			return DROP;

	uint8_t protocol = at[9];
	const uint8_t *transport = at + (at[0] & 0xf) * 4;

	if (protocol != 6 && protocol != 17)
		return PASS;
	if (transport + (protocol == 6 ? 20 : 8) > end)
		return DROP;

	uint16_t port = be16(transport + 2);

	if (protocol == 6 && (port == 23 || port == 445))
		return DROP;
	return protocol == 17 && port == 1900 ? DROP : PASS;
}
