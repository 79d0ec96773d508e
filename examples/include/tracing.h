/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What tracing programs need beyond bpf.h: their contexts, map kinds and helpers. */
#ifndef EBPFVM_EXAMPLES_TRACING_H
#define EBPFVM_EXAMPLES_TRACING_H

#include "bpf.h"

enum {
	BPF_MAP_TYPE_STACK_TRACE = 7,
};

#define BPF_F_USER_STACK (1ULL << 8)

/* Registers of x86_64. */
struct pt_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	__u64 orig_ax, ip, cs, flags, sp, ss;
};

struct bpf_perf_event_data {
	struct pt_regs regs;
	__u64 sample_period;
	__u64 addr;
};

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags) = (void *)27;
static long (*const bpf_probe_read_user_str)(void *dst, __u32 size, const void *from) = (void *)114;

#endif
