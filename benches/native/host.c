// SPDX-License-Identifier: MIT OR Apache-2.0
// Plain tables: an array, and a hash table with open addressing that is at most half full.
#include "host.h"

#include <stdlib.h>
#include <string.h>

struct host_map {
	uint32_t hashed, key_bytes, value_bytes, entries, used;
	// Bytes from one value to the next.
	uint32_t stride;
	// Places in the hash table, a power of two, less one.
	uint32_t mask;
	// Of a place: the number of its value and one, or 0.
	uint32_t *taken;
	uint8_t *keys;
	uint8_t *values;
};

struct host_map *host_map_new(int hashed, uint32_t key_bytes, uint32_t value_bytes, uint32_t entries)
{
	struct host_map *map = calloc(1, sizeof(*map));
	uint32_t places = 16;

	if (!map)
		return NULL;
	while (places < 2 * entries)
		places *= 2;
	map->hashed = hashed;
	map->key_bytes = key_bytes;
	map->value_bytes = value_bytes;
	map->stride = (value_bytes + 7) & ~7u;
	map->entries = entries;
	map->mask = places - 1;
	map->values = calloc(entries, map->stride);
	if (hashed) {
		map->taken = calloc(places, sizeof(*map->taken));
		map->keys = calloc(entries, key_bytes);
	}
	if (!map->values || (hashed && (!map->taken || !map->keys))) {
		host_map_free(map);
		return NULL;
	}
	return map;
}

void host_map_free(struct host_map *map)
{
	if (!map)
		return;
	free(map->taken);
	free(map->keys);
	free(map->values);
	free(map);
}

void *host_map_values(struct host_map *map, uint64_t *bytes)
{
	*bytes = (uint64_t)map->entries * map->stride;
	return map->values;
}

static uint64_t hash(const uint8_t *key, uint32_t bytes)
{
	uint64_t hash = bytes, word;

	for (; bytes >= 8; bytes -= 8, key += 8) {
		memcpy(&word, key, 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	if (bytes) {
		word = 0;
		for (uint32_t i = 0; i < bytes; i++)
			word |= (uint64_t)key[i] << 8 * i;
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return hash;
}

// Where the key is, or the free place where it would be.
static uint32_t *place(struct host_map *map, const void *key)
{
	uint32_t at = hash(key, map->key_bytes) & map->mask;

	while (map->taken[at] &&
	       memcmp(map->keys + (uint64_t)(map->taken[at] - 1) * map->key_bytes, key, map->key_bytes))
		at = (at + 1) & map->mask;
	return &map->taken[at];
}

void *host_map_lookup(struct host_map *map, const void *key)
{
	uint32_t index;

	if (map->hashed) {
		// Of an empty place this is above all entries.
		index = *place(map, key) - 1;
	} else {
		memcpy(&index, key, sizeof(index));
	}
	return index < map->entries ? map->values + (uint64_t)index * map->stride : NULL;
}

int64_t host_map_update(struct host_map *map, const void *key, const void *value)
{
	void *slot = host_map_lookup(map, key);

	if (!slot) {
		if (!map->hashed || map->used == map->entries)
			return -1;
		memcpy(map->keys + (uint64_t)map->used * map->key_bytes, key, map->key_bytes);
		slot = map->values + (uint64_t)map->used * map->stride;
		*place(map, key) = ++map->used;
	}
	memcpy(slot, value, map->value_bytes);
	return 0;
}

static uint64_t words(const uint8_t *at, uint32_t bytes)
{
	uint64_t sum = 0;
	uint32_t word;

	for (uint32_t i = 0; i + 4 <= bytes; i += 4) {
		memcpy(&word, at + i, 4);
		sum += word;
	}
	return sum;
}

static uint32_t folded(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

int64_t host_csum_diff(const void *from, uint32_t from_bytes, const void *to, uint32_t to_bytes,
		       uint32_t seed)
{
	uint64_t sum = folded(seed + words(to, to_bytes));

	sum = folded(sum + (uint32_t)~folded(words(from, from_bytes)));
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}
