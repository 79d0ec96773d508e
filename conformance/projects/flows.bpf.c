// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A tracker of flows: parses deep, keeps states with timers and locks, tells of what ends.
#include "project.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { NEW, ESTABLISHED, CLOSING, CLOSED };

struct flow_key {
	struct in6 saddr, daddr;
	__be16 sport, dport;
	__u8 protocol, pad[3];
};

struct flow {
	struct bpf_spin_lock lock;
	__u32 state;
	__u64 first, last, packets[2], bytes[2];
	__u32 seq[2];
	__u8 flags[2], reported;
};

struct report {
	struct flow_key key;
	__u64 lasted, packets, bytes;
	__u32 state;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct expiry {
	struct bpf_timer timer;
	__u64 deadline;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct expiry);
} expiries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} reports SEC(".maps");

struct totals {
	__u64 packets, bytes, malformed, other;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

const volatile __u64 idle_ns = 30000000000ull;
const volatile __u32 sample_mask = 0;

struct parsed {
	struct flow_key key;
	__u32 bytes, seq;
	__u8 tcp_flags;
};

static __always_inline int ports(void *at, void *end, struct parsed *p)
{
	switch (p->key.protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end)
			return -1;
		p->key.sport = tcp->source;
		p->key.dport = tcp->dest;
		p->seq = bpf_ntohl(tcp->seq);
		p->tcp_flags = tcp->flags;
		return 0;
	}
	case IPPROTO_UDP: {
		struct udphdr *udp = at;

		if ((void *)(udp + 1) > end)
			return -1;
		p->key.sport = udp->source;
		p->key.dport = udp->dest;
		return 0;
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		struct icmphdr *icmp = at;

		if ((void *)(icmp + 1) > end)
			return -1;
		p->key.sport = icmp->type;
		p->key.dport = icmp->id;
		return 0;
	}
	}
	return 1;
}

static __always_inline int parse(void *data, void *end, struct parsed *p)
{
	struct ethhdr *eth = data;
	void *at = eth + 1;
	__be16 proto;
	int i;

	if (at > end)
		return -1;
	proto = eth->h_proto;
#pragma clang loop unroll(full)
	for (i = 0; i < 2; i++) {
		struct vlan_hdr *tag = at;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return -1;
		proto = tag->h_vlan_encapsulated_proto;
		at = tag + 1;
	}
	p->bytes = end - data;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;

		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return -1;
		p->key.saddr.words[3] = ip->saddr;
		p->key.daddr.words[3] = ip->daddr;
		p->key.saddr.words[2] = p->key.daddr.words[2] = bpf_htonl(0xffff);
		p->key.protocol = ip->protocol;
		if (ip->frag_off & bpf_htons(0x1fff))
			return 0;
		return ports(at + ip->ihl * 4, end, p);
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;
		__u8 next;

		if ((void *)(ip + 1) > end)
			return -1;
		p->key.saddr = ip->saddr;
		p->key.daddr = ip->daddr;
		next = ip->nexthdr;
		at = ip + 1;
#pragma clang loop unroll(disable)
		for (i = 0; i < 6; i++) {
			struct ipv6_opt_hdr *opt = at;

			if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
			    next != IPPROTO_DSTOPTS)
				break;
			if ((void *)(opt + 1) > end)
				return -1;
			next = opt->nexthdr;
			at += (opt->hdrlen + 1) * 8;
		}
		p->key.protocol = next;
		return ports(at, end, p);
	}
	return 1;
}

/* The smaller address first; tells whether they were exchanged. */
static __always_inline int order(struct flow_key *key)
{
	int i, turn = 0;

#pragma clang loop unroll(full)
	for (i = 0; i < 4; i++) {
		__u32 a = bpf_ntohl(key->saddr.words[i]), b = bpf_ntohl(key->daddr.words[i]);

		if (a != b) {
			turn = a > b;
			break;
		}
	}
	if (turn) {
		struct in6 addr = key->saddr;
		__be16 port = key->sport;

		key->saddr = key->daddr;
		key->daddr = addr;
		key->sport = key->dport;
		key->dport = port;
	}
	return turn;
}

static __always_inline __u32 next_state(__u32 state, __u8 flags)
{
	if (flags & TCP_FLAG_RST)
		return CLOSED;
	switch (state) {
	case NEW:
		return flags & TCP_FLAG_ACK ? ESTABLISHED : NEW;
	case ESTABLISHED:
		return flags & TCP_FLAG_FIN ? CLOSING : ESTABLISHED;
	case CLOSING:
		return flags & TCP_FLAG_FIN ? CLOSED : CLOSING;
	}
	return state;
}

