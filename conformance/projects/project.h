/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What these programs need beyond net.h: the contexts, maps and helpers of other program types. */
#ifndef EBPFVM_PROJECT_H
#define EBPFVM_PROJECT_H

#include "../objects/net.h"

enum {
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_DEVMAP = 14,
	BPF_MAP_TYPE_SOCKMAP = 15,
	BPF_MAP_TYPE_CPUMAP = 16,
	BPF_MAP_TYPE_XSKMAP = 17,
	BPF_MAP_TYPE_SOCKHASH = 18,
	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_USER_RINGBUF = 31,
};

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define EINVAL 22
#define IPPROTO_GRE 47
#define IPPROTO_SCTP 132

/* ---- Contexts -------------------------------------------------------------------------------- */

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};

/* Fields that struct bpf_tcp_sock and struct bpf_sock_ops have in the same order. */
#define TCP_COUNTERS            \
	__u32 rtt_min;          \
	__u32 snd_ssthresh;     \
	__u32 rcv_nxt;          \
	__u32 snd_nxt;          \
	__u32 snd_una;          \
	__u32 mss_cache;        \
	__u32 ecn_flags;        \
	__u32 rate_delivered;   \
	__u32 rate_interval_us; \
	__u32 packets_out;      \
	__u32 retrans_out;      \
	__u32 total_retrans;    \
	__u32 segs_in;          \
	__u32 data_segs_in;     \
	__u32 segs_out;         \
	__u32 data_segs_out;    \
	__u32 lost_out;         \
	__u32 sacked_out

struct bpf_tcp_sock {
	__u32 snd_cwnd;
	__u32 srtt_us;
	TCP_COUNTERS;
	__u64 bytes_received;
	__u64 bytes_acked;
};

struct bpf_flow_keys {
	__u16 nhoff;
	__u16 thoff;
	__u16 addr_proto;
	__u8 is_frag;
	__u8 is_first_frag;
	__u8 is_encap;
	__u8 ip_proto;
	__be16 n_proto;
	__be16 sport;
	__be16 dport;
	__be32 addresses[8];
	__u32 flags;
	__be32 flow_label;
};

struct bpf_sock_addr {
	__u32 user_family;
	__be32 user_ip4;
	__be32 user_ip6[4];
	__be32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__be32 msg_src_ip4;
	__be32 msg_src_ip6[4];
	CTX_PTR(struct bpf_sock, sk);
};

struct bpf_sock_ops {
	__u32 op;
	union {
		__u32 args[4];
		__u32 reply;
		__u32 replylong[4];
	};
	__u32 family;
	__be32 remote_ip4;
	__be32 local_ip4;
	__be32 remote_ip6[4];
	__be32 local_ip6[4];
	__be32 remote_port;
	__u32 local_port;
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 cb_flags;
	__u32 state;
	TCP_COUNTERS;
	__u32 sk_txhash;
	__u64 bytes_received;
	__u64 bytes_acked;
	CTX_PTR(struct bpf_sock, sk);
	CTX_PTR(void, skb_data);
	CTX_PTR(void, skb_data_end);
	__u32 skb_len;
	__u32 skb_tcp_flags;
};

enum {
	BPF_SOCK_OPS_TIMEOUT_INIT = 1,
	BPF_SOCK_OPS_RWND_INIT = 2,
	BPF_SOCK_OPS_TCP_CONNECT_CB = 3,
	BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB = 4,
	BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
	BPF_SOCK_OPS_RTO_CB = 8,
	BPF_SOCK_OPS_RETRANS_CB = 9,
	BPF_SOCK_OPS_STATE_CB = 10,
	BPF_SOCK_OPS_RTT_CB = 12,
	BPF_SOCK_OPS_HDR_OPT_LEN_CB = 14,
	BPF_SOCK_OPS_WRITE_HDR_OPT_CB = 15,
};

struct sk_msg_md {
	CTX_PTR(void, data);
	CTX_PTR(void, data_end);
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 size;
	CTX_PTR(struct bpf_sock, sk);
};

#define SK_DROP 0
#define SK_PASS 1

struct bpf_sk_lookup {
	CTX_PTR(struct bpf_sock, sk);
	__u32 family;
	__u32 protocol;
	__be32 remote_ip4;
	__be32 remote_ip6[4];
	__be16 remote_port;
	__u16 : 16;
	__be32 local_ip4;
	__be32 local_ip6[4];
	__u32 local_port;
	__u32 ingress_ifindex;
};

struct sk_reuseport_md {
	CTX_PTR(void, data);
	CTX_PTR(void, data_end);
	__u32 len;
	__u32 eth_protocol;
	__u32 ip_protocol;
	__u32 bind_inany;
	__u32 hash;
	CTX_PTR(struct bpf_sock, sk);
	CTX_PTR(struct bpf_sock, migrating_sk);
};

