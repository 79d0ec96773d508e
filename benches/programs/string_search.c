// SPDX-License-Identifier: MIT OR Apache-2.0
// Counts a word in a text by Horspool's method: a table on the stack says how far to skip.
#include "bench.h"

#define WORD_BYTES 8

ENTRY(void *mem, uint64_t len)
{
	// The memory begins with the word.
	const uint8_t *word = mem, *text = word + WORD_BYTES;
	uint8_t skip[256];
	uint64_t at = 0, found = 0;

	if (len < 2 * WORD_BYTES)
		return 0;
	len -= 2 * WORD_BYTES;
#pragma clang loop unroll(disable) vectorize(disable)
	for (int i = 0; i < 256; i++) {
		skip[i] = WORD_BYTES;
		// Keeps the loop a loop: it would become a call of memset on the host.
		OPAQUE(word);
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < WORD_BYTES - 1; i++)
		skip[word[i]] = WORD_BYTES - 1 - i;
	// Every step goes on by one byte at least.
	for (uint64_t i = 0; i <= len && at <= len; i++) {
		int k = WORD_BYTES - 1;

#pragma clang loop unroll(disable)
		while (k >= 0 && text[at + k] == word[k])
			k--;
		found += k < 0;
		at += skip[text[at + WORD_BYTES - 1]];
	}
	return found << 16 | at;
}
