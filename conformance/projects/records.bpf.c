// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Records of changing size: dynptrs on ring buffers and on memory, messages from user space, text made by
// snprintf, reserved records that are given back on every error.
#include "project.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 1 << 16);
} in SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u8[512]);
} buffers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} settings SEC(".maps");

struct header {
	__u64 time;
	__u32 kind;
	__u32 bytes;
};

SEC("tc")
int capture(struct __sk_buff *skb)
{
	__u32 bytes = skb->len < 256 ? skb->len : 256;
	struct header head = {.kind = 1}, *first;
	struct bpf_dynptr record;
	__u8 chunk[64];

	if (bpf_ringbuf_reserve_dynptr(&out, sizeof(head) + bytes, 0, &record))
		goto discard;
	head.time = bpf_ktime_get_ns();
	head.bytes = bytes;
	if (bpf_dynptr_write(&record, 0, &head, sizeof(head), 0))
		goto discard;
	for (__u32 at = 0; at < 256; at += sizeof(chunk)) {
		if (at + sizeof(chunk) > bytes)
			break;
		if (bpf_skb_load_bytes(skb, at, chunk, sizeof(chunk)))
			goto discard;
		if (bpf_dynptr_write(&record, sizeof(head) + at, chunk, sizeof(chunk), 0))
			goto discard;
	}
	first = bpf_dynptr_data(&record, 0, sizeof(*first));
	if (first)
		first->kind = 2;
	bpf_ringbuf_submit_dynptr(&record, 0);
	return TC_ACT_OK;
discard:
	bpf_ringbuf_discard_dynptr(&record, 0);
	return TC_ACT_UNSPEC;
}

struct totals {
	__u64 sum;
	__u32 messages;
	__u32 bad;
};

static long message(struct bpf_dynptr *dynptr, struct totals *totals)
{
	struct header head;
	__u64 *words;

	if (bpf_dynptr_read(&head, sizeof(head), dynptr, 0, 0)) {
		totals->bad++;
		return 0;
	}
	totals->messages++;
	if (head.kind == 0)
		return 1;
	words = bpf_dynptr_data(dynptr, sizeof(head), 16);
	if (!words)
		return 0;
	totals->sum += words[0];
	bpf_map_update_elem(&settings, &head.kind, &words[1], BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int drain(__unused struct sys_enter *ctx)
{
	struct totals totals = {};
	long drained = bpf_user_ringbuf_drain(&in, message, &totals, 0);

	if (drained > 0)
		bpf_ringbuf_output(&out, &totals, sizeof(totals), 0);
	return 0;
}

SEC("xdp")
int window(struct xdp_md *xdp)
{
	__u32 which = xdp->rx_queue_index & 3, at;
	__u8 *buffer = bpf_map_lookup_elem(&buffers, &which), *part;
	struct bpf_dynptr memory;
	__u8 piece[32] = {};

	if (!buffer)
		return XDP_ABORTED;
	if (bpf_dynptr_from_mem(buffer, 512, 0, &memory))
		return XDP_ABORTED;
	at = xdp->ingress_ifindex & 0x1ff;
	if (bpf_dynptr_read(piece, sizeof(piece), &memory, at, 0))
		return XDP_DROP;
	piece[0]++;
	if (bpf_dynptr_write(&memory, at, piece, sizeof(piece), 0))
		return XDP_DROP;
	part = bpf_dynptr_data(&memory, 480, 32);
	if (!part)
		return XDP_PASS;
	part[31] = piece[31];
	return XDP_PASS;
}

const char format[] = "%d: %s %llx";

SEC("raw_tracepoint/sched_process_exit")
int describe(struct bpf_raw_tracepoint_args *ctx)
{
	char comm[16], *text;
	__u64 values[3];
	long bytes;

	text = bpf_ringbuf_reserve(&out, 128, 0);
	if (!text)
		return 0;
	if (bpf_get_current_comm(comm, sizeof(comm))) {
		bpf_ringbuf_discard(text, 0);
		return 0;
	}
	values[0] = bpf_get_current_pid_tgid() >> 32;
	values[1] = (__u64)comm;
	values[2] = ctx->args[0];
	bytes = bpf_snprintf(text, 128, format, values, sizeof(values));
	if (bytes <= 0 || bpf_strncmp(comm, sizeof(comm), "init") == 0)
		bpf_ringbuf_discard(text, 1);
	else
		bpf_ringbuf_submit(text, 1);
	return 0;
}

/* Two records at once, whose fates are tied. */
SEC("tc")
int two_records(struct __sk_buff *skb)
{
	struct header *a = bpf_ringbuf_reserve(&out, sizeof(*a), 0), *b;

	if (!a)
		return TC_ACT_SHOT;
	b = bpf_ringbuf_reserve(&out, sizeof(*b) * 2, 0);
	if (!b) {
		bpf_ringbuf_discard(a, 0);
		return TC_ACT_SHOT;
	}
	a->time = b->time = bpf_ktime_get_ns();
	a->kind = skb->protocol;
	b->kind = skb->pkt_type;
	a->bytes = skb->len;
	b[1] = *a;
	if (skb->len & 1) {
		bpf_ringbuf_submit(b, 0);
		bpf_ringbuf_submit(a, 0);
	} else {
		bpf_ringbuf_discard(a, 0);
		bpf_ringbuf_submit(b, 0);
	}
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
