// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v4
// A firewall of prefixes that learns, and a table of connections, shared by ingress and egress.
#include "net.h"

struct prefix4 {
	__u32 bits;
	__u8 address[4];
};

struct prefix6 {
	__u32 bits;
	struct in6 address;
};

struct rule {
	__u32 hits;
	__s32 score;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, struct rule);
} rules4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, struct rule);
} rules6 SEC(".maps");

struct connection {
	__be32 address[2];
	__be16 port[2];
	__u32 protocol;
};

struct state {
	__u64 packets[2];
	__u8 flags[2];
	__u8 stage;
	__u8 pad[5];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct connection);
	__type(value, struct state);
} connections SEC(".maps");

static __s64 balance = -1000;

SEC("xdp")
int prefixes(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct rule *rule, new = {.hits = 1, .score = (__s8)(data_end - data)};

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct prefix4 key = {.bits = 32};

		if ((void *)(ip + 1) > data_end)
			return XDP_DROP;
		__builtin_memcpy(key.address, &ip->saddr, 4);
		rule = bpf_map_lookup_elem(&rules4, &key);
		if (!rule || rule->hits > 4) {
			// Narrower and narrower.
			key.bits = rule ? 32 - rule->hits % 9 : 16 + ip->ttl % 4;
			bpf_map_update_elem(&rules4, &key, &new, BPF_ANY);
			if (ip->protocol == 99)
				bpf_map_delete_elem(&rules4, &key);
		}
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		struct prefix6 key = {.bits = 128};

		if ((void *)(ip + 1) > data_end)
			return XDP_DROP;
		key.address = ip->saddr;
		rule = bpf_map_lookup_elem(&rules6, &key);
		if (!rule) {
			key.bits = 40 + ip->hop_limit % 80;
			bpf_map_update_elem(&rules6, &key, &new, BPF_NOEXIST);
		}
	} else {
		return XDP_PASS;
	}
	if (!rule)
		return XDP_PASS;
	rule->hits++;
	rule->score = rule->score * -3 / 2 + (__s16)(data_end - data) % -7;
	balance += rule->score;
	return rule->score < 0 ? XDP_DROP : XDP_TX;
}

static __always_inline int track(struct __sk_buff *skb, int egress)
{
	struct connection key = {};
	struct state *state, new = {};
	struct iphdr ip;
	struct tcphdr tcp = {};
	__u32 swap;

	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
		return 1;
	if (ip.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, ip.ihl * 4, &tcp, sizeof(tcp)) < 0)
			return 0;
	} else if (bpf_skb_load_bytes(skb, ip.ihl * 4, &tcp, 8) < 0) {
		return 0;
	}
	swap = ip.saddr > ip.daddr;
	key.address[0] = swap ? ip.daddr : ip.saddr;
	key.address[1] = swap ? ip.saddr : ip.daddr;
	key.port[0] = swap ? tcp.dest : tcp.source;
	key.port[1] = swap ? tcp.source : tcp.dest;
	key.protocol = ip.protocol;
	state = bpf_map_lookup_elem(&connections, &key);
	if (!state) {
		new.packets[0] = !swap;
		new.packets[1] = swap;
		new.flags[0] = swap ? 0 : tcp.flags;
		new.flags[1] = swap ? tcp.flags : 0;
		bpf_map_update_elem(&connections, &key, &new, BPF_NOEXIST);
		skb->mark = egress + 1;
		return tcp.flags != TCP_FLAG_ACK;
	}
	if (swap) {
		state->packets[1]++;
		state->flags[1] |= tcp.flags;
	} else {
		state->packets[0]++;
		state->flags[0] |= tcp.flags;
	}
	if (state->stage < 3 && (state->flags[0] & state->flags[1] & TCP_FLAG_ACK))
		state->stage++;
	if (tcp.flags & TCP_FLAG_RST) {
		bpf_map_delete_elem(&connections, &key);
		return 0;
	}
	skb->priority = state->stage;
	return 1;
}

SEC("cgroup_skb/ingress")
int track_in(struct __sk_buff *skb)
{
	return track(skb, 0);
}

SEC("cgroup_skb/egress")
int track_out(struct __sk_buff *skb)
{
	return track(skb, 1);
}

char LICENSE[] SEC("license") = "GPL";
