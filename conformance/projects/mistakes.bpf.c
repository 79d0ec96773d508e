// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// What people get wrong, one mistake a program: each is refused.
#include "project.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64[4]);
} table SEC(".maps");

struct locked {
	struct bpf_spin_lock lock;
	__u32 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct locked);
} locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_timer);
} clocks SEC(".maps");

SEC("xdp")
int value_not_checked(struct xdp_md *xdp)
{
	__u32 key = xdp->rx_queue_index;
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	value[0]++;
	return XDP_PASS;
}

SEC("xdp")
int index_too_large(struct xdp_md *xdp)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	return value ? value[xdp->rx_queue_index & 7] & 3 : XDP_PASS;
}

SEC("xdp")
int index_negative(struct xdp_md *xdp)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&table, &key);
	__s64 index = (__s32)xdp->rx_queue_index;

	if (!value || index > 3)
		return XDP_PASS;
	return value[index] & 3;
}

SEC("xdp")
int packet_not_checked(struct xdp_md *xdp)
{
	struct ethhdr *eth = (void *)(long)xdp->data;

	return eth->h_proto == bpf_htons(ETH_P_IP) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int packet_checked_too_short(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	tcp = (void *)ip + ip->ihl * 4;
	if ((void *)&tcp->flags > end)
		return XDP_PASS;
	return tcp->flags & TCP_FLAG_SYN ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int packet_moved(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(xdp, -20))
		return XDP_DROP;
	eth->h_proto = bpf_htons(ETH_P_IP);
	return XDP_TX;
}

SEC("tc")
int packet_moved_by_store(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	__be16 protocol = bpf_htons(ETH_P_IP);

	if ((void *)(eth + 1) > end)
		return TC_ACT_OK;
	bpf_skb_store_bytes(skb, 12, &protocol, 2, 0);
	return eth->h_dest[0] & 1 ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("xdp")
int loop_without_end(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	__u8 *at = data;
	__u32 sum = 0;

	while ((void *)(at + 1) <= end) {
		sum += *at;
		at += 1;
	}
	return sum & 1 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int loop_for_ever(struct xdp_md *xdp)
{
	__u64 tries = xdp->rx_queue_index;

	while (bpf_get_prandom_u32() != tries)
		;
	return XDP_PASS;
}

SEC("tc")
int record_lost(struct __sk_buff *skb)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return TC_ACT_OK;
	if (skb->len < 64)
		return TC_ACT_SHOT;
	*record = skb->len;
	bpf_ringbuf_submit(record, 0);
	return TC_ACT_OK;
}

SEC("tc")
int record_used_after(struct __sk_buff *skb)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);

	if (!record)
		return TC_ACT_OK;
	record[0] = skb->len;
	bpf_ringbuf_submit(record, 0);
	record[1] = skb->mark;
	return TC_ACT_OK;
}

SEC("tc")
int record_overrun(struct __sk_buff *skb)
{
	__u8 *record = bpf_ringbuf_reserve(&ring, 64, 0);
	__u32 bytes = skb->len;

	if (!record)
		return TC_ACT_OK;
	if (bytes > 65 || !bytes || bpf_skb_load_bytes(skb, 0, record, bytes))
		bpf_ringbuf_discard(record, 0);
	else
		bpf_ringbuf_submit(record, 0);
	return TC_ACT_OK;
}

SEC("tc")
int lock_kept(struct __sk_buff *skb)
{
	__u32 key = skb->mark & 3;
	struct locked *l = bpf_map_lookup_elem(&locks, &key);

	if (!l)
		return TC_ACT_OK;
	bpf_spin_lock(&l->lock);
	if (l->value > 100)
		return TC_ACT_SHOT;
	l->value++;
	bpf_spin_unlock(&l->lock);
	return TC_ACT_OK;
}

SEC("tc")
int lock_and_call(struct __sk_buff *skb)
{
	__u32 key = skb->mark & 3;
	struct locked *l = bpf_map_lookup_elem(&locks, &key);

	if (!l)
		return TC_ACT_OK;
	bpf_spin_lock(&l->lock);
	l->value = bpf_get_prandom_u32();
	bpf_spin_unlock(&l->lock);
	return TC_ACT_OK;
}

SEC("tc")
int lock_wrong(struct __sk_buff *skb)
{
	__u32 keys[2] = {skb->mark & 3, skb->priority & 3};
	struct locked *a = bpf_map_lookup_elem(&locks, &keys[0]);
	struct locked *b = bpf_map_lookup_elem(&locks, &keys[1]);

	if (!a || !b)
		return TC_ACT_OK;
	bpf_spin_lock(&a->lock);
	a->value++;
	bpf_spin_unlock(&b->lock);
	return TC_ACT_OK;
}

