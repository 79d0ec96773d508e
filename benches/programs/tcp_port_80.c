// SPDX-License-Identifier: MIT OR Apache-2.0
// A packet filter, "tcp port 80" over IPv4: the memory is an Ethernet frame.
#include "bench.h"

ENTRY(void *mem, uint64_t len)
{
	const uint8_t *frame = mem;

	if (len < 14 + 20 + 4)
		return 0;
	if (be16(frame + 12) != 0x0800 || frame[14 + 9] != 6)
		return 0;
	if (be16(frame + 14 + 6) & 0x1fff)
		return 0;

	uint64_t tcp = 14 + (frame[14] & 0xf) * 4;

	if (tcp + 4 > len)
		return 0;
	return be16(frame + tcp) == 80 || be16(frame + tcp + 2) == 80 ? len : 0;
}
