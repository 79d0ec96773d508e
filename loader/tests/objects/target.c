/* The types of a small made-up kernel that the CO-RE programs (core_*.c) are relocated against. They
 * differ from what those programs were compiled with. Becomes target.btf. */
#include "defs.h"

/* core_fields, core_attr, core_stores, core_sections */
struct part {
	u64 pad;
	int a;
	int b;
};

struct machine {
	u64 moved[3];
	union {
		struct {
			u32 id;
			u32 group;
		};
		u64 both;
	};
	struct part parts[8];
	struct machine *next;
	char name[32];
	struct {
		union {
			u16 deep;
			u8 deep_bytes[2];
		};
	} named;
	u32 tail_count;
	struct part tail[];
};

typedef struct {
	u32 before, first, second;
} nameless;

typedef nameless renamed;

/* core_bitfields */
struct bits {
	u64 before;
	u32 low : 1, mid : 9, top : 20;
	s32 sign : 5;
	u64 long_one : 40, rest : 12;
	u8 tiny : 2, : 3, tail : 3;
	int plain;
};

/* core_resize */
struct sizes {
	u64 grown;
	u16 shrunk;
	void *pointer;
	s64 signed_grown;
	u32 same;
	u8 bytes[4];
	_Bool flag;
	u64 grown_array[4];
};

/* core_types */
struct present {
	int a, b, c;
};
typedef int (*handler)(struct present *p, u32 n);
typedef struct present present_t;
union choice {
	u64 wide;
	u8 bytes[16];
};
enum state {
	STATE_NEW = 1,
	STATE_A = 2,
	STATE_B = -30,
	STATE_C = 0x7fffffff,
};
struct alike {
	struct present *p;
	u32 n;
	u32 extra;
};
struct unlike {
	u64 n;
};

/* core_enums */
enum flags {
	FLAG_FIRST = 4,
	FLAG_TOP = 0x80000000,
	FLAG_FLAVOUR___v2 = 9,
};
enum wide {
	WIDE_LOW = 5,
	WIDE_HIGH = 0x2000000000ull,
	WIDE_TOP = 0xfedcba9876543210ull,
};
enum wide_negative {
	WIDE_NEGATIVE = -0x2000000000ll,
};
enum was_wide {
	WAS_WIDE = 7,
};
enum became_wide {
	BECAME_WIDE = 0x700000000ull,
};

/* core_flavours */
struct flavoured {
	u32 pad, value;
};
struct moved___old {
	u32 value;
};

/* core_ambiguous: two that differ, two that agree */
struct twice {
	u32 x, y;
};
struct twice___other {
	u32 pad, pad2, x;
	u32 y;
};
struct agreed {
	u32 pad, x;
};
struct agreed___other {
	u32 q, x, more;
};

/* core_poison */
struct shrunken {
	u32 kept;
};

/* ksyms, kfuncs, externs */
struct rq {
	u64 lock;
	int cpu;
};
struct task_struct {
	u64 state;
	int pid;
};
struct rq runqueues SEC(".data..percpu");
int bpf_prog_active SEC(".data..percpu");
int jiffies;
int kernel_function(int x)
{
	return x + jiffies + bpf_prog_active + runqueues.cpu;
}
void bpf_rcu_read_lock(void)
{
}
void bpf_rcu_read_unlock(void)
{
}
struct task_struct *bpf_task_from_pid(s32 pid)
{
	return 0;
}
struct task_struct *bpf_task_acquire(struct task_struct *p)
{
	return p;
}
void bpf_task_release(struct task_struct *p)
{
}

/* Keeps the types. */
struct everything {
	struct machine *machine;
	renamed renamed;
	struct bits bits;
	struct sizes sizes;
	handler handler;
	present_t present;
	union choice choice;
	enum state state;
	struct alike alike;
	struct unlike unlike;
	enum flags flags;
	enum wide wide;
	enum wide_negative wide_negative;
	enum was_wide was_wide;
	enum became_wide became_wide;
	struct flavoured flavoured;
	struct moved___old moved;
	struct twice twice;
	struct twice___other twice_other;
	struct agreed agreed;
	struct agreed___other agreed_other;
	struct shrunken shrunken;
};

struct everything *everything;
