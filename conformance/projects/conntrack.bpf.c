// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A stateful firewall: networks in tries, rules by port in an array that is scanned, connections with
// TCP's states, the reverse direction allowed, drops told in a ring buffer.
#include "project.h"

struct network {
	__u32 prefix_bits;
	__u8 bytes[16];
};

struct zone {
	__u32 id;
	__u32 flags;
};

struct rule {
	__u32 zone_from;
	__u32 zone_to;
	__u16 port_low;
	__u16 port_high;
	__u8 protocol;
	__u8 action;
	__u16 used;
};
#define RULES 48

struct tuple {
	__u8 source[16];
	__u8 dest[16];
	__be16 source_port;
	__be16 dest_port;
	__u8 protocol;
	__u8 pad[3];
};

enum { NEW, SYN_SENT, SYN_RECEIVED, ESTABLISHED, FIN_WAIT, CLOSED, STATES };

struct connection {
	__u64 seen;
	__u64 packets[2];
	__u64 bytes[2];
	__u32 rule;
	__u8 state;
	__u8 pad[3];
};

struct drop {
	__u64 time;
	struct tuple tuple;
	__u32 reason;
	__u32 ifindex;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, struct zone);
} zones SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} drops SEC(".maps");

/* The next state by state, direction and flag: SYN, SYN+ACK, ACK, FIN, RST. */
const __u8 transitions[STATES][2][5] = {
	[NEW] = {{SYN_SENT, CLOSED, CLOSED, CLOSED, CLOSED}, {CLOSED, CLOSED, CLOSED, CLOSED, CLOSED}},
	[SYN_SENT] = {{SYN_SENT, CLOSED, SYN_SENT, CLOSED, CLOSED},
		      {CLOSED, SYN_RECEIVED, CLOSED, CLOSED, CLOSED}},
	[SYN_RECEIVED] = {{SYN_RECEIVED, CLOSED, ESTABLISHED, FIN_WAIT, CLOSED},
			  {CLOSED, SYN_RECEIVED, SYN_RECEIVED, FIN_WAIT, CLOSED}},
	[ESTABLISHED] = {{CLOSED, CLOSED, ESTABLISHED, FIN_WAIT, CLOSED},
			 {CLOSED, CLOSED, ESTABLISHED, FIN_WAIT, CLOSED}},
	[FIN_WAIT] = {{SYN_SENT, CLOSED, FIN_WAIT, CLOSED, CLOSED},
		      {CLOSED, CLOSED, FIN_WAIT, CLOSED, CLOSED}},
	[CLOSED] = {{SYN_SENT, CLOSED, CLOSED, CLOSED, CLOSED},
		    {CLOSED, CLOSED, CLOSED, CLOSED, CLOSED}},
};

const volatile __u8 default_action = 1;
const volatile __u64 idle_ns = 120000000000ull;

struct parsed {
	struct tuple tuple;
	__u8 flags;
	__u8 v6;
	__u16 payload;
};

static __always_inline int parse(void *data, void *end, struct parsed *out)
{
	struct ethhdr *eth = data;
	void *l4;

	if ((void *)(eth + 1) > end)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || ip->ihl < 5)
			return -1;
		if (ip->frag_off & bpf_htons(0x1fff))
			return -2;
		out->tuple.source[10] = out->tuple.source[11] = 0xff;
		out->tuple.dest[10] = out->tuple.dest[11] = 0xff;
		__builtin_memcpy(out->tuple.source + 12, &ip->saddr, 4);
		__builtin_memcpy(out->tuple.dest + 12, &ip->daddr, 4);
		out->tuple.protocol = ip->protocol;
		l4 = (void *)ip + ip->ihl * 4;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		__u8 next;

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(out->tuple.source, &ip->saddr, 16);
		__builtin_memcpy(out->tuple.dest, &ip->daddr, 16);
		next = ip->nexthdr;
		l4 = ip + 1;
		for (int i = 0; i < 4; i++) {
			struct ipv6_opt_hdr *ext = l4;

			if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
			    next != IPPROTO_DSTOPTS)
				break;
			if ((void *)(ext + 1) > end)
				return -1;
			next = ext->nexthdr;
			l4 += (ext->hdrlen + 1) * 8;
		}
		out->tuple.protocol = next;
		out->v6 = 1;
	} else {
		return -3;
	}
	switch (out->tuple.protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return -1;
		out->tuple.source_port = tcp->source;
		out->tuple.dest_port = tcp->dest;
		out->flags = tcp->flags;
		break;
	}
	case IPPROTO_UDP: {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end)
			return -1;
		out->tuple.source_port = udp->source;
		out->tuple.dest_port = udp->dest;
		break;
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		struct icmphdr *icmp = l4;

		if ((void *)(icmp + 1) > end)
			return -1;
		out->tuple.source_port = out->tuple.dest_port = icmp->id;
		break;
	}
	default:
		return -4;
	}
	out->payload = end - data;
	return 0;
}

