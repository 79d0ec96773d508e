// SPDX-License-Identifier: MIT OR Apache-2.0
// Network address translation: finds the translation of a TCP packet's source, rewrites address
// and port, and updates both checksums. The table leads there and back, so that runs alternate.
#include "bench.h"

#define OK 0
#define DROP 1

struct endpoint {
	uint32_t address;
	uint16_t port;
	uint16_t protocol;
};

MAP(0, translations, HASH, struct endpoint, struct endpoint, 1024);

// RFC 1624, equation 3.
INLINE uint16_t updated(uint16_t checksum, uint64_t change)
{
	uint64_t sum = (uint16_t)~checksum + change;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

PACKET
{
	uint8_t *ip = data + 14, *tcp = ip + 20;

	if (tcp + 20 > end || be16(data + 12) != 0x0800 || ip[0] != 0x45 || ip[9] != 6)
		return OK;
	if (ip[8] <= 1)
		return DROP;

	struct endpoint from = {
		.address = *(uint32_t *)(ip + 12),
		.port = *(uint16_t *)tcp,
		.protocol = ip[9],
	};
	struct endpoint *to = LOOKUP(translations, &from);

	if (!to)
		return OK;

	uint64_t address = (uint32_t)~from.address + (uint64_t)to->address;
	uint64_t port = (uint16_t)~from.port + (uint64_t)to->port;

	*(uint32_t *)(ip + 12) = to->address;
	*(uint16_t *)tcp = to->port;
	*(uint16_t *)(ip + 10) = updated(*(uint16_t *)(ip + 10), address);
	*(uint16_t *)(tcp + 16) = updated(*(uint16_t *)(tcp + 16), address + port);
	return be16(ip + 10) + be16(tcp + 16);
}
