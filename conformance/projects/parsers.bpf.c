// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Parsers of protocols above TCP and UDP: requests of HTTP, names in TLS, options of TCP, QUIC.
#include "project.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u8[64]);
	__type(value, __u32);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u8[512]);
} buffers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &which);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Offset and length of TCP's payload; 0 if there is none. */
static __always_inline __u32 payload(struct __sk_buff *skb, __u32 *bytes)
{
	struct iphdr ip;
	struct tcphdr tcp;
	__u32 at = sizeof(struct ethhdr);

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.protocol != IPPROTO_TCP)
		return 0;
	at += ip.ihl * 4;
	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) < 0)
		return 0;
	at += (tcp.doff_reserved >> 4) * 4;
	if (at >= skb->len)
		return 0;
	*bytes = skb->len - at;
	return at;
}

static __always_inline int method(const __u8 *text)
{
	if (text[0] == 'G' && text[1] == 'E' && text[2] == 'T' && text[3] == ' ')
		return 1;
	if (text[0] == 'P' && text[1] == 'O' && text[2] == 'S' && text[3] == 'T')
		return 2;
	if (text[0] == 'P' && text[1] == 'U' && text[2] == 'T' && text[3] == ' ')
		return 3;
	if (text[0] == 'H' && text[1] == 'E' && text[2] == 'A' && text[3] == 'D')
		return 4;
	return 0;
}

/* Finds "\nHost: " and looks the name up. */
SEC("tc")
int http_host(struct __sk_buff *skb)
{
	__u32 bytes = 0, zero = 0, at = payload(skb, &bytes), i, j;
	__u8 *text = bpf_map_lookup_elem(&buffers, &zero);
	__u8 name[64] = {};
	__u32 *verdict;

	if (!at || !text || bytes < 16)
		return TC_ACT_OK;
	if (bytes > 256)
		bytes = 256;
	if (bpf_skb_load_bytes(skb, at, text, bytes) < 0 || !method(text))
		return TC_ACT_OK;
	count(method(text));
#pragma clang loop unroll(disable)
	for (i = 0; i < 192; i++) {
		if (i + 7 > bytes)
			return TC_ACT_OK;
		if (text[i] == '\n' && (text[i + 1] | 32) == 'h' && (text[i + 2] | 32) == 'o' &&
		    (text[i + 3] | 32) == 's' && (text[i + 4] | 32) == 't' && text[i + 5] == ':')
			break;
	}
	i += 7;
#pragma clang loop unroll(disable)
	for (j = 0; j < 63; j++) {
		__u8 c;

		if (i + j >= 256)
			break;
		c = text[i + j];
		if (c == '\r' || c == '\n' || c == ':')
			break;
		name[j] = c;
	}
	verdict = bpf_map_lookup_elem(&hosts, name);
	return verdict ? (int)(*verdict & 3) : TC_ACT_OK;
}

/* Walks over the extensions of a TLS ClientHello up to the server's name. */
struct hello {
	__u8 *text;
	__u32 at, bytes, found;
};

static long extension(__u32 index, struct hello *h)
{
	__u32 at = h->at, kind, length, zero = 0;
	__u8 *text = bpf_map_lookup_elem(&buffers, &zero);

	(void)index;
	if (!text || at > 500 || at + 4 > h->bytes)
		return 1;
	kind = text[at] << 8 | text[at + 1];
	length = text[at + 2] << 8 | text[at + 3];
	if (kind == 0) {
		h->found = at + 4;
		return 1;
	}
	h->at = at + 4 + length;
	return 0;
}

SEC("tc")
int tls_name(struct __sk_buff *skb)
{
	__u32 bytes = 0, zero = 0, at = payload(skb, &bytes), length, i;
	__u8 *text = bpf_map_lookup_elem(&buffers, &zero);
	struct hello h = {};
	__u8 name[64] = {};
	__u32 *verdict;

	if (!at || !text || bytes < 64)
		return TC_ACT_OK;
	if (bytes > 512)
		bytes = 512;
	if (bpf_skb_load_bytes(skb, at, text, bytes) < 0)
		return TC_ACT_OK;
	if (text[0] != 22 || text[1] != 3 || text[5] != 1)
		return TC_ACT_OK;
	at = 43;
	at += 1 + text[43];
	if (at > 400)
		return TC_ACT_OK;
	at += 2 + (text[at] << 8 | text[at + 1]);
	if (at > 480)
		return TC_ACT_OK;
	at += 1 + text[at];
	h.at = at + 2;
	h.bytes = bytes;
	bpf_loop(32, extension, &h, 0);
	if (!h.found || h.found > 440)
		return TC_ACT_OK;
	length = text[h.found + 3] << 8 | text[h.found + 4];
	if (length > 63)
		length = 63;
#pragma clang loop unroll(disable)
	for (i = 0; i < 63; i++) {
		if (i >= length)
			break;
		name[i] = text[h.found + 5 + i];
	}
	verdict = bpf_map_lookup_elem(&hosts, name);
	return verdict ? TC_ACT_SHOT : TC_ACT_OK;
}

