/* Values that the kernel knows by their types: locks, timers, lists, trees, kernel pointers. */
#include "defs.h"

#define tagged(name) __attribute__((btf_type_tag(#name)))
#define declared(name) __attribute__((btf_decl_tag(#name)))

struct bpf_spin_lock {
	u32 val;
};
struct bpf_timer {
	u64 opaque[2];
} __attribute__((aligned(8)));
struct bpf_list_head {
	u64 opaque[2];
} __attribute__((aligned(8)));
struct bpf_list_node {
	u64 opaque[3];
} __attribute__((aligned(8)));
struct task_struct;

struct locked {
	struct bpf_spin_lock lock;
	u32 count;
};
struct timed {
	struct bpf_timer timer;
	u64 fired;
};
struct owner {
	struct task_struct tagged(kptr_untrusted) *task;
	u64 since;
};
struct element {
	struct bpf_list_node node;
	u64 data;
};

#define ARRAY(name, v)                  \
	struct {                        \
		__uint(type, 2);        \
		__type(key, u32);       \
		__type(value, v);       \
		__uint(max_entries, 1); \
	} name SEC(".maps");

ARRAY(locks, struct locked)
ARRAY(timers, struct timed)
ARRAY(owners, struct owner)

hidden struct bpf_spin_lock list_lock SEC(".data.list");
hidden struct bpf_list_head list declared(contains:element:node) SEC(".data.list");

static long (*const spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static long (*const timer_init)(struct bpf_timer *timer, void *map, u64 flags) = (void *)169;
static long (*const timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;

struct element keep_type;

static int fired(void *map, u32 *key, struct timed *value)
{
	value->fired++;
	return 0;
}

SEC("tc")
int count(void *ctx)
{
	u32 key = 0;
	struct locked *v = map_lookup_elem(&locks, &key);
	struct owner *o = map_lookup_elem(&owners, &key);

	if (!v || !o)
		return 0;
	spin_lock(&v->lock);
	v->count++;
	spin_unlock(&v->lock);
	return !o->task;
}

SEC("tc")
int start(void *ctx)
{
	u32 key = 0;
	struct timed *v = map_lookup_elem(&timers, &key);

	if (!v)
		return 0;
	timer_init(&v->timer, &timers, 1);
	timer_set_callback(&v->timer, fired);
	return 1;
}

char license_text[] SEC("license") = "GPL";
