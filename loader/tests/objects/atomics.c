/* Atomic operations, 32 and 64 bits wide, with and without the old value. */
#include "defs.h"

u64 wide;
u32 narrow;
u64 old[8];

SEC("syscall")
int adds(u64 *ctx)
{
	__sync_fetch_and_add(&wide, ctx[0]);
	__sync_fetch_and_add(&narrow, (u32)ctx[1]);
	return 0;
}

#if __BPF_CPU_VERSION__ >= 3
SEC("syscall")
int fetches(u64 *ctx)
{
	old[0] = __sync_fetch_and_add(&wide, ctx[0]);
	old[1] = __sync_fetch_and_or(&wide, ctx[0]);
	old[2] = __sync_fetch_and_and(&narrow, (u32)ctx[0]);
	old[3] = __sync_fetch_and_xor(&narrow, (u32)ctx[0]);
	old[4] = __sync_lock_test_and_set(&wide, ctx[0]);
	old[5] = __sync_val_compare_and_swap(&narrow, 1, 2);
	old[6] = __sync_val_compare_and_swap(&wide, ctx[0], ctx[1]);
	return 0;
}
#endif

char license_text[] SEC("license") = "GPL";
