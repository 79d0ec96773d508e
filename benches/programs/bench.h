/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every bench program begins with. A program is one C file that compiles for BPF and for the
 * host, so that "native" is the same source. It has one of two forms:
 *
 *   ENTRY(void *mem, uint64_t len) { ... }            works on memory and its length in bytes
 *   PACKET { ... }                                    works on the packet from `data` up to `end`
 *
 * and returns a number that depends on all that it did. A packet program has two entries with the
 * same code: `packet` for hooks of Linux, `entry` for engines that give programs plain memory.
 * Maps are numbered, MAP(number, name, type, key, value, entries), and are used in the entry itself.
 *
 * Answers stay below 2^31 where the computation is 32 bits wide: sbpf extends the sign of 32-bit
 * sums where eBPF (RFC 9669 section 4.1) fills with zeros.
 */
#ifndef EBPFVM_BENCH_H
#define EBPFVM_BENCH_H

typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT64_TYPE__ uint64_t;

#define NOINLINE static __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))

/* Makes the compiler forget what it knows about a value, at no cost at run time. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

#define POSITIVE 0x7fffffffu

#ifdef __bpf__

#define SECTION(name) __attribute__((section(name), used))
#define ENTRY(mem, len) SECTION("raw") uint64_t entry(mem, len)

struct xdp_md {
	uint32_t data;
	uint32_t data_end;
};

#define PACKET                                                                               \
	INLINE uint64_t work(uint8_t *data, uint8_t *end);                                   \
	SECTION("raw") uint64_t entry(uint8_t *mem, uint64_t len)                            \
	{                                                                                    \
		return work(mem, mem + len);                                                 \
	}                                                                                    \
	SECTION("xdp") int packet(struct xdp_md *ctx)                                        \
	{                                                                                    \
		return work((uint8_t *)(long)ctx->data, (uint8_t *)(long)ctx->data_end);     \
	}                                                                                    \
	INLINE uint64_t work(uint8_t *data, uint8_t *end)

/* Numbers of `enum bpf_map_type`. */
#define HASH 1
#define ARRAY 2
#define PERCPU_ARRAY 6

#define MAP(number, name, map_type, key_type, value_type, entries)                           \
	struct {                                                                             \
		int (*type)[map_type];                                                       \
		key_type *key;                                                               \
		value_type *value;                                                           \
		int (*max_entries)[entries];                                                 \
	} name SECTION(".maps")

/* Helpers of Linux by their numbers. */
#define LOOKUP(map, key) (((void *(*)(void *, const void *))1)(&(map), (key)))
#define CSUM_DIFF(from, to, seed)                                                            \
	(((int64_t (*)(void *, uint32_t, void *, uint32_t, uint32_t))28)(                    \
		(from), sizeof(*(from)), (to), sizeof(*(to)), (seed)))

#else

#include "../native/host.h"

/* The build names the host's function after the file. */
#define ENTRY(mem, len) uint64_t ENTRY_NAME(mem, len, struct host_map *const *maps)

#define PACKET                                                                               \
	INLINE uint64_t work(uint8_t *data, uint8_t *end, struct host_map *const *maps);     \
	uint64_t ENTRY_NAME(uint8_t *mem, uint64_t len, struct host_map *const *maps)        \
	{                                                                                    \
		return work(mem, mem + len, maps);                                           \
	}                                                                                    \
	INLINE uint64_t work(uint8_t *data, uint8_t *end, struct host_map *const *maps)

#define MAP(number, name, map_type, key_type, value_type, entries) enum { name = number }

#define LOOKUP(map, key) host_map_lookup(maps[map], (key))
#define CSUM_DIFF(from, to, seed) host_csum_diff((from), sizeof(*(from)), (to), sizeof(*(to)), (seed))

#endif

INLINE uint16_t be16(const void *at)
{
	const uint8_t *bytes = at;
	return bytes[0] << 8 | bytes[1];
}

INLINE uint32_t rotl(uint32_t v, int bits)
{
	return v << bits | v >> (32 - bits);
}

/* The end of Bob Jenkins' hash (lookup3, 2006, public domain). */
INLINE uint32_t jhash_final(uint32_t a, uint32_t b, uint32_t c)
{
	c ^= b, c -= rotl(b, 14);
	a ^= c, a -= rotl(c, 11);
	b ^= a, b -= rotl(a, 25);
	c ^= b, c -= rotl(b, 16);
	a ^= c, a -= rotl(c, 4);
	b ^= a, b -= rotl(a, 14);
	c ^= b, c -= rotl(b, 24);
	return c;
}

#endif
