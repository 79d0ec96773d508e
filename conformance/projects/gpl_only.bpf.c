// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// The helpers of a program that is not under the GPL.
#include "project.h"

SEC("tc")
int open_to_all(struct __sk_buff *skb)
{
	return bpf_get_hash_recalc(skb) & 1 ? TC_ACT_OK : TC_ACT_UNSPEC;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int reads_kernel_memory(struct sys_enter *ctx)
{
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)ctx->args[0]);
	return word & 1;
}

SEC("tc")
int prints(struct __sk_buff *skb)
{
	bpf_printk("%d", skb->len);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Proprietary";
