/* What the test programs need of the kernel's headers, so that they compile without them. */
#ifndef DEFS_H
#define DEFS_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define noinline __attribute__((noinline))
#define inline_always inline __attribute__((always_inline))
#define weak __attribute__((weak))
#define hidden __attribute__((visibility("hidden")))
#define core __attribute__((preserve_access_index))

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define __ulong(name, val) enum { CAT(unique_, __COUNTER__) = val } name

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const map_update_elem)(void *map, const void *key, const void *value,
				     u64 flags) = (void *)2;
static u64 (*const ktime_get_ns)(void) = (void *)5;
static long (*const tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static long (*const for_each_map_elem)(void *map, void *callback, void *ctx, u64 flags) =
	(void *)164;
static long (*const loop)(u32 count, void *callback, void *ctx, u64 flags) = (void *)181;

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

#endif
