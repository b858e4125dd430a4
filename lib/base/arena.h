/* Memory of one lifetime (a turn, a request), given back all at once.
 *
 * An arena of zeroes is ready for use. Blocks are aligned to 16 bytes and stay put until the reset. */
#ifndef COORDD_BASE_ARENA_H
#define COORDD_BASE_ARENA_H

#include "base/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunk; /* newest first */
    size_t used;               /* bytes given out of the newest chunk */
};

void *arena_alloc(struct arena *arena, size_t size); /* zeroed */
struct slice arena_copy(struct arena *arena, struct slice bytes);
struct slice arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Empties the arena, keeping its newest chunk when that is at most 64 KiB: the next life needs no malloc. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

#endif
