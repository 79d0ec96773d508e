// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// A layer 4 load balancer: services by address, port and protocol, a ring of backends for consistent
// hashing, a table of connections, IP in IP and IP in IPv6 towards the backend, ICMP for the service.
#include "net.h"

#define RING_SLOTS 61
#define BACKENDS 5
#define MAX_PACKET 1400

struct service_key {
	struct in6 address;
	__be16 port;
	__u8 protocol;
	__u8 family;
};

struct service {
	__u32 flags;
	__u32 ring;
};
#define SERVICE_NO_PORT_HASH 1
#define SERVICE_NO_CONNECTIONS 2

struct flow {
	struct in6 source;
	struct in6 dest;
	__be16 source_port;
	__be16 dest_port;
	__u8 protocol;
	__u8 pad[3];
};

struct backend {
	struct in6 address;
	__u8 family;
	__u8 weight;
	__u16 pad;
};

struct counters {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct service_key);
	__type(value, struct service);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RING_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, __u32);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BACKENDS + 3);
	__type(key, __u32);
	__type(value, struct counters);
} stats SEC(".maps");

const volatile struct backend backends[BACKENDS] = {
	{{.words = {bpf_htonl(0x0a000001)}}, 4, 1, 0},
	{{.words = {bpf_htonl(0x0a000002)}}, 4, 3, 0},
	{{.words = {bpf_htonl(0x20010db8), 0, 0, bpf_htonl(7)}}, 6, 2, 0},
	{{.words = {bpf_htonl(0x0a000003)}}, 4, 1, 0},
	{{.words = {bpf_htonl(0x0a000004)}}, 4, 9, 0},
};
const volatile __u8 gateway_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 1};
__u32 seed = 0x5bd1e995;
static __u64 ring_fills;

static __noinline int count(__u32 slot, __u32 bytes)
{
	struct counters *c = bpf_map_lookup_elem(&stats, &slot);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
	return 0;
}

// The ring is empty at first: each slot gets the backend with the highest weighted hash.
static __noinline __u32 backend_of(__u32 slot)
{
	__u32 *entry = bpf_map_lookup_elem(&ring, &slot);
	__u32 best = 0, choice = 0;

	if (!entry)
		return 0;
	if (*entry)
		return *entry - 1;
	for (__u32 i = 0; i < BACKENDS; i++) {
		__u32 score = jhash_3words(slot, i, backends[i].address.words[0], seed);

		score = (__u64)score * backends[i].weight / 9;
		if (score >= best) {
			best = score;
			choice = i;
		}
	}
	*entry = choice + 1;
	__sync_fetch_and_add(&ring_fills, 1);
	return choice;
}

static __noinline __u32 flow_hash(const struct flow *flow, __u32 flags)
{
	__u32 a = flow->source.words[0] ^ flow->source.words[1];
	__u32 b = flow->source.words[2] ^ flow->source.words[3];
	__u32 ports = (__u32)flow->source_port << 16 | flow->dest_port;

	if (flags & SERVICE_NO_PORT_HASH)
		ports = flow->dest_port;
	return jhash_3words(jhash_3words(a, b, ports, seed), flow->protocol,
			    flow->dest.words[0] + flow->dest.words[3], 0);
}

static __always_inline int echo_reply(struct xdp_md *ctx, struct iphdr *ip)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct icmphdr *icmp = (void *)(ip + 1);
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(icmp + 1) > data_end || icmp->type != 8)
		return XDP_PASS;
	icmp->type = 0;
	icmp->checksum = csum_fold((__u16)~icmp->checksum + (__u16)~bpf_htons(0x0800));
	__be32 address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	swap_mac(eth);
	return XDP_TX;
}

// Learns a service from a SYN to a low port, so that the program needs nothing from outside.
static __always_inline struct service *find_service(struct service_key *key, int learn)
{
	struct service *service = bpf_map_lookup_elem(&services, key);

	if (!service && learn && bpf_ntohs(key->port) < 1024) {
		struct service new = {.flags = bpf_ntohs(key->port) % 4, .ring = 0};

		bpf_map_update_elem(&services, key, &new, BPF_NOEXIST);
		service = bpf_map_lookup_elem(&services, key);
	}
	return service;
}

