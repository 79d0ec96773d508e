// SPDX-License-Identifier: MIT OR Apache-2.0
// Source NAT on a tc egress hook with the skb helpers: packets of an inside address leave with the
// address that the map gives, checksums mended, out of another interface. Then what leaves is
// marked, so that later hooks know.
#include "../include/bpf.h"

struct translation {
	__be32 outside_address;
	__u32 out_ifindex; // 0: the packet goes on where it is
};

// Inside IPv4 address in network order -> how its packets leave.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct translation);
} translations SEC(".maps");

// Packets per verdict; index: what tc_snat returned.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

#define MARK_TRANSLATED 0x6e6174

#define IP_AT sizeof(struct ethhdr)
#define IP_CHECK_AT (IP_AT + __builtin_offsetof(struct iphdr, check))
#define IP_SADDR_AT (IP_AT + __builtin_offsetof(struct iphdr, saddr))

static __noinline int finish(__u32 verdict)
{
	__u64 *packets = bpf_map_lookup_elem(&verdicts, &verdict);

	if (packets)
		*packets += 1;
	return verdict;
}

SEC("tc/egress")
int tc_snat(struct __sk_buff *skb)
{
	struct iphdr ip;
	__u32 check_at;
	__u64 flags = BPF_F_PSEUDO_HDR | sizeof(ip.saddr);

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return finish(TC_ACT_OK);
	if (bpf_skb_load_bytes(skb, IP_AT, &ip, sizeof(ip)) < 0 || ip.ihl < 5)
		return finish(TC_ACT_SHOT);

	struct translation *translation = bpf_map_lookup_elem(&translations, &ip.saddr);

	if (!translation)
		return finish(TC_ACT_OK);

	__be32 outside = translation->outside_address;
	__u32 out_ifindex = translation->out_ifindex;

	check_at = IP_AT + ip.ihl * 4;
	if (ip.protocol == IPPROTO_TCP) {
		check_at += __builtin_offsetof(struct tcphdr, check);
	} else if (ip.protocol == IPPROTO_UDP) {
		check_at += __builtin_offsetof(struct udphdr, check);
		flags |= BPF_F_MARK_MANGLED_0;
	} else {
		check_at = 0;
	}

	if (check_at && bpf_l4_csum_replace(skb, check_at, ip.saddr, outside, flags) < 0)
		return finish(TC_ACT_SHOT);
	if (bpf_l3_csum_replace(skb, IP_CHECK_AT, ip.saddr, outside, sizeof(outside)) < 0)
		return finish(TC_ACT_SHOT);
	if (bpf_skb_store_bytes(skb, IP_SADDR_AT, &outside, sizeof(outside), 0) < 0)
		return finish(TC_ACT_SHOT);

	skb->mark = MARK_TRANSLATED;
	if (out_ifindex)
		return finish(bpf_redirect(out_ifindex, 0));
	return finish(TC_ACT_OK);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
