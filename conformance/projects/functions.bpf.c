// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v4
// One policy engine cut into functions in every way there is: global ones with contexts, memory and
// numbers, static ones with pointers into the caller's stack, callbacks of bpf_loop and for_each within
// callbacks, function pointers that are chosen, and bounded recursion that was turned into a loop.
#include "project.h"

struct request {
	__u32 protocol;
	__u32 length;
	__u16 ports[2];
	__u8 source[16];
	__u8 dest[16];
};

struct rule {
	__u8 source[16];
	__u8 dest[16];
	__u8 masks[2];
	__u16 ports[2];
	__u32 protocol;
	__u32 verdict;
	__u64 hits;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u64);
	__type(value, __u64);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct request);
} scratch SEC(".maps");

__u64 evaluated;

/* Global: a pointer to memory of known size, which may be null. */
__noinline int prefix_equal(const struct request *request, const struct rule *rule, __u32 side)
{
	__u32 bits, bytes;
	const __u8 *a, *b;

	if (!request || !rule)
		return 0;
	a = side ? request->dest : request->source;
	b = side ? rule->dest : rule->source;
	bits = rule->masks[side & 1];
	bytes = bits / 8;
	for (__u32 i = 0; i < 16; i++) {
		if (i >= bytes)
			break;
		if (a[i] != b[i])
			return 0;
	}
	if (bits % 8) {
		__u8 mask = 0xff << (8 - bits % 8);

		opaque(bytes);
		if (bytes > 15)
			return 0;
		return ((a[bytes] ^ b[bytes]) & mask) == 0;
	}
	return 1;
}

__noinline __u64 mix(__u64 a, __u64 b)
{
	a ^= b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2);
	return a ^ a >> 31;
}

__noinline int note(struct xdp_md *xdp, __u32 verdict)
{
	__u64 key = mix(xdp->ingress_ifindex, verdict), one = 1;
	__u64 *count = bpf_map_lookup_elem(&recent, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&recent, &key, &one, BPF_ANY);
	return verdict;
}

static __noinline int parse_v4(void *data, void *end, struct request *to)
{
	struct iphdr *ip = data;
	__be16 *ports;

	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return -1;
	__builtin_memset(to, 0, sizeof(*to));
	to->protocol = ip->protocol;
	to->length = bpf_ntohs(ip->tot_len);
	__builtin_memcpy(to->source + 12, &ip->saddr, 4);
	__builtin_memcpy(to->dest + 12, &ip->daddr, 4);
	ports = data + ip->ihl * 4;
	if ((void *)(ports + 2) <= end) {
		to->ports[0] = ports[0];
		to->ports[1] = ports[1];
	}
	return 0;
}

static __noinline int parse_v6(void *data, void *end, struct request *to)
{
	struct ipv6hdr *ip = data;
	__be16 *ports = (void *)(ip + 1);

	if ((void *)(ip + 1) > end)
		return -1;
	to->protocol = ip->nexthdr;
	to->length = bpf_ntohs(ip->payload_len);
	__builtin_memcpy(to->source, &ip->saddr, 32);
	to->ports[0] = to->ports[1] = 0;
	if ((void *)(ports + 2) <= end) {
		to->ports[0] = ports[0];
		to->ports[1] = ports[1];
	}
	return 0;
}

struct search {
	struct request *request;
	__u32 verdict;
	__u32 checked;
};

static int matches(struct request *request, struct rule *rule)
{
	if (rule->protocol && rule->protocol != request->protocol)
		return 0;
	if (rule->ports[0] && rule->ports[0] != request->ports[0])
		return 0;
	if (rule->ports[1] && rule->ports[1] != request->ports[1])
		return 0;
	return prefix_equal(request, rule, 0) && prefix_equal(request, rule, 1);
}

static long check_rule(__unused void *map, __unused __u32 *key, struct rule *rule, struct search *s)
{
	struct request copy = *s->request;

	s->checked++;
	if (!matches(&copy, rule))
		return 0;
	__sync_fetch_and_add(&rule->hits, 1);
	s->verdict = rule->verdict & 3;
	return 1;
}

