// SPDX-License-Identifier: MIT OR Apache-2.0
// Which device files the processes of a cgroup may use: null, zero and urandom, and nobody makes any.
#include "../include/contexts.h"

SEC("cgroup/dev")
int gate(struct bpf_cgroup_dev_ctx *ctx)
{
	__u32 type = ctx->access_type & 0xffff;
	__u32 access = ctx->access_type >> 16;

	if (type != BPF_DEVCG_DEV_CHAR || ctx->major != 1)
		return 0;
	if (access & BPF_DEVCG_ACC_MKNOD)
		return 0;
	switch (ctx->minor) {
	case 3: // null
	case 5: // zero
		return 1;
	case 9: // urandom
		return !(access & BPF_DEVCG_ACC_WRITE);
	default:
		return 0;
	}
}
