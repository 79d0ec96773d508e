/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What these programs need beyond the examples' header: more of Linux's numbers and layouts. */
#ifndef EBPFVM_OBJECTS_NET_H
#define EBPFVM_OBJECTS_NET_H

#include "../../examples/include/bpf.h"

enum {
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_HASH_OF_MAPS = 13,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_STACK = 23,
	BPF_MAP_TYPE_BLOOM_FILTER = 30,
};
#define BPF_F_NO_PREALLOC 1
#define BPF_F_NO_COMMON_LRU 2

#define IPPROTO_HOPOPTS 0
#define IPPROTO_IPV6 41
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ESP 50
#define IPPROTO_AH 51
#define IPPROTO_ICMPV6 58
#define IPPROTO_NONE 59
#define IPPROTO_DSTOPTS 60

struct in6 {
	union {
		__u8 bytes[16];
		__be32 words[4];
	};
};

struct ipv6hdr {
	__be32 version_class_label;
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	struct in6 saddr;
	struct in6 daddr;
};

struct ipv6_opt_hdr {
	__u8 nexthdr;
	__u8 hdrlen;
};

static long (*const bpf_skb_vlan_push)(struct __sk_buff *skb, __be16 proto,
				       __u16 tci) = (void *)18;
static long (*const bpf_skb_vlan_pop)(struct __sk_buff *skb) = (void *)19;
static long (*const bpf_skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *)39;
static long (*const bpf_skb_adjust_room)(struct __sk_buff *skb, __s32 delta, __u32 mode,
					 __u64 flags) = (void *)50;
static long (*const bpf_map_push_elem)(void *map, const void *value, __u64 flags) = (void *)87;
static long (*const bpf_map_pop_elem)(void *map, void *value) = (void *)88;
static long (*const bpf_map_peek_elem)(void *map, void *value) = (void *)89;
static long (*const bpf_xdp_load_bytes)(struct xdp_md *xdp, __u32 offset, void *to,
					__u32 len) = (void *)189;
static void *(*const bpf_map_lookup_percpu_elem)(void *map, const void *key,
						 __u32 cpu) = (void *)195;

struct bpf_dynptr {
	__u64 opaque[2];
};

static long (*const bpf_ringbuf_query)(void *ringbuf, __u64 what) = (void *)134;
static long (*const bpf_for_each_map_elem)(void *map, void *callback, void *ctx,
					   __u64 flags) = (void *)164;
static long (*const bpf_loop)(__u32 rounds, void *callback, void *ctx, __u64 flags) = (void *)181;
static long (*const bpf_dynptr_from_mem)(void *data, __u32 size, __u64 flags,
					 struct bpf_dynptr *ptr) = (void *)197;
static long (*const bpf_ringbuf_reserve_dynptr)(void *ringbuf, __u32 size, __u64 flags,
						struct bpf_dynptr *ptr) = (void *)198;
static void (*const bpf_ringbuf_submit_dynptr)(struct bpf_dynptr *ptr, __u64 flags) = (void *)199;
static void (*const bpf_ringbuf_discard_dynptr)(struct bpf_dynptr *ptr, __u64 flags) = (void *)200;
static long (*const bpf_dynptr_read)(void *to, __u32 len, const struct bpf_dynptr *ptr,
				     __u32 offset, __u64 flags) = (void *)201;
static long (*const bpf_dynptr_write)(const struct bpf_dynptr *ptr, __u32 offset, void *from,
				      __u32 len, __u64 flags) = (void *)202;
static void *(*const bpf_dynptr_data)(const struct bpf_dynptr *ptr, __u32 offset,
				      __u32 len) = (void *)203;

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void swap_mac(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
}

/* Bob Jenkins' lookup3, as everybody's jhash. */
#define ROL32(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define JHASH_MIX(a, b, c)                         \
	do {                                       \
		a -= c; a ^= ROL32(c, 4); c += b;  \
		b -= a; b ^= ROL32(a, 6); a += c;  \
		c -= b; c ^= ROL32(b, 8); b += a;  \
		a -= c; a ^= ROL32(c, 16); c += b; \
		b -= a; b ^= ROL32(a, 19); a += c; \
		c -= b; c ^= ROL32(b, 4); b += a;  \
	} while (0)
#define JHASH_FINAL(a, b, c)            \
	do {                            \
		c ^= b; c -= ROL32(b, 14); \
		a ^= c; a -= ROL32(c, 11); \
		b ^= a; b -= ROL32(a, 25); \
		c ^= b; c -= ROL32(b, 16); \
		a ^= c; a -= ROL32(c, 4);  \
		b ^= a; b -= ROL32(a, 14); \
		c ^= b; c -= ROL32(b, 24); \
	} while (0)

static __always_inline __u32 jhash_3words(__u32 a, __u32 b, __u32 c, __u32 seed)
{
	a += 0xdeadbeef + 12 + seed;
	b += 0xdeadbeef + 12 + seed;
	c += 0xdeadbeef + 12 + seed;
	JHASH_FINAL(a, b, c);
	return c;
}

#endif
