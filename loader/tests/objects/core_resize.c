/* Loads and stores whose size follows the field's. */
#include "core.h"

struct sizes {
	u32 grown;
	u64 shrunk;
	void *pointer;
	s32 signed_grown;
	u32 same;
	u8 bytes[4];
	_Bool flag;
	u16 grown_array[4];
} core;

#define S ((struct sizes *)*ctx)

ASK(load_grown, S->grown)
ASK(load_shrunk, S->shrunk)
ASK(load_pointer, (u64)S->pointer >> 3)
ASK(load_signed, S->signed_grown)
ASK(load_same, S->same)
ASK(load_byte, S->bytes[2])
ASK(load_flag, S->flag)
ASK(load_array, S->grown_array[3])
ASK(store_grown, (S->grown = ktime_get_ns(), 0))
ASK(store_shrunk, (S->shrunk = ktime_get_ns(), 0))
ASK(store_constant, (S->same = 5, 0))

char license_text[] SEC("license") = "GPL";
