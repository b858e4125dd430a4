#include "coordd/pending.h"

#include "base/check.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/memory.h"
#include "coordd/held.h"

struct wait {
    struct call *call; /* in whose arena this lies */
    uint64_t origin;
    struct timer deadline; /* of a waiting one; not in the heap once a cancel was proposed */
    bool gone, cancelling;
};

struct pending {
    struct map by_number, by_index; /* struct wait, in the arena of its call */
    struct heap deadlines;
    struct call *answered, **answered_end, *granted;
    struct unresolved *unresolved, **unresolved_end;
    const struct lease_clock *clock;
    uint64_t now_ms;
    bool breaking;
};

struct pending *pending_new(void)
{
    struct pending *pending = memory_new(sizeof *pending);
    pending->answered_end = &pending->answered;
    pending->unresolved_end = &pending->unresolved;
    return pending;
}

void pending_free(struct pending *pending)
{
    map_free(&pending->by_number);
    map_free(&pending->by_index);
    heap_free(&pending->deadlines);
    free(pending);
}

void pending_clock(struct pending *pending, const struct lease_clock *clock, uint64_t now_ms)
{
    pending->clock = clock;
    pending->now_ms = now_ms;
}

/* --- leases in answers --- */

/* Walking over the leases that an answer names, in its order. */
struct looking {
    uint64_t *leases;
    size_t count;
    const uint64_t *lefts_ms;
};

/* The answer keeps naming its leases, which are counted. */
static uint64_t count_lease(void *context, uint64_t lease)
{
    struct looking *looking = context;
    looking->count++;
    return lease;
}

static uint64_t collect_lease(void *context, uint64_t lease)
{
    struct looking *looking = context;
    looking->leases[looking->count++] = lease;
    return lease;
}

static uint64_t put_left(void *context, uint64_t lease)
{
    struct looking *looking = context;
    (void)lease;
    return looking->lefts_ms[looking->count++];
}

/* A lease that the request itself began or touched holds for its whole time, counted from when the client
 * sent the request. */
static bool known_by_changes(const struct lease_change *changes, uint64_t lease, uint64_t *left_ms)
{
    bool known = false;
    for (; changes; changes = changes->next) {
        if (changes->lease != lease) continue;
        known = true;
        *left_ms = changes->ttl_ms;
    }
    return known;
}

static bool known(const struct pending *pending, const struct lease_change *changes, uint64_t lease,
                  uint64_t *left_ms)
{
    if (known_by_changes(changes, lease, left_ms)) return true;
    if (!lease_clock_in_office(pending->clock)) return false;
    *left_ms = lease_clock_remaining(pending->clock, lease, pending->now_ms);
    return true;
}

/* --- out --- */

static void leave(struct pending *pending, struct call *call)
{
    if (call->hold && held_granted(call)) {
        call->next = pending->granted;
        pending->granted = call;
        return;
    }
    call->next = NULL;
    *pending->answered_end = call;
    pending->answered_end = &call->next;
}

struct call *pending_granted(struct pending *pending)
{
    struct call *granted = pending->granted;
    pending->granted = NULL;
    return granted;
}

bool pending_has_granted(const struct pending *pending)
{
    return pending->granted;
}

static void put_lefts(struct call *call, const uint64_t *lefts_ms)
{
    struct looking looking = {.lefts_ms = lefts_ms};
    call->result = record_copy(call->shape, call->result, &call->arena, put_left, &looking);
}

static void set_aside(struct pending *pending, struct call *call, const struct looking *looking)
{
    struct unresolved *unresolved = arena_alloc(&call->arena, sizeof *unresolved);
    *unresolved = (struct unresolved){.call = call, .leases = looking->leases, .count = looking->count};
    *pending->unresolved_end = unresolved;
    pending->unresolved_end = &unresolved->next;
}

static size_t collect(struct call *call, struct looking *looking)
{
    call->result = record_copy(call->shape, call->result, &call->arena, count_lease, looking);
    if (!looking->count) return 0;
    looking->leases = arena_alloc(&call->arena, looking->count * sizeof *looking->leases);
    looking->count = 0;
    record_copy(call->shape, call->result, &call->arena, collect_lease, looking);
    return looking->count;
}

