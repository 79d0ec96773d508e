// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Sockets joined to each other (sockops, sk_msg, sk_skb), a dispatcher of connections (sk_lookup), choice
// within a group (sk_reuseport), transparent proxying at tc with references to sockets, TCP options.
#include "project.h"

struct pair {
	__be32 remote_ip;
	__be32 local_ip;
	__u32 remote_port;
	__u32 local_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65535);
	__type(key, struct pair);
	__type(value, __u64);
} joined SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} group SEC(".maps");

struct session {
	__u64 established;
	__u64 bytes;
	__u32 retransmissions;
	__u32 rtt;
	__u8 marked;
	__u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct session);
} sessions SEC(".maps");

struct network {
	__u32 prefix_bits;
	__be16 port;
	__u8 protocol;
	__u8 pad;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, __u32);
} bindings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		*n += 1;
}

SEC("sockops")
int join(struct bpf_sock_ops *ops)
{
	struct pair key = {};
	struct session *session;
	struct bpf_sock *sk;
	int one = 1;
	struct {
		__u8 kind;
		__u8 length;
		__be16 magic;
		__be32 value;
	} option = {.kind = 254, .length = 8, .magic = bpf_htons(0xeb9f)};

	switch (ops->op) {
	case BPF_SOCK_OPS_TIMEOUT_INIT:
		ops->reply = 250;
		return 1;
	case BPF_SOCK_OPS_RWND_INIT:
		ops->reply = ops->family == AF_INET6 ? 40 : 20;
		return 1;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (ops->family != AF_INET)
			return 1;
		sk = ops->sk;
		if (sk) {
			session = bpf_sk_storage_get(&sessions, sk, 0, 1);
			if (session)
				session->established = bpf_ktime_get_ns();
		}
		bpf_setsockopt(ops, 6, 1, &one, sizeof(one));
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | 0xf | 0x40);
		key.remote_ip = ops->remote_ip4;
		key.local_ip = ops->local_ip4;
		key.remote_port = ops->remote_port;
		key.local_port = bpf_htonl(ops->local_port);
		bpf_sock_hash_update(ops, &joined, &key, BPF_NOEXIST);
		break;
	case BPF_SOCK_OPS_RTO_CB:
	case BPF_SOCK_OPS_RETRANS_CB:
		count(ops->args[0] & 7);
		sk = ops->sk;
		if (sk) {
			session = bpf_sk_storage_get(&sessions, sk, 0, 0);
			if (session)
				session->retransmissions = ops->total_retrans;
		}
		break;
	case BPF_SOCK_OPS_RTT_CB:
		sk = ops->sk;
		if (sk) {
			struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);

			session = bpf_sk_storage_get(&sessions, sk, 0, 0);
			if (tcp && session) {
				session->rtt = tcp->srtt_us >> 3;
				session->bytes = tcp->bytes_received + tcp->bytes_acked;
			}
		}
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		bpf_reserve_hdr_opt(ops, sizeof(option), 0);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		option.value = bpf_htonl(ops->snd_cwnd);
		bpf_store_hdr_opt(ops, &option, sizeof(option), 0);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ops->args[1] == 7)
			count(8);
		break;
	}
	return 1;
}

SEC("sk_msg")
int short_cut(struct sk_msg_md *msg)
{
	struct pair key = {};
	__u8 *data, *end;

	if (msg->family != AF_INET)
		return SK_PASS;
	key.local_ip = msg->remote_ip4;
	key.remote_ip = msg->local_ip4;
	key.local_port = msg->remote_port;
	key.remote_port = bpf_htonl(msg->local_port);
	if (bpf_msg_pull_data(msg, 0, 8, 0))
		return SK_DROP;
	data = msg->data;
	end = msg->data_end;
	if (data + 8 <= end && data[0] == 'Q') {
		if (bpf_msg_push_data(msg, 0, 4, 0))
			return SK_DROP;
		data = msg->data;
		end = msg->data_end;
		if (data + 4 > end)
			return SK_DROP;
		data[0] = 'E';
		data[3] = msg->size;
	}
	bpf_msg_apply_bytes(msg, 4096);
	return bpf_msg_redirect_hash(msg, &joined, &key, 1);
}

SEC("sk_skb/stream_parser")
int stream_parser(struct __sk_buff *skb)
{
	__be32 *length;
	void *data, *end;

	if (bpf_skb_pull_data(skb, 4))
		return 0;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	length = data;
	if ((void *)(length + 1) > end)
		return 0;
	return bpf_ntohl(*length) > 65536 ? -EINVAL : (int)bpf_ntohl(*length) + 4;
}

SEC("sk_skb/stream_verdict")
int stream_verdict(struct __sk_buff *skb)
{
	struct pair key = {
		.remote_ip = skb->local_ip4,
		.local_ip = skb->remote_ip4,
		.remote_port = bpf_htonl(skb->local_port),
		.local_port = skb->remote_port,
	};

	return bpf_sk_redirect_hash(skb, &joined, &key, 0);
}

