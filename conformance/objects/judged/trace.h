/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the programs of this folder need beyond net.h: more helpers, tracing contexts, loops. */
#ifndef EBPFVM_JUDGED_TRACE_H
#define EBPFVM_JUDGED_TRACE_H

#include "../net.h"

#define BPF_MAP_TYPE_STACK_TRACE 7
#define BPF_MAP_TYPE_CGROUP_STORAGE 19
#define BPF_MAP_TYPE_SK_STORAGE 24

/* Registers of x86-64 as kprobes see them (arch/x86/include/uapi/asm/ptrace.h). */
struct pt_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags,
		sp, ss;
};

struct bpf_perf_event_data {
	struct pt_regs regs;
	__u64 sample_period;
	__u64 addr;
};

struct bpf_spin_lock {
	__u32 val;
};

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_sock {
	__u32 bound_dev_if, family, type, protocol, mark, priority, src_ip4, src_ip6[4], src_port;
	__be16 dst_port;
	__u16 unused;
	__u32 dst_ip4, dst_ip6[4], state;
	__s32 rx_queue_mapping;
};

struct bpf_sock_tuple {
	__be32 saddr, daddr;
	__be16 sport, dport;
};

struct bpf_sock_addr {
	__u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol, msg_src_ip4,
		msg_src_ip6[4];
	struct bpf_sock *sk;
};

struct bpf_sock_ops {
	__u32 op, args[4], family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port,
		local_port, is_fullsock, snd_cwnd, srtt_us, bpf_sock_ops_cb_flags, state;
};

struct bpf_sk_lookup {
	struct bpf_sock *sk;
	__u32 family, protocol, remote_ip4, remote_ip6[4];
	__be16 remote_port;
	__u16 unused;
	__u32 local_ip4, local_ip6[4], local_port, ingress_ifindex;
};

static long (*const bpf_probe_read_kernel)(void *to, __u32 bytes, const void *from) = (void *)113;
static long (*const bpf_probe_read_user)(void *to, __u32 bytes, const void *from) = (void *)112;
static long (*const bpf_probe_read_user_str)(void *to, __u32 bytes,
					     const void *from) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *to, __u32 bytes,
					       const void *from) = (void *)115;
static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags) = (void *)27;
static __u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;
static __u64 (*const bpf_get_current_task)(void) = (void *)35;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*const bpf_loop)(__u32 count, void *callback, void *ctx, __u64 flags) = (void *)181;
static long (*const bpf_for_each_map_elem)(void *map, void *callback, void *ctx,
					   __u64 flags) = (void *)164;
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *)169;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 nsecs,
				     __u64 flags) = (void *)171;
static struct bpf_sock *(*const bpf_sk_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple,
						   __u32 bytes, __u64 netns,
						   __u64 flags) = (void *)84;
static long (*const bpf_sk_release)(void *sock) = (void *)86;
static struct bpf_sock *(*const bpf_sk_fullsock)(struct bpf_sock *sk) = (void *)95;
static __u64 (*const bpf_get_socket_cookie)(void *ctx) = (void *)46;
static long (*const bpf_setsockopt)(void *ctx, int level, int name, void *value,
				    int bytes) = (void *)49;
static void *(*const bpf_get_local_storage)(void *map, __u64 flags) = (void *)81;
static long (*const bpf_strtol)(const char *text, __u64 bytes, __u64 flags,
				long *result) = (void *)105;
static long (*const bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*const bpf_skb_change_head)(struct __sk_buff *skb, __u32 len,
					 __u64 flags) = (void *)43;
static long (*const bpf_clone_redirect)(struct __sk_buff *skb, __u32 ifindex,
					__u64 flags) = (void *)13;
static long (*const bpf_fib_lookup)(void *ctx, void *params, int bytes, __u32 flags) = (void *)69;

/* A power of two and its exponent, without loops. */
static __always_inline __u32 log2_u32(__u32 v)
{
	__u32 r, shift;

	r = (v > 0xffff) << 4;
	v >>= r;
	shift = (v > 0xff) << 3;
	v >>= shift;
	r |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	r |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	r |= shift;
	return r | v >> 1;
}

static __always_inline __u32 log2_u64(__u64 v)
{
	__u32 high = v >> 32;

	return high ? log2_u32(high) + 32 : log2_u32(v);
}

#endif
