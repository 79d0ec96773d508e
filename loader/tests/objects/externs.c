/* Symbols that only the kernel or its configuration has; one program does not use them. */
#include "defs.h"

extern int LINUX_KERNEL_VERSION SEC(".kconfig");
extern _Bool CONFIG_SMP SEC(".kconfig") weak;
extern int CONFIG_HZ SEC(".kconfig");
extern char CONFIG_CC[8] SEC(".kconfig") weak;
extern const int jiffies SEC(".ksyms");
extern int kernel_function(int x) SEC(".ksyms");
extern int weak_function(int x) SEC(".ksyms") weak;

SEC("xdp")
int config(struct xdp_md *ctx)
{
	return LINUX_KERNEL_VERSION;
}

SEC("xdp")
int strong(struct xdp_md *ctx)
{
	return CONFIG_HZ + CONFIG_SMP + CONFIG_CC[0];
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
int soft(struct xdp_md *ctx)
{
	if (weak_function)
		return weak_function(ctx->data);
	return 2;
}

SEC("xdp")
int plain(struct xdp_md *ctx)
{
	return 2;
}

char license_text[] SEC("license") = "GPL";
