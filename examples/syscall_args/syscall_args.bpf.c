// SPDX-License-Identifier: MIT OR Apache-2.0
// A program that user space calls with an argument, which it reads and writes: the greatest common
// divisor of two numbers.
#include "../include/tracing.h"

struct argument {
	__u32 a;
	__u32 b;
	__u32 result;
};

SEC("syscall")
int gcd(struct argument *arg)
{
	__u32 a = arg->a, b = arg->b;

	// No two numbers of 32 bits take more steps.
	for (int i = 0; i < 48 && b; i++) {
		__u32 rest = a % b;

		a = b;
		b = rest;
	}
	arg->result = a;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
