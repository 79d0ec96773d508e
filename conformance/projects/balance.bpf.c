// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A load balancer of layer 4: rings of consistent hashing, a cache of connections, IP-in-IP and GUE,
// answers to pings, errors of ICMP that belong to connections.
#include "project.h"

char LICENSE[] SEC("license") = "GPL";

#define RING 65537
#define REALS 4096
#define VIPS 512

struct vip_key {
	union {
		__be32 v4;
		struct in6 v6;
	} address;
	__be16 port;
	__u8 protocol, pad;
};

struct vip {
	__u32 flags, number;
};

struct real {
	struct in6 address;
	__u8 flags, pad[3];
};

struct packet {
	union {
		__be32 v4;
		struct in6 v6;
	} source, target;
	__be16 sport, dport;
	__u8 protocol, flags, tos, is_v6;
};

struct connection {
	__u32 real;
	__u64 time;
};

struct stats {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VIPS);
	__type(key, struct vip_key);
	__type(value, struct vip);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VIPS *RING);
	__type(key, __u32);
	__type(value, __u32);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REALS);
	__type(key, __u32);
	__type(value, struct real);
} reals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 100000);
	__type(key, struct packet);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VIPS + 16);
	__type(key, __u32);
	__type(value, struct stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct in6);
} control SEC(".maps");

const volatile __u32 seed = 0x5eed;
const volatile __u64 udp_idle_ns = 30000000000ull;

static __always_inline __u32 hash(struct packet *p, _Bool with_port)
{
	__u32 port = with_port ? (__u32)p->sport << 16 | p->dport : p->dport;
	__u32 a = p->source.v6.words[0];

	if (p->is_v6) {
		a = jhash_3words(p->source.v6.words[0], p->source.v6.words[1],
				 p->source.v6.words[2], p->source.v6.words[3]);
	}
	return jhash_3words(a, port, p->protocol, seed);
}

static __always_inline void add(__u32 which, __u32 bytes)
{
	struct stats *s = bpf_map_lookup_elem(&stats, &which);

	if (s) {
		s->packets++;
		s->bytes += bytes;
	}
}

static __always_inline int parse_ports(void *at, void *end, struct packet *p, _Bool turned)
{
	struct udphdr *udp = at;

	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end)
			return -1;
		p->flags = tcp->flags & TCP_FLAG_SYN;
	} else if (p->protocol != IPPROTO_UDP) {
		return -1;
	}
	if ((void *)(udp + 1) > end)
		return -1;
	p->sport = turned ? udp->dest : udp->source;
	p->dport = turned ? udp->source : udp->dest;
	return 0;
}

/* What an error of ICMP is about: the header that it quotes, seen from the other side. */
static __always_inline int quoted4(void *at, void *end, struct packet *p)
{
	struct icmphdr *icmp = at;
	struct iphdr *ip = (void *)(icmp + 1);

	if ((void *)(ip + 1) > end)
		return -1;
	if (icmp->type != 3 || ip->ihl != 5)
		return -1;
	p->protocol = ip->protocol;
	p->source.v4 = ip->daddr;
	p->target.v4 = ip->saddr;
	return parse_ports(ip + 1, end, p, 1);
}

static __always_inline int quoted6(void *at, void *end, struct packet *p)
{
	struct icmphdr *icmp = at;
	struct ipv6hdr *ip = (void *)(icmp + 1);

	if ((void *)(ip + 1) > end)
		return -1;
	if (icmp->type != 1 && icmp->type != 2)
		return -1;
	p->protocol = ip->nexthdr;
	p->source.v6 = ip->daddr;
	p->target.v6 = ip->saddr;
	return parse_ports(ip + 1, end, p, 1);
}

static __always_inline int pong(struct ethhdr *eth, struct iphdr *ip, void *end)
{
	struct icmphdr *icmp = (void *)(ip + 1);
	__be32 address;

	if ((void *)(icmp + 1) > end || icmp->type != 8)
		return XDP_PASS;
	icmp->type = 0;
	icmp->checksum += bpf_htons(0x0800);
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	swap_mac(eth);
	return XDP_TX;
}

static __noinline struct real *choose(struct packet *p, struct vip *vip)
{
	struct connection *c, fresh = {};
	__u32 at, *number;

	if (!p || !vip)
		return 0;
	if (!p->flags) {
		c = bpf_map_lookup_elem(&connections, p);
		if (c) {
			__u64 now = bpf_ktime_get_ns();

			if (p->protocol == IPPROTO_UDP) {
				if (now - c->time > udp_idle_ns)
					goto pick;
				c->time = now;
			}
			at = c->real;
			return bpf_map_lookup_elem(&reals, &at);
		}
	}
pick:
	at = hash(p, !(vip->flags & 1)) % RING + vip->number * RING;
	number = bpf_map_lookup_elem(&rings, &at);
	if (!number)
		return 0;
	fresh.real = *number;
	fresh.time = p->protocol == IPPROTO_UDP ? bpf_ktime_get_ns() : 0;
	p->flags = 0;
	if (!(vip->flags & 2))
		bpf_map_update_elem(&connections, p, &fresh, BPF_ANY);
	at = *number;
	return bpf_map_lookup_elem(&reals, &at);
}

