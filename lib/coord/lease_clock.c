/* The leader's deadlines: a map from lease to its facts, and a heap of deadlines.
 *
 * Invariants: 1. every lease in the map that is not expiring is in the heap, no other is. 2. out of office
 * the map is empty. */
#include "coord/lease_clock.h"

#include "base/check.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/mutant.h"

enum { STORM = 500 /* leases due within a second of the clock, from which on they are spread */ };

struct timed_lease {
    uint64_t lease, ttl_ms, generation;
    uint64_t contact_ms; /* from when its TTL counts */
    struct timer deadline;
    bool expiring;
};

struct lease_clock {
    uint64_t heartbeat_ms;
    bool in_office;
    struct map leases;
    struct heap deadlines;
};

struct lease_clock *lease_clock_new(uint64_t heartbeat_ms)
{
    struct lease_clock *clock = memory_new(sizeof *clock);
    clock->heartbeat_ms = heartbeat_ms;
    return clock;
}

void lease_clock_lose_office(struct lease_clock *clock)
{
    for (size_t i = 0; i < clock->leases.capacity; i++) free(clock->leases.slots[i].value);
    map_free(&clock->leases);
    heap_free(&clock->deadlines);
    clock->in_office = false;
}

void lease_clock_free(struct lease_clock *clock)
{
    lease_clock_lose_office(clock);
    free(clock);
}

bool lease_clock_in_office(const struct lease_clock *clock)
{
    return clock->in_office;
}

static uint64_t deadline_of(const struct lease_clock *clock, const struct timed_lease *timed)
{
    return timed->contact_ms + timed->ttl_ms + timed->ttl_ms / 100 + clock->heartbeat_ms;
}

/* Deadlines only rise. */
static void contact(struct lease_clock *clock, struct timed_lease *timed, uint64_t at_ms)
{
    if (at_ms > timed->contact_ms) timed->contact_ms = at_ms;
    uint64_t deadline_ms = deadline_of(clock, timed);
    if (!timed->deadline.place || deadline_ms > timed->deadline.at_ms)
        heap_set(&clock->deadlines, &timed->deadline, deadline_ms);
}

static struct timed_lease *add(struct lease_clock *clock, uint64_t lease)
{
    struct timed_lease *timed = map_get(&clock->leases, lease);
    if (timed) return timed;
    timed = memory_new(sizeof *timed);
    timed->lease = lease;
    map_put(&clock->leases, lease, timed);
    return timed;
}

static void start(struct lease_clock *clock, uint64_t lease, uint64_t ttl_ms, uint64_t generation,
                  uint64_t now_ms)
{
    struct timed_lease *timed = add(clock, lease);
    timed->ttl_ms = ttl_ms;
    timed->generation = generation;
    timed->expiring = false; /* an expiry of the generation before is void */
    contact(clock, timed, now_ms);
}

static void forget(struct lease_clock *clock, uint64_t lease)
{
    struct timed_lease *timed = map_remove(&clock->leases, lease);
    if (!timed) return;
    heap_remove(&clock->deadlines, &timed->deadline);
    free(timed);
}

void lease_clock_take_office(struct lease_clock *clock, struct rows *rows, struct arena *arena,
                             uint64_t now_ms)
{
    CHECK(!clock->in_office);
    struct lease_row row;
    struct map per_second = {0}; /* second + 1 -> how many fall in it */
    clock->in_office = true;
    for (uint64_t last = 0; lease_next(rows, arena, last, &row); last = row.id) {
        start(clock, row.id, row.ttl_ms, row.generation, MUTANT(62) ? now_ms - row.ttl_ms / 2 : now_ms);
        struct timed_lease *timed = map_get(&clock->leases, row.id);
        uint64_t second = timed->deadline.at_ms / 1000 + 1;
        uintptr_t count = (uintptr_t)map_get(&per_second, second) + 1;
        map_put(&per_second, second, (void *)count);
        if (count <= STORM) continue;
        uint64_t jitter_ms = (row.id * 0x9e3779b97f4a7c15u >> 20) % (row.ttl_ms / 10 + 1);
        heap_set(&clock->deadlines, &timed->deadline, timed->deadline.at_ms + jitter_ms);
    }
    map_free(&per_second);
}

