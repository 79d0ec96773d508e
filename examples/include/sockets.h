/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What programs that see sockets need: their contexts, maps and helpers. */
#ifndef EBPFVM_SOCKETS_H
#define EBPFVM_SOCKETS_H

#include "bpf.h"

enum {
	BPF_MAP_TYPE_SOCKMAP = 15,
	BPF_MAP_TYPE_SOCKHASH = 18,
	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
};

#define AF_INET 2
#define AF_INET6 10

#define SK_DROP 0
#define SK_PASS 1

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host byte order */
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
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
	__u32 local_port; /* host byte order */
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 bpf_sock_ops_cb_flags;
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
#define BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG (1 << 6)

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
	__u32 local_port; /* host byte order */
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

struct sk_msg_md {
	CTX_PTR(void, data);
	CTX_PTR(void, data_end);
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port; /* network byte order */
	__u32 local_port; /* host byte order */
	__u32 size;
	CTX_PTR(struct bpf_sock, sk);
};

static __u64 (*const bpf_get_socket_cookie)(void *ctx) = (void *)46;
static long (*const bpf_setsockopt)(void *ctx, int level, int name, void *value,
				    int bytes) = (void *)49;
static long (*const bpf_sk_redirect_map)(struct __sk_buff *skb, void *map, __u32 key,
					 __u64 flags) = (void *)52;
static long (*const bpf_sock_map_update)(struct bpf_sock_ops *skops, void *map, void *key,
					 __u64 flags) = (void *)53;
static long (*const bpf_sock_ops_cb_flags_set)(struct bpf_sock_ops *skops, int flags) = (void *)59;
static long (*const bpf_msg_apply_bytes)(struct sk_msg_md *msg, __u32 bytes) = (void *)61;
static long (*const bpf_msg_cork_bytes)(struct sk_msg_md *msg, __u32 bytes) = (void *)62;
static long (*const bpf_msg_redirect_hash)(struct sk_msg_md *msg, void *map, void *key,
					   __u64 flags) = (void *)71;
static long (*const bpf_sk_select_reuseport)(struct sk_reuseport_md *reuse, void *map, void *key,
					     __u64 flags) = (void *)82;
static long (*const bpf_sk_release)(struct bpf_sock *sk) = (void *)86;
static long (*const bpf_msg_push_data)(struct sk_msg_md *msg, __u32 start, __u32 bytes,
				       __u64 flags) = (void *)90;
static long (*const bpf_sk_assign)(void *ctx, struct bpf_sock *sk, __u64 flags) = (void *)124;
static long (*const bpf_store_hdr_opt)(struct bpf_sock_ops *skops, const void *from, __u32 bytes,
				       __u64 flags) = (void *)143;
static long (*const bpf_reserve_hdr_opt)(struct bpf_sock_ops *skops, __u32 bytes,
					 __u64 flags) = (void *)144;

#define SOL_SOCKET 1
#define SO_MARK 36
#define BPF_F_INGRESS (1ULL << 0)

#endif