/* False when the leader must be asked first. */
static bool resolve_here(struct pending *pending, struct call *call, const struct lease_change *changes)
{
    struct looking looking = {0};
    size_t count = collect(call, &looking), at = 0;
    if (!count) return true;
    uint64_t *lefts_ms = arena_alloc(&call->arena, count * sizeof *lefts_ms);
    while (at < count && known(pending, changes, looking.leases[at], &lefts_ms[at])) at++;
    if (at == count)
        put_lefts(call, lefts_ms);
    else
        set_aside(pending, call, &looking);
    return at == count;
}

struct unresolved *pending_unresolved(struct pending *pending)
{
    struct unresolved *first = pending->unresolved;
    pending->unresolved = NULL;
    pending->unresolved_end = &pending->unresolved;
    return first;
}

void pending_resolve(struct pending *pending, struct unresolved *unresolved, const uint64_t *lefts_ms)
{
    put_lefts(unresolved->call, lefts_ms);
    leave(pending, unresolved->call);
}

static uint64_t unknown_remaining(void *context, uint64_t lease)
{
    (void)context, (void)lease;
    return RECORD_UNKNOWN;
}

static void set(struct call *call, const struct answer *answer, uint64_t revision)
{
    call->outcome = answer->outcome;
    call->shape = answer->shape;
    call->result = answer->shape ? answer->data : NULL;
    call->detail = arena_copy(&call->arena, answer->detail);
    call->replayed = answer->replayed;
    call->revision = revision;
}

void pending_reply_stale(struct pending *pending, struct call *call, const struct answer *answer,
                         uint64_t revision)
{
    set(call, answer, revision);
    if (call->shape && !lease_clock_in_office(pending->clock))
        call->result = record_copy(call->shape, call->result, &call->arena, unknown_remaining, NULL);
    else if (call->shape)
        CHECK(resolve_here(pending, call, NULL));
    leave(pending, call);
}

static void reply(struct pending *pending, struct call *call, const struct answer *answer, uint64_t revision,
                  const struct lease_change *changes)
{
    set(call, answer, revision);
    if (call->shape && !resolve_here(pending, call, changes)) return;
    leave(pending, call);
}

void pending_reply(struct pending *pending, struct call *call, const struct answer *answer, uint64_t revision)
{
    reply(pending, call, answer, revision, NULL);
}

void pending_reply_knowing(struct pending *pending, struct call *call, const struct answer *answer,
                           uint64_t revision, const struct lease_change *changes)
{
    reply(pending, call, answer, revision, changes);
}

void pending_refuse(struct pending *pending, struct call *call, enum outcome outcome, const char *detail)
{
    pending_reply(pending, call, &(struct answer){.outcome = outcome, .detail = slice_text(detail)}, 0);
}

static void finish(struct pending *pending, struct wait *wait, const struct answer *answer, uint64_t revision,
                   const struct lease_change *changes)
{
    map_remove(&pending->by_number, wait->call->number);
    if (wait->call->index) map_remove(&pending->by_index, wait->call->index);
    heap_remove(&pending->deadlines, &wait->deadline);
    reply(pending, wait->call, answer, revision, changes);
}

void pending_deliver(struct pending *pending)
{
    struct call *calls = pending->answered;
    pending->answered = NULL;
    pending->answered_end = &pending->answered;
    if (calls) mailbox_deliver(calls);
}

/* --- in, and along --- */

void pending_add(struct pending *pending, struct call *call)
{
    struct wait *wait = arena_alloc(&call->arena, sizeof *wait);
    wait->call = call;
    call->index = 0;
    map_put(&pending->by_number, call->number, wait);
}

void pending_sent(struct pending *pending, uint64_t number, uint64_t origin)
{
    struct wait *wait = map_get(&pending->by_number, number);
    CHECK(wait && !wait->call->index);
    wait->origin = origin;
}

