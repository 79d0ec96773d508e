// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Services at the socket: addresses rewritten on connect and sendmsg, the way back for recvmsg and
// getpeername, port allocation at bind, socket options, sysctl and devices of a cgroup.
#include "project.h"

struct service_key {
	__be32 address[4];
	__be16 port;
	__u16 slot;
	__u8 protocol;
	__u8 pad[3];
};

struct service {
	__u32 backend;
	__u16 count;
	__u16 flags;
};
#define AFFINITY 1

struct backend {
	__be32 address[4];
	__be16 port;
	__u8 protocol;
	__u8 state;
};

struct reverse_key {
	__u64 cookie;
	__be32 address[4];
	__be16 port;
	__u16 pad;
	__u32 pad2;
};

struct reverse {
	__be32 address[4];
	__be16 port;
	__u16 index;
};

struct affinity_key {
	__u64 cookie;
	__u32 service;
	__u32 pad;
};
struct affinity {
	__u64 last;
	__u32 backend;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct reverse_key);
	__type(value, struct reverse);
} reversed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinities SEC(".maps");

static __always_inline struct backend *choose(struct service_key *key, __u64 cookie, __u32 *number)
{
	struct service *service = bpf_map_lookup_elem(&services, key), *slot;
	struct affinity_key a = {.cookie = cookie};
	struct affinity *kept, fresh = {};
	struct backend *backend;

	if (!service) {
		key->port = 0;
		service = bpf_map_lookup_elem(&services, key);
	}
	if (!service || !service->count)
		return 0;
	if (service->flags & AFFINITY) {
		a.service = service->backend;
		kept = bpf_map_lookup_elem(&affinities, &a);
		if (kept && bpf_ktime_get_ns() - kept->last < 10000000000ull) {
			backend = bpf_map_lookup_elem(&backends, &kept->backend);
			if (backend && backend->state == 0) {
				*number = kept->backend;
				return backend;
			}
			bpf_map_delete_elem(&affinities, &a);
		}
	}
	key->slot = bpf_get_prandom_u32() % service->count + 1;
	slot = bpf_map_lookup_elem(&services, key);
	if (!slot)
		return 0;
	*number = slot->backend;
	backend = bpf_map_lookup_elem(&backends, number);
	if (backend && service->flags & AFFINITY) {
		fresh.last = bpf_ktime_get_ns();
		fresh.backend = *number;
		bpf_map_update_elem(&affinities, &a, &fresh, BPF_ANY);
	}
	return backend;
}

static __always_inline void remember(__u64 cookie, struct backend *to, __be32 *address, __be16 port)
{
	struct reverse_key key = {.cookie = cookie, .port = to->port};
	struct reverse value = {.port = port};

	__builtin_memcpy(key.address, to->address, 16);
	__builtin_memcpy(value.address, address, 16);
	bpf_map_update_elem(&reversed, &key, &value, BPF_ANY);
}

static __always_inline int forward4(struct bpf_sock_addr *ctx, int udp)
{
	struct service_key key = {};
	__be32 address[4] = {};
	struct backend *to;
	__u32 number;
	__u64 cookie;

	if (ctx->type != SOCK_STREAM && ctx->type != SOCK_DGRAM)
		return 0;
	address[0] = key.address[0] = ctx->user_ip4;
	key.port = ctx->user_port;
	key.protocol = udp ? IPPROTO_UDP : ctx->protocol;
	cookie = bpf_get_socket_cookie(ctx);
	to = choose(&key, cookie, &number);
	if (!to)
		return -1;
	if (udp)
		remember(cookie, to, address, ctx->user_port);
	ctx->user_ip4 = to->address[0];
	ctx->user_port = to->port;
	return 0;
}

static __always_inline int forward6(struct bpf_sock_addr *ctx, int udp)
{
	struct service_key key = {};
	struct backend *to;
	__be32 address[4];
	__u32 number;
	__u64 cookie;

	address[0] = key.address[0] = ctx->user_ip6[0];
	address[1] = key.address[1] = ctx->user_ip6[1];
	address[2] = key.address[2] = ctx->user_ip6[2];
	address[3] = key.address[3] = ctx->user_ip6[3];
	/* An IPv4 service by a mapped address. */
	if (address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff)) {
		key.address[0] = address[3];
		key.address[2] = key.address[3] = 0;
	}
	key.port = ctx->user_port;
	key.protocol = udp ? IPPROTO_UDP : ctx->protocol;
	cookie = bpf_get_socket_cookie(ctx);
	to = choose(&key, cookie, &number);
	if (!to)
		return -1;
	if (udp)
		remember(cookie, to, address, ctx->user_port);
	ctx->user_ip6[0] = to->address[0];
	ctx->user_ip6[1] = to->address[1];
	ctx->user_ip6[2] = to->address[2];
	ctx->user_ip6[3] = to->address[3];
	ctx->user_port = to->port;
	return 0;
}