static __always_inline __u16 ip_checksum(struct iphdr *ip)
{
	__u16 *words = (void *)ip;
	__u64 sum = 0;
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < 10; i++)
		sum += words[i];
	return csum_fold(sum);
}

static __noinline int wrap4(struct xdp_md *ctx, __be32 source, __be32 target, __u32 bytes)
{
	struct ethhdr *eth, *old;
	struct iphdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	ip = (void *)(eth + 1);
	old = data + sizeof(*ip);
	if ((void *)(eth + 1) > end || (void *)(ip + 1) > end || (void *)(old + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_source, old->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, old->h_source, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->protocol = IPPROTO_IPIP;
	ip->tot_len = bpf_htons((__u16)(bytes + sizeof(*ip)));
	ip->ttl = 64;
	ip->saddr = source;
	ip->daddr = target;
	ip->check = ip_checksum(ip);
	return XDP_TX;
}

static __noinline int wrap6(struct xdp_md *ctx, struct real *real, __u32 bytes)
{
	struct ethhdr *eth, *old;
	struct ipv6hdr *ip;
	struct in6 *own;
	void *data, *end;
	__u32 zero = 0;

	if (!real || bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	ip = (void *)(eth + 1);
	old = data + sizeof(*ip);
	own = bpf_map_lookup_elem(&control, &zero);
	if (!own || (void *)(ip + 1) > end || (void *)(old + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_source, old->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, old->h_source, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IPV6);
	ip->version_class_label = bpf_htonl(6 << 28);
	ip->payload_len = bpf_htons((__u16)bytes);
	ip->nexthdr = IPPROTO_IPV6;
	ip->hop_limit = 64;
	ip->saddr = *own;
	ip->daddr = real->address;
	return XDP_TX;
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *at;
	struct ethhdr *eth = data;
	struct packet p = {};
	struct vip_key key = {};
	struct real *real;
	struct vip *vip;
	__u32 bytes, zero = 0;
	struct in6 *own;

	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || ip->ihl != 5)
			return XDP_DROP;
		if (ip->frag_off & bpf_htons(0x3fff))
			return XDP_DROP;
		p.protocol = ip->protocol;
		p.tos = ip->tos;
		p.source.v4 = ip->saddr;
		p.target.v4 = ip->daddr;
		bytes = bpf_ntohs(ip->tot_len);
		at = ip + 1;
		if (ip->protocol == IPPROTO_ICMP) {
			if (quoted4(at, end, &p))
				return pong(eth, ip, end);
		} else if (parse_ports(at, end, &p, 0)) {
			return XDP_PASS;
		}
		key.address.v4 = p.target.v4;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		p.is_v6 = 1;
		p.protocol = ip->nexthdr;
		p.source.v6 = ip->saddr;
		p.target.v6 = ip->daddr;
		bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		at = ip + 1;
		if (ip->nexthdr == IPPROTO_ICMPV6) {
			if (quoted6(at, end, &p))
				return XDP_PASS;
		} else if (parse_ports(at, end, &p, 0)) {
			return XDP_PASS;
		}
		key.address.v6 = p.target.v6;
	} else {
		return XDP_PASS;
	}
	key.protocol = p.protocol;
	key.port = p.dport;
	vip = bpf_map_lookup_elem(&vips, &key);
	if (!vip) {
		key.port = 0;
		vip = bpf_map_lookup_elem(&vips, &key);
		if (!vip)
			return XDP_PASS;
		p.sport = 0;
	}
	real = choose(&p, vip);
	if (!real) {
		add(VIPS + 1, bytes);
		return XDP_DROP;
	}
	add(vip->number & (VIPS - 1), bytes);
	if (real->flags & 1)
		return wrap6(ctx, real, bytes);
	own = bpf_map_lookup_elem(&control, &zero);
	if (!own)
		return XDP_DROP;
	return wrap4(ctx, own->words[3] ^ ((__u32)p.sport << 16), real->address.words[3], bytes);
}

/* Takes the outer header off and counts what came through the tunnel. */
SEC("xdp")
int unwrap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data, copy;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 outer = sizeof(*ip);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(ip + 1);

		if ((void *)(udp + 1) > end || udp->dest != bpf_htons(9886))
			return XDP_PASS;
		outer += sizeof(*udp);
	} else if (ip->protocol != IPPROTO_IPIP) {
		return XDP_PASS;
	}
	copy = *eth;
	if (bpf_xdp_adjust_head(ctx, (int)outer))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	*eth = copy;
	add(VIPS + 2, end - data);
	return XDP_PASS;
}