bool pending_end(struct pending *pending, uint64_t number, enum outcome outcome, const char *detail)
{
    struct wait *wait = map_get(&pending->by_number, number);
    if (!wait) return false;
    finish(pending, wait, &(struct answer){.outcome = outcome, .detail = slice_text(detail)}, 0, NULL);
    return true;
}

void pending_reached(struct pending *pending, uint64_t origin, uint64_t request, uint64_t index)
{
    struct wait *wait = request ? map_get(&pending->by_number, request) : NULL;
    if (!wait || wait->origin != origin || wait->call->index) return;
    wait->call->index = index;
    map_put(&pending->by_index, index, wait);
}

void pending_answer(struct pending *pending, const struct answer *answer, uint64_t revision,
                    const struct lease_change *changes)
{
    struct wait *wait = map_get(&pending->by_index, answer->to_index);
    /* What hangs on a later entry began long before it: its leases may have been touched at any time since.
     */
    bool at_once = answer->to_index == revision;
    if (wait) finish(pending, wait, answer, revision, at_once ? changes : NULL);
}

void pending_applied(struct pending *pending, uint64_t index)
{
    struct wait *wait = map_get(&pending->by_index, index);
    if (wait)
        heap_set(&pending->deadlines, &wait->deadline,
                 wait->gone ? 0 : wait->call->arrived_ms + wait->call->wait_ms);
}

void pending_gone(struct pending *pending, uint64_t number)
{
    struct wait *wait = map_get(&pending->by_number, number);
    if (!wait) return;
    wait->gone = true;
    if (wait->deadline.place) heap_set(&pending->deadlines, &wait->deadline, 0);
}

bool pending_next_cancel(struct pending *pending, uint64_t now_ms, struct wait_cancel_args *cancel)
{
    struct timer *first = heap_first(&pending->deadlines);
    if (!first || first->at_ms > now_ms) return false;
    struct wait *wait = CONTAINER_OF(first, struct wait, deadline);
    heap_remove(&pending->deadlines, first);
    wait->cancelling = true;
    *cancel = (struct wait_cancel_args){wait->call->index, wait->gone ? END_CLIENT_GONE : END_TIMEOUT};
    return true;
}

void pending_cancelled(struct pending *pending, uint64_t index)
{
    struct wait *wait = map_get(&pending->by_index, index);
    if (!wait) return;
    CHECK(wait->gone); /* a timeout is answered by the primitive */
    enum outcome outcome = pending->breaking ? OUTCOME_SHUTTING_DOWN : OUTCOME_WAIT_BROKEN_OFF;
    finish(pending, wait, &(struct answer){.outcome = outcome}, index, NULL);
}

uint64_t pending_next_ms(const struct pending *pending)
{
    struct timer *first = heap_first(&pending->deadlines);
    return first ? first->at_ms : UINT64_MAX;
}

size_t pending_waiting(const struct pending *pending)
{
    return pending->by_index.count;
}

void pending_break(struct pending *pending)
{
    pending->breaking = true;
    for (size_t i = 0; i < pending->by_number.capacity; i++) {
        struct wait *wait = pending->by_number.slots[i].value;
        if (!wait) continue;
        wait->gone = true;
        if (wait->deadline.place) heap_set(&pending->deadlines, &wait->deadline, 0);
    }
}

void pending_stop_sent(struct pending *pending)
{
    struct wait *wait;
    for (size_t i = 0; i < pending->by_index.capacity; i++)
        while ((wait = pending->by_index.slots[i].value))
            finish(pending, wait, &(struct answer){.outcome = OUTCOME_OUTCOME_UNKNOWN}, 0, NULL);
}

void pending_stop(struct pending *pending, enum outcome waiting, enum outcome proposed)
{
    /* A removal moves a later wait into the free slot: look again until it stays free. */
    struct wait *wait;
    for (size_t i = 0; i < pending->by_number.capacity; i++)
        while ((wait = pending->by_number.slots[i].value))
            finish(pending, wait, &(struct answer){.outcome = wait->call->index ? waiting : proposed}, 0,
                   NULL);
}
