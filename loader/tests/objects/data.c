/* Globals in every data section, static and global, by name and through section symbols. */
#include "defs.h"

const volatile u32 limit = 7;
static const volatile char text[] = "hello, world";
u32 counter = 41;
static u64 hidden_counter = 1;
u64 zeroed[3];
static volatile u32 zeroed_too;
u32 custom SEC(".data.custom") = 9;
const u8 table[4] SEC(".rodata.table") = { 1, 2, 3, 4 };

SEC("xdp")
int use(struct xdp_md *ctx)
{
	u64 sum = limit + text[ctx->data & 7];
	counter += 1;
	__sync_fetch_and_add(&hidden_counter, 2);
	zeroed[1] += sum;
	zeroed_too = 3;
	custom++;
	return counter + custom + table[ctx->data & 3];
}

char license_text[] SEC("license") = "GPL";
u32 version_number SEC("version") = 0x061200;
