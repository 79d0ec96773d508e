// SPDX-License-Identifier: MIT OR Apache-2.0
// What sockets a control group may make, and what every one of them is marked with.
#include "../include/sockets.h"

#define SOCK_RAW 3

SEC("cgroup/sock_create")
int create(struct bpf_sock *sk)
{
	if (sk->type == SOCK_RAW)
		return 0;
	sk->mark = 42;
	sk->priority = 3;
	return 1;
}

// Ports from 5000 to 5999 are somebody else's.
SEC("cgroup/post_bind4")
int after_bind(struct bpf_sock *sk)
{
	return sk->src_port < 5000 || sk->src_port > 5999;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
