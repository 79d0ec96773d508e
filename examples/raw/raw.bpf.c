// SPDX-License-Identifier: MIT OR Apache-2.0
// A program with a context of its own: r1 points to a block of memory, r2 is its length in bytes.
// No kernel hook has this shape, so no section name of libbpf's stands for it; "raw" is this
// project's word. It shows eBPF as a plug-in language: a price rule over a host's record.
#include "../include/bpf.h"

// What the host passes, in its own byte order.
struct order {
	__u32 customer_class; // 0: new, 1: regular, 2: partner
	__u32 items;
	__u64 item_price_cents;
	__u64 total_cents; // out
	__u32 discount_percent; // out
	__u32 reserved;
};

#define ERROR_TOO_SMALL 1
#define ERROR_OVERFLOW 2

static __noinline __u32 discount(__u32 customer_class, __u32 items)
{
	__u32 percent = customer_class == 2 ? 15 : customer_class == 1 ? 5 : 0;

	if (items >= 100)
		percent += 10;
	else if (items >= 10)
		percent += 3;
	return percent;
}

// Returns 0 and fills the out fields, or an error and leaves the record alone.
SEC("raw")
__u64 price(struct order *order, __u64 bytes)
{
	if (bytes < sizeof(*order))
		return ERROR_TOO_SMALL;
	if (order->items && order->item_price_cents > (1ULL << 56) / order->items)
		return ERROR_OVERFLOW;

	__u32 percent = discount(order->customer_class, order->items);
	__u64 full = order->item_price_cents * order->items;

	order->discount_percent = percent;
	// Rounded to the customer's advantage.
	order->total_cents = full * (100 - percent) / 100;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
