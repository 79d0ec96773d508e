// SPDX-License-Identifier: MIT OR Apache-2.0
// What the processes of a cgroup may do with socket options: receive buffers are at most 64 KiB,
// who asks for the congestion control gets a fixed answer, and SO_DEBUG is nobody's.
#include "../include/contexts.h"

#define SOL_SOCKET 1
#define SO_DEBUG 1
#define SO_RCVBUF 8
#define IPPROTO_TCP_LEVEL 6
#define TCP_CONGESTION 13
#define MAX_RCVBUF 65536
#define EACCES 13

SEC("cgroup/setsockopt")
int limit(struct bpf_sockopt *ctx)
{
	__s32 *value = ctx->optval;

	if (ctx->level == SOL_SOCKET && ctx->optname == SO_DEBUG) {
		bpf_set_retval(-EACCES);
		return 0;
	}
	if (ctx->level == SOL_SOCKET && ctx->optname == SO_RCVBUF) {
		if ((void *)(value + 1) > ctx->optval_end)
			return 0;
		if (*value > MAX_RCVBUF)
			*value = MAX_RCVBUF;
		return 1;
	}
	// The kernel goes on with what the process gave, however long it is.
	ctx->optlen = 0;
	return 1;
}

SEC("cgroup/getsockopt")
int answer(struct bpf_sockopt *ctx)
{
	char *value = ctx->optval;

	if (ctx->level != IPPROTO_TCP_LEVEL || ctx->optname != TCP_CONGESTION) {
		ctx->optlen = 0;
		return 1;
	}
	if ((void *)(value + 5) > ctx->optval_end)
		return 0;
	value[0] = 'r';
	value[1] = 'e';
	value[2] = 'n';
	value[3] = 'o';
	value[4] = 0;
	// One by one: both at once would be a store of 8 bytes, which the context does not take.
	*(volatile __s32 *)&ctx->optlen = 5;
	*(volatile __s32 *)&ctx->retval = 0;
	return 1;
}
