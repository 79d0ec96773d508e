// SPDX-License-Identifier: MIT OR Apache-2.0
// What the processes of a cgroup may write to system parameters: nothing but the length of the
// listen queue, and that at most 4096.
#include "../include/contexts.h"

#define MAX_QUEUE 4096

SEC("cgroup/sysctl")
int guard(struct bpf_sysctl *ctx)
{
	static const char allowed[] = "net/core/somaxconn";
	char name[32] = {};
	char value[16] = {};
	unsigned long number;

	if (!ctx->write)
		return 1;
	if (bpf_sysctl_get_name(ctx, name, sizeof(name), 0) != sizeof(allowed) - 1)
		return 0;
	for (unsigned i = 0; i < sizeof(allowed); i++)
		if (name[i] != allowed[i])
			return 0;
	if (bpf_sysctl_get_new_value(ctx, value, sizeof(value)) < 0)
		return 0;
	if (bpf_strtoul(value, sizeof(value), 10, &number) < 0)
		return 0;
	if (number <= MAX_QUEUE)
		return 1;
	return bpf_sysctl_set_new_value(ctx, "4096", 4) == 0;
}
