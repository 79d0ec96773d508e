// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Flow records in a least-recently-used table, exported through a ring buffer when they end or when a
// timer finds them idle; the same code at tc in both directions, at cgroups, and in XDP.
#include "project.h"

struct flow_id {
	__u8 source[16];
	__u8 dest[16];
	__be16 source_port;
	__be16 dest_port;
	__u8 protocol;
	__u8 direction;
	__u16 eth_protocol;
	__u32 ifindex;
};

struct flow {
	__u64 first;
	__u64 last;
	__u64 bytes;
	__u32 packets;
	__u16 flags;
	__u8 dscp;
	__u8 error;
	__u8 source_mac[6];
	__u8 dest_mac[6];
	__u32 sampling;
	struct {
		__u16 id;
		__u16 flags;
		__u64 request;
		__u64 latency;
	} dns;
};

struct event {
	struct flow_id id;
	struct flow flow;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10000);
	__type(key, struct flow_id);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 10000);
	__type(key, struct flow_id);
	__type(value, struct flow);
} flows_percpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct dns_key {
	__be16 source_port;
	__be16 dest_port;
	__u8 source[16];
	__u8 dest[16];
	__u16 id;
	__u16 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct dns_key);
	__type(value, __u64);
} queries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} errors SEC(".maps");

const volatile __u32 sampling = 0;
const volatile __u8 track_dns = 1;
const volatile __u8 trace = 0;

static __always_inline void failed(__u32 which)
{
	__u32 *n = bpf_map_lookup_elem(&errors, &which);

	if (n)
		*n += 1;
}

static __always_inline __u16 tcp_flags(struct tcphdr *tcp)
{
	__u16 flags = tcp->flags;

	if ((flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == (TCP_FLAG_SYN | TCP_FLAG_ACK))
		flags |= 0x100;
	else if ((flags & (TCP_FLAG_FIN | TCP_FLAG_ACK)) == (TCP_FLAG_FIN | TCP_FLAG_ACK))
		flags |= 0x200;
	else if ((flags & (TCP_FLAG_RST | TCP_FLAG_ACK)) == (TCP_FLAG_RST | TCP_FLAG_ACK))
		flags |= 0x400;
	return flags;
}

static __always_inline int ports(void *l4, void *end, struct flow_id *id, __u16 *flags)
{
	switch (id->protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return -1;
		id->source_port = tcp->source;
		id->dest_port = tcp->dest;
		*flags = tcp_flags(tcp);
		return (tcp->doff_reserved >> 4) * 4;
	}
	case IPPROTO_UDP:
	case IPPROTO_SCTP: {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end)
			return -1;
		id->source_port = udp->source;
		id->dest_port = udp->dest;
		return sizeof(*udp);
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		struct icmphdr *icmp = l4;

		if ((void *)(icmp + 1) > end)
			return -1;
		id->source_port = icmp->type;
		id->dest_port = icmp->code;
		return sizeof(*icmp);
	}
	}
	return 0;
}

static __always_inline int fill(void *data, void *end, struct flow_id *id, __u16 *flags, __u8 *dscp,
				void **payload)
{
	struct ethhdr *eth = data;
	int bytes;

	if ((void *)(eth + 1) > end)
		return -1;
	id->eth_protocol = bpf_ntohs(eth->h_proto);
	switch (id->eth_protocol) {
	case ETH_P_IP: {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return -1;
		id->source[10] = id->source[11] = id->dest[10] = id->dest[11] = 0xff;
		__builtin_memcpy(id->source + 12, &ip->saddr, 4);
		__builtin_memcpy(id->dest + 12, &ip->daddr, 4);
		id->protocol = ip->protocol;
		*dscp = ip->tos >> 2;
		*payload = ip + 1;
		break;
	}
	case ETH_P_IPV6: {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(id->source, &ip->saddr, 16);
		__builtin_memcpy(id->dest, &ip->daddr, 16);
		id->protocol = ip->nexthdr;
		*dscp = bpf_ntohl(ip->version_class_label) >> 22 & 0x3f;
		*payload = ip + 1;
		break;
	}
	default:
		return -2;
	}
	bytes = ports(*payload, end, id, flags);
	if (bytes < 0)
		return -1;
	*payload += bytes;
	return 0;
}

struct dns_header {
	__be16 id;
	__be16 flags;
	__be16 counts[4];
};

