// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v4
// Programs at sockets and cgroups: services behind addresses, options, egress rules, dispatch.
#include "project.h"

char LICENSE[] SEC("license") = "GPL";

struct service {
	__be32 address;
	__be16 port, pad;
};

struct backends {
	__u32 count;
	__be32 address[32];
	__be16 port[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct service);
	__type(value, struct backends);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct service);
} origins SEC(".maps");

struct prefix {
	__u32 bits;
	__be32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} rules SEC(".maps");

struct round_trip {
	__u64 samples, sum;
	__u32 least, most;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct round_trip);
} round_trips SEC(".maps");

const volatile __u32 default_verdict = 1;

SEC("cgroup/connect4")
int connect(struct bpf_sock_addr *ctx)
{
	struct service key = { .address = ctx->user_ip4, .port = ctx->user_port };
	struct backends *b = bpf_map_lookup_elem(&services, &key);
	__u64 cookie;
	__u32 choice;

	if (!b || ctx->type != 1)
		return 1;
	choice = bpf_get_prandom_u32();
	if (!b->count)
		return 0;
	choice = choice % b->count & 31;
	cookie = bpf_get_socket_cookie(ctx);
	bpf_map_update_elem(&origins, &cookie, &key, BPF_ANY);
	ctx->user_ip4 = b->address[choice];
	ctx->user_port = b->port[choice];
	return 1;
}

SEC("cgroup/getpeername4")
int peer(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct service *origin = bpf_map_lookup_elem(&origins, &cookie);

	if (origin) {
		ctx->user_ip4 = origin->address;
		ctx->user_port = origin->port;
	}
	return 1;
}

SEC("cgroup/bind4")
int bind(struct bpf_sock_addr *ctx)
{
	__u16 port = bpf_ntohs(ctx->user_port);

	if (port && port < 1024 && (__u32)bpf_get_current_uid_gid())
		return 0;
	if (ctx->user_ip4 == bpf_htonl(0x7f000001))
		return 3;
	return 1;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct prefix key = { .bits = 32 };
	struct iphdr *ip = data;
	__u32 *verdict;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return default_verdict & 1;
	if ((void *)(ip + 1) > end)
		return 0;
	key.address = ip->daddr;
	verdict = bpf_map_lookup_elem(&rules, &key);
	if (verdict && *verdict > 1)
		skb->mark = *verdict;
	return verdict ? *verdict & 1 : default_verdict & 1;
}

SEC("cgroup/sock_create")
int create(struct bpf_sock *sk)
{
	if (sk->type == 3 && sk->family == 2)
		return 0;
	sk->mark = 7;
	sk->priority = 3;
	return 1;
}

SEC("sockops")
int operations(struct bpf_sock_ops *ops)
{
	__be32 remote = ops->remote_ip4;
	struct round_trip *r;
	int value = 10;

	switch (ops->op) {
	case 3: /* an active connection is about to be made */
		bpf_setsockopt(ops, 6, 1, &value, sizeof(value));
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | 1 << 3);
		break;
	case 4:
	case 5: { /* a connection is established */
		struct round_trip fresh = { .least = ~0u };

		if (bpf_ntohl(ops->remote_port) == 443)
			bpf_map_update_elem(&round_trips, &remote, &fresh, BPF_NOEXIST);
		break;
	}
	case 12: /* a round trip was measured */
		r = bpf_map_lookup_elem(&round_trips, &remote);
		if (!r || !ops->is_fullsock)
			break;
		r->samples++;
		r->sum += ops->srtt_us >> 3;
		if (ops->srtt_us < r->least)
			r->least = ops->srtt_us;
		if (ops->srtt_us > r->most)
			r->most = ops->srtt_us;
		break;
	}
	return 1;
}

SEC("tc")
int local_only(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct sockaddr_tuple tuple;
	struct bpf_sock *sk;
	int verdict = TC_ACT_SHOT;

	if ((void *)(tcp + 1) > end)
		return TC_ACT_SHOT;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_TCP)
		return TC_ACT_OK;
	tuple.saddr = ip->saddr;
	tuple.daddr = ip->daddr;
	tuple.sport = tcp->source;
	tuple.dport = tcp->dest;
	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), -1, 0);
	if (!sk)
		return verdict;
	if (sk->state == 1 || sk->state == 10)
		verdict = TC_ACT_OK;
	if (sk->mark == 99)
		verdict = TC_ACT_SHOT;
	bpf_sk_release(sk);
	return verdict;
}

SEC("sk_lookup")
int dispatch(struct bpf_sk_lookup *ctx)
{
	if (ctx->family != 2 || ctx->protocol != IPPROTO_TCP)
		return 1;
	if (ctx->local_port < 1024 || ctx->local_port > 2048)
		return 1;
	return bpf_ntohs(ctx->remote_port) & 1 ? 1 : 0;
}
