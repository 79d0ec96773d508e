/* Symbols of Linux: variables with a type and without, weak ones that there are not. */
#include "defs.h"

#define ksym SEC(".ksyms")

struct rq___mine {
	int cpu;
};

extern const struct rq___mine runqueues ksym;
extern const int bpf_prog_active ksym;
extern const void _stext ksym;
extern const void _text ksym weak;
extern const void no_such_address ksym weak;
extern const int no_such_variable ksym weak;

u64 answer;

SEC("raw_tp/x")
int typed(void *ctx)
{
	answer = (u64)&runqueues + (u64)&bpf_prog_active;
	return 0;
}

SEC("raw_tp/x")
int typeless(void *ctx)
{
	answer = (u64)&_stext + (u64)&_text;
	return 0;
}

SEC("raw_tp/x")
int absent(void *ctx)
{
	answer = &no_such_variable ? 1 : 2;
	answer += &no_such_address ? 1 : 2;
	return 0;
}

char license_text[] SEC("license") = "GPL";
