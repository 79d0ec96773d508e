/* Tables of functions: several, in every section for them, shared functions, gaps, plain members. */
#include "defs.h"

struct sock;
struct ack_sample;

/* Linux has it; members are found by name. */
struct tcp_congestion_ops {
	u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	char name[16];
	u32 flags;
};

SEC("struct_ops/ssthresh")
u32 threshold(u64 *ctx)
{
	return 2;
}

SEC("struct_ops")
void avoid(u64 *ctx)
{
}

SEC("struct_ops/undo_cwnd")
u32 undo(u64 *ctx)
{
	return 3;
}

SEC("?struct_ops/init")
void optional_init(u64 *ctx)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops plain = {
	.ssthresh = (void *)threshold,
	.cong_avoid = (void *)avoid,
	.undo_cwnd = (void *)undo,
	.name = "corpus_plain",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops linked = {
	.ssthresh = (void *)threshold,
	.cong_avoid = (void *)avoid,
	.undo_cwnd = (void *)undo,
	.init = (void *)optional_init,
	.name = "corpus_linked",
	.flags = 1,
};

SEC("?.struct_ops.link")
struct tcp_congestion_ops not_created = {
	.undo_cwnd = (void *)undo,
	.name = "corpus_not",
};

char license_text[] SEC("license") = "GPL";
