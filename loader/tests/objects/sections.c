/* Section names. */
#include "defs.h"

#define PROG(section, name)        \
	SEC(section)               \
	int name(void *ctx)        \
	{                          \
		return 0;          \
	}

PROG("xdp", xdp_prog)
PROG("xdp.frags/devmap", xdp_devmap)
PROG("?tc", not_loaded)
PROG("kprobe/do_exit", kprobe_prog)
PROG("lsm.s/file_open", lsm_prog)
PROG("tp/sched/sched_switch", tp_prog)
PROG("cgroup/connect4", connect_prog)
PROG("raw", raw_prog)
PROG("mine/odd", odd_prog)

char license_text[] SEC("license") = "GPL";
