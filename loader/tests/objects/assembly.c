/* Inline assembly: may_goto, references to maps, data and functions, a naked function. */
#include "defs.h"

struct {
	__uint(type, 2);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 4);
} numbers SEC(".maps");

u64 total = 3;

noinline u64 doubled(u64 x)
{
	return x * 2 + ktime_get_ns();
}

SEC("tc")
__attribute__((naked)) int written(void *ctx)
{
	asm volatile("r1 = 1;"
		     "*(u32 *)(r10 - 4) = r1;"
		     "r2 = r10;"
		     "r2 += -4;"
		     "r1 = %[numbers] ll;"
		     "call 1;"
		     "if r0 != 0 goto 1f;"
		     "r0 = 0;"
		     "exit;"
		     "1: r1 = %[total] ll;"
		     "r1 = *(u64 *)(r1 + 0);"
		     "call doubled;"
		     "exit;"
		     :
		     : [numbers] "i"(&numbers), [total] "i"(&total)
		     : "memory");
}

SEC("tc")
int counted(void *ctx)
{
	u64 sum = 0;

	for (u64 i = 0; i < 1000; i++) {
		/* may_goto over the rest of the loop */
		asm volatile goto(".byte 0xe5; .byte 0; .long ((%l[out] - . - 8) / 8) & 0xffff; .short 0"
				  :
				  :
				  :
				  : out);
		sum += i;
	}
out:
	return sum;
}

char license_text[] SEC("license") = "GPL";
