// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts words, numbers and quoted strings in the memory with a state machine over its bytes.
#include "bench.h"

enum state {
	BETWEEN,
	WORD,
	NUMBER,
	QUOTED,
	ESCAPED,
};

ENTRY(void *mem, uint64_t len)
{
	const uint8_t *bytes = mem;
	enum state state = BETWEEN;
	uint64_t words = 0, numbers = 0, strings = 0;

	for (uint64_t i = 0; i < len; i++) {
		uint8_t c = bytes[i];

		switch (state) {
		case BETWEEN:
			if (c >= '0' && c <= '9') {
				state = NUMBER;
				numbers++;
			} else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
				state = WORD;
				words++;
			} else if (c == '"') {
				state = QUOTED;
				strings++;
			}
			break;
		case WORD:
			if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
				state = c == '"' ? QUOTED : BETWEEN;
			break;
		case NUMBER:
			if (c < '0' || c > '9')
				state = BETWEEN;
			break;
		case QUOTED:
			if (c == '\\')
				state = ESCAPED;
			else if (c == '"')
				state = BETWEEN;
			break;
		case ESCAPED:
			state = QUOTED;
			break;
		}
	}
	return words << 40 | numbers << 20 | strings;
}