struct bpf_sockopt {
	CTX_PTR(struct bpf_sock, sk);
	CTX_PTR(void, optval);
	CTX_PTR(void, optval_end);
	__s32 level;
	__s32 optname;
	__s32 optlen;
	__s32 retval;
};

struct bpf_sysctl {
	__u32 write;
	__u32 file_pos;
};

struct bpf_cgroup_dev_ctx {
	__u32 access_type;
	__u32 major;
	__u32 minor;
};

/* Registers as kprobes and perf events see them on x86-64. */
struct pt_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	__u64 ip, cs, flags, sp, ss;
};

struct bpf_perf_event_data {
	struct pt_regs regs;
	__u64 sample_period;
	__u64 addr;
};

struct bpf_raw_tracepoint_args {
	__u64 args[0];
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
static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags) = (void *)27;
static __u32 (*const bpf_get_hash_recalc)(void *skb) = (void *)34;
static void *(*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_skb_change_tail)(void *skb, __u32 len, __u64 flags) = (void *)38;
static long (*const bpf_skb_change_head)(void *skb, __u32 len, __u64 flags) = (void *)43;
static __u64 (*const bpf_get_socket_cookie)(void *ctx) = (void *)46;
static __u32 (*const bpf_get_socket_uid)(void *skb) = (void *)47;
static long (*const bpf_setsockopt)(void *sk, int level, int name, void *value,
				     int bytes) = (void *)49;
static long (*const bpf_sk_redirect_map)(void *skb, void *map, __u32 key,
					  __u64 flags) = (void *)52;
static long (*const bpf_getsockopt)(void *sk, int level, int name, void *value,
				     int bytes) = (void *)57;
static long (*const bpf_sock_ops_cb_flags_set)(void *ops, int flags) = (void *)59;
static long (*const bpf_msg_apply_bytes)(void *msg, __u32 bytes) = (void *)61;
static long (*const bpf_msg_cork_bytes)(void *msg, __u32 bytes) = (void *)62;
static long (*const bpf_msg_pull_data)(void *msg, __u32 start, __u32 end,
					__u64 flags) = (void *)63;
static long (*const bpf_bind)(void *ctx, void *address, int bytes) = (void *)64;
static long (*const bpf_get_stack)(void *ctx, void *buffer, __u32 size, __u64 flags) = (void *)67;
static long (*const bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to,
						  __u32 len, __u32 from) = (void *)68;
static long (*const bpf_fib_lookup)(void *ctx, void *params, int size, __u32 flags) = (void *)69;
static long (*const bpf_sock_hash_update)(void *ops, void *map, void *key,
					   __u64 flags) = (void *)70;
static long (*const bpf_msg_redirect_hash)(void *msg, void *map, void *key,
					    __u64 flags) = (void *)71;
static long (*const bpf_sk_redirect_hash)(void *skb, void *map, void *key,
					   __u64 flags) = (void *)72;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*const bpf_sk_select_reuseport)(void *reuse, void *map, void *key,
					      __u64 flags) = (void *)82;
static struct bpf_sock *(*const bpf_sk_lookup_tcp)(void *ctx, void *tuple, __u32 size, __u64 netns,
						   __u64 flags) = (void *)84;
static struct bpf_sock *(*const bpf_sk_lookup_udp)(void *ctx, void *tuple, __u32 size, __u64 netns,
						   __u64 flags) = (void *)85;
static long (*const bpf_sk_release)(void *sk) = (void *)86;
static long (*const bpf_msg_push_data)(void *msg, __u32 start, __u32 len,
					__u64 flags) = (void *)90;
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
static long (*const bpf_sysctl_get_name)(void *ctx, char *buf, __u64 len,
					  __u64 flags) = (void *)101;
static long (*const bpf_sysctl_get_new_value)(void *ctx, char *buf, __u64 len) = (void *)103;
static long (*const bpf_strtoul)(const char *buf, __u64 len, __u64 flags,
				  unsigned long *res) = (void *)106;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value,
					 __u64 flags) = (void *)107;
static long (*const bpf_probe_read_user)(void *to, __u32 bytes, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, __u32 bytes, const void *from) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *to, __u32 bytes,
					      const void *from) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *to, __u32 bytes,
						const void *from) = (void *)115;
static long (*const bpf_sk_assign)(void *ctx, void *sk, __u64 flags) = (void *)124;
static long (*const bpf_load_hdr_opt)(void *ops, void *to, __u32 len, __u64 flags) = (void *)142;
static long (*const bpf_store_hdr_opt)(void *ops, const void *from, __u32 len,
					__u64 flags) = (void *)143;
static long (*const bpf_reserve_hdr_opt)(void *ops, __u32 len, __u64 flags) = (void *)144;
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
static long (*const bpf_set_retval)(int value) = (void *)187;
static long (*const bpf_get_retval)(void) = (void *)186;
static __u64 (*const bpf_xdp_get_buff_len)(void *xdp) = (void *)188;
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
