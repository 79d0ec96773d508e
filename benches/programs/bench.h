/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every bench program begins with. A program is one C file that compiles for BPF and for the
 * host, so that "native" is the same source: `entry` gets memory and its length in bytes and
 * returns a number that depends on all that it did. It needs no map and no helper, so that every
 * engine can run it.
 *
 * Answers stay below 2^31 where the computation is 32 bits wide: sbpf extends the sign of 32-bit
 * sums where eBPF (RFC 9669 section 4.1) fills with zeros.
 */
#ifndef EBPFVM_BENCH_H
#define EBPFVM_BENCH_H

typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;

#ifdef __bpf__
#define ENTRY __attribute__((section("raw"), used)) uint64_t entry
#else
/* The build names the host's function after the file. */
#define ENTRY uint64_t ENTRY_NAME
#endif
#define NOINLINE static __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))

/* Makes the compiler forget what it knows about a value, at no cost at run time. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

#define POSITIVE 0x7fffffffu

INLINE uint16_t be16(const void *at)
{
	const uint8_t *bytes = at;
	return bytes[0] << 8 | bytes[1];
}

#endif
