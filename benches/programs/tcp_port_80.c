// SPDX-License-Identifier: MIT OR Apache-2.0
// A packet filter, "tcp port 80" over IPv4.
#include "bench.h"

PACKET
{
	const uint8_t *frame = data;

	if (frame + 14 + 20 + 4 > end)
		return 0;
	if (be16(frame + 12) != 0x0800 || frame[14 + 9] != 6)
		return 0;
	if (be16(frame + 14 + 6) & 0x1fff)
		return 0;

	const uint8_t *tcp = frame + 14 + (frame[14] & 0xf) * 4;

	if (tcp + 4 > end)
		return 0;
	return be16(tcp) == 80 || be16(tcp + 2) == 80;
}
