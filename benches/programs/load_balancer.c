// SPDX-License-Identifier: MIT OR Apache-2.0
// A layer 4 load balancer with direct routing: finds the service of a TCP or UDP packet, picks a
// server by consistent hashing of the flow, sends the packet to that server's link-layer address, and
// counts.
#include "bench.h"

#define PASS 2
#define TX 3
#define RING 4099

struct service {
	uint32_t address;
	uint16_t port;
	uint16_t protocol;
};

struct server {
	uint8_t mac[6];
	uint16_t reserved;
};

struct counters {
	uint64_t packets;
	uint64_t bytes;
};

// Services by address, with the number of each.
MAP(0, services, HASH, struct service, uint32_t, 64);
// Of each service a ring of servers' numbers.
MAP(1, rings, ARRAY, uint32_t, uint32_t, 2 * RING);
MAP(2, servers, ARRAY, uint32_t, struct server, 64);
MAP(3, traffic, PERCPU_ARRAY, uint32_t, struct counters, 64);

INLINE uint32_t flow_hash(uint32_t source, uint32_t destination, uint32_t ports)
{
	uint32_t seed = 0xdeadbeef + 12;

	return jhash_final(source + seed, destination + seed, ports + seed);
}

PACKET
{
	uint8_t *ip = data + 14, *transport = ip + 20;

	if (transport + 20 > end || be16(data + 12) != 0x0800 || ip[0] != 0x45)
		return PASS;
	if (ip[9] != 6 && ip[9] != 17)
		return PASS;

	struct service service = {
		.address = *(uint32_t *)(ip + 16),
		.port = *(uint16_t *)(transport + 2),
		.protocol = ip[9],
	};
	uint32_t *number = LOOKUP(services, &service);

	if (!number)
		return PASS;

	uint32_t hash = flow_hash(*(uint32_t *)(ip + 12), service.address, *(uint32_t *)transport);
	uint32_t slot = *number * RING + hash % RING;
	uint32_t *chosen = LOOKUP(rings, &slot);

	if (!chosen)
		return PASS;

	struct server *server = LOOKUP(servers, chosen);

	if (!server)
		return PASS;

	for (int i = 0; i < 6; i++) {
		data[6 + i] = data[i];
		data[i] = server->mac[i];
	}

	struct counters *counters = LOOKUP(traffic, number);

	if (!counters)
		return PASS;
	counters->packets += 1;
	counters->bytes += end - data;
	return TX;
}
