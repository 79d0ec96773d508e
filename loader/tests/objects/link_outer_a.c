/* Externs that stay externs, and maps that name programs and maps of the other file. */
#include "link_defs.h"

#define tag(text) __attribute__((btf_decl_tag(text)))
#define type_tag(text) __attribute__((btf_type_tag(text)))

extern int LINUX_KERNEL_VERSION SEC(".kconfig");
extern int kernel_function(int x) SEC(".ksyms") weak;
extern int target(struct xdp_md *ctx);
extern struct counters inner SEC(".maps");

struct {
	__uint(type, 3);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, int(struct xdp_md *));
} programs SEC(".maps") = { .values = { [2] = &target } };

struct {
	__uint(type, 12);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct counters);
} tables SEC(".maps") = { .values = { [1] = &inner } };

struct holder {
	int type_tag("here") *pointer tag("member");
	int number;
} tag("struct");

struct holder holder tag("variable");

noinline int shared(int x tag("parameter"))
{
	return opaque(x) + holder.number;
}

SEC("xdp")
int dispatch(struct xdp_md *ctx)
{
	tail_call(ctx, &programs, 2);
	return shared(LINUX_KERNEL_VERSION) + (kernel_function ? kernel_function(1) : 0);
}

char license_text[] SEC("license") = "GPL";
int version_number SEC("version") = 0x061200;
