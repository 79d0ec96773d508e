// SPDX-License-Identifier: MIT OR Apache-2.0
// One filter, written three ways: keep IPv4 TCP packets from or to port 443, drop the rest.
//
// The first two count offsets from the network header, where the data of a cooked packet socket
// (AF_PACKET with SOCK_DGRAM) and of a kernel test-run begins. The third says so in the offset and
// so works on a raw packet socket as well.
#include "../include/bpf.h"

#define KEEP_ALL 0xffffffff
#define DROP 0
#define PORT_HTTPS 443
// Low 13 bits of frag_off: not zero in later fragments, which carry no TCP header.
#define IP_OFFSET_MASK 0x1fff

#define IP_VERSION_IHL 0
#define IP_FRAG_OFF 6
#define IP_PROTOCOL 9

SEC("socket")
int https_load_bytes(struct __sk_buff *skb)
{
	struct iphdr ip;
	struct {
		__be16 source;
		__be16 dest;
	} ports;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return DROP;
	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
		return DROP;
	if (ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(IP_OFFSET_MASK))
		return DROP;
	if (bpf_skb_load_bytes(skb, ip.ihl * 4, &ports, sizeof(ports)) < 0)
		return DROP;
	if (ports.source == bpf_htons(PORT_HTTPS) || ports.dest == bpf_htons(PORT_HTTPS))
		return KEEP_ALL;
	return DROP;
}

static __always_inline int https_at(struct __sk_buff *skb, int network)
{
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return DROP;
	if (load_byte(skb, network + IP_PROTOCOL) != IPPROTO_TCP)
		return DROP;
	if (load_half(skb, network + IP_FRAG_OFF) & IP_OFFSET_MASK)
		return DROP;

	__u64 transport = network + (load_byte(skb, network + IP_VERSION_IHL) & 0xf) * 4;

	if (load_half(skb, transport) == PORT_HTTPS || load_half(skb, transport + 2) == PORT_HTTPS)
		return KEEP_ALL;
	return DROP;
}

// Legacy loads need no test for the end of the packet: a load beyond it ends the program with 0.
SEC("socket")
int https_legacy(struct __sk_buff *skb)
{
	return https_at(skb, 0);
}

SEC("socket")
int https_net_off(struct __sk_buff *skb)
{
	return https_at(skb, SKF_NET_OFF);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
