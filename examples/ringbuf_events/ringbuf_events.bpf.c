// SPDX-License-Identifier: MIT OR Apache-2.0
// Tells user space about new TCP connections, over a ring buffer and over a perf buffer, with the
// work shared out among subprograms of both kinds: static (verified with each caller) and global
// (verified once, for all arguments).
#include "../include/bpf.h"

struct connection {
	__be32 source_address;
	__be32 dest_address;
	__be16 source_port;
	__be16 dest_port;
	__u8 flags;
	__u8 class;
	__u16 bytes;
};

enum class {
	CLASS_OTHER,
	CLASS_WEB,
	CLASS_MAIL,
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

// Bytes of the packet's start that go with a perf sample.
#define SAMPLE_BYTES 54

__u64 lost;

// A global function: the verifier knows nothing of `port` but its type.
__noinline int classify(__u16 port)
{
	switch (port) {
	case 80:
	case 443:
	case 8080:
		return CLASS_WEB;
	case 25:
	case 465:
	case 587:
	case 993:
		return CLASS_MAIL;
	default:
		return CLASS_OTHER;
	}
}

// A static function with a pointer into the caller's frame.
static __noinline int parse_syn(struct xdp_md *ctx, struct connection *out)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	if (ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
		return 0;
	if ((tcp->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) != TCP_FLAG_SYN)
		return 0;

	out->source_address = ip->saddr;
	out->dest_address = ip->daddr;
	out->source_port = tcp->source;
	out->dest_port = tcp->dest;
	out->flags = tcp->flags;
	out->bytes = data_end - data;
	return 1;
}

SEC("xdp")
int xdp_ringbuf(struct xdp_md *ctx)
{
	struct connection syn = {};

	if (!parse_syn(ctx, &syn))
		return XDP_PASS;

	struct connection *event = bpf_ringbuf_reserve(&connections, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return XDP_PASS;
	}
	*event = syn;
	event->class = classify(bpf_ntohs(syn.dest_port));
	if (event->class == CLASS_OTHER) {
		// Reserved but not wanted after all: the consumer never sees it.
		bpf_ringbuf_discard(event, 0);
		return XDP_PASS;
	}
	bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}

SEC("xdp")
int xdp_perf(struct xdp_md *ctx)
{
	struct connection syn = {};

	if (!parse_syn(ctx, &syn))
		return XDP_PASS;
	syn.class = classify(bpf_ntohs(syn.dest_port));

	// The upper half of the flags asks for that many bytes of the packet after the event.
	__u64 flags = BPF_F_CURRENT_CPU | (__u64)SAMPLE_BYTES << 32;

	if (bpf_perf_event_output(ctx, &samples, flags, &syn, sizeof(syn)))
		__sync_fetch_and_add(&lost, 1);
	return XDP_PASS;
}

SEC("xdp")
int xdp_printk(struct xdp_md *ctx)
{
	struct connection syn = {};

	if (!parse_syn(ctx, &syn)) {
		bpf_printk("no new connection");
		return XDP_PASS;
	}
	bpf_printk("SYN from %x port %u to port %u", bpf_ntohl(syn.source_address),
		   bpf_ntohs(syn.source_port), bpf_ntohs(syn.dest_port));
	bpf_printk("class %d, %u bytes", classify(bpf_ntohs(syn.dest_port)), syn.bytes);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
