/* Types that few objects have: tags of types, arguments and members, floats, forwards, functions. */
#include "defs.h"

#define tagged(name) __attribute__((btf_type_tag(name)))
#define declared(name) __attribute__((btf_decl_tag(name)))

struct only_forward;
union only_forward_union;

struct odd {
	int tagged("user") *user_pointer;
	int tagged("percpu") *percpu_pointer;
	struct only_forward *forward;
	union only_forward_union *forward_union;
	double real;
	float single;
	int member declared("special");
	int (*function)(int, ...);
	enum { IN_PLACE = 5 } in_place;
	void *const volatile *restrict deep;
};

struct odd odd declared("variable");

noinline int with_arguments(struct odd *o declared("arg:nonnull"), u32 n declared("arg:second"))
{
	return o ? o->member + n : ktime_get_ns();
}

SEC("tc")
int use(void *ctx)
{
	return with_arguments(&odd, 3);
}

char license_text[] SEC("license") = "GPL";
