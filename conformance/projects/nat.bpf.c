// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Address translation at tc: masquerading with a search for a free port (bpf_loop), the way back, a
// translation between IPv6 and IPv4 (change_proto), packet memory that moves under the program.
#include "project.h"

struct nat_key {
	__be32 source;
	__be32 dest;
	__be16 source_port;
	__be16 dest_port;
	__u8 protocol;
	__u8 pad[3];
};

struct nat_entry {
	__be32 address;
	__be16 port;
	__u16 closing;
	__u64 created;
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct nat_key);
	__type(value, struct nat_entry);
} forward SEC(".maps"), backward SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32[2]);
	__type(value, __u32);
} exclusions SEC(".maps");

const volatile __be32 external = 0x0101a8c0;
const volatile __u16 port_low = 32768;
const volatile __u16 port_high = 60999;

#define L3 14
#define OFFSET_SADDR (L3 + 12)
#define OFFSET_DADDR (L3 + 16)

struct headers {
	struct nat_key key;
	__u32 l4;
	__u32 check_at;
	__u8 tcp_flags;
	__u8 udp_without_sum;
};

static __noinline int headers(struct __sk_buff *skb, struct headers *h)
{
	struct iphdr ip;
	__be16 ports[4];
	__u32 bytes;

	if (!h)
		return -1;
	if (bpf_skb_load_bytes(skb, L3, &ip, sizeof(ip)) < 0)
		return -1;
	if (ip.version != 4 || ip.ihl < 5 || ip.frag_off & bpf_htons(0x3fff))
		return -1;
	h->l4 = L3 + ip.ihl * 4;
	h->key.source = ip.saddr;
	h->key.dest = ip.daddr;
	h->key.protocol = ip.protocol;
	h->udp_without_sum = 0;
	h->tcp_flags = 0;
	switch (ip.protocol) {
	case IPPROTO_TCP:
		h->check_at = h->l4 + 16;
		if (bpf_skb_load_bytes(skb, h->l4 + 13, &h->tcp_flags, 1) < 0)
			return -1;
		bytes = 4;
		break;
	case IPPROTO_UDP:
		h->check_at = h->l4 + 6;
		bytes = 8;
		break;
	case IPPROTO_ICMP:
		h->check_at = h->l4 + 2;
		bytes = 8;
		break;
	default:
		return -1;
	}
	if (bpf_skb_load_bytes(skb, h->l4, ports, bytes) < 0)
		return -1;
	if (ip.protocol == IPPROTO_ICMP) {
		h->key.source_port = ports[2];
		h->key.dest_port = 0;
	} else {
		h->key.source_port = ports[0];
		h->key.dest_port = ports[1];
		if (ip.protocol == IPPROTO_UDP)
			h->udp_without_sum = ports[3] == 0;
	}
	return 0;
}

struct search {
	struct nat_key back;
	struct nat_entry entry;
	__u32 start;
	__s32 found;
};

static long try_port(__u32 index, struct search *s)
{
	__u32 span = port_high - port_low + 1, port;

	if (!span)
		return 1;
	port = port_low + (s->start + index * 7) % span;
	s->back.dest_port = bpf_htons((__u16)port);
	if (!bpf_map_update_elem(&backward, &s->back, &s->entry, BPF_NOEXIST)) {
		s->found = (__u16)port;
		return 1;
	}
	return 0;
}

static __always_inline int rewrite(struct __sk_buff *skb, struct headers *h, __u32 address_at,
				   __be32 old, __be32 fresh, __u32 port_at, __be16 old_port,
				   __be16 fresh_port)
{
	__u64 flags = h->key.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (h->key.protocol != IPPROTO_ICMP && !h->udp_without_sum) {
		if (bpf_l4_csum_replace(skb, h->check_at, old, fresh,
					flags | BPF_F_PSEUDO_HDR | sizeof(fresh)))
			return -1;
	}
	if (!h->udp_without_sum &&
	    bpf_l4_csum_replace(skb, h->check_at, old_port, fresh_port, flags | sizeof(fresh_port)))
		return -1;
	if (bpf_l3_csum_replace(skb, L3 + 10, old, fresh, sizeof(fresh)))
		return -1;
	if (bpf_skb_store_bytes(skb, address_at, &fresh, sizeof(fresh), 0))
		return -1;
	return bpf_skb_store_bytes(skb, port_at, &fresh_port, sizeof(fresh_port), 0);
}

