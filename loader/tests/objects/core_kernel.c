/* Types that Linux has, against whichever kernel is the target. */
#include "core.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct cred {
	struct {
		u32 val;
	} uid;
};
struct mm_struct {
	u64 start_code;
};
struct task_struct {
	int pid, tgid;
	struct task_struct *parent, *group_leader;
	char comm[16];
	const struct cred *cred;
	struct mm_struct *mm;
	u32 in_iowait : 1;
	u64 start_boottime;
	u64 no_such_field;
};
struct sk_buff {
	u32 len, data_len;
	u16 protocol;
	u8 cloned : 1, pkt_type : 3;
	union {
		struct {
			u32 hash;
		};
	};
	unsigned char *head, *data;
};
struct sock_common {
	u16 skc_family, skc_num;
};
struct sock {
	struct sock_common __sk_common;
};
#pragma clang attribute pop
enum hrtimer_mode {
	HRTIMER_MODE_ABS = 99,
	HRTIMER_MODE_REL = 98,
	HRTIMER_MODE_NEVER = 97,
};
struct no_such_type {
	int x;
};

#define TASK ((struct task_struct *)*ctx)
#define SKB ((struct sk_buff *)*ctx)

ASK(pids, TASK->pid + TASK->tgid)
ASK(parents, TASK->group_leader->parent->pid)
ASK(names, TASK->comm[0] + TASK->comm[15])
ASK(user, TASK->cred->uid.val)
ASK(code_start, TASK->mm->start_code)
ASK(iowait, field_offset(TASK->in_iowait) + field_size(TASK->in_iowait))
ASK(iowait_shift, field_lshift(TASK->in_iowait) + field_rshift(TASK->in_iowait))
ASK(missing, field_exists(TASK->no_such_field))
ASK(missing_load, TASK->no_such_field)
ASK(lengths, SKB->len + SKB->data_len + SKB->protocol)
ASK(pkt_type, field_offset(SKB->pkt_type) + field_size(SKB->pkt_type))
ASK(pkt_type_shift, field_lshift(SKB->pkt_type) + field_rshift(SKB->pkt_type))
ASK(in_anonymous, SKB->hash)
ASK(pointers, SKB->data - SKB->head)
ASK(family, ((struct sock *)*ctx)->__sk_common.skc_family)
ASK(task_id, type_id_target(struct task_struct))
ASK(task_size, type_size(struct task_struct))
ASK(task_exists, type_exists(struct task_struct) + type_exists(struct no_such_type))
ASK(task_matches, type_matches(struct task_struct))
ASK(enumerator, enum_value(enum hrtimer_mode, HRTIMER_MODE_REL))
ASK(enumerator_missing, enum_exists(enum hrtimer_mode, HRTIMER_MODE_NEVER))

char license_text[] SEC("license") = "GPL";
