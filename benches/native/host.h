/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What stands for maps and helpers of Linux where there are none: natively, and behind helpers that
 * are registered with other engines. Not for threads.
 */
#ifndef EBPFVM_BENCH_HOST_H
#define EBPFVM_BENCH_HOST_H

#include <stdint.h>

struct host_map;

/* A map with room for `entries`; with `hashed` keys are any bytes, else the indices below. NULL without memory. */
struct host_map *host_map_new(int hashed, uint32_t key_bytes, uint32_t value_bytes, uint32_t entries);
void host_map_free(struct host_map *map);

/* Where all values lie, and how many bytes they take. */
void *host_map_values(struct host_map *map, uint64_t *bytes);

/* The value of a key, or NULL (bpf_map_lookup_elem). */
void *host_map_lookup(struct host_map *map, const void *key);

/* Sets the value of a key; 0, or -1 without room (bpf_map_update_elem). */
int64_t host_map_update(struct host_map *map, const void *key, const void *value);

/* The sum `seed` with the words `from` taken out and `to` added (bpf_csum_diff). */
int64_t host_csum_diff(const void *from, uint32_t from_bytes, const void *to, uint32_t to_bytes,
		       uint32_t seed);

#endif
