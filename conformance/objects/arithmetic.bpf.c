// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v4
// Numbers: hashes over the packet, divisions and shifts of both signs and widths, byte swaps; and the
// same with the instruction set of the socket filters of old.
#include "net.h"

__u32 jhash, murmur, crc, adler;
__s64 signed_64[4];
__s32 signed_32[4];
__s16 signed_16[4];
__s8 signed_8[4];
__u64 swapped[4];

// CRC-32 by half bytes.
static const volatile __u32 crc_table[16] = {
	0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
	0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

static __always_inline __u32 word_at(struct xdp_md *ctx, __u32 offset)
{
	__u32 word = 0;

	bpf_xdp_load_bytes(ctx, offset, &word, sizeof(word));
	return word;
}

SEC("xdp")
int numbers(struct xdp_md *ctx)
{
	__u32 bytes = ctx->data_end - ctx->data;
	__u32 a = 0xdeadbeef + bytes, b = a, c = a;
	__u32 m = 0, k, i;
	__u32 poly = ~0u, s1 = 1, s2 = 0;

	for (i = 0; i + 12 <= bytes && i < 120; i += 12) {
		a += word_at(ctx, i);
		b += word_at(ctx, i + 4);
		c += word_at(ctx, i + 8);
		JHASH_MIX(a, b, c);
	}
	JHASH_FINAL(a, b, c);
	jhash = c;
	for (i = 0; i < 16; i++) {
		k = word_at(ctx, i * 4) * 0xcc9e2d51;
		k = ROL32(k, 15) * 0x1b873593;
		m = ROL32(m ^ k, 13) * 5 + 0xe6546b64;
	}
	murmur = m;
	for (i = 0; i < 20; i++) {
		__u8 byte = 0;

		bpf_xdp_load_bytes(ctx, i + 10, &byte, 1);
		poly ^= byte;
		poly = poly >> 4 ^ crc_table[poly & 15];
		poly = poly >> 4 ^ crc_table[poly & 15];
		s1 = (s1 + byte) % 65521;
		s2 = (s2 + s1) % 65521;
	}
	crc = ~poly;
	adler = s2 << 16 | s1;

	__s64 x = (__s64)((__u64)crc << 32 | murmur), y = (__s32)jhash;
	__s32 p = crc, q = (__s16)adler;

	signed_64[0] += x / (y ? y : 1);
	signed_64[1] ^= x % (y ? y : 1);
	signed_64[2] = x >> (jhash & 63);
	signed_64[3] -= (__s64)((__u64)y << (adler & 63));
	signed_32[0] += p / (q ? q : 1);
	signed_32[1] ^= p % (q ? q : 1);
	signed_32[2] = p >> (jhash & 31);
	signed_32[3] = (__s8)p * (__s16)q;
	signed_16[0] = (__s8)(x >> 3);
	signed_16[1] = signed_16[0] / (__s16)((p & 7) + 1);
	signed_16[2] += signed_8[0];
	signed_16[3] = x < y ? p < q : -(p > q);
	signed_8[0] += p;
	signed_8[1] = signed_8[0] >> 3;
	signed_8[2] = -signed_8[1];
	signed_8[3] ^= q;
	swapped[0] = __builtin_bswap64(x);
	swapped[1] = __builtin_bswap32(p);
	swapped[2] = __builtin_bswap16(q);
	swapped[3] = (__u64)x * (__u64)y + (__u64)x / ((__u32)y | 1) + (__u64)x % 1000003;
	return (crc ^ jhash) % 5;
}

SEC("socket")
int legacy(struct __sk_buff *skb)
{
	__u64 sum = 0;
	__u32 length = load_half(skb, 2), header = (load_byte(skb, 0) & 15) * 4;

	for (int i = 0; i < 6; i++)
		sum += load_word(skb, header + i) ^ load_half(skb, i * 2);
	swapped[0] += sum;
	if (load_byte(skb, 9) == IPPROTO_UDP)
		sum ^= load_half(skb, header + 2) << 5;
	swapped[1] = length;
	return sum >> (length & 7);
}

char LICENSE[] SEC("license") = "GPL";