void lease_clock_follow(struct lease_clock *clock, const struct lease_change *changes, uint64_t now_ms)
{
    for (; changes; changes = changes->next) {
        if (changes->ttl_ms)
            start(clock, changes->lease, changes->ttl_ms, changes->generation, now_ms);
        else
            forget(clock, changes->lease);
    }
}

enum lease_standing lease_clock_standing(const struct lease_clock *clock, uint64_t lease)
{
    const struct timed_lease *timed = lease ? map_get(&clock->leases, lease) : NULL;
    return !timed ? LEASE_GONE : timed->expiring ? LEASE_EXPIRING : LEASE_ALIVE;
}

bool lease_clock_renew(struct lease_clock *clock, uint64_t lease, uint64_t arrived_ms)
{
    struct timed_lease *timed = lease ? map_get(&clock->leases, lease) : NULL;
    if (!timed || timed->expiring) return false;
    contact(clock, timed, arrived_ms);
    return true;
}

uint64_t lease_clock_remaining(const struct lease_clock *clock, uint64_t lease, uint64_t now_ms)
{
    const struct timed_lease *timed = lease ? map_get(&clock->leases, lease) : NULL;
    if (!timed || timed->expiring) return 0;
    uint64_t end_ms = timed->contact_ms + timed->ttl_ms;
    return end_ms > now_ms ? end_ms - now_ms : 0;
}

uint64_t lease_clock_next_ms(const struct lease_clock *clock)
{
    const struct timer *first = heap_first(&clock->deadlines);
    return first ? first->at_ms : UINT64_MAX;
}

size_t lease_clock_due(struct lease_clock *clock, uint64_t by_ms, struct lease_expire_item *items, size_t max)
{
    size_t count = 0;
    for (struct timer *first;
         count < max && (first = heap_first(&clock->deadlines)) && first->at_ms <= by_ms;) {
        struct timed_lease *timed = CONTAINER_OF(first, struct timed_lease, deadline);
        heap_remove(&clock->deadlines, first);
        timed->expiring = true;
        items[count++] = (struct lease_expire_item){timed->lease, timed->generation};
    }
    return count;
}

void lease_clock_not_proposed(struct lease_clock *clock, const struct lease_expire_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct timed_lease *timed = map_get(&clock->leases, items[i].lease);
        if (!timed || !timed->expiring || timed->generation != items[i].generation) continue;
        timed->expiring = false;
        heap_set(&clock->deadlines, &timed->deadline, timed->deadline.at_ms);
    }
}

void lease_clock_gap(struct lease_clock *clock, uint64_t gap_ms)
{
    for (size_t i = 0; i < clock->leases.capacity; i++) {
        struct timed_lease *timed = clock->leases.slots[i].value;
        if (!timed || timed->expiring) continue;
        uint64_t deadline_ms = deadline_of(clock, timed) + gap_ms;
        if (deadline_ms > timed->deadline.at_ms) heap_set(&clock->deadlines, &timed->deadline, deadline_ms);
    }
}

size_t lease_clock_count(const struct lease_clock *clock)
{
    return clock->leases.count;
}

void lease_clock_check(const struct lease_clock *clock)
{
    size_t timed_count = 0;
    CHECK(clock->in_office || clock->leases.count == 0);
    for (size_t i = 0; i < clock->leases.capacity; i++) {
        const struct timed_lease *timed = clock->leases.slots[i].value;
        if (!timed) continue;
        CHECK(timed->lease == clock->leases.slots[i].key && timed->expiring == (timed->deadline.place == 0));
        CHECK(timed->expiring || timed->deadline.at_ms >= deadline_of(clock, timed));
        timed_count += !timed->expiring;
    }
    CHECK(timed_count == clock->deadlines.count);
}
