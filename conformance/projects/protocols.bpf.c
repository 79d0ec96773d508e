// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Parsers of application protocols with bounded loops: DNS names, the server name of a TLS ClientHello,
// HTTP request lines and Host, QUIC long headers with variable-length integers.
#include "project.h"

#define NAME 96

struct name {
	__u32 length;
	char text[NAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct name);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, char[NAME]);
	__type(value, __u64);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} hashes SEC(".maps");

static __always_inline struct name *fresh_name(void)
{
	__u32 zero = 0;
	struct name *name = bpf_map_lookup_elem(&scratch, &zero);

	if (name) {
		name->length = 0;
		__builtin_memset(name->text, 0, sizeof(name->text));
	}
	return name;
}

static __always_inline int seen(struct name *name)
{
	__u64 one = 1, *count = bpf_map_lookup_elem(&names, name->text);

	if (count) {
		__sync_fetch_and_add(count, 1);
		return *count > 1000000;
	}
	bpf_map_update_elem(&names, name->text, &one, BPF_NOEXIST);
	return 0;
}

/* Where the payload of TCP or UDP over IPv4 begins; 0 if it is something else. */
static __always_inline __u32 payload(struct __sk_buff *skb, __u8 protocol, __be16 port)
{
	struct iphdr ip;
	struct tcphdr tcp;
	__u32 at;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return 0;
	if (bpf_skb_load_bytes(skb, 14, &ip, sizeof(ip)) || ip.protocol != protocol)
		return 0;
	at = 14 + ip.ihl * 4;
	if (protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(struct udphdr)) || tcp.dest != port)
			return 0;
		return at + sizeof(struct udphdr);
	}
	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) || tcp.dest != port)
		return 0;
	return at + (tcp.doff_reserved >> 4) * 4;
}

/* A name as labels, in lower case, dots between. */
SEC("tc")
int dns_query(struct __sk_buff *skb)
{
	struct name *name = fresh_name();
	__u32 at = payload(skb, IPPROTO_UDP, bpf_htons(53)), to = 0;
	__u8 left = 0;

	if (!at || !name)
		return TC_ACT_UNSPEC;
	at += 12;
	for (int i = 0; i < 40; i++) {
		__u8 byte;

		if (bpf_skb_load_bytes(skb, at + i, &byte, 1))
			return TC_ACT_SHOT;
		if (left == 0) {
			if (byte == 0)
				break;
			if (byte > 63)
				return TC_ACT_SHOT;
			left = byte;
			if (to)
				byte = '.';
			else
				continue;
		} else {
			left--;
			if (byte >= 'A' && byte <= 'Z')
				byte |= 0x20;
		}
		if (to < NAME - 1)
			name->text[to++] = byte;
	}
	name->length = to;
	return seen(name) ? TC_ACT_SHOT : TC_ACT_OK;
}

/* The same on the packet itself, with a hash of the name instead of the name. */
SEC("xdp")
int dns_hash(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u8 *byte = (void *)(udp + 1) + 12;
	__u64 hash = 0xcbf29ce484222325ull, *blocked;
	__u32 labels = 0;

	if ((void *)byte > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP || udp->dest != bpf_htons(53))
		return XDP_PASS;
	for (int i = 0; i < 128; i++) {
		if ((void *)(byte + 1) > end)
			return XDP_DROP;
		if (!*byte)
			break;
		hash ^= *byte < 'A' || *byte > 'Z' ? *byte : *byte | 0x20;
		hash *= 0x100000001b3ull;
		labels += *byte < 32;
		byte++;
	}
	blocked = bpf_map_lookup_elem(&hashes, &hash);
	if (blocked) {
		*blocked += labels;
		return XDP_DROP;
	}
	return XDP_PASS;
}

/* The server name extension of a ClientHello (RFC 8446, 4.1.2; RFC 6066, 3). */
struct extension {
	__be16 kind;
	__be16 length;
};

static __always_inline int server_name(struct __sk_buff *skb, struct extension *extension)
{
	__u32 at = payload(skb, IPPROTO_TCP, bpf_htons(443)), end;
	struct name *name = fresh_name();
	__u8 head[6], one;
	__be16 two;

	if (!at || !name)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) || head[0] != 22 || head[1] != 3 ||
	    head[5] != 1)
		return TC_ACT_UNSPEC;
	/* Record and handshake headers, version, random. */
	at += 5 + 4 + 2 + 32;
	if (bpf_skb_load_bytes(skb, at, &one, 1))
		return TC_ACT_UNSPEC;
	at += 1 + one;
	if (bpf_skb_load_bytes(skb, at, &two, 2))
		return TC_ACT_UNSPEC;
	at += 2 + bpf_ntohs(two);
	if (bpf_skb_load_bytes(skb, at, &one, 1))
		return TC_ACT_UNSPEC;
	at += 1 + one;
	if (bpf_skb_load_bytes(skb, at, &two, 2))
		return TC_ACT_UNSPEC;
	at += 2;
	end = at + bpf_ntohs(two);
	for (int i = 0; i < 10 && at + 4 <= end; i++) {
		__u32 length;

		if (bpf_skb_load_bytes(skb, at, extension, sizeof(*extension)))
			return TC_ACT_UNSPEC;
		at += sizeof(*extension);
		length = bpf_ntohs(extension->length);
		if (extension->kind == 0) {
			/* List's length, type, name's length. */
			if (length < 6 || length > NAME + 4)
				return TC_ACT_SHOT;
			length -= 5;
			name->length = length;
			opaque(length);
			if (length < 1 || length >= NAME)
				return TC_ACT_SHOT;
			if (bpf_skb_load_bytes(skb, at + 5, name->text, length))
				return TC_ACT_SHOT;
			return seen(name) ? TC_ACT_SHOT : TC_ACT_OK;
		}
		at += length;
	}
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tls_server_name(struct __sk_buff *skb)
{
	struct extension extension[2] __attribute__((aligned(8)));

	return server_name(skb, extension);
}

