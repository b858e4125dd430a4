#include "base/arena.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

enum { CHUNK_SIZE = 4096 - 64, CHUNK_KEPT_MAX = 64 * 1024, ALIGNMENT = 16 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t size;
    _Alignas(16) uint8_t bytes[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    CHECK(size < SIZE_MAX / 2);
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (!arena->chunk || arena->chunk->size - arena->used < rounded) {
        size_t wanted = arena->chunk ? arena->chunk->size * 2 : CHUNK_SIZE;
        if (wanted > 1024 * 1024) wanted = 1024 * 1024;
        if (wanted < rounded) wanted = rounded;
        struct arena_chunk *chunk = memory_resize(NULL, sizeof *chunk + wanted);
        chunk->older = arena->chunk;
        chunk->size = wanted;
        arena->chunk = chunk;
        arena->used = 0;
    }
    void *block = arena->chunk->bytes + arena->used;
    arena->used += rounded;
    memset(block, 0, size);
    return block;
}

struct slice arena_copy(struct arena *arena, struct slice bytes)
{
    uint8_t *copy = arena_alloc(arena, bytes.size);
    if (bytes.size) memcpy(copy, bytes.data, bytes.size);
    return slice_of(copy, bytes.size);
}

struct slice arena_printf(struct arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(size >= 0);
    char *text = arena_alloc(arena, (size_t)size + 1);
    vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return slice_of(text, (size_t)size);
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk) {
        struct arena_chunk *older = chunk->older;
        free(chunk);
        chunk = older;
    }
}

void arena_reset(struct arena *arena)
{
    if (!arena->chunk) return;
    free_chunks(arena->chunk->older);
    arena->chunk->older = NULL;
    arena->used = 0;
    if (arena->chunk->size > CHUNK_KEPT_MAX) arena_free(arena);
}

void arena_free(struct arena *arena)
{
    free_chunks(arena->chunk);
    *arena = (struct arena){0};
}
