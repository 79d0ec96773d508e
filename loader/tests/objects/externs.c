/* Symbols that only the kernel or its configuration has; one program does not use them. */
#include "defs.h"

extern int LINUX_KERNEL_VERSION SEC(".kconfig");
extern const int jiffies SEC(".ksyms");
extern int kernel_function(int x) SEC(".ksyms");

SEC("xdp")
int config(struct xdp_md *ctx)
{
	return LINUX_KERNEL_VERSION;
}

SEC("xdp")
int variable(struct xdp_md *ctx)
{
	return (u64)&jiffies >> 3;
}

SEC("xdp")
int function(struct xdp_md *ctx)
{
	return kernel_function(ctx->data);
}

SEC("xdp")
int plain(struct xdp_md *ctx)
{
	return 2;
}

char license_text[] SEC("license") = "GPL";