enum { METHOD, TARGET, VERSION, LINE_START, HEADER, HOST };

/* A state machine over the bytes of a request: the target's length, and the Host header. */
SEC("tc")
int http_host(struct __sk_buff *skb)
{
	__u32 at = payload(skb, IPPROTO_TCP, bpf_htons(80)), to = 0, state = METHOD, matched = 0;
	const char host[] = "host:";
	struct name *name = fresh_name();
	__u32 target = 0;

	if (!at || !name)
		return TC_ACT_UNSPEC;
	for (int i = 0; i < 20; i++) {
		__u8 c;

		if (bpf_skb_load_bytes(skb, at + i, &c, 1))
			break;
		switch (state) {
		case METHOD:
			if (c == ' ')
				state = TARGET;
			else if (c < 'A' || c > 'Z' || i > 7)
				return TC_ACT_UNSPEC;
			break;
		case TARGET:
			if (c == ' ')
				state = VERSION;
			else
				target++;
			break;
		case VERSION:
			if (c == '\n')
				state = LINE_START;
			break;
		case LINE_START:
			if (c == '\r')
				goto out;
			matched = 0;
			state = HEADER;
			/* fallthrough */
		case HEADER:
			if (c == '\n')
				state = LINE_START;
			else if (matched < 5 && (c | 0x20) == (__u8)(host[matched & 7] | 0x20)) {
				if (++matched == 5)
					state = HOST;
			} else {
				matched = 6;
			}
			break;
		case HOST:
			if (c == '\r' || c == '\n')
				goto out;
			if (c != ' ' && to < NAME - 1)
				name->text[to++ % NAME] = c;
			break;
		}
	}
out:
	name->length = to;
	skb->mark = target;
	return to && seen(name) ? TC_ACT_SHOT : TC_ACT_OK;
}

/* A variable-length integer (RFC 9000, 16). */
static __noinline __s64 varint(struct __sk_buff *skb, __u32 at, __u32 *bytes)
{
	__u8 first, more[8];
	__u64 value;
	__u32 n;

	if (!bytes || bpf_skb_load_bytes(skb, at, &first, 1))
		return -1;
	n = 1 << (first >> 6);
	*bytes = n;
	value = first & 0x3f;
	if (n == 1)
		return value;
	opaque(n);
	if (n < 2 || n > 8 || bpf_skb_load_bytes(skb, at, more, n))
		return -1;
	for (__u32 i = 1; i < 8; i++) {
		if (i >= n)
			break;
		value = value << 8 | more[i];
	}
	return value;
}

SEC("tc")
int quic_initial(struct __sk_buff *skb)
{
	__u32 at = payload(skb, IPPROTO_UDP, bpf_htons(443)), bytes = 0, packets = 0;
	__u64 id = 0, *known;

	if (!at)
		return TC_ACT_UNSPEC;
	/* Packets are coalesced in a datagram. */
	for (int i = 0; i < 4; i++) {
		__u8 head[6], source_bytes, name[20] = {};
		__s64 length;

		if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) || !(head[0] & 0x80))
			break;
		if (head[5] > 20)
			return TC_ACT_SHOT;
		at += 6;
		bytes = head[5];
		opaque(bytes);
		if (bytes > 0 && bytes <= 20 && bpf_skb_load_bytes(skb, at, name, bytes))
			return TC_ACT_SHOT;
		for (int k = 0; k < 20; k++)
			id = id * 31 + name[k];
		at += head[5];
		if (bpf_skb_load_bytes(skb, at, &source_bytes, 1))
			return TC_ACT_SHOT;
		at += 1 + source_bytes;
		if ((head[0] & 0x30) == 0) {
			length = varint(skb, at, &bytes);
			if (length < 0 || length > 1500)
				return TC_ACT_SHOT;
			at += bytes + length;
		}
		length = varint(skb, at, &bytes);
		if (length < 0 || length > 65535)
			return TC_ACT_SHOT;
		at += bytes + length;
		packets++;
	}
	known = bpf_map_lookup_elem(&hashes, &id);
	if (known)
		__sync_fetch_and_add(known, packets);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
