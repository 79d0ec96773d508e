/* Functions of the kernel: called, weak, tested for, of a flavour, from a subprogram. */
#include "defs.h"

#define ksym SEC(".ksyms")

struct task_struct {
	int pid;
};

extern void bpf_rcu_read_lock(void) ksym;
extern void bpf_rcu_read_unlock(void) ksym weak;
extern struct task_struct *bpf_task_from_pid(s32 pid) ksym;
extern struct task_struct *bpf_task_from_pid___flavour(s32 pid) ksym weak;
extern void bpf_task_release(struct task_struct *p) ksym;
extern int no_such_function(int x) ksym weak;
/* Linux has it, with other parameters. */
extern int bpf_task_acquire(int x) ksym weak;

static noinline int from_below(int pid)
{
	struct task_struct *t = bpf_task_from_pid(pid);

	if (!t)
		return ktime_get_ns();
	bpf_task_release(t);
	return 1;
}

SEC("syscall")
int locks(void *ctx)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int below(void *ctx)
{
	return from_below(5);
}

SEC("syscall")
int flavour(void *ctx)
{
	struct task_struct *t;

	if (!bpf_task_from_pid___flavour)
		return 0;
	t = bpf_task_from_pid___flavour(1);
	if (t)
		bpf_task_release(t);
	return 1;
}

SEC("syscall")
int absent(void *ctx)
{
	if (no_such_function)
		return no_such_function(1);
	return no_such_function ? 3 : 4;
}

SEC("syscall")
int absent_unguarded(void *ctx)
{
	return no_such_function(1) + bpf_task_acquire(2);
}

char license_text[] SEC("license") = "GPL";
