#include "coordd/pending.h"

#include "base/check.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/memory.h"

struct wait {
    struct call *call;
    uint64_t origin;
    struct timer deadline; /* of a waiting one; not in the heap once a cancel was proposed */
    bool gone, cancelling;
};

struct pending {
    struct map by_number, by_index; /* struct wait, in the arena of its call */
    struct heap deadlines;
    struct call *answered, **answered_end;
    const struct lease_clock *clock;
    uint64_t now_ms;
};

struct pending *pending_new(void)
{
    struct pending *pending = memory_new(sizeof *pending);
    pending->answered_end = &pending->answered;
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

static uint64_t remaining(void *context, uint64_t lease)
{
    const struct pending *pending = context;
    return lease_clock_remaining(pending->clock, lease, pending->now_ms);
}

/* --- out --- */

static void leave(struct pending *pending, struct call *call)
{
    call->next = NULL;
    *pending->answered_end = call;
    pending->answered_end = &call->next;
}

void pending_reply(struct pending *pending, struct call *call, const struct answer *answer, uint64_t revision)
{
    call->outcome = answer->outcome;
    call->shape = answer->shape;
    call->result =
        answer->shape ? record_copy(answer->shape, answer->data, &call->arena, remaining, pending) : NULL;
    call->detail = arena_copy(&call->arena, answer->detail);
    call->revision = revision;
    leave(pending, call);
}

void pending_refuse(struct pending *pending, struct call *call, enum outcome outcome, const char *detail)
{
    pending_reply(pending, call, &(struct answer){.outcome = outcome, .detail = slice_text(detail)}, 0);
}

static void finish(struct pending *pending, struct wait *wait, const struct answer *answer, uint64_t revision)
{
    map_remove(&pending->by_number, wait->call->number);
    if (wait->call->index) map_remove(&pending->by_index, wait->call->index);
    heap_remove(&pending->deadlines, &wait->deadline);
    pending_reply(pending, wait->call, answer, revision);
}

void pending_deliver(struct pending *pending)
{
    struct call *calls = pending->answered;
    pending->answered = NULL;
    pending->answered_end = &pending->answered;
    if (calls) mailbox_deliver(calls);
}

/* --- in, and along --- */

void pending_add(struct pending *pending, struct call *call, uint64_t origin)
{
    struct wait *wait = arena_alloc(&call->arena, sizeof *wait);
    wait->call = call;
    wait->origin = origin;
    call->index = 0;
    map_put(&pending->by_number, call->number, wait);
}

void pending_reached(struct pending *pending, uint64_t origin, uint64_t request, uint64_t index)
{
    struct wait *wait = request ? map_get(&pending->by_number, request) : NULL;
    if (!wait || wait->origin != origin || wait->call->index) return;
    wait->call->index = index;
    map_put(&pending->by_index, index, wait);
}

void pending_answer(struct pending *pending, const struct answer *answer, uint64_t revision)
{
    struct wait *wait = map_get(&pending->by_index, answer->to_index);
    if (wait) finish(pending, wait, answer, revision);
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
    CHECK(wait->cancelling && wait->gone); /* a timeout is answered by the primitive */
    finish(pending, wait, &(struct answer){.outcome = OUTCOME_WAIT_BROKEN_OFF}, index);
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

void pending_stop(struct pending *pending, enum outcome waiting, enum outcome proposed)
{
    /* A removal moves a later wait into the free slot: look again until it stays free. */
    struct wait *wait;
    for (size_t i = 0; i < pending->by_number.capacity; i++)
        while ((wait = pending->by_number.slots[i].value))
            finish(pending, wait, &(struct answer){.outcome = wait->call->index ? waiting : proposed}, 0);
}
