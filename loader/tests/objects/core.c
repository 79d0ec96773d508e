/* CO-RE: questions about the target's types. */
#include "defs.h"

struct inner_t {
	int a, b;
} core;

struct task_struct {
	int pid;
	int tgid;
	struct inner_t in[4];
	u32 bits : 3, more : 5;
} core;

enum state {
	STATE_A = 1,
	STATE_B = 2,
};

#define field_exists(f) __builtin_preserve_field_info(f, 2)
#define field_size(f) __builtin_preserve_field_info(f, 1)
#define field_offset(f) __builtin_preserve_field_info(f, 0)

SEC("raw_tp/x")
int fields(struct task_struct **ctx)
{
	struct task_struct *t = *ctx;
	return t->tgid + t->in[2].b;
}

SEC("raw_tp/x")
int sizes(struct task_struct **ctx)
{
	struct task_struct *t = *ctx;
	return field_exists(t->pid) + field_size(t->in) + field_offset(t->more) +
	       __builtin_preserve_type_info(*(struct task_struct *)0, 0) +
	       __builtin_preserve_type_info(*(struct task_struct *)0, 1) +
	       __builtin_preserve_enum_value(*(typeof(enum state) *)STATE_B, 1);
}

SEC("xdp")
int untouched(struct xdp_md *ctx)
{
	return 2;
}

char license_text[] SEC("license") = "GPL";
