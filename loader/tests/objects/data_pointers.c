/* Pointers among the initial values: the relocations of data sections, which nothing applies. */
#include "defs.h"

int target_one = 1;
int target_two = 2;
int *pointers[2] = { &target_one, &target_two };
const char *const names[2] = { "first", "second" };
int *volatile alone = &target_two;

SEC("tc")
int use(void *ctx)
{
	return (u64)alone + (u64)pointers[ktime_get_ns() & 1] + (u64)names[ktime_get_ns() & 1];
}

char license_text[] SEC("license") = "GPL";
