/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Contexts and helpers of the examples that are neither at a device nor at a socket's packets, in the
 * manner of bpf.h.
 */
#ifndef EBPFVM_EXAMPLES_CONTEXTS_H
#define EBPFVM_EXAMPLES_CONTEXTS_H

#include "bpf.h"

/* What a flow dissector finds. */
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
	union {
		struct {
			__be32 ipv4_src;
			__be32 ipv4_dst;
		};
		__u32 ipv6[8];
	};
	__u32 flags;
	__be32 flow_label;
};

#define BPF_OK 0
#define BPF_DROP 2

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

/* access_type: the device's type in the lower half, what is done with it in the upper. */
struct bpf_cgroup_dev_ctx {
	__u32 access_type;
	__u32 major;
	__u32 minor;
};

#define BPF_DEVCG_DEV_BLOCK 1
#define BPF_DEVCG_DEV_CHAR 2
#define BPF_DEVCG_ACC_MKNOD 1
#define BPF_DEVCG_ACC_READ 2
#define BPF_DEVCG_ACC_WRITE 4

#define NF_DROP 0
#define NF_ACCEPT 1

static long (*const bpf_lwt_push_encap)(struct __sk_buff *skb, __u32 type, void *header,
					__u32 bytes) = (void *)73;
static long (*const bpf_sysctl_get_name)(struct bpf_sysctl *ctx, char *buf, __u64 bytes,
					 __u64 flags) = (void *)101;
static long (*const bpf_sysctl_get_new_value)(struct bpf_sysctl *ctx, char *buf,
					      __u64 bytes) = (void *)103;
static long (*const bpf_sysctl_set_new_value)(struct bpf_sysctl *ctx, const char *buf,
					      __u64 bytes) = (void *)104;
static long (*const bpf_strtoul)(const char *text, __u64 bytes, __u64 flags,
				 unsigned long *result) = (void *)106;
static int (*const bpf_set_retval)(int retval) = (void *)187;
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *xdp) = (void *)188;

/* Type of lwt_push_encap: an IP header. */
#define BPF_LWT_ENCAP_IP 2

#endif
