// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v2
// Socket filters that classify packets: legacy loads, loads by helper, prefix matching of first bytes, in
// the old instruction set.
#include "project.h"

enum { UNKNOWN, HTTP, HTTP2, REDIS, POSTGRES, MYSQL, KAFKA, AMQP, MONGO, DNS, TLS, SSH, PROTOCOLS };

struct connection {
	__be32 addresses[2];
	__be16 ports[2];
};

struct record {
	__u32 protocol;
	__u32 packets;
	__u64 bytes;
	__u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct connection);
	__type(value, struct record);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROTOCOLS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

#define FRAGMENT 24

static __always_inline int starts(const char *bytes, const char *what, int n)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < n; i++)
		if (bytes[i] != what[i])
			return 0;
	return 1;
}

static __always_inline int is_http(const char *b)
{
	return starts(b, "GET ", 4) || starts(b, "POST ", 5) || starts(b, "PUT ", 4) ||
	       starts(b, "HEAD ", 5) || starts(b, "DELETE ", 7) || starts(b, "PATCH ", 6) ||
	       starts(b, "OPTIONS ", 8) || starts(b, "HTTP/1.", 7);
}

static __always_inline int is_redis(const char *b, __u32 n)
{
	int digits = 0;

	if (n < 4)
		return 0;
	switch (b[0]) {
	case '+':
	case '-':
		for (int i = 1; i < FRAGMENT - 1; i++) {
			if (b[i] == '\r')
				return b[i + 1] == '\n';
			if ((b[i] < 'A' || b[i] > 'z') && b[i] != ' ')
				return 0;
		}
		return 1;
	case ':':
	case '$':
	case '*':
		for (int i = 1; i < 12; i++) {
			if (b[i] >= '0' && b[i] <= '9') {
				digits++;
				continue;
			}
			return digits && b[i] == '\r' && b[i + 1] == '\n';
		}
	}
	return 0;
}

static __noinline __u32 classify(const char *b, __u32 n)
{
	__u32 word;

	if (is_http(b))
		return HTTP;
	if (starts(b, "PRI * HTTP/2.0", 14))
		return HTTP2;
	if (starts(b, "SSH-2.0", 7))
		return SSH;
	if (starts(b, "AMQP", 4))
		return AMQP;
	if (b[0] == 22 && b[1] == 3 && b[2] <= 4)
		return TLS;
	if (is_redis(b, n))
		return REDIS;
	__builtin_memcpy(&word, b, 4);
	if (b[0] == 'Q' || b[0] == 'P' || b[0] == 'B') {
		__be32 length;

		__builtin_memcpy(&length, b + 1, 4);
		if (bpf_ntohl(length) + 1 <= n)
			return POSTGRES;
	}
	if ((word & 0xffffff) + 4 == n && b[3] == 0)
		return MYSQL;
	if (bpf_ntohl(word) + 4 == n && b[4] == 0 && b[5] < 68)
		return KAFKA;
	__builtin_memcpy(&word, b + 12, 4);
	if (word == 2013 || word == 2004)
		return MONGO;
	return UNKNOWN;
}

SEC("socket")
int classify_legacy(struct __sk_buff *skb)
{
	__u32 l3 = 14, l4, payload, n, protocol = UNKNOWN, key;
	struct connection c = {};
	struct record *seen, fresh = {};
	char fragment[FRAGMENT] = {};
	__u64 *counter;

	if (load_half(skb, 12) != ETH_P_IP)
		return 0;
	if (load_byte(skb, l3 + 9) != IPPROTO_TCP)
		return 0;
	l4 = l3 + (load_byte(skb, l3) & 15) * 4;
	c.addresses[0] = load_word(skb, l3 + 12);
	c.addresses[1] = load_word(skb, l3 + 16);
	c.ports[0] = load_half(skb, l4);
	c.ports[1] = load_half(skb, l4 + 2);
	payload = l4 + (load_byte(skb, l4 + 12) >> 4) * 4;
	if (payload >= skb->len)
		return 0;
	n = skb->len - payload;
	for (__u32 i = 0; i < FRAGMENT; i++) {
		if (i >= n)
			break;
		fragment[i] = load_byte(skb, payload + i);
	}
	seen = bpf_map_lookup_elem(&connections, &c);
	if (seen && seen->protocol)
		protocol = seen->protocol;
	else
		protocol = classify(fragment, n);
	if (seen) {
		seen->protocol = protocol;
		seen->packets++;
		seen->bytes += n;
		seen->last = bpf_ktime_get_ns();
	} else {
		fresh.protocol = protocol;
		fresh.packets = 1;
		fresh.bytes = n;
		bpf_map_update_elem(&connections, &c, &fresh, BPF_ANY);
	}
	key = protocol;
	counter = bpf_map_lookup_elem(&counts, &key);
	if (counter)
		*counter += 1;
	return protocol == UNKNOWN ? 0 : skb->len;
}

SEC("socket")
int classify_bytes(struct __sk_buff *skb)
{
	char fragment[FRAGMENT] = {};
	__u32 at, n, protocol;
	__u8 head, offset;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return 0;
	if (bpf_skb_load_bytes_relative(skb, 0, &head, 1, 1))
		return 0;
	at = (head & 15) * 4;
	if (bpf_skb_load_bytes_relative(skb, at + 12, &offset, 1, 1))
		return 0;
	at += 14 + (offset >> 4) * 4;
	n = skb->len;
	if (n <= at)
		return 0;
	n -= at;
	opaque(n);
	if (n > FRAGMENT)
		n = FRAGMENT;
	if (!n)
		return 0;
	if (bpf_skb_load_bytes(skb, at, fragment, n))
		return 0;
	protocol = classify(fragment, n);
	bpf_perf_event_output(skb, &samples, (__u64)skb->len << 32 | BPF_F_CURRENT_CPU, &protocol,
			      sizeof(protocol));
	return protocol;
}

char LICENSE[] SEC("license") = "GPL";
