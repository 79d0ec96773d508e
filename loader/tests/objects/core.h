/* Questions about the target's types. */
#ifndef CORE_H
#define CORE_H
#include "defs.h"

#define field_offset(f) __builtin_preserve_field_info(f, 0)
#define field_size(f) __builtin_preserve_field_info(f, 1)
#define field_exists(f) __builtin_preserve_field_info(f, 2)
#define field_signed(f) __builtin_preserve_field_info(f, 3)
#define field_lshift(f) __builtin_preserve_field_info(f, 4)
#define field_rshift(f) __builtin_preserve_field_info(f, 5)
#define type_id_local(t) __builtin_btf_type_id(*(t *)0, 0)
#define type_id_target(t) __builtin_btf_type_id(*(t *)0, 1)
#define type_exists(t) __builtin_preserve_type_info(*(t *)0, 0)
#define type_size(t) __builtin_preserve_type_info(*(t *)0, 1)
#define type_matches(t) __builtin_preserve_type_info(*(t *)0, 2)
#define enum_exists(e, v) __builtin_preserve_enum_value(*(typeof(e) *)v, 0)
#define enum_value(e, v) __builtin_preserve_enum_value(*(typeof(e) *)v, 1)
#define preserve(x) __builtin_preserve_access_index(x)

/* One answer for each program, so that what one asks does not hide what another gets. */
#define ASK(name, question)        \
	SEC("raw_tp/x")            \
	int name(void **ctx)       \
	{                          \
		return (question); \
	}

#endif
