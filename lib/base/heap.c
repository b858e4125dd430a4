#include "base/heap.h"

#include "base/memory.h"

static void settle(struct heap *heap, struct timer *timer, size_t place)
{
    heap->timers[place - 1] = timer;
    timer->place = place;
}

static void sift(struct heap *heap, struct timer *timer, size_t place)
{
    for (; place > 1 && heap->timers[place / 2 - 1]->at_ms > timer->at_ms; place /= 2)
        settle(heap, heap->timers[place / 2 - 1], place);
    for (size_t child; (child = place * 2) <= heap->count; place = child) {
        if (child < heap->count && heap->timers[child]->at_ms < heap->timers[child - 1]->at_ms) child++;
        if (heap->timers[child - 1]->at_ms >= timer->at_ms) break;
        settle(heap, heap->timers[child - 1], place);
    }
    settle(heap, timer, place);
}

void heap_set(struct heap *heap, struct timer *timer, uint64_t at_ms)
{
    if (!timer->place) {
        if (heap->count == heap->capacity) {
            heap->capacity = heap->capacity ? heap->capacity * 2 : 16;
            heap->timers = memory_resize(heap->timers, heap->capacity * sizeof(struct timer *));
        }
        settle(heap, timer, ++heap->count);
    }
    timer->at_ms = at_ms;
    sift(heap, timer, timer->place);
}

void heap_remove(struct heap *heap, struct timer *timer)
{
    if (!timer->place) return;
    size_t place = timer->place;
    timer->place = 0;
    struct timer *last = heap->timers[--heap->count];
    if (last == timer) return;
    settle(heap, last, place);
    sift(heap, last, place);
}

struct timer *heap_first(const struct heap *heap)
{
    return heap->count ? heap->timers[0] : NULL;
}

void heap_free(struct heap *heap)
{
    free(heap->timers);
    *heap = (struct heap){0};
}
