// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A layer 4 balancer in the style of the large ones: a root program that counts and hands over, look-up
// tables of backends in one array, a connection table per CPU, QUIC's connection ids, the packets
// inside ICMP errors, IPIP and GUE towards the backend, its health checks' encapsulation.
#include "project.h"

#define TABLE_SLOTS 65537
#define MAX_SERVICES 512
#define MAX_BACKENDS 4096
#define GUE_PORT 9886

struct address {
	union {
		__be32 v4;
		__be32 v6[4];
	};
};

struct service_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct service {
	__u32 flags;
	__u32 number;
};
#define F_HASH_SOURCE_ONLY (1 << 0)
#define F_NO_LRU (1 << 1)
#define F_QUIC (1 << 2)
#define F_HASH_DEST_PORT (1 << 3)
#define F_GUE (1 << 4)

struct flow_key {
	struct address source;
	struct address dest;
	__be16 source_port;
	__be16 dest_port;
	__u8 protocol;
	__u8 pad[3];
};

struct packet {
	struct flow_key flow;
	__u32 backend;
	__u8 flags;
	__u8 tos;
	__u16 bytes;
};
#define P_SYN 1
#define P_ICMP 2

struct backend {
	struct address address;
	__u8 flags;
	__u8 pad[3];
};
#define B_IPV6 1

struct remembered {
	__u32 backend;
	__u32 pad;
	__u64 time;
};

struct counters {
	__u64 first;
	__u64 second;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SERVICES);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES * 128);
	__type(key, __u32);
	__type(value, __u32);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct inner_lru {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow_key);
	__type(value, struct remembered);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 64);
	__type(key, __u32);
	__array(values, struct inner_lru);
} tables_of_cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow_key);
	__type(value, struct remembered);
} fallback SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SERVICES + 16);
	__type(key, __u32);
	__type(value, struct counters);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256 * 256);
	__type(key, __u32);
	__type(value, __u32);
} quic_ids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} stages SEC(".maps");

const volatile __u8 gateway[6] = {2, 0, 0, 0, 0, 1};
const volatile __be32 own_v4 = 0x0a000001;
const volatile __be32 own_v6[4] = {0x20010db8, 0, 0, 1};
const volatile __u32 tcp_timeout_ns = 30000000;

static __always_inline struct counters *count(__u32 which, __u64 first, __u64 second)
{
	struct counters *c = bpf_map_lookup_elem(&stats, &which);

	if (c) {
		c->first += first;
		c->second += second;
	}
	return c;
}

static __always_inline __u32 flow_hash(const struct packet *p, int v6, int source_only, int dest)
{
	__u32 source = p->flow.source.v4, ports;

	if (v6) {
		source = jhash_3words(p->flow.source.v6[0], p->flow.source.v6[1],
				      p->flow.source.v6[2], p->flow.source.v6[3]);
	}
	ports = source_only ? 0 : (__u32)p->flow.dest_port << 16 | p->flow.source_port;
	if (dest)
		ports |= p->flow.dest_port;
	return jhash_3words(source, ports, p->flow.protocol, 0x5bd1e995);
}

/* The ports, or where the packet that an ICMP error is about has them: swapped. */
static __always_inline int read_ports(void *data, void *end, __u64 offset, struct packet *p)
{
	if (p->flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = data + offset;

		if ((void *)(tcp + 1) > end)
			return -1;
		if (tcp->flags & TCP_FLAG_SYN)
			p->flags |= P_SYN;
		p->flow.source_port = tcp->source;
		p->flow.dest_port = tcp->dest;
	} else {
		struct udphdr *udp = data + offset;

		if ((void *)(udp + 1) > end)
			return -1;
		p->flow.source_port = udp->source;
		p->flow.dest_port = udp->dest;
	}
	if (p->flags & P_ICMP) {
		__be16 port = p->flow.source_port;

		p->flow.source_port = p->flow.dest_port;
		p->flow.dest_port = port;
	}
	return 0;
}

