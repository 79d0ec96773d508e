/* Instructions that come and go with the version of the instruction set: 32-bit arithmetic and jumps,
 * signed division, sign extension, byte swaps, long jumps. */
#include "defs.h"

u64 results[8];

SEC("syscall")
int arithmetic(u64 *ctx)
{
	u32 a = ctx[0], b = ctx[1];
	s64 c = ctx[2], d = ctx[3] | 1;

	results[0] = a + b * 3 - (a >> 3) + (a << 5);
	results[1] = a / (b | 1) + a % (b | 1);
	results[2] = (u64)c / (u64)d + (u64)c % (u64)d;
#if __BPF_CPU_VERSION__ >= 4
	results[3] = c / d + c % d + (s32)a / ((s32)b | 1);
#endif
	return (s32)a < (s32)b ? a : (s32)b >> 2;
}

SEC("syscall")
int extensions(u64 *ctx)
{
	s32 word = ctx[0];
	signed char byte = ctx[1];
	short half = ctx[2];

	results[0] = (s64)word + (s64)byte + (s64)half;
	results[1] = *(volatile signed char *)&results[2] + *(volatile short *)&results[3];
	return *(volatile s32 *)&results[4];
}

SEC("syscall")
int swaps(u64 *ctx)
{
	results[0] = __builtin_bswap16(ctx[0]) + __builtin_bswap32(ctx[1]);
	results[1] = __builtin_bswap64(ctx[2]);
	*(u32 *)&results[2] = 0x12345678;
	results[3] = 5;
	return 0;
}

SEC("syscall")
int jumps(u64 *ctx)
{
	u32 x = ctx[0];

	switch (x) {
	case 0 ... 9:
		return results[x & 7];
	case 77:
		return 1;
	case 0xffffffff:
		return 2;
	}
	if ((s32)x < -5)
		return 3;
	if (x & 0x40000000)
		return 4;
	for (u32 i = 0; i < (x & 15); i++)
		results[i & 7] += i * x;
	return 5;
}

char license_text[] SEC("license") = "GPL";
