// SPDX-License-Identifier: MIT OR Apache-2.0
// What a proxy reads: requests that begin with `G` go on to the socket in slot 0, others are dropped.
#include "../include/sockets.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} backend SEC(".maps");

// How long the record at the front is: all that is there.
SEC("sk_skb/stream_parser")
int parser(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("sk_skb/stream_verdict")
int verdict(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if ((void *)(data + 1) > end || *data != 'G')
		return SK_DROP;
	return bpf_sk_redirect_map(skb, &backend, 0, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