static __always_inline int read_v4(void *data, void *end, struct packet *p, __u64 *offset)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);

	if ((void *)(ip + 1) > end || ip->ihl != 5)
		return -1;
	if (ip->frag_off & bpf_htons(0x3fff))
		return -1;
	p->flow.protocol = ip->protocol;
	p->bytes = bpf_ntohs(ip->tot_len);
	p->tos = ip->tos;
	*offset = sizeof(struct ethhdr) + sizeof(*ip);
	if (ip->protocol == IPPROTO_ICMP) {
		struct icmphdr *icmp = (void *)(ip + 1);

		if ((void *)(icmp + 1) > end || icmp->type != 3)
			return -1;
		ip = (void *)(icmp + 1);
		if ((void *)(ip + 1) > end || ip->ihl != 5)
			return -1;
		p->flags |= P_ICMP;
		p->flow.protocol = ip->protocol;
		p->flow.source.v4 = ip->daddr;
		p->flow.dest.v4 = ip->saddr;
		*offset += sizeof(*icmp) + sizeof(*ip);
		return 0;
	}
	p->flow.source.v4 = ip->saddr;
	p->flow.dest.v4 = ip->daddr;
	return 0;
}

static __always_inline int read_v6(void *data, void *end, struct packet *p, __u64 *offset)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);

	if ((void *)(ip + 1) > end)
		return -1;
	p->bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->flow.protocol = ip->nexthdr;
	p->tos = bpf_ntohl(ip->version_class_label) >> 20;
	*offset = sizeof(struct ethhdr) + sizeof(*ip);
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return -1;
	if (ip->nexthdr == IPPROTO_ICMPV6) {
		struct icmphdr *icmp = (void *)(ip + 1);

		if ((void *)(icmp + 1) > end || (icmp->type != 1 && icmp->type != 2))
			return -1;
		ip = (void *)(icmp + 1);
		if ((void *)(ip + 1) > end)
			return -1;
		p->flags |= P_ICMP;
		p->flow.protocol = ip->nexthdr;
		__builtin_memcpy(&p->flow.source, &ip->daddr, 16);
		__builtin_memcpy(&p->flow.dest, &ip->saddr, 16);
		*offset += sizeof(*icmp) + sizeof(*ip);
		return 0;
	}
	__builtin_memcpy(&p->flow.source, &ip->saddr, 16);
	__builtin_memcpy(&p->flow.dest, &ip->daddr, 16);
	return 0;
}

/* The backend that a QUIC connection id names: long header's or short header's id, version 1 or 2. */
static __always_inline int quic_backend(void *data, void *end, __u64 offset, __u32 *backend)
{
	__u8 *quic = data + offset + sizeof(struct udphdr), *id;
	__u32 key, *found;

	if ((void *)(quic + 1) > end)
		return -1;
	if (*quic & 0x80) {
		if ((void *)(quic + 6 + 8) > end || quic[5] < 8)
			return -1;
		/* First flights carry an id that the client made up. */
		if ((*quic & 0x30) < 0x20)
			return -1;
		id = quic + 6;
	} else {
		if ((void *)(quic + 1 + 8) > end)
			return -1;
		id = quic + 1;
	}
	switch (id[0] >> 6) {
	case 1:
		key = (id[0] & 0x3f) << 10 | id[1] << 2 | id[2] >> 6;
		break;
	case 2:
		key = id[1] << 16 | id[2] << 8 | id[3];
		break;
	default:
		return -1;
	}
	found = bpf_map_lookup_elem(&quic_ids, &key);
	if (!found || !*found)
		return -1;
	*backend = *found;
	return 0;
}

static __always_inline struct backend *from_lru(struct packet *p, void *lru)
{
	struct remembered *seen = bpf_map_lookup_elem(lru, &p->flow);
	__u64 now;

	if (!seen)
		return 0;
	if (p->flow.protocol == IPPROTO_UDP) {
		now = bpf_ktime_get_ns();
		if (now - seen->time > tcp_timeout_ns)
			return 0;
		seen->time = now;
	}
	p->backend = seen->backend;
	return bpf_map_lookup_elem(&backends, &p->backend);
}

