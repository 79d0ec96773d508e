/* What link_outer_a.c names, with the same externs of the kernel. */
#include "link_defs.h"

#define tag(text) __attribute__((btf_decl_tag(text)))
#define type_tag(text) __attribute__((btf_type_tag(text)))

extern int LINUX_KERNEL_VERSION SEC(".kconfig");
extern int kernel_function(int x) SEC(".ksyms") weak;

struct holder {
	int type_tag("here") *pointer tag("member");
	int number;
} tag("struct");

extern struct holder holder tag("variable");
extern int shared(int x);

struct counters inner SEC(".maps");

SEC("xdp")
int target(struct xdp_md *ctx)
{
	return shared(LINUX_KERNEL_VERSION) + holder.number +
	       (kernel_function ? kernel_function(2) : 0);
}

char license_text[] SEC("license") = "GPL";
int version_number SEC("version") = 0x061200;
