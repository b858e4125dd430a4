#include "raft/strip.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

enum { CAPACITY_FIRST = 16, CAPACITY_KEPT = 4096 };

static void move_to_front(struct strip *strip)
{
    if (strip->start && strip->count)
        memmove(strip->items, strip->items + strip->start * strip->item_size,
                strip->count * strip->item_size);
    strip->start = 0;
}

static void resize(struct strip *strip, size_t capacity)
{
    CHECK(capacity <= SIZE_MAX / 2 / strip->item_size);
    strip->items = memory_resize(strip->items, capacity * strip->item_size);
    strip->capacity = capacity;
}

void *strip_at(const struct strip *strip, size_t place)
{
    CHECK(place < strip->count);
    return strip->items + (strip->start + place) * strip->item_size;
}

void *strip_push(struct strip *strip)
{
    if (strip->start + strip->count == strip->capacity) {
        /* Moving no more items than were dropped since the last move keeps the cost constant per push. */
        if (strip->start > strip->count)
            move_to_front(strip);
        else
            resize(strip, strip->capacity ? strip->capacity * 2 : CAPACITY_FIRST);
    }
    strip->count++;
    return strip_at(strip, strip->count - 1);
}

/* A backlog that is over gives its memory back. */
static void shrink(struct strip *strip)
{
    if (strip->capacity <= CAPACITY_KEPT || strip->count >= strip->capacity / 8) return;
    move_to_front(strip);
    resize(strip, strip->capacity / 4);
}

void strip_drop_first(struct strip *strip, size_t count)
{
    CHECK(count <= strip->count);
    strip->count -= count;
    strip->start = strip->count ? strip->start + count : 0;
    shrink(strip);
}

void strip_drop_last(struct strip *strip, size_t count)
{
    CHECK(count <= strip->count);
    strip->count -= count;
    if (!strip->count) strip->start = 0;
}

void strip_free(struct strip *strip)
{
    free(strip->items);
    *strip = (struct strip){.item_size = strip->item_size};
}
