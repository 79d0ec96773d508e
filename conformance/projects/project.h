/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What these programs need beyond the examples' headers and net.h. */
#ifndef EBPFVM_PROJECT_H
#define EBPFVM_PROJECT_H

#include "../../examples/include/contexts.h"
#include "../../examples/include/sockets.h"
#include "../../examples/include/tracing.h"
#include "../objects/net.h"

enum {
	BPF_MAP_TYPE_DEVMAP = 14,
	BPF_MAP_TYPE_CPUMAP = 16,
	BPF_MAP_TYPE_XSKMAP = 17,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_USER_RINGBUF = 31,
};

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define EINVAL 22
#define IPPROTO_GRE 47
#define IPPROTO_SCTP 132

/* ---- Contexts -------------------------------------------------------------------------------- */

struct bpf_tcp_sock {
	__u32 snd_cwnd;
	__u32 srtt_us;
	TCP_COUNTERS;
	__u64 bytes_received;
	__u64 bytes_acked;
};

/* Tracepoints syscalls/sys_enter_* and sys_exit_*. */
struct sys_enter {
	__u64 common;
	__s64 nr;
	__u64 args[6];
};
struct sys_exit {
	__u64 common;
	__s64 nr;
	__s64 ret;
};

struct bpf_spin_lock {
	__u32 val;
};
struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct sockaddr_tuple {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
};

/* ---- Helpers --------------------------------------------------------------------------------- */

static __u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;
static long (*const bpf_skb_change_proto)(void *skb, __be16 proto, __u64 flags) = (void *)31;
static long (*const bpf_skb_set_tunnel_key)(void *skb, void *key, __u32 size,
					     __u64 flags) = (void *)21;
static long (*const bpf_skb_get_tunnel_key)(void *skb, void *key, __u32 size,
					     __u64 flags) = (void *)20;
static __u32 (*const bpf_get_hash_recalc)(void *skb) = (void *)34;
static void *(*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_skb_change_tail)(void *skb, __u32 len, __u64 flags) = (void *)38;
static long (*const bpf_skb_change_head)(void *skb, __u32 len, __u64 flags) = (void *)43;
static __u32 (*const bpf_get_socket_uid)(void *skb) = (void *)47;
static long (*const bpf_getsockopt)(void *sk, int level, int name, void *value,
				     int bytes) = (void *)57;
static long (*const bpf_msg_pull_data)(void *msg, __u32 start, __u32 end,
					__u64 flags) = (void *)63;
static long (*const bpf_bind)(void *ctx, void *address, int bytes) = (void *)64;
static long (*const bpf_get_stack)(void *ctx, void *buffer, __u32 size, __u64 flags) = (void *)67;
static long (*const bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to,
						  __u32 len, __u32 from) = (void *)68;
static long (*const bpf_fib_lookup)(void *ctx, void *params, int size, __u32 flags) = (void *)69;
static long (*const bpf_sock_hash_update)(void *ops, void *map, void *key,
					   __u64 flags) = (void *)70;
static long (*const bpf_sk_redirect_hash)(void *skb, void *map, void *key,
					   __u64 flags) = (void *)72;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
static struct bpf_sock *(*const bpf_sk_lookup_tcp)(void *ctx, void *tuple, __u32 size, __u64 netns,
						   __u64 flags) = (void *)84;
static struct bpf_sock *(*const bpf_sk_lookup_udp)(void *ctx, void *tuple, __u32 size, __u64 netns,
						   __u64 flags) = (void *)85;
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static struct bpf_sock *(*const bpf_sk_fullsock)(struct bpf_sock *sk) = (void *)95;
static struct bpf_tcp_sock *(*const bpf_tcp_sock)(struct bpf_sock *sk) = (void *)96;
static long (*const bpf_skb_ecn_set_ce)(void *skb) = (void *)97;
static struct bpf_sock *(*const bpf_get_listener_sock)(struct bpf_sock *sk) = (void *)98;
static struct bpf_sock *(*const bpf_skc_lookup_tcp)(void *ctx, void *tuple, __u32 size,
						    __u64 netns, __u64 flags) = (void *)99;
static long (*const bpf_tcp_check_syncookie)(void *sk, void *ip, __u32 ip_len, struct tcphdr *tcp,
					      __u32 tcp_len) = (void *)100;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value,
					 __u64 flags) = (void *)107;
static long (*const bpf_probe_read_user)(void *to, __u32 bytes, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, __u32 bytes, const void *from) = (void *)113;
static long (*const bpf_probe_read_kernel_str)(void *to, __u32 bytes,
						const void *from) = (void *)115;
static long (*const bpf_load_hdr_opt)(void *ops, void *to, __u32 len, __u64 flags) = (void *)142;
static __u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;
static long (*const bpf_check_mtu)(void *ctx, __u32 ifindex, __u32 *mtu, __s32 diff,
				    __u64 flags) = (void *)163;
static long (*const bpf_snprintf)(char *to, __u32 bytes, const char *format, __u64 *data,
				   __u32 data_bytes) = (void *)165;
static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map,
				     __u64 flags) = (void *)169;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 nsecs,
				      __u64 flags) = (void *)171;
static long (*const bpf_timer_cancel)(struct bpf_timer *timer) = (void *)172;
static __u64 (*const bpf_get_func_ip)(void *ctx) = (void *)173;
static long (*const bpf_trace_vprintk)(const char *format, __u32 format_bytes, const void *data,
					__u32 data_bytes) = (void *)177;
static long (*const bpf_strncmp)(const char *a, __u32 bytes, const char *b) = (void *)182;
static long (*const bpf_get_retval)(void) = (void *)186;
static long (*const bpf_user_ringbuf_drain)(void *map, void *callback, void *ctx,
					     __u64 flags) = (void *)209;

/* ---- Idioms ---------------------------------------------------------------------------------- */

#define PT_PARM1(regs) ((regs)->di)
#define PT_PARM2(regs) ((regs)->si)
#define PT_PARM3(regs) ((regs)->dx)
#define PT_RC(regs) ((regs)->ax)

#define __unused __attribute__((unused))

/* Keeps the compiler from knowing a value, and thereby from merging or moving checks of it. */
#define opaque(value) asm volatile("" : "+r"(value))

static __always_inline __u32 log2_u32(__u32 v)
{
	__u32 shift, r;

	r = (v > 0xffff) << 4; v >>= r;
	shift = (v > 0xff) << 3; v >>= shift; r |= shift;
	shift = (v > 0xf) << 2; v >>= shift; r |= shift;
	shift = (v > 0x3) << 1; v >>= shift; r |= shift;
	return r | v >> 1;
}

static __always_inline __u32 log2_u64(__u64 v)
{
	__u32 high = v >> 32;

	return high ? log2_u32(high) + 32 : log2_u32(v);
}

#endif