SEC("cgroup/connect4")
int service_connect4(struct bpf_sock_addr *ctx)
{
	forward4(ctx, 0);
	return 1;
}

SEC("cgroup/connect6")
int service_connect6(struct bpf_sock_addr *ctx)
{
	forward6(ctx, 0);
	return 1;
}

SEC("cgroup/sendmsg4")
int service_sendmsg4(struct bpf_sock_addr *ctx)
{
	if (forward4(ctx, 1) && ctx->user_port == bpf_htons(9))
		return 0;
	return 1;
}

SEC("cgroup/sendmsg6")
int service_sendmsg6(struct bpf_sock_addr *ctx)
{
	forward6(ctx, 1);
	return 1;
}

static __always_inline struct reverse *find4(struct bpf_sock_addr *ctx)
{
	struct reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = ctx->user_port};

	key.address[0] = ctx->user_ip4;
	return bpf_map_lookup_elem(&reversed, &key);
}

SEC("cgroup/recvmsg4")
int service_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct reverse *to = find4(ctx);

	if (to) {
		ctx->user_ip4 = to->address[0];
		ctx->user_port = to->port;
	}
	return 1;
}

SEC("cgroup/getpeername4")
int service_getpeername4(struct bpf_sock_addr *ctx)
{
	struct reverse *to = find4(ctx);

	if (to) {
		ctx->user_ip4 = to->address[0];
		ctx->user_port = to->port;
	}
	return 1;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u16[4]);
} reserved SEC(".maps");

SEC("cgroup/bind4")
int service_bind4(struct bpf_sock_addr *ctx)
{
	__u16 port = bpf_ntohs(ctx->user_port);

	if (ctx->user_family != AF_INET)
		return 0;
	for (__u32 i = 0; i < 16; i++) {
		__u32 key = i;
		__u16 *range = bpf_map_lookup_elem(&reserved, &key);

		if (!range || !range[1])
			break;
		if (port >= range[0] && port <= range[1]) {
			bpf_set_retval(-13);
			return 0;
		}
	}
	/* Privileged ports without the privilege: the third bit of the result. */
	return port == 80 ? 3 : 1;
}

SEC("cgroup/post_bind4")
int service_post_bind4(struct bpf_sock *sk)
{
	__u32 key = sk->src_port & 63;
	__u16 *range = bpf_map_lookup_elem(&reserved, &key);

	return !range || range[2] != sk->src_port || sk->src_ip4 == 0;
}

SEC("cgroup/sock_create")
int service_create(struct bpf_sock *sk)
{
	if (sk->family != AF_INET && sk->family != AF_INET6)
		return 1;
	sk->mark = 0x800;
	sk->priority = sk->type == SOCK_DGRAM ? 1 : 6;
	return sk->protocol != IPPROTO_SCTP;
}

struct option_value {
	__s32 value;
};

SEC("cgroup/setsockopt")
int service_setsockopt(struct bpf_sockopt *ctx)
{
	struct option_value *value = ctx->optval;

	if (ctx->level != 6)
		goto out;
	if ((void *)(value + 1) > ctx->optval_end)
		return 0;
	if (ctx->optname == 13) {
		value->value = 1;
		ctx->optlen = 4;
		return 1;
	}
out:
	/* What is longer than a page is not for us. */
	if (ctx->optlen > 4096)
		ctx->optlen = 0;
	return 1;
}

SEC("cgroup/getsockopt")
int service_getsockopt(struct bpf_sockopt *ctx)
{
	__u8 *value = ctx->optval;

	if (ctx->optname == 80 && (void *)(value + 1) <= ctx->optval_end) {
		value[0] = 0x5a;
		ctx->optlen = 1;
		ctx->retval = 0;
	}
	return 1;
}

SEC("cgroup/sysctl")
int service_sysctl(struct bpf_sysctl *ctx)
{
	const char wanted[] = "net/ipv4/ip_local_port_range";
	unsigned long low = 0;
	char name[64], value[32];
	long bytes, used;

	if (!ctx->write)
		return 1;
	__builtin_memset(name, 0, sizeof(name));
	bytes = bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
	if (bytes != sizeof(wanted) - 1)
		return 1;
	for (__u32 i = 0; i < sizeof(wanted); i++)
		if (name[i] != wanted[i])
			return 1;
	bytes = bpf_sysctl_get_new_value(ctx, value, sizeof(value));
	if (bytes < 0 || bytes >= (long)sizeof(value))
		return 0;
	used = bpf_strtoul(value, sizeof(value), 0, &low);
	return used > 0 && low >= 1024;
}

SEC("cgroup/dev")
int service_device(struct bpf_cgroup_dev_ctx *ctx)
{
	__u32 kind = ctx->access_type & 0xffff, access = ctx->access_type >> 16;

	if (kind == 2 && ctx->major == 1) {
		switch (ctx->minor) {
		case 3:
		case 5:
		case 7:
		case 8:
		case 9:
			return 1;
		}
	}
	return kind == 2 && ctx->major == 5 && !(access & 1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
