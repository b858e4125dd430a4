#include "base/map.h"

#include "base/check.h"
#include "base/memory.h"

/* Open addressing with linear probing; a removal moves later slots of the run back, so there are no
 * tombstones. At most three quarters of the slots are taken. */

static size_t home(const struct map *map, uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key >> 20) & (map->capacity - 1);
}

static size_t find(const struct map *map, uint64_t key)
{
    size_t at = home(map, key);
    while (map->slots[at].key && map->slots[at].key != key) at = (at + 1) & (map->capacity - 1);
    return at;
}

void *map_get(const struct map *map, uint64_t key)
{
    return map->count ? map->slots[find(map, key)].value : NULL;
}

static void grow(struct map *map)
{
    struct map old = *map;
    map->capacity = old.capacity ? old.capacity * 2 : 16;
    map->slots = memory_new(map->capacity * sizeof *map->slots);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key) map->slots[find(map, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void map_put(struct map *map, uint64_t key, void *value)
{
    CHECK(key != 0 && value);
    if (map->count * 4 >= map->capacity * 3) grow(map);
    size_t at = find(map, key);
    if (!map->slots[at].key) map->count++;
    map->slots[at] = (struct map_slot){key, value};
}

void *map_remove(struct map *map, uint64_t key)
{
    if (!map->count) return NULL;
    size_t mask = map->capacity - 1, hole = find(map, key);
    void *value = map->slots[hole].value;
    if (!value) return NULL;
    map->count--;
    for (size_t at = (hole + 1) & mask; map->slots[at].key; at = (at + 1) & mask)
        if (((at - home(map, map->slots[at].key)) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    map->slots[hole] = (struct map_slot){0, NULL};
    return value;
}

void map_free(struct map *map)
{
    free(map->slots);
    *map = (struct map){0};
}
