// SPDX-License-Identifier: MIT OR Apache-2.0
// Changes of a packet's length at all three of its ends:
//
//   xdp_trim     cuts an IPv4 packet after its headers (what a sampler sends on) and leaves a note
//                of the full length in the metadata before the packet;
//   xdp_pop_vlan takes a VLAN tag out;
//   xdp_pad      lengthens a short frame to the minimum of Ethernet.
#include "../include/bpf.h"

// Metadata in front of the packet: what was cut off.
struct note {
	__u32 full_bytes;
	__u32 magic;
};

#define NOTE_MAGIC 0x74726d21
// Without the four bytes of the frame check sequence, which no program sees.
#define MIN_FRAME_BYTES 60

SEC("xdp")
int xdp_trim(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 full = data_end - data;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	__u32 keep = sizeof(*eth) + ip->ihl * 4;

	if (ip->protocol == IPPROTO_TCP)
		keep += sizeof(struct tcphdr);
	else if (ip->protocol == IPPROTO_UDP)
		keep += sizeof(struct udphdr);

	if (full > keep && bpf_xdp_adjust_tail(ctx, (int)keep - (int)full))
		return XDP_ABORTED;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(struct note)))
		return XDP_ABORTED;

	struct note *note = (void *)(long)ctx->data_meta;

	if ((void *)(note + 1) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	note->full_bytes = full;
	note->magic = NOTE_MAGIC;
	return XDP_PASS;
}

SEC("xdp")
int xdp_pop_vlan(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct vlan_hdr *vlan = (void *)(eth + 1);

	if ((void *)(vlan + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_8021Q))
		return XDP_PASS;

	struct ethhdr link = *eth;

	link.h_proto = vlan->h_vlan_encapsulated_proto;
	if (bpf_xdp_adjust_head(ctx, sizeof(*vlan)))
		return XDP_ABORTED;

	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > data_end)
		return XDP_ABORTED;
	*eth = link;
	return XDP_PASS;
}

SEC("xdp")
int xdp_pad(struct xdp_md *ctx)
{
	int bytes = ctx->data_end - ctx->data;

	// The kernel clears the bytes it adds.
	if (bytes < MIN_FRAME_BYTES && bpf_xdp_adjust_tail(ctx, MIN_FRAME_BYTES - bytes))
		return XDP_ABORTED;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
