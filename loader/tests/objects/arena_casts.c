/* Pointers into an arena: globals with initial values, lists of its own pages, casts between the
 * address spaces. */
#include "defs.h"

#define arena_space __attribute__((address_space(1)))

struct {
	__uint(type, 33);
	__uint(map_flags, 1 << 10);
	__uint(max_entries, 100);
} pages SEC(".maps");

struct node {
	struct node arena_space *next;
	u64 value;
};

struct node arena_space *head;
u64 arena_space totals[4] SEC(".addr_space.1") = { 1, 2, 3, 4 };
struct node arena_space fixed SEC(".addr_space.1") = { .value = 9 };

SEC("syscall")
int sum(void *ctx)
{
	u64 total = fixed.value;
	u32 zero = 0;

	map_lookup_elem(&pages, &zero);
	for (struct node arena_space *n = head; n && total < 1000; n = n->next)
		total += n->value;
	totals[total & 3] += total;
	return total;
}

char license_text[] SEC("license") = "GPL";
