// SPDX-License-Identifier: MIT OR Apache-2.0
// cpu: v3
// Stacks of an interpreted language read from the memory of its process, in one unrolled loop (where the
// number of frames multiplies), in a loop, and with a subprogram; the same with variables of a thread.
#include "project.h"

#define FRAMES 32
#define DEEP_FRAMES 40
#define SYMBOLS 4

struct offsets {
	__u32 thread_frame;
	__u32 frame_back;
	__u32 frame_code;
	__u32 code_file;
	__u32 code_name;
	__u32 string_data;
	__u32 string_size;
	__u32 tls_key;
};

struct symbol {
	char class[32];
	char file[64];
	char name[64];
};

struct frame {
	void *back;
	void *code;
	void *file;
	void *name;
};

struct event {
	__u32 pid;
	__u32 tid;
	__s32 user_stack;
	__s32 kernel_stack;
	__u8 truncated;
	__u8 frames;
	__u16 pad;
	__s32 symbols[DEEP_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct offsets);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct symbol);
	__type(value, __s32);
} symbols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1000);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

static __always_inline int read_frame(struct offsets *o, void *at, struct frame *frame,
				      struct symbol *symbol)
{
	bpf_probe_read_user(&frame->back, 8, at + o->frame_back);
	bpf_probe_read_user(&frame->code, 8, at + o->frame_code);
	if (!frame->code)
		return 0;
	bpf_probe_read_user(&frame->file, 8, frame->code + o->code_file);
	bpf_probe_read_user(&frame->name, 8, frame->code + o->code_name);
	if (frame->file)
		bpf_probe_read_user_str(symbol->file, sizeof(symbol->file),
					frame->file + o->string_data);
	if (frame->name)
		bpf_probe_read_user_str(symbol->name, sizeof(symbol->name),
					frame->name + o->string_data);
	return 1;
}

static __always_inline struct event *begin(struct bpf_perf_event_data *ctx, struct offsets **o,
					   void **frame)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32, zero = 0;
	struct event *event;
	void *thread;

	*o = bpf_map_lookup_elem(&processes, &pid);
	if (!*o)
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	event->pid = pid;
	event->tid = id;
	event->user_stack = bpf_get_stackid(ctx, &stacks, 1 << 8);
	event->kernel_stack = bpf_get_stackid(ctx, &stacks, 0);
	event->truncated = 0;
	event->frames = 0;
	thread = (void *)((struct pt_regs *)ctx)->bx + (*o)->tls_key;
	bpf_probe_read_user(frame, 8, thread + (*o)->thread_frame);
	return event;
}

static __always_inline int record(struct event *event, int i, struct symbol *symbol)
{
	__s32 *known = bpf_map_lookup_elem(&symbols, symbol), fresh;

	if (known) {
		event->symbols[i] = *known;
	} else {
		fresh = bpf_get_smp_processor_id() << 24 | i;
		bpf_map_update_elem(&symbols, symbol, &fresh, 0);
		event->symbols[i] = fresh;
	}
	event->frames = i + 1;
	return 0;
}

/* Frames of one file are told once: how many there are before a frame differs from path to path. */
SEC("perf_event")
int stack_unrolled(struct bpf_perf_event_data *ctx)
{
	struct symbol symbol = {};
	void *at = 0, *file = 0;
	struct frame frame;
	struct offsets *o;
	struct event *event = begin(ctx, &o, &at);
	__u32 slot = 0;

	if (!event)
		return 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < DEEP_FRAMES; i++) {
		if (at && read_frame(o, at, &frame, &symbol)) {
			if (frame.file != file) {
				record(event, slot, &symbol);
				slot++;
			}
			file = frame.file;
			at = frame.back;
		}
	}
	event->truncated = at != 0;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event));
	return 0;
}