SEC("xdp")
int policy_each(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct request request;
	struct search s = {.request = &request, .verdict = XDP_PASS};
	struct ethhdr *eth = data;
	int error;

	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		error = parse_v4(eth + 1, end, &request);
	else
		error = parse_v6(eth + 1, end, &request);
	if (error)
		return XDP_PASS;
	bpf_for_each_map_elem(&rules, check_rule, &s, 0);
	__sync_fetch_and_add(&evaluated, s.checked);
	return note(xdp, s.verdict) & 3;
}

static long check_index(__u32 index, struct search *s)
{
	struct rule *rule = bpf_map_lookup_elem(&rules, &index);

	if (!rule)
		return 1;
	s->checked++;
	if (!matches(s->request, rule))
		return 0;
	s->verdict = rule->verdict;
	return 1;
}

SEC("xdp")
int policy_loop(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct search s = {.verdict = XDP_PASS};
	struct ethhdr *eth = data;
	__u32 zero = 0;

	s.request = bpf_map_lookup_elem(&scratch, &zero);
	if (!s.request || (void *)(eth + 1) > end)
		return XDP_DROP;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || parse_v4(eth + 1, end, s.request))
		return XDP_PASS;
	bpf_loop(128, check_index, &s, 0);
	return s.verdict < 4 ? note(xdp, s.verdict) & 3 : XDP_ABORTED;
}

/* Callbacks in callbacks: pairs of rules that contradict each other. */
struct outer {
	__u32 first;
	__u32 conflicts;
	__u64 sum;
};

static long compare_second(__u32 second, struct outer *o)
{
	__u32 keys[2] = {o->first, second};
	struct rule *a = bpf_map_lookup_elem(&rules, &keys[0]);
	struct rule *b = bpf_map_lookup_elem(&rules, &keys[1]);

	if (!a || !b)
		return 1;
	o->sum = mix(o->sum, a->hits + b->hits);
	if (a->protocol == b->protocol && a->ports[1] == b->ports[1] && a->verdict != b->verdict)
		o->conflicts++;
	return 0;
}

static long each_first(__u32 first, struct outer *o)
{
	o->first = first;
	return bpf_loop(first & 127, compare_second, o, 0) < 0;
}

SEC("tc")
int conflicts(struct __sk_buff *skb)
{
	struct outer o = {};

	bpf_loop(128, each_first, &o, 0);
	skb->mark = o.conflicts;
	return o.conflicts ? TC_ACT_SHOT : TC_ACT_OK;
}

/* A callback that is chosen when the program runs. */
static long count_up(__u32 index, __u64 *sum)
{
	*sum += index;
	return 0;
}

static long count_down(__u32 index, __u64 *sum)
{
	*sum -= index;
	return *sum > 1ull << 40;
}

SEC("tc")
int chosen(struct __sk_buff *skb)
{
	long (*what)(__u32, __u64 *) = skb->mark & 1 ? count_up : count_down;
	__u64 sum = 1000;

	if (skb->mark & 1)
		bpf_loop(skb->len, count_up, &sum, 0);
	else
		bpf_loop(skb->len, what == count_up ? count_up : count_down, &sum, 0);
	return sum & 1 ? TC_ACT_OK : TC_ACT_UNSPEC;
}

/* Eight functions deep. */
#define LEVEL(n, next)                                            \
	static __noinline __u32 level##n(__u32 a, __u64 *bits)    \
	{                                                         \
		if (a & (1 << n))                                 \
			*bits |= 1 << n;                          \
		return next(a ^ n * 7, bits) + n;                 \
	}
static __noinline __u32 level7(__u32 a, __u64 *bits)
{
	__u64 more = *bits;

	bpf_get_prandom_u32();
	return (__u32)more ^ a;
}
LEVEL(6, level7)
LEVEL(5, level6)
LEVEL(4, level5)
LEVEL(3, level4)
LEVEL(2, level3)
LEVEL(1, level2)

SEC("tc")
int deep(struct __sk_buff *skb)
{
	__u64 bits = skb->priority;

	return level1(skb->len, &bits) & 1 ? TC_ACT_OK : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
