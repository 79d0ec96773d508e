/* Data sections of all kinds, custom ones among them, and what is put there without being asked. */
#include "defs.h"

const volatile u32 limits[4] = { 1, 2, 3, 4 };
const volatile u32 custom_limits[2] SEC(".rodata.limits") = { 7, 8 };
static const volatile u64 custom_static SEC(".rodata.fixed") = 9;
u32 counted = 5;
u32 custom_counted SEC(".data.counted") = 6;
static volatile u16 custom_hidden SEC(".data.hidden") = 7;
u64 zeroed;
u64 custom_zeroed[8] SEC(".bss.large");
static volatile u8 custom_zeroed_static SEC(".bss.small");
hidden u32 not_shown = 3;
weak u32 replaceable = 4;

static long (*const trace_printk)(const char *text, u32 bytes, ...) = (void *)6;

SEC("xdp")
int numbers(struct xdp_md *ctx)
{
	custom_counted += limits[ctx->data & 3] + custom_limits[ctx->data & 1] + custom_static;
	custom_zeroed[ctx->data & 7]++;
	custom_zeroed_static = 1;
	zeroed = custom_hidden;
	not_shown++;
	replaceable++;
	return counted++;
}

/* Text goes to .rodata.str1.1. */
SEC("xdp")
int text(struct xdp_md *ctx)
{
	static const char format[] = "static %d";

	trace_printk("merged text", 12);
	trace_printk(format, sizeof(format), ctx->data);
	return 2;
}

/* A copied constant goes to .rodata.cst16 or .rodata. */
SEC("xdp")
int constants(struct xdp_md *ctx)
{
	u32 key[4] = { 0x11111111, 0x22222222, 0x33333333, 0x44444444 };
	u64 large[6] = { 1, 2, 3, 4, 5, 6 };
	u32 *volatile p = &key[ctx->data & 3];
	u64 *volatile q = &large[ctx->data & 3];

	return *p + *q;
}

char license_text[] SEC("license") = "Dual BSD/GPL";