/* The options of TCP, kind by kind: offsets from the start of the packet. */
struct options {
	struct xdp_md *ctx;
	__u32 at, last, mss, scale, sack, wrong;
};

static long option(__u32 index, struct options *o)
{
	void *data = (void *)(long)o->ctx->data, *end = (void *)(long)o->ctx->data_end;
	__u8 *at, kind, length;

	(void)index;
	if (o->at >= o->last || o->at > 128)
		return 1;
	at = data + o->at;
	if ((void *)(at + 1) > end)
		return 1;
	kind = *at;
	if (kind == 0)
		return 1;
	if (kind == 1) {
		o->at++;
		return 0;
	}
	if ((void *)(at + 2) > end)
		return 1;
	length = at[1];
	if (length < 2 || length > 40) {
		o->wrong = 1;
		return 1;
	}
	if (kind == 2 && length == 4 && (void *)(at + 4) <= end)
		o->mss = at[2] << 8 | at[3];
	else if (kind == 3 && length == 3 && (void *)(at + 3) <= end)
		o->scale = at[2];
	else if (kind == 4)
		o->sack = 1;
	o->at += length;
	return 0;
}

SEC("xdp")
int tcp_options(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct options o = { .ctx = ctx };
	__u32 bytes;

	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_TCP || ip->ihl != 5)
		return XDP_PASS;
	bytes = (tcp->doff_reserved >> 4) * 4;
	if (bytes < sizeof(*tcp))
		return XDP_DROP;
	o.at = sizeof(*eth) + sizeof(*ip) + sizeof(*tcp);
	o.last = sizeof(*eth) + sizeof(*ip) + bytes;
	bpf_loop(20, option, &o, 0);
	if (o.wrong)
		return XDP_DROP;
	if (tcp->flags & TCP_FLAG_SYN) {
		if (o.mss && o.mss < 536)
			return XDP_DROP;
		count(o.scale > 14 ? 8 : 9 + o.sack);
	}
	return XDP_PASS;
}

/* Connection ids of QUIC: long headers carry them at a varying place. */
static __noinline __u64 quic_id(void *data, void *end, __u32 skip)
{
	__u8 *at = data + (skip & 63), length;
	__u64 id = 0;
	int i;

	if ((void *)(at + 7) > end)
		return 0;
	if (!(at[0] & 0x80)) {
		if ((void *)(at + 9) > end)
			return 0;
		__builtin_memcpy(&id, at + 1, 8);
		return id;
	}
	length = at[5];
	if (length < 1 || length > 20)
		return 0;
	at += 6;
#pragma clang loop unroll(disable)
	for (i = 0; i < 8; i++) {
		if (i >= length || (void *)(at + i + 1) > end)
			break;
		id = id << 8 | at[i];
	}
	return id;
}

SEC("xdp")
int quic_route(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 slot;
	__u64 id;

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_UDP || ip->ihl != 5 || udp->dest != bpf_htons(443))
		return XDP_PASS;
	id = quic_id(data, end, sizeof(*eth) + sizeof(*ip) + sizeof(*udp));
	if (!id)
		return XDP_PASS;
	slot = jhash_3words(id, id >> 32, 0, 7) & 15;
	count(slot);
	swap_mac(eth);
	return XDP_TX;
}

/* Numbers in a text by hand: the value of a header that begins with a digit. */
SEC("socket")
int first_number(struct __sk_buff *skb)
{
	__u64 value = 0;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < 18; i++) {
		__u8 digit = 0;

		if (bpf_skb_load_bytes(skb, 42 + i, &digit, 1) < 0)
			return 0;
		if (digit < '0' || digit > '9')
			break;
		value = value * 10 + digit - '0';
	}
	return value > 1000 ? 64 : skb->len;
}
