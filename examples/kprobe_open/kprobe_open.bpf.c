// SPDX-License-Identifier: MIT OR Apache-2.0
// Reports who opens which file: at the entry of do_sys_openat2 the second argument points to the
// name, in the memory of the process.
#include "../include/tracing.h"

struct event {
	__u32 pid;
	char comm[16];
	char name[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} opened SEC(".maps");

SEC("kprobe/do_sys_openat2")
int on_open(struct pt_regs *regs)
{
	struct event *event = bpf_ringbuf_reserve(&opened, sizeof(*event), 0);

	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (bpf_probe_read_user_str(event->name, sizeof(event->name), (void *)regs->si) < 0) {
		bpf_ringbuf_discard(event, 0);
		return 0;
	}
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
