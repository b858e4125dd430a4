/* A hash map from non-zero 64-bit numbers to pointers. A map of zeroes is empty and ready; map_free gives its
 * table back, never what the pointers point to. Iteration order is that of the table: never let it reach a
 * result, a log entry or a row. */
#ifndef COORDD_BASE_MAP_H
#define COORDD_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key; /* 0: free */
    void *value;
};

struct map {
    struct map_slot *slots;
    size_t count, capacity; /* capacity is 0 or a power of two */
};

void *map_get(const struct map *map, uint64_t key); /* NULL when absent */
void map_put(struct map *map, uint64_t key, void *value);
void *map_remove(struct map *map, uint64_t key); /* what was there, or NULL */
void map_free(struct map *map);

#endif