static __always_inline void dns(struct flow_id *id, void *header, void *end, struct flow *flow)
{
	struct dns_header *h = header;
	struct dns_key key = {};
	__u64 now, *asked;

	if (id->dest_port != bpf_htons(53) && id->source_port != bpf_htons(53))
		return;
	if ((void *)(h + 1) > end)
		return;
	key.id = bpf_ntohs(h->id);
	key.protocol = id->protocol;
	now = bpf_ktime_get_ns();
	if (!(h->flags & bpf_htons(0x8000))) {
		key.source_port = id->source_port;
		key.dest_port = id->dest_port;
		__builtin_memcpy(key.source, id->source, 16);
		__builtin_memcpy(key.dest, id->dest, 16);
		bpf_map_update_elem(&queries, &key, &now, BPF_ANY);
		return;
	}
	key.source_port = id->dest_port;
	key.dest_port = id->source_port;
	__builtin_memcpy(key.source, id->dest, 16);
	__builtin_memcpy(key.dest, id->source, 16);
	asked = bpf_map_lookup_elem(&queries, &key);
	if (asked) {
		flow->dns.id = key.id;
		flow->dns.flags = bpf_ntohs(h->flags);
		flow->dns.request = *asked;
		flow->dns.latency = now - *asked;
		bpf_map_delete_elem(&queries, &key);
	}
}

static __always_inline int track(void *map, void *data, void *end, __u32 len, __u32 ifindex,
				 __u8 direction, int percpu)
{
	struct flow fresh = {}, *flow;
	struct flow_id id = {};
	struct event *event;
	void *payload = data;
	__u16 flags = 0;
	__u8 dscp = 0;
	long error;

	if (sampling && bpf_get_prandom_u32() % sampling)
		return 0;
	if (fill(data, end, &id, &flags, &dscp, &payload))
		return -1;
	id.ifindex = ifindex;
	id.direction = direction;
	if (track_dns && id.protocol == IPPROTO_UDP)
		dns(&id, payload, end, &fresh);
	flow = bpf_map_lookup_elem(map, &id);
	if (flow) {
		flow->last = bpf_ktime_get_ns();
		if (percpu) {
			flow->packets++;
			flow->bytes += len;
		} else {
			__sync_fetch_and_add(&flow->packets, 1);
			__sync_fetch_and_add(&flow->bytes, len);
		}
		flow->flags |= flags;
		flow->dscp = dscp;
		if (fresh.dns.id) {
			flow->dns = fresh.dns;
		}
		if (!(flags & (TCP_FLAG_FIN | TCP_FLAG_RST)))
			return 0;
		fresh = *flow;
	} else {
		fresh.first = fresh.last = bpf_ktime_get_ns();
		fresh.packets = 1;
		fresh.bytes = len;
		fresh.flags = flags;
		fresh.dscp = dscp;
		fresh.sampling = sampling;
		__builtin_memcpy(fresh.dest_mac, data, 6);
		__builtin_memcpy(fresh.source_mac, data + 6, 6);
		error = bpf_map_update_elem(map, &id, &fresh, BPF_NOEXIST);
		if (!error && !(flags & (TCP_FLAG_FIN | TCP_FLAG_RST)))
			return 0;
		if (error == -17) {
			flow = bpf_map_lookup_elem(map, &id);
			if (flow) {
				__sync_fetch_and_add(&flow->packets, 1);
				__sync_fetch_and_add(&flow->bytes, len);
				return 0;
			}
		}
		fresh.error = -error;
		failed(0);
	}
	/* Full, or over: told at once. */
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		failed(1);
		return 0;
	}
	event->id = id;
	event->flow = fresh;
	bpf_ringbuf_submit(event, bpf_ringbuf_query(&events, 0) > 65536 ? 2 : 1);
	bpf_map_delete_elem(map, &id);
	return 0;
}

SEC("tc")
int flow_ingress(struct __sk_buff *skb)
{
	track(&flows, (void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, skb->ifindex,
	      0, 0);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int flow_egress(struct __sk_buff *skb)
{
	track(&flows, (void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, skb->ifindex,
	      1, 0);
	return TC_ACT_UNSPEC;
}

SEC("xdp")
int flow_xdp(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;

	track(&flows_percpu, data, end, end - data, xdp->ingress_ifindex, 0, 1);
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64[2]);
} sockets SEC(".maps");

SEC("cgroup_skb/egress")
int flow_cgroup(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb), first[2] = {1, skb->len}, *seen;

	seen = bpf_map_lookup_elem(&sockets, &cookie);
	if (seen) {
		__sync_fetch_and_add(&seen[0], 1);
		__sync_fetch_and_add(&seen[1], skb->len);
	} else {
		bpf_map_update_elem(&sockets, &cookie, first, BPF_ANY);
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
