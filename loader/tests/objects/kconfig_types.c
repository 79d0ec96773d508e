/* Configuration values of every type, some weak, some that no kernel has. */
#include "defs.h"

enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};

#define kconfig SEC(".kconfig")

extern u32 LINUX_KERNEL_VERSION kconfig;
extern _Bool LINUX_HAS_BPF_COOKIE kconfig weak;
extern _Bool LINUX_HAS_SYSCALL_WRAPPER kconfig weak;
extern _Bool CONFIG_BPF_SYSCALL kconfig weak;
extern enum libbpf_tristate CONFIG_IPV6 kconfig weak;
extern char CONFIG_MODULES kconfig weak;
extern char CONFIG_LOCALVERSION[16] kconfig weak;
extern s32 CONFIG_HZ kconfig weak;
extern u64 CONFIG_NR_CPUS kconfig weak;
extern u16 CONFIG_LOG_BUF_SHIFT kconfig weak;
extern u64 CONFIG_ILLEGAL_POINTER_VALUE kconfig weak;
extern s32 CONFIG_NOT_THERE kconfig weak;
extern _Bool CONFIG_NOT_THERE_EITHER kconfig weak;
extern char CONFIG_NO_TEXT[8] kconfig weak;

SEC("xdp")
int version(struct xdp_md *ctx)
{
	return LINUX_KERNEL_VERSION >= 0x50000 ? LINUX_HAS_BPF_COOKIE + LINUX_HAS_SYSCALL_WRAPPER : 0;
}

SEC("xdp")
int switches(struct xdp_md *ctx)
{
	return CONFIG_BPF_SYSCALL + CONFIG_IPV6 + CONFIG_MODULES + CONFIG_NOT_THERE_EITHER;
}

SEC("xdp")
int numbers(struct xdp_md *ctx)
{
	return CONFIG_HZ + CONFIG_NR_CPUS + CONFIG_LOG_BUF_SHIFT + CONFIG_ILLEGAL_POINTER_VALUE +
	       CONFIG_NOT_THERE;
}

SEC("xdp")
int texts(struct xdp_md *ctx)
{
	return CONFIG_LOCALVERSION[0] + CONFIG_LOCALVERSION[15] + CONFIG_NO_TEXT[1];
}

char license_text[] SEC("license") = "GPL";
