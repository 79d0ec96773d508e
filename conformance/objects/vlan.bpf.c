// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v2
// VLAN tags: rewritten by a table, doubled (QinQ) and removed, in XDP by moving bytes and in tc by
// helpers.
#include "net.h"

struct tag {
	__u16 id;
	__u16 times;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u16);
	__type(value, struct tag);
} translations SEC(".maps");

SEC("xdp")
int xdp_vlan(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct vlan_hdr *vlan = (void *)(eth + 1);
	struct ethhdr copy;

	if ((void *)(vlan + 1) > data_end)
		return XDP_PASS;
	__builtin_memcpy(&copy, eth, sizeof(copy));
	if (eth->h_proto == bpf_htons(ETH_P_8021AD)) {
		// Outer tag off.
		copy.h_proto = vlan->h_vlan_encapsulated_proto;
		if (bpf_xdp_adjust_head(ctx, sizeof(*vlan)))
			return XDP_ABORTED;
		data = (void *)(long)ctx->data;
		data_end = (void *)(long)ctx->data_end;
		if (data + sizeof(copy) > data_end)
			return XDP_ABORTED;
		__builtin_memcpy(data, &copy, sizeof(copy));
		return XDP_TX;
	}
	if (eth->h_proto != bpf_htons(ETH_P_8021Q))
		return XDP_PASS;
	__u16 tci = bpf_ntohs(vlan->h_vlan_TCI);
	__u16 id = tci & 0xfff;
	struct tag *to = bpf_map_lookup_elem(&translations, &id);

	if (!to) {
		struct tag new = {.id = (id * 7 + 3) & 0xfff, .times = 0};

		if (bpf_map_update_elem(&translations, &id, &new, BPF_NOEXIST))
			return XDP_DROP;
		return XDP_PASS;
	}
	to->times++;
	vlan->h_vlan_TCI = bpf_htons((tci & 0xf000) | to->id);
	if (to->times & 1)
		return XDP_PASS;
	// Outer tag on.
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*vlan)))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	vlan = data + sizeof(copy);
	if ((void *)(vlan + 1) > data_end)
		return XDP_ABORTED;
	vlan->h_vlan_encapsulated_proto = copy.h_proto;
	vlan->h_vlan_TCI = bpf_htons(to->times);
	copy.h_proto = bpf_htons(ETH_P_8021AD);
	__builtin_memcpy(data, &copy, sizeof(copy));
	return XDP_TX;
}

__u32 pushed, popped, errors;

SEC("tc")
int tc_vlan(struct __sk_buff *skb)
{
	long error;

	skb->cb[0] = skb->vlan_present << 16 | skb->vlan_tci;
	skb->cb[1] = skb->vlan_proto;
	skb->cb[2] = skb->protocol;
	skb->cb[3] = skb->len;
	switch (skb->len % 5) {
	case 0:
		error = bpf_skb_vlan_pop(skb);
		popped++;
		break;
	case 1:
		error = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), skb->len & 0xfff);
		pushed++;
		break;
	case 2:
		error = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021AD), 5);
		if (!error)
			error = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 6);
		break;
	case 3:
		error = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 9);
		if (!error)
			error = bpf_skb_vlan_pop(skb);
		break;
	default:
		error = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_IP), 1);
		break;
	}
	if (error)
		errors++;
	skb->mark = skb->vlan_present << 16 | skb->vlan_tci;
	skb->priority = (__u32)skb->protocol << 16 | skb->len;
	return error ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
