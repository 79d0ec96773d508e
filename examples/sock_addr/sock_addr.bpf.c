// SPDX-License-Identifier: MIT OR Apache-2.0
// A service has moved: who connects to its old address reaches the new one, with a mark on the socket
// by which routing knows it.
#include "../include/sockets.h"

#define OLD_IP bpf_htonl(0xc0000201) /* 192.0.2.1 */
#define NEW_IP bpf_htonl(0xc6336407) /* 198.51.100.7 */

__u64 moved;

SEC("cgroup/connect4")
int connect_moved(struct bpf_sock_addr *ctx)
{
	__u32 mark = 7;

	if (ctx->user_ip4 != OLD_IP || ctx->user_port != bpf_htons(80))
		return 1;
	ctx->user_ip4 = NEW_IP;
	ctx->user_port = bpf_htons(8080);
	bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	__sync_fetch_and_add(&moved, 1);
	return 1;
}

// Nobody binds a port below 1024 but on loopback.
SEC("cgroup/bind4")
int bind_high(struct bpf_sock_addr *ctx)
{
	__u8 net = ((__u8 *)&(__u32){ ctx->user_ip4 })[0];
	__u16 port = bpf_ntohs((__u16)ctx->user_port);

	return port >= 1024 || port == 0 || net == 127;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