SEC("perf_event")
int stack_loop(struct bpf_perf_event_data *ctx)
{
	struct symbol symbol = {};
	struct frame frame;
	struct offsets *o;
	void *at = 0;
	struct event *event = begin(ctx, &o, &at);

	if (!event)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < FRAMES; i++) {
		if (at && read_frame(o, at, &frame, &symbol)) {
			record(event, i, &symbol);
			at = frame.back;
		}
	}
	event->truncated = at != 0;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event));
	return 0;
}

static __noinline int one_frame(struct offsets *o, void **at, struct event *event, int i)
{
	struct symbol symbol = {};
	struct frame frame = {};

	if (!*at || !read_frame(o, *at, &frame, &symbol))
		return 0;
	if (i >= 0 && i < FRAMES)
		record(event, i, &symbol);
	*at = frame.back;
	return 1;
}

SEC("perf_event")
int stack_called(struct bpf_perf_event_data *ctx)
{
	struct offsets *o;
	void *at = 0;
	struct event *event = begin(ctx, &o, &at);

	if (!event)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < FRAMES / 2; i++)
		if (!one_frame(o, &at, event, i))
			break;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event));
	return 0;
}

/* ---- Variables of a thread, described by the host, into one record of changing size ------------ */

#define INTS 8
#define STRINGS 12
#define MAPS 3
#define MAP_ENTRIES 8
#define TEXT 128

struct location {
	__s64 mode;
	__s64 offset;
};

struct description {
	struct location ints[INTS];
	struct location strings[STRINGS];
	struct location maps[MAPS];
};

struct payload {
	__u64 present;
	__s64 ints[INTS];
	__u16 lengths[STRINGS];
	__u16 map_lengths[MAPS][MAP_ENTRIES][2];
	char text[(STRINGS + MAPS * MAP_ENTRIES * 2) * TEXT];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct description);
} descriptions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct payload);
} payloads SEC(".maps");

static __always_inline void *place(struct location *l, void *base)
{
	void *at;

	if (l->mode == 0)
		return 0;
	if (l->mode == 1)
		return base + l->offset;
	if (bpf_probe_read_user(&at, sizeof(at), base + l->offset))
		return 0;
	return at + (l->mode >> 8);
}

static __always_inline __u64 copy_text(struct payload *p, __u64 at, void *from, __u16 *length)
{
	__u64 bytes;

	*length = 0;
	if (at > sizeof(p->text) - TEXT)
		return at;
	bytes = bpf_probe_read_user_str(p->text + at, TEXT, from);
	if (bytes > TEXT)
		return at;
	*length = bytes;
	return at + bytes;
}

SEC("raw_tracepoint/sys_enter")
int variables(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, zero = 0;
	struct description *d = bpf_map_lookup_elem(&descriptions, &pid);
	struct payload *p = bpf_map_lookup_elem(&payloads, &zero);
	void *base = bpf_get_current_task(), *at, *entry;
	__u64 used = 0;

	if (!d || !p)
		return 0;
	p->present = 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < INTS; i++) {
		at = place(&d->ints[i], base);
		if (at && !bpf_probe_read_user(&p->ints[i], 8, at))
			p->present |= 1ull << i;
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < STRINGS; i++) {
		at = place(&d->strings[i], base);
		if (at)
			used = copy_text(p, used, at, &p->lengths[i]);
	}
#pragma clang loop unroll(full)
	for (int m = 0; m < MAPS; m++) {
		at = place(&d->maps[m], base);
		if (!at)
			continue;
#pragma clang loop unroll(disable)
		for (int i = 0; i < MAP_ENTRIES; i++) {
			if (bpf_probe_read_user(&entry, 8, at + i * 16))
				break;
			used = copy_text(p, used, entry, &p->map_lengths[m][i][0]);
			used = copy_text(p, used, entry + TEXT, &p->map_lengths[m][i][1]);
		}
	}
	used += (__u64)&((struct payload *)0)->text;
	if (used <= sizeof(*p))
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, p, used);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
