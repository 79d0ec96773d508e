// SPDX-License-Identifier: MIT OR Apache-2.0
// A flow dissector: finds addresses and ports of IPv4 packets, below VLAN tags, for the flow's hash.
#include "../include/contexts.h"

SEC("flow_dissector")
int flow_keys(struct __sk_buff *skb)
{
	struct bpf_flow_keys *keys = skb->flow_keys;
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	__u32 at = keys->nhoff;

	if (at > 64)
		return BPF_DROP;
	for (int tags = 0; tags < 2; tags++) {
		struct vlan_hdr *tag = data + at;

		if (keys->n_proto != bpf_htons(ETH_P_8021Q) &&
		    keys->n_proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > data_end)
			return BPF_DROP;
		keys->n_proto = tag->h_vlan_encapsulated_proto;
		at += sizeof(*tag);
	}
	if (keys->n_proto != bpf_htons(ETH_P_IP))
		return BPF_DROP;

	struct iphdr *ip = data + at;

	if ((void *)(ip + 1) > data_end || ip->ihl < 5)
		return BPF_DROP;
	keys->nhoff = at;
	keys->thoff = at + ip->ihl * 4;
	keys->addr_proto = ETH_P_IP;
	keys->ip_proto = ip->protocol;
	keys->ipv4_src = ip->saddr;
	keys->ipv4_dst = ip->daddr;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return BPF_OK;

	struct udphdr *ports = data + at + ip->ihl * 4;

	if ((void *)(ports + 1) > data_end)
		return BPF_DROP;
	keys->sport = ports->source;
	keys->dport = ports->dest;
	return BPF_OK;
}