static __always_inline struct backend *from_table(struct packet *p, struct service *service, int v6,
						  void *lru)
{
	struct remembered fresh = {};
	__u32 slot, *number, hash;

	hash = flow_hash(p, v6, service->flags & F_HASH_SOURCE_ONLY,
			 service->flags & F_HASH_DEST_PORT);
	slot = (service->number & (MAX_SERVICES - 1)) * 128 + hash % 127;
	number = bpf_map_lookup_elem(&tables, &slot);
	if (!number)
		return 0;
	p->backend = *number;
	if (lru && !(service->flags & F_NO_LRU)) {
		if (p->flow.protocol == IPPROTO_UDP)
			fresh.time = bpf_ktime_get_ns();
		fresh.backend = *number;
		bpf_map_update_elem(lru, &p->flow, &fresh, BPF_ANY);
	}
	return bpf_map_lookup_elem(&backends, &p->backend);
}

static __always_inline void set_eth(struct ethhdr *to, struct ethhdr *from, __be16 protocol)
{
	__builtin_memcpy(to->h_source, from->h_dest, ETH_ALEN);
	__builtin_memcpy(to->h_dest, (const void *)gateway, ETH_ALEN);
	to->h_proto = protocol;
}

static __always_inline void set_ip(struct iphdr *ip, __u8 protocol, __be32 dest, __u16 bytes,
				   __u8 tos)
{
	__u16 *words = (void *)ip;
	__u64 sum = 0;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(bytes);
	ip->id = 0;
	ip->frag_off = 0;
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = own_v4;
	ip->daddr = dest;
#pragma clang loop unroll(full)
	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += words[i];
	ip->check = csum_fold(sum);
}

static __always_inline int encap_v4(struct xdp_md *xdp, struct packet *p, struct backend *to,
				    int gue)
{
	int more = sizeof(struct iphdr) + (gue ? sizeof(struct udphdr) : 0);
	struct ethhdr *fresh, *old;
	struct iphdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(xdp, -more))
		return XDP_DROP;
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	fresh = data;
	old = data + more;
	ip = data + sizeof(*fresh);
	if ((void *)(fresh + 1) > end || (void *)(old + 1) > end)
		return XDP_DROP;
	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	set_eth(fresh, old, bpf_htons(ETH_P_IP));
	if (gue) {
		struct udphdr *udp = (void *)(ip + 1);

		if ((void *)(udp + 1) > end)
			return XDP_DROP;
		udp->source = bpf_htons(0xc000 | (p->flow.source_port ^ p->flow.source.v4));
		udp->dest = bpf_htons(GUE_PORT);
		udp->len = bpf_htons(p->bytes + sizeof(*udp));
		udp->check = 0;
	}
	set_ip(ip, gue ? IPPROTO_UDP : IPPROTO_IPIP, to->address.v4, p->bytes + more, p->tos);
	return XDP_TX;
}

