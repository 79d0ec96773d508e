// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Dynptrs: values of maps and records of a ring buffer, read, written and cut in every way that the
// packet says, wrong ones too.
#include "net.h"

struct value {
	__u8 bytes[96];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct value);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

__u64 answers[16];
__u8 plan[256];

static __always_inline void note(__u32 which, __u64 answer)
{
	answers[which & 15] = answers[which & 15] * 7 + answer;
}

static __always_inline struct value *value(__u32 index)
{
	return bpf_map_lookup_elem(&values, &index);
}

struct plan {
	__u8 op;
	__u8 which;
	__u8 offset;
	__u8 bytes;
	__u8 other_offset;
	__u8 flags;
};

static __always_inline void use(struct bpf_dynptr *ptr, const struct plan *p)
{
	__u8 copy[32] = {};
	__u32 bytes = p->bytes & 31;
	__u8 *part;

	note(0, bpf_dynptr_write(ptr, p->other_offset, &plan[p->which & 127], bytes, p->flags == 7));
	note(1, bpf_dynptr_read(copy, bytes, ptr, p->offset, p->flags == 9));
	note(2, copy[0] + copy[7] * 3 + copy[31] * 5);
	/* Offsets are 32 bits wide. */
	note(3, bpf_dynptr_read(copy, 2, ptr, 0xffffffff - (p->flags & 3), 0));
	part = bpf_dynptr_data(ptr, p->offset, 8);
	if (part) {
		note(4, part[0] + part[7]);
		part[3] ^= p->which;
	} else {
		note(4, 1);
	}
	part = bpf_dynptr_data(ptr, 0, 0x40);
	note(5, part ? part[63] : 2);
	note(6, bpf_dynptr_read(copy, 0, ptr, p->offset, 0));
}

static long step(__u32 index, __u32 *bytes)
{
	struct bpf_dynptr ptr, other;
	struct plan p;
	struct value *v, *w;
	__u32 at = index * 6;
	__u64 size;

	if (at + 6 > *bytes || at > 248)
		return 1;
	__builtin_memcpy(&p, plan + at, sizeof(p));
	v = value(p.which & 3);
	w = value(p.which >> 2 & 3);
	if (!v || !w)
		return 1;
	switch (p.op & 3) {
	case 0:
	case 1:
		/* Two that may overlap. */
		note(7, bpf_dynptr_from_mem(v->bytes, (p.bytes & 63) + 33, p.flags == 5, &ptr));
		note(8, bpf_dynptr_from_mem(w->bytes + (p.offset & 31), p.other_offset & 63, 0, &other));
		use(&ptr, &p);
		use(&other, &p);
		note(9, bpf_dynptr_write(&other, 0, v->bytes, p.bytes & 63, 0));
		break;
	case 2:
		/* Sometimes more than there is room for, or than there can be. */
		size = p.which > 250 ? 1u << 24 : p.which > 240 ? 5000 : p.which * 2 & ~7;
		note(10, bpf_ringbuf_reserve_dynptr(&events, size, p.flags == 5, &ptr));
		/* What was there before is not shown. */
		for (int i = 0; i < 24; i++)
			bpf_dynptr_write(&ptr, i * 8, v->bytes + i * 3, 8, 0);
		note(11, bpf_dynptr_write(&ptr, p.offset, w->bytes, p.bytes & 63, p.flags == 7));
		if (p.which < 96)
			use(&ptr, &p);
		if (p.flags & 1 || p.which >= 96)
			bpf_ringbuf_discard_dynptr(&ptr, p.flags & 2);
		else
			bpf_ringbuf_submit_dynptr(&ptr, p.flags & 2);
		note(12, bpf_ringbuf_query(&events, p.flags & 7));
		break;
	default:
		/* A dynptr is made anew where one was. */
		note(13, bpf_dynptr_from_mem(v->bytes, 96, 0, &ptr));
		note(13, bpf_dynptr_write(&ptr, p.offset & 63, w->bytes, 32, 0));
		note(14, bpf_dynptr_from_mem(w->bytes, 48, p.flags & 1, &ptr));
		use(&ptr, &p);
	}
	return 0;
}

SEC("tc")
int dynptrs(struct __sk_buff *skb)
{
	__u32 bytes = skb->len;

	if (bytes > sizeof(plan))
		bytes = sizeof(plan);
	if (bytes == 0 || bpf_skb_load_bytes(skb, 0, plan, bytes))
		return TC_ACT_SHOT;
	return bpf_loop(50, step, &bytes, 0);
}

char LICENSE[] SEC("license") = "GPL";
