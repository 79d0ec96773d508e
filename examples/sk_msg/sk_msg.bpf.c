// SPDX-License-Identifier: MIT OR Apache-2.0
// Messages get a header of four bytes with their length and go to the socket of the peer's port, if the
// map has it; long ones are judged in pieces.
#include "../include/sockets.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} peers SEC(".maps");

SEC("sk_msg")
int frame(struct sk_msg_md *msg)
{
	__u32 size = msg->size, peer = msg->remote_port;
	__be32 *header;

	if (size > 1000)
		bpf_msg_apply_bytes(msg, 1000);
	if (size < 8) {
		bpf_msg_cork_bytes(msg, 8);
		return SK_PASS;
	}
	if (bpf_msg_push_data(msg, 0, sizeof(*header), 0))
		return SK_DROP;
	header = msg->data;
	if ((void *)(header + 1) > msg->data_end)
		return SK_DROP;
	*header = bpf_htonl(size);
	return bpf_msg_redirect_hash(msg, &peers, &peer, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