static int tell(struct flow_key *key, struct flow *flow, __u64 now)
{
	struct report *r = bpf_ringbuf_reserve(&reports, sizeof(*r), 0);

	if (!r)
		return -1;
	__builtin_memcpy(&r->key, key, sizeof(*key));
	r->lasted = now - flow->first;
	r->packets = flow->packets[0] + flow->packets[1];
	r->bytes = flow->bytes[0] + flow->bytes[1];
	r->state = flow->state;
	bpf_ringbuf_submit(r, 0);
	return 0;
}

static __noinline int track(struct parsed *p, int turn)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);
	__u64 now = bpf_ktime_get_ns();
	__u32 state;

	/* An index that the compiler knows to be 0 or 1 it ors into the address. */
	turn = !!turn;
	opaque(turn);
	if (!flow) {
		struct flow fresh = { .first = now, .last = now };

		fresh.packets[turn] = 1;
		fresh.bytes[turn] = p->bytes;
		fresh.flags[turn] = p->tcp_flags;
		return bpf_map_update_elem(&flows, &p->key, &fresh, BPF_NOEXIST);
	}
	bpf_spin_lock(&flow->lock);
	flow->last = now;
	flow->packets[turn]++;
	flow->bytes[turn] += p->bytes;
	flow->flags[turn] |= p->tcp_flags;
	flow->seq[turn] = p->seq;
	state = next_state(flow->state, p->tcp_flags);
	flow->state = state;
	bpf_spin_unlock(&flow->lock);
	if (state == CLOSED && !flow->reported) {
		flow->reported = 1;
		tell(&p->key, flow, now);
		bpf_map_delete_elem(&flows, &p->key);
	}
	return 0;
}

static __always_inline void count(__u32 which, __u32 bytes, int parsed)
{
	struct totals *t = bpf_map_lookup_elem(&totals, &which);

	if (!t)
		return;
	t->packets++;
	t->bytes += bytes;
	if (parsed < 0)
		t->malformed++;
	else if (parsed > 0)
		t->other++;
}

SEC("xdp")
int track_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct parsed p = {};
	int parsed = parse(data, end, &p);

	count(0, end - data, parsed);
	if (parsed || (bpf_get_prandom_u32() & sample_mask))
		return XDP_PASS;
	track(&p, order(&p.key));
	return XDP_PASS;
}

SEC("tc")
int track_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct parsed p = {};
	int parsed = parse(data, end, &p);

	if (parsed < 0 && !bpf_skb_pull_data(skb, 128)) {
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		parsed = parse(data, end, &p);
	}
	count(1 + !!skb->vlan_present, skb->len, parsed);
	if (!parsed) {
		p.bytes = skb->len;
		track(&p, order(&p.key));
	}
	return TC_ACT_UNSPEC;
}

static int expire(void *map, struct flow_key *key, struct expiry *e)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	__u64 now = bpf_ktime_get_ns();

	(void)map;
	if (!flow)
		return 0;
	if (now < e->deadline) {
		bpf_timer_start(&e->timer, e->deadline - now, 0);
		return 0;
	}
	tell(key, flow, now);
	bpf_map_delete_elem(&flows, key);
	return 0;
}

SEC("tc")
int track_with_timer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct expiry fresh = {}, *e;
	struct parsed p = {};

	if (parse(data, end, &p))
		return TC_ACT_OK;
	order(&p.key);
	e = bpf_map_lookup_elem(&expiries, &p.key);
	if (!e) {
		bpf_map_update_elem(&expiries, &p.key, &fresh, BPF_NOEXIST);
		e = bpf_map_lookup_elem(&expiries, &p.key);
		if (!e)
			return TC_ACT_OK;
		bpf_timer_init(&e->timer, &expiries, 1);
		bpf_timer_set_callback(&e->timer, expire);
	}
	e->deadline = bpf_ktime_get_ns() + idle_ns;
	bpf_timer_start(&e->timer, idle_ns, 0);
	return TC_ACT_OK;
}

struct sweep {
	__u64 now;
	__u32 seen, closed;
};

static long sweep_one(void *map, struct flow_key *key, struct flow *flow, struct sweep *s)
{
	s->seen++;
	if (flow->state == CLOSED || s->now - flow->last > idle_ns) {
		bpf_map_delete_elem(map, key);
		s->closed++;
	}
	return s->closed > 100;
}

SEC("tc")
int sweep(struct __sk_buff *skb)
{
	struct sweep s = { .now = bpf_ktime_get_ns() };

	bpf_for_each_map_elem(&flows, sweep_one, &s, 0);
	skb->cb[0] = s.seen;
	skb->cb[1] = s.closed;
	return TC_ACT_OK;
}