static __always_inline int encapsulate(struct xdp_md *ctx, const volatile struct backend *to,
				       __u32 bytes, int inner_is_v6, __u32 hash)
{
	int room = to->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	if (bpf_xdp_adjust_head(ctx, -room))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) + sizeof(struct ipv6hdr) > data_end)
		return XDP_DROP;
	// The old header lies further back; what was there has moved nowhere.
	struct ethhdr *old = data + room;

	if ((void *)(old + 1) > data_end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_source, old->h_dest, ETH_ALEN);
	for (int i = 0; i < ETH_ALEN; i++)
		eth->h_dest[i] = gateway_mac[i];
	if (to->family == 4) {
		struct iphdr *ip = (void *)(eth + 1);
		__u64 sum = 0;
		__u16 *word = (void *)ip;

		eth->h_proto = bpf_htons(ETH_P_IP);
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = 0;
		ip->tot_len = bpf_htons(bytes + sizeof(*ip));
		ip->id = 0;
		ip->frag_off = 0;
		ip->ttl = 64;
		ip->protocol = inner_is_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
		ip->check = 0;
		ip->saddr = bpf_htonl(0xac100000) | (hash & bpf_htonl(0xffff));
		ip->daddr = to->address.words[0];
#pragma unroll
		for (int i = 0; i < 10; i++)
			sum += word[i];
		ip->check = csum_fold(sum);
	} else {
		struct ipv6hdr *ip = (void *)(eth + 1);

		eth->h_proto = bpf_htons(ETH_P_IPV6);
		ip->version_class_label = bpf_htonl(6 << 28) | (hash & bpf_htonl(0xfffff));
		ip->payload_len = bpf_htons(bytes);
		ip->nexthdr = inner_is_v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
		ip->hop_limit = 64;
		for (int i = 0; i < 4; i++) {
			ip->saddr.words[i] = i == 3 ? hash : bpf_htonl(0x01000000);
			ip->daddr.words[i] = to->address.words[i];
		}
	}
	return XDP_TX;
}

SEC("xdp")
int balancer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	__u32 bytes = data_end - data;
	struct ethhdr *eth = data;
	struct flow flow = {};
	struct service_key key = {};
	void *transport;
	int is_v6 = 0, learn = 0;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (bytes > MAX_PACKET) {
		count(BACKENDS, bytes);
		return XDP_DROP;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > data_end || ip->ihl != 5)
			return XDP_DROP;
		if (ip->frag_off & bpf_htons(0x3fff))
			return XDP_PASS;
		if (ip->protocol == IPPROTO_ICMP)
			return echo_reply(ctx, ip);
		flow.protocol = ip->protocol;
		flow.source.words[0] = ip->saddr;
		flow.dest.words[0] = ip->daddr;
		key.family = 4;
		transport = ip + 1;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > data_end)
			return XDP_DROP;
		flow.protocol = ip->nexthdr;
		flow.source = ip->saddr;
		flow.dest = ip->daddr;
		key.family = 6;
		is_v6 = 1;
		transport = ip + 1;
	} else {
		return XDP_PASS;
	}
	if (flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = transport;

		if ((void *)(tcp + 1) > data_end)
			return XDP_DROP;
		flow.source_port = tcp->source;
		flow.dest_port = tcp->dest;
		learn = tcp->flags & TCP_FLAG_SYN;
	} else if (flow.protocol == IPPROTO_UDP) {
		struct udphdr *udp = transport;

		if ((void *)(udp + 1) > data_end)
			return XDP_DROP;
		flow.source_port = udp->source;
		flow.dest_port = udp->dest;
		learn = 1;
	} else {
		return XDP_PASS;
	}
	key.address = flow.dest;
	key.port = flow.dest_port;
	key.protocol = flow.protocol;

	struct service *service = find_service(&key, learn);

	if (!service) {
		count(BACKENDS + 1, bytes);
		return XDP_PASS;
	}
	__u32 hash = flow_hash(&flow, service->flags);
	__u32 choice;
	__u32 *known = 0;

	if (!(service->flags & SERVICE_NO_CONNECTIONS))
		known = bpf_map_lookup_elem(&connections, &flow);
	if (known) {
		choice = *known;
	} else {
		choice = backend_of(hash % RING_SLOTS);
		if (!(service->flags & SERVICE_NO_CONNECTIONS))
			bpf_map_update_elem(&connections, &flow, &choice, BPF_ANY);
		count(BACKENDS + 2, bytes);
	}
	if (choice >= BACKENDS)
		return XDP_DROP;
	count(choice, bytes);
	return encapsulate(ctx, &backends[choice], bytes - sizeof(*eth), is_v6, hash);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
