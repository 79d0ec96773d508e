// SPDX-License-Identifier: MIT OR Apache-2.0
// Connections to the web take part in a map of sockets and carry an option in their TCP headers.
#include "../include/sockets.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} web SEC(".maps");

/* An experimental option with a magic number (RFC 6994). */
struct option {
	__u8 kind;
	__u8 bytes;
	__be16 magic;
	__u8 value;
} __attribute__((packed));

SEC("sockops")
int web_connections(struct bpf_sock_ops *skops)
{
	struct option option = { 254, sizeof(option), bpf_htons(0xeb9f), 5 };
	__u32 key = 0;

	switch (skops->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		if (skops->remote_port != bpf_htonl(443))
			break;
		bpf_sock_map_update(skops, &web, &key, BPF_ANY);
		bpf_sock_ops_cb_flags_set(skops, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		bpf_reserve_hdr_opt(skops, sizeof(option), 0);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		bpf_store_hdr_opt(skops, &option, sizeof(option), 0);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
