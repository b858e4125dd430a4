/* A binary min-heap of timers that lie inside the caller's structures. A heap of zeroes is empty and ready;
 * heap_free gives its array back, never the timers. */
#ifndef COORDD_BASE_HEAP_H
#define COORDD_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    uint64_t at_ms;
    size_t place; /* 1-based position in the heap; 0: not in it */
};

struct heap {
    struct timer **timers;
    size_t count, capacity;
};

/* Puts the timer in, or moves it when it is in already. */
void heap_set(struct heap *heap, struct timer *timer, uint64_t at_ms);
void heap_remove(struct heap *heap, struct timer *timer); /* nothing when it is not in */
struct timer *heap_first(const struct heap *heap);        /* NULL when empty */
void heap_free(struct heap *heap);

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