static __noinline void reverse(const struct tuple *from, struct tuple *to)
{
	__builtin_memcpy(to->source, from->dest, 16);
	__builtin_memcpy(to->dest, from->source, 16);
	to->source_port = from->dest_port;
	to->dest_port = from->source_port;
	to->protocol = from->protocol;
	to->pad[0] = to->pad[1] = to->pad[2] = 0;
}

static __noinline __u32 zone_of(const __u8 *address)
{
	struct network key;
	struct zone *zone;

	key.prefix_bits = 128;
	__builtin_memcpy(key.bytes, address, 16);
	zone = bpf_map_lookup_elem(&zones, &key);
	return zone ? zone->id : 0;
}

static __noinline int match_rules(const struct tuple *tuple)
{
	__u32 from = zone_of(tuple->source), to = zone_of(tuple->dest);
	__u16 port = bpf_ntohs(tuple->dest_port);

	for (__u32 i = 0; i < RULES; i++) {
		__u32 key = i;
		struct rule *rule = bpf_map_lookup_elem(&rules, &key);

		if (!rule || !rule->used)
			break;
		if (rule->protocol && rule->protocol != tuple->protocol)
			continue;
		if (rule->zone_from && rule->zone_from != from)
			continue;
		if (rule->zone_to && rule->zone_to != to)
			continue;
		if (port < rule->port_low || port > rule->port_high)
			continue;
		return rule->action << 16 | i;
	}
	return default_action << 16 | 0xffff;
}

static __always_inline int flag_column(__u8 flags)
{
	if (flags & TCP_FLAG_RST)
		return 4;
	if (flags & TCP_FLAG_FIN)
		return 3;
	if (flags & TCP_FLAG_SYN)
		return flags & TCP_FLAG_ACK ? 1 : 0;
	return 2;
}

static __always_inline int advance(struct connection *c, struct parsed *p, int back)
{
	__u64 now = bpf_ktime_get_ns();
	__u8 state = c->state;

	if (now - c->seen > idle_ns && p->tuple.protocol != IPPROTO_TCP)
		return -1;
	c->seen = now;
	c->packets[back & 1]++;
	c->bytes[back & 1] += p->payload;
	if (p->tuple.protocol != IPPROTO_TCP)
		return 0;
	if (state >= STATES)
		return -1;
	state = transitions[state][back & 1][flag_column(p->flags)];
	c->state = state;
	return state == CLOSED ? -1 : 0;
}

static __always_inline void tell(struct parsed *p, __u32 reason, __u32 ifindex)
{
	struct drop *drop = bpf_ringbuf_reserve(&drops, sizeof(*drop), 0);

	if (!drop)
		return;
	drop->time = bpf_ktime_get_ns();
	drop->tuple = p->tuple;
	drop->reason = reason;
	drop->ifindex = ifindex;
	bpf_ringbuf_submit(drop, 0);
}

static __always_inline int filter(void *data, void *end, __u32 ifindex)
{
	struct connection *c, fresh = {};
	struct tuple back;
	struct parsed p = {};
	int verdict = parse(data, end, &p);

	if (verdict == -3)
		return 1;
	if (verdict < 0) {
		tell(&p, -verdict, ifindex);
		return 0;
	}
	c = bpf_map_lookup_elem(&connections, &p.tuple);
	if (c) {
		if (!advance(c, &p, 0))
			return 1;
		bpf_map_delete_elem(&connections, &p.tuple);
	} else {
		reverse(&p.tuple, &back);
		c = bpf_map_lookup_elem(&connections, &back);
		if (c && !advance(c, &p, 1))
			return 1;
	}
	verdict = match_rules(&p.tuple);
	if (!(verdict >> 16)) {
		tell(&p, 16 + (verdict & 0xffff), ifindex);
		return 0;
	}
	if (p.tuple.protocol == IPPROTO_TCP) {
		if ((p.flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) != TCP_FLAG_SYN)
			return 0;
		fresh.state = SYN_SENT;
	}
	fresh.seen = bpf_ktime_get_ns();
	fresh.rule = verdict & 0xffff;
	fresh.packets[0] = 1;
	fresh.bytes[0] = p.payload;
	bpf_map_update_elem(&connections, &p.tuple, &fresh, BPF_NOEXIST);
	return 1;
}

SEC("xdp")
int ct_xdp(struct xdp_md *xdp)
{
	return filter((void *)(long)xdp->data, (void *)(long)xdp->data_end, xdp->ingress_ifindex)
		       ? XDP_PASS
		       : XDP_DROP;
}

SEC("tc")
int ct_tc(struct __sk_buff *skb)
{
	if (bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128))
		return TC_ACT_SHOT;
	return filter((void *)(long)skb->data, (void *)(long)skb->data_end, skb->ifindex)
		       ? TC_ACT_OK
		       : TC_ACT_SHOT;
}

/* Deletes idle connections; a test-run calls it. */
static long sweep_one(void *map, struct tuple *key, struct connection *c, __u64 *now)
{
	if (*now - c->seen > idle_ns)
		bpf_map_delete_elem(map, key);
	return 0;
}

SEC("tc")
int ct_sweep(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_ns();
	long swept = bpf_for_each_map_elem(&connections, sweep_one, &now, 0);

	skb->mark = swept;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
