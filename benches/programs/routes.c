// SPDX-License-Identifier: MIT OR Apache-2.0
// Longest prefix matches of 64 addresses in a binary trie, as a routing table is searched. The memory
// holds the nodes; node 0 is the root and nobody's child.
#include "bench.h"

#define NODES 1024
#define ADDRESSES 64

struct node {
	uint16_t child[2];
	// 0 if no prefix ends here.
	uint32_t route;
};

ENTRY(void *mem, uint64_t len)
{
	const struct node *nodes = mem;
	uint32_t address = len;
	uint64_t sum = 0;

	if (len < NODES * sizeof(*nodes))
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < ADDRESSES; i++) {
		uint32_t route = 0, at = 0;

		address = address * 1664525 + 1013904223;
#pragma clang loop unroll(disable)
		for (int bit = 31; bit >= 0; bit--) {
			at = nodes[at].child[address >> bit & 1] & (NODES - 1);
			if (!at)
				break;
			if (nodes[at].route)
				route = nodes[at].route;
		}
		sum = sum * 31 + route;
	}
	return sum;
}