/* Any address and port to the listener that the longest prefix names. */
SEC("sk_lookup")
int dispatch(struct bpf_sk_lookup *ctx)
{
	struct network key = {.prefix_bits = 160};
	struct bpf_sock *sk;
	__u32 *slot;
	long error;

	key.port = (__u16)ctx->local_port;
	key.protocol = ctx->protocol;
	if (ctx->family == AF_INET) {
		__be32 address = ctx->local_ip4;

		key.address[10] = key.address[11] = 0xff;
		__builtin_memcpy(key.address + 12, &address, 4);
	} else {
		__be32 words[4] = {ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2],
				   ctx->local_ip6[3]};

		__builtin_memcpy(key.address, words, 16);
	}
	slot = bpf_map_lookup_elem(&bindings, &key);
	if (!slot) {
		key.port = 0;
		slot = bpf_map_lookup_elem(&bindings, &key);
		if (!slot)
			return SK_PASS;
	}
	sk = bpf_map_lookup_elem(&listeners, slot);
	if (!sk) {
		count(9);
		return SK_DROP;
	}
	error = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	count(error ? 10 : 11);
	return error ? SK_DROP : SK_PASS;
}

SEC("sk_reuseport")
int choose_member(struct sk_reuseport_md *ctx)
{
	__u8 *data = ctx->data, *end = ctx->data_end;
	__u32 key = ctx->hash % 64;

	/* QUIC: the worker's number is in the connection id. */
	if (ctx->ip_protocol == IPPROTO_UDP && data + 8 + 10 <= end && !(data[8] & 0x80))
		key = data[8 + 1] & 63;
	if (!bpf_sk_select_reuseport(ctx, &group, &key, 0))
		return SK_PASS;
	key = 0;
	return bpf_sk_select_reuseport(ctx, &group, &key, 0) ? SK_DROP : SK_PASS;
}

/* A transparent proxy: established connections keep their socket, others go to the proxy's. */
SEC("tc")
int assign(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct sockaddr_tuple *tuple, own = {};
	struct bpf_sock *sk, *full;
	struct tcphdr *tcp = (void *)(ip + 1);
	int verdict;

	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return TC_ACT_OK;
	tuple = (void *)&ip->saddr;
	if (ip->protocol == IPPROTO_UDP) {
		sk = bpf_sk_lookup_udp(skb, tuple, sizeof(*tuple), -1, 0);
		if (!sk)
			return TC_ACT_OK;
		verdict = bpf_sk_assign(skb, sk, 0) ? TC_ACT_SHOT : TC_ACT_OK;
		bpf_sk_release(sk);
		return verdict;
	}
	if (ip->protocol != IPPROTO_TCP)
		return TC_ACT_OK;
	sk = bpf_skc_lookup_tcp(skb, tuple, sizeof(*tuple), -1, 0);
	if (sk) {
		if (sk->state != 10)
			goto found;
		bpf_sk_release(sk);
	}
	own.daddr = 0x0100007f;
	own.dport = bpf_htons(15001);
	sk = bpf_skc_lookup_tcp(skb, &own, sizeof(own), -1, 0);
	if (!sk)
		return TC_ACT_SHOT;
	if (sk->state != 10) {
		bpf_sk_release(sk);
		return TC_ACT_SHOT;
	}
found:
	full = bpf_sk_fullsock(sk);
	if (full && full->mark == 0x1337)
		skb->mark = full->mark;
	verdict = bpf_sk_assign(skb, sk, 0) ? TC_ACT_SHOT : TC_ACT_OK;
	bpf_sk_release(sk);
	return verdict;
}

SEC("cgroup_skb/ingress")
int account(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk, *listener;
	struct session *session;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return 1;
	session = bpf_sk_storage_get(&sessions, sk, 0, 1);
	if (!session)
		return 0;
	session->bytes += skb->len;
	listener = bpf_get_listener_sock(sk);
	if (listener && listener->src_port == 22)
		session->marked = 1;
	return 1;
}

struct flow_answer {
	__u16 ports[2];
};

SEC("flow_dissector")
int dissect(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct bpf_flow_keys *keys = skb->flow_keys;
	struct iphdr *ip = data + keys->thoff;
	__be16 *ports;

	if (keys->thoff > 256)
		return 2;
	ip = data + keys->nhoff;
	if (keys->nhoff > 64 || (void *)(ip + 1) > end || ip->ihl < 5)
		return 2;
	keys->addr_proto = ETH_P_IP;
	keys->ip_proto = ip->protocol;
	keys->ipv4_src = ip->saddr;
	keys->ipv4_dst = ip->daddr;
	keys->thoff = keys->nhoff + ip->ihl * 4;
	if (ip->frag_off & bpf_htons(0x3fff)) {
		keys->is_frag = 1;
		if (ip->frag_off & bpf_htons(0x1fff))
			return 0;
		keys->is_first_frag = 1;
	}
	ports = data + keys->nhoff + ip->ihl * 4;
	if ((void *)(ports + 2) > end)
		return 2;
	keys->sport = ports[0];
	keys->dport = ports[1];
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
