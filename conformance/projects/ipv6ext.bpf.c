// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v4
// Walks over IPv6's extension headers and their options in four ways: a bounded loop, an unrolled one,
// bpf_loop, and loads through helpers in a subprogram.
#include "project.h"

struct walk {
	__u32 offset;
	__u8 next;
	__u8 headers;
	__u8 fragment;
	__u8 options;
	__u32 alert;
	__u32 segments;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} kinds SEC(".maps");

static __always_inline void count(__u8 kind)
{
	__u32 key = kind;
	__u64 *n = bpf_map_lookup_elem(&kinds, &key);

	if (n)
		*n += 1;
}

static __always_inline int is_extension(__u8 kind)
{
	switch (kind) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case 135:
	case 139:
	case 140:
		return 1;
	}
	return 0;
}

static __always_inline __u32 length(__u8 kind, __u8 field)
{
	if (kind == IPPROTO_FRAGMENT)
		return 8;
	if (kind == IPPROTO_AH)
		return (field + 2) * 4;
	return (field + 1) * 8;
}

SEC("xdp")
int walk_loop(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	void *at = ip + 1;
	__u8 next;

	if (at > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	next = ip->nexthdr;
	for (int i = 0; i < 7; i++) {
		struct ipv6_opt_hdr *h = at;
		__u8 kind = next;

		if (!is_extension(kind))
			break;
		if (at + sizeof(*h) > end)
			return XDP_DROP;
		next = h->nexthdr;
		at += length(kind, h->hdrlen);
	}
	count(next);
	return next == IPPROTO_NONE ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int walk_unrolled(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	void *at = ip + 1;
	__u8 next;

	if (at > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	next = ip->nexthdr;
#pragma clang loop unroll(full)
	for (int i = 0; i < 12; i++) {
		struct ipv6_opt_hdr *h = at;
		__u8 kind = next;

		if (!is_extension(kind))
			goto upper;
		if (at + sizeof(*h) > end)
			return XDP_DROP;
		count(kind);
		if (kind == IPPROTO_FRAGMENT) {
			__be16 *where = at + 2;

			if ((void *)(where + 1) > end || *where & bpf_htons(0xfff8))
				return XDP_DROP;
		}
		next = h->nexthdr;
		at += length(kind, h->hdrlen);
	}
	return XDP_DROP;
upper:
	if (next == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end || tcp->dest == bpf_htons(23))
			return XDP_DROP;
	}
	return XDP_PASS;
}

struct steps {
	struct xdp_md *xdp;
	struct walk *walk;
};

static long one_step(__u32 index, struct steps *steps)
{
	struct walk *w = steps->walk;
	__u8 head[8];

	if (!is_extension(w->next))
		return 1;
	if (bpf_xdp_load_bytes(steps->xdp, w->offset, head, sizeof(head)))
		return 1;
	if (w->next == IPPROTO_ROUTING)
		w->segments += head[3];
	if (w->next == IPPROTO_FRAGMENT)
		w->fragment = 1;
	w->headers++;
	w->offset += length(w->next, head[1]);
	w->next = head[0];
	return index > 60;
}

SEC("xdp")
int walk_callback(struct xdp_md *xdp)
{
	struct walk w = {.offset = 54};
	struct steps steps = {.xdp = xdp, .walk = &w};
	struct {
		struct ethhdr eth;
		struct ipv6hdr ip;
	} __attribute__((packed)) head;

	if (bpf_xdp_load_bytes(xdp, 0, &head, sizeof(head)))
		return XDP_PASS;
	if (head.eth.h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	w.next = head.ip.nexthdr;
	bpf_loop(64, one_step, &steps, 0);
	if (w.fragment || w.segments > 8)
		return XDP_DROP;
	return w.headers > 16 ? XDP_ABORTED : XDP_PASS;
}

/* The options of a hop-by-hop or destination header: router alert, padding, unknown ones. */
static __noinline int options(struct __sk_buff *skb, struct walk *w, __u32 bytes)
{
	__u32 at = 2;

	if (!w)
		return -1;
	for (int i = 0; i < 32; i++) {
		__u8 option[2];

		if (at >= bytes)
			return 0;
		if (bpf_skb_load_bytes(skb, w->offset + at, option, 1))
			return -1;
		if (option[0] == 0) {
			at++;
			continue;
		}
		if (bpf_skb_load_bytes(skb, w->offset + at, option, 2))
			return -1;
		w->options++;
		if (option[0] == 5) {
			__be16 value;

			if (option[1] != 2 || bpf_skb_load_bytes(skb, w->offset + at + 2, &value, 2))
				return -1;
			w->alert = bpf_ntohs(value);
		} else if (option[0] >> 6 == 1) {
			return -1;
		}
		at += 2 + option[1];
	}
	return 0;
}

SEC("tc")
int walk_options(struct __sk_buff *skb)
{
	struct walk w = {.offset = 54};
	struct ipv6hdr ip;

	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, 14, &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	w.next = ip.nexthdr;
	for (int i = 0; i < 8; i++) {
		struct ipv6_opt_hdr h;

		if (!is_extension(w.next))
			break;
		if (bpf_skb_load_bytes(skb, w.offset, &h, sizeof(h)))
			return TC_ACT_SHOT;
		if (w.next == IPPROTO_HOPOPTS || w.next == IPPROTO_DSTOPTS) {
			if (options(skb, &w, (h.hdrlen + 1) * 8))
				return TC_ACT_SHOT;
		}
		w.headers++;
		w.offset += length(w.next, h.hdrlen);
		w.next = h.nexthdr;
	}
	skb->mark = w.alert;
	return w.options > 16 ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
