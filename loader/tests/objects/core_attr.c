/* Types marked as a whole: plain C accesses are recorded. In subprograms and behind typedefs too. */
#include "core.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct part {
	int a, b;
};
struct machine {
	union {
		u64 both;
		struct {
			u32 id, group;
		};
	};
	struct part parts[4];
	struct machine *next;
	char name[16];
};
typedef struct {
	u32 first, second;
} renamed;
#pragma clang attribute pop

static noinline u32 group_of(struct machine *m)
{
	return m->group + ktime_get_ns();
}

noinline u32 walk(struct machine *m)
{
	return m ? group_of(m->next) : 0;
}

SEC("raw_tp/x")
int plain(void **ctx)
{
	struct machine *m = *ctx;
	return m->id + m->next->next->parts[3].b + m->name[1] + m->both;
}

SEC("raw_tp/x")
int below(void **ctx)
{
	return group_of(*ctx) + walk(*ctx);
}

SEC("raw_tp/y")
int below_again(void **ctx)
{
	return walk(*ctx) + ((renamed *)*ctx)->second;
}

SEC("raw_tp/y")
int indexed(void **ctx)
{
	struct machine *m = *ctx;
	u32 sum = 0;

	for (int i = 0; i < 4; i++)
		sum += m->parts[i].a;
	return sum;
}

char license_text[] SEC("license") = "GPL";
