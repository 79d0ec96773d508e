/* Loads of a packet's bytes by the instructions that classic programs have. */
#include "defs.h"

u64 load_byte(void *skb, u64 at) asm("llvm.bpf.load.byte");
u64 load_half(void *skb, u64 at) asm("llvm.bpf.load.half");
u64 load_word(void *skb, u64 at) asm("llvm.bpf.load.word");

struct {
	__uint(type, 1);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 16);
} seen SEC(".maps");

SEC("socket")
int filter(void *skb)
{
	u32 key = load_word(skb, 26);
	u64 offset = (load_byte(skb, 14) & 15) * 4 + 14;

	if (load_half(skb, 12) != 0x800)
		return 0;
	return map_lookup_elem(&seen, &key) ? load_half(skb, offset) : -1;
}

char license_text[] SEC("license") = "GPL";