SEC("tc")
int socket_kept(struct __sk_buff *skb)
{
	struct sockaddr_tuple tuple = {.daddr = skb->mark};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), -1, 0);

	if (!sk)
		return TC_ACT_OK;
	return sk->state == 10 ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int socket_released_twice(struct __sk_buff *skb)
{
	struct sockaddr_tuple tuple = {.daddr = skb->mark};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple), -1, 0);

	if (!sk)
		return TC_ACT_OK;
	bpf_sk_release(sk);
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

SEC("tc")
int stack_overrun(struct __sk_buff *skb)
{
	char text[32];
	__u32 at = skb->mark & 63;

	__builtin_memset(text, 0, sizeof(text));
	text[at] = 1;
	return bpf_skb_store_bytes(skb, 0, text, sizeof(text), 0) ? TC_ACT_SHOT : TC_ACT_OK;
}

static __noinline int much(struct __sk_buff *skb)
{
	char text[300] = {};

	return bpf_skb_store_bytes(skb, 0, text, sizeof(text), 0);
}

SEC("tc")
int stack_too_deep(struct __sk_buff *skb)
{
	char text[300] = {};

	if (bpf_skb_load_bytes(skb, 0, text, sizeof(text)))
		return TC_ACT_OK;
	return much(skb) + text[skb->len & 15];
}

SEC("tc")
int context_changed(struct __sk_buff *skb)
{
	skb->len = 0;
	return TC_ACT_OK;
}

SEC("tc")
int context_pointer_moved(struct __sk_buff *skb)
{
	__u32 *field = (void *)skb + (skb->mark & 12);

	return *field ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("cgroup/connect4")
int result_out_of_range(struct bpf_sock_addr *ctx)
{
	return ctx->user_port == bpf_htons(22) ? 7 : 1;
}

SEC("tc")
int tail_call_with_record(struct __sk_buff *skb)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return TC_ACT_OK;
	bpf_tail_call(skb, &programs, 1);
	bpf_ringbuf_discard(record, 0);
	return TC_ACT_OK;
}

static long bad_callback(__u32 index, __u64 *sum)
{
	*sum += index;
	return *sum;
}

SEC("tc")
int callback_result(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_loop(skb->len, bad_callback, &sum, 0);
	return sum & 1;
}

static int never(void *map, __u32 *key, struct bpf_timer *timer)
{
	bpf_map_delete_elem(map, key);
	return bpf_timer_start(timer, 1, 0);
}

SEC("tc")
int timer_result(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct bpf_timer *timer = bpf_map_lookup_elem(&clocks, &zero);

	if (!timer || bpf_timer_init(timer, &clocks, 1))
		return TC_ACT_OK;
	return bpf_timer_set_callback(timer, never) || skb->len == 0;
}

struct hint {
	__u64 index;
	__u64 valid;
};

/* One round may set an index that is too large, a later one calls it valid. */
static long guess(__unused __u32 round, struct hint *hint)
{
	asm volatile("r6 = %0\n\t"
		     "r1 = *(u64 *)(r6 + 8)\n\t"
		     "if r1 != 0 goto 3f\n\t"
		     "call 7\n\t"
		     "if r0 == 77 goto 2f\n\t"
		     "r7 = 1000\n\t"
		     "if r0 > 5 goto 1f\n\t"
		     "call 7\n\t"
		     "w7 = w0\n\t"
		     "r7 &= 7\n\t"
		     "1:\n\t"
		     ".rept 24\n\t"
		     "r1 = 1\n\t"
		     ".endr\n\t"
		     "goto +0\n\t"
		     "*(u64 *)(r6 + 0) = r7\n\t"
		     "goto 3f\n\t"
		     "2: r1 = 1\n\t"
		     "*(u64 *)(r6 + 8) = r1\n\t"
		     "3:"
		     :
		     : "r"(hint)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "memory");
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[8]);
} bytes SEC(".maps");

SEC("tc")
int callback_round_forgotten(struct __sk_buff *skb)
{
	struct hint hint = {.index = skb->mark & 7};
	__u32 zero = 0;
	__u8 *at = bpf_map_lookup_elem(&bytes, &zero);

	if (!at)
		return TC_ACT_OK;
	bpf_loop(100, guess, &hint, 0);
	return hint.valid ? at[hint.index] & 1 : TC_ACT_OK;
}

SEC("kprobe/vfs_read")
int kernel_memory_read(struct pt_regs *ctx)
{
	__u32 *file = (void *)PT_PARM1(ctx);

	return file[4] & 1;
}

SEC("xdp")
int helper_of_others(struct xdp_md *xdp)
{
	return bpf_get_socket_uid(xdp) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