SEC("tc")
int nat_egress(struct __sk_buff *skb)
{
	struct nat_entry *entry, fresh = {};
	struct search search = {.found = -1};
	struct headers h = {};
	__u32 network[2] = {32, 0}, at;
	__be32 address;
	__be16 port;

	if (skb->protocol != bpf_htons(ETH_P_IP) || headers(skb, &h))
		return TC_ACT_OK;
	network[1] = h.key.dest;
	if (bpf_map_lookup_elem(&exclusions, network))
		return TC_ACT_OK;
	entry = bpf_map_lookup_elem(&forward, &h.key);
	if (!entry) {
		if (h.key.protocol == IPPROTO_TCP && !(h.tcp_flags & TCP_FLAG_SYN))
			return TC_ACT_SHOT;
		search.back.source = h.key.dest;
		search.back.dest = external;
		search.back.source_port = h.key.dest_port;
		search.back.protocol = h.key.protocol;
		search.entry.address = h.key.source;
		search.entry.port = h.key.source_port;
		search.entry.created = bpf_ktime_get_ns();
		search.start = bpf_get_prandom_u32();
		bpf_loop(128, try_port, &search, 0);
		if (search.found < 0)
			return TC_ACT_SHOT;
		fresh.address = external;
		fresh.port = bpf_htons(search.found);
		fresh.created = search.entry.created;
		bpf_map_update_elem(&forward, &h.key, &fresh, BPF_ANY);
		address = fresh.address;
		port = fresh.port;
	} else {
		__sync_fetch_and_add(&entry->packets, 1);
		if (h.tcp_flags & (TCP_FLAG_FIN | TCP_FLAG_RST))
			entry->closing = 1;
		address = entry->address;
		port = entry->port;
	}
	at = h.key.protocol == IPPROTO_ICMP ? h.l4 + 4 : h.l4;
	if (rewrite(skb, &h, OFFSET_SADDR, h.key.source, address, at, h.key.source_port, port))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc")
int nat_ingress(struct __sk_buff *skb)
{
	struct nat_entry *entry;
	struct headers h = {};
	struct nat_key key = {};
	__u32 at;

	if (skb->protocol != bpf_htons(ETH_P_IP) || headers(skb, &h))
		return TC_ACT_OK;
	key = h.key;
	if (key.protocol == IPPROTO_ICMP) {
		key.dest_port = key.source_port;
		key.source_port = 0;
	}
	entry = bpf_map_lookup_elem(&backward, &key);
	if (!entry)
		return TC_ACT_OK;
	__sync_fetch_and_add(&entry->packets, 1);
	at = key.protocol == IPPROTO_ICMP ? h.l4 + 4 : h.l4 + 2;
	if (rewrite(skb, &h, OFFSET_DADDR, key.dest, entry->address, at, key.dest_port,
		    entry->port))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

struct prefix64 {
	__be32 words[3];
};
const volatile struct prefix64 well_known = {{0x9bff6400, 0, 0}};

/* IPv6 with an embedded address becomes IPv4 (RFC 6052, RFC 7915, without options). */
SEC("tc")
int nat64(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = (void *)(eth + 1), six;
	struct iphdr ip = {};
	__u64 sum = 0, six_sum = 0;
	__u16 *words = (void *)&ip;
	__u32 at;

	if ((void *)(ip6 + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return TC_ACT_OK;
	six = *ip6;
	if (six.daddr.words[0] != well_known.words[0] || six.daddr.words[1] != well_known.words[1] ||
	    six.daddr.words[2] != well_known.words[2])
		return TC_ACT_OK;
	switch (six.nexthdr) {
	case IPPROTO_TCP:
		at = L3 + sizeof(ip) + 16;
		break;
	case IPPROTO_UDP:
		at = L3 + sizeof(ip) + 6;
		break;
	default:
		return TC_ACT_SHOT;
	}
	if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0))
		return TC_ACT_SHOT;
	ip.version = 4;
	ip.ihl = 5;
	ip.tot_len = bpf_htons(bpf_ntohs(six.payload_len) + sizeof(ip));
	ip.ttl = six.hop_limit;
	ip.protocol = six.nexthdr;
	ip.frag_off = bpf_htons(0x4000);
	ip.saddr = external;
	ip.daddr = six.daddr.words[3];
#pragma clang loop unroll(full)
	for (int i = 0; i < (int)sizeof(ip) / 2; i++)
		sum += words[i];
	ip.check = csum_fold(sum);
	six_sum = bpf_csum_diff(six.saddr.words, 32, &ip.saddr, 8, 0);
	if (bpf_skb_store_bytes(skb, L3, &ip, sizeof(ip), 0))
		return TC_ACT_SHOT;
	if (bpf_l4_csum_replace(skb, at, 0, six_sum, BPF_F_PSEUDO_HDR))
		return TC_ACT_SHOT;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return TC_ACT_SHOT;
	eth->h_proto = bpf_htons(ETH_P_IP);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
