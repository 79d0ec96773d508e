/* Offsets, sizes and existence of fields: nested, in anonymous members, in arrays, behind pointers. */
#include "core.h"

struct part {
	int a, b;
};

struct machine {
	u32 id;
	u32 group;
	struct part parts[4];
	struct machine *next;
	char name[16];
	struct {
		u16 deep;
	} named;
	u32 tail_count;
	struct part tail[];
};

typedef struct {
	u32 first, second;
} nameless;

#define M ((struct machine *)*ctx)

ASK(offset_first, field_offset(M->id))
ASK(offset_anonymous, field_offset(M->group))
ASK(offset_element, field_offset(M->parts[3]))
ASK(offset_in_element, field_offset(M->parts[2].b))
ASK(offset_array, field_offset(M->name))
ASK(offset_char, field_offset(M->name[5]))
ASK(offset_named, field_offset(M->named.deep))
ASK(offset_flexible, field_offset(M->tail[7].b))
ASK(offset_second_object, field_offset(M[1].group))
ASK(offset_typedef, field_offset(((nameless *)*ctx)->second))
ASK(size_array, field_size(M->parts))
ASK(size_element, field_size(M->parts[1]))
ASK(size_scalar, field_size(M->id))
ASK(size_text, field_size(M->name))
ASK(size_struct, field_size(M->named))
ASK(size_pointer, field_size(M->next))
ASK(exists_field, field_exists(M->group))
ASK(exists_element, field_exists(M->parts[2].a))
ASK(exists_typedef, field_exists(((nameless *)*ctx)->first))

SEC("raw_tp/x")
int chain(void **ctx)
{
	struct machine *m = preserve(M->next);
	m = preserve(m->next);
	return preserve(m->parts[1].b) + preserve(m->name[3]) + preserve(m->named.deep);
}

char license_text[] SEC("license") = "GPL";