static __always_inline int encap_v6(struct xdp_md *xdp, struct packet *p, struct backend *to,
				    int inner_v6)
{
	struct ethhdr *fresh, *old;
	struct ipv6hdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(xdp, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	fresh = data;
	old = data + sizeof(*ip);
	ip = data + sizeof(*fresh);
	if ((void *)(fresh + 1) > end || (void *)(old + 1) > end || (void *)(ip + 1) > end)
		return XDP_DROP;
	set_eth(fresh, old, bpf_htons(ETH_P_IPV6));
	ip->version_class_label = bpf_htonl(6 << 28 | p->tos << 20);
	ip->payload_len = bpf_htons(p->bytes);
	ip->nexthdr = inner_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	ip->hop_limit = 64;
	__builtin_memcpy(&ip->saddr, (const void *)own_v6, 16);
	ip->saddr.words[3] = own_v6[3] ^ p->flow.source.v4 ^ p->flow.source_port;
	__builtin_memcpy(&ip->daddr, to->address.v6, 16);
	return XDP_TX;
}

static __always_inline int balance(struct xdp_md *xdp, void *data, void *end, int v6)
{
	struct service_key key = {};
	struct service *service;
	struct packet p = {};
	struct backend *to = 0;
	__u32 cpu;
	__u64 offset;
	void *lru;

	if (v6 ? read_v6(data, end, &p, &offset) : read_v4(data, end, &p, &offset))
		return XDP_PASS;
	if (p.flow.protocol != IPPROTO_TCP && p.flow.protocol != IPPROTO_UDP)
		return XDP_PASS;
	if (read_ports(data, end, offset, &p))
		return XDP_DROP;
	if (v6)
		__builtin_memcpy(key.address.v6, p.flow.dest.v6, 16);
	else
		key.address.v4 = p.flow.dest.v4;
	key.port = p.flow.dest_port;
	key.protocol = p.flow.protocol;
	service = bpf_map_lookup_elem(&services, &key);
	if (!service) {
		key.port = 0;
		service = bpf_map_lookup_elem(&services, &key);
		if (!service)
			return XDP_PASS;
		if (!(service->flags & F_HASH_DEST_PORT))
			p.flow.dest_port = key.port;
	}
	if (end - data > 1500 + 14)
		return XDP_DROP;
	if (service->flags & F_QUIC && p.flow.protocol == IPPROTO_UDP &&
	    !quic_backend(data, end, offset, &p.backend)) {
		to = bpf_map_lookup_elem(&backends, &p.backend);
		count(MAX_SERVICES + 1, to != 0, to == 0);
	}
	if (!to) {
		cpu = bpf_get_smp_processor_id();
		lru = bpf_map_lookup_elem(&tables_of_cpus, &cpu);
		if (!lru) {
			lru = &fallback;
			count(MAX_SERVICES + 2, 1, 0);
		}
		if (!(p.flags & P_SYN) && !(service->flags & F_NO_LRU))
			to = from_lru(&p, lru);
		if (!to) {
			count(MAX_SERVICES + 3, p.flags & P_SYN, !(p.flags & P_SYN));
			to = from_table(&p, service, v6, lru);
			if (!to)
				return XDP_DROP;
		}
	}
	count(service->number, 1, p.bytes);
	if (to->flags & B_IPV6)
		return encap_v6(xdp, &p, to, v6);
	if (v6)
		return XDP_DROP;
	return encap_v4(xdp, &p, to, service->flags & F_GUE);
}

SEC("xdp")
int lb_balance(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return balance(xdp, data, end, 0);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return balance(xdp, data, end, 1);
	return XDP_PASS;
}

SEC("xdp")
int lb_root(struct xdp_md *xdp)
{
	count(MAX_SERVICES + 4, 1, bpf_xdp_get_buff_len(xdp));
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < 3; i++)
		bpf_tail_call(xdp, &stages, i);
	return XDP_PASS;
}

/* On the backend: takes GUE or IPIP off again. */
SEC("xdp")
int lb_decap(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data, *moved;
	struct iphdr *ip = data + sizeof(*eth);
	int more = sizeof(*ip);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(ip + 1);
		__u8 *inner = (void *)(udp + 1);

		if ((void *)(inner + 1) > end || udp->dest != bpf_htons(GUE_PORT))
			return XDP_PASS;
		if ((*inner >> 4) != 4)
			return XDP_DROP;
		more += sizeof(*udp);
	} else if (ip->protocol != IPPROTO_IPIP) {
		return XDP_PASS;
	}
	count(MAX_SERVICES + 5, 1, more);
	moved = data + more;
	if ((void *)(moved + 1) > end)
		return XDP_DROP;
	__builtin_memmove(moved, eth, sizeof(*eth));
	if (bpf_xdp_adjust_head(xdp, more))
		return XDP_DROP;
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct backend);
} checked SEC(".maps");

struct tunnel_key {
	__u32 id;
	__u32 remote[4];
	__u8 tos;
	__u8 ttl;
	__u16 flags;
	__u32 label;
	__u32 local[4];
};

/* Health checks leave with a mark that names the backend. */
SEC("tc")
int lb_healthcheck(struct __sk_buff *skb)
{
	struct tunnel_key key = {};
	struct backend *to;
	__u32 mark = skb->mark;
	__u64 flags = 0;

	if (!mark)
		return TC_ACT_UNSPEC;
	to = bpf_map_lookup_elem(&checked, &mark);
	if (!to)
		return TC_ACT_UNSPEC;
	key.ttl = 64;
	if (to->flags & B_IPV6) {
		__builtin_memcpy(key.remote, to->address.v6, 16);
		flags = 1;
	} else {
		key.remote[0] = to->address.v4;
	}
	skb->mark = 0;
	bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags);
	count(MAX_SERVICES + 6, 1, skb->len);
	return bpf_redirect(skb->ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
