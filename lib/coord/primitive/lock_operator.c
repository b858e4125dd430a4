/* Locks out of their course: handed over, and taken away by an operator. */
#include "coord/primitive/lock.h"

#include "base/check.h"

/* --- transfer --- */

struct transfer_args {
    struct slice name, to;
    uint64_t token;
};
#define TRANSFER(member) .offset = offsetof(struct transfer_args, member), .name = #member
static const struct field transfer_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     TRANSFER(name),
     .max = 255,
     .about = "of the lock"},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     TRANSFER(token),
     .min = 1,
     .about = "of the grant"},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_REQUIRED,
     TRANSFER(to),
     .min = 1,
     .max = 255,
     .about =
         "the owner of a waiter (the first of that name that waits for this lock alone), or a lease's id"},
};
const struct record lock_transfer_record = RECORD("lock_transfer", transfer_args, transfer_fields);

static bool waiter_named(struct lock *lock, struct slice owner, struct lock_request *waiter)
{
    struct slice place = {0};
    if (!lock->row.waiters) return false;
    while (lock_next_waiter(lock, &place, waiter))
        if (slice_equal(waiter->owner, owner) && !waiter->many) return true;
    return false;
}

/* Who gets it: a waiter (then it leaves the queue), or a lease that does not wait. */
static bool successor(struct lock *lock, struct slice to, const struct holder_row *holder,
                      struct lock_request *request, bool *waits)
{
    struct lease_row lease;
    uint64_t id = lease_from_text(to);
    *waits = true;
    bool known = id && lease_get(lock->apply, id, &lease) && lease_is_clients(&lease);
    if (known && lock_awaited_by(lock, id, request)) return !request->many;
    if (!known || id == holder->lease) return waiter_named(lock, to, request);
    *waits = false;
    *request = (struct lock_request){.mode = holder->mode,
                                     .permits = holder->permits,
                                     .limit = lock->row.limit,
                                     .lease = id,
                                     .owner = lease.owner,
                                     .delay_ms = holder->delay_ms};
    return true;
}

void lock_transfer(struct apply *apply, const void *arguments)
{
    const struct transfer_args *args = arguments;
    struct lock lock;
    struct holder_row holder, other;
    struct lock_request request;
    struct list cycle;
    bool waits;
    lock_load(&lock, apply, args->name);
    if (!lock_holder(&lock, args->token, &holder)) {
        apply_answer(apply, OUTCOME_STALE_TOKEN, &lock_held_record, lock_facts(&lock, 0));
    } else if (!successor(&lock, args->to, &holder, &request, &waits) || request.upgrades) {
        apply_answer(apply, OUTCOME_WAITER_NOT_FOUND, &lock_held_record, lock_facts(&lock, 0));
    } else if (!lock_fits(&lock, &request, &holder) ||
               (request.lease && lock_held_by(&lock, request.lease, &other))) {
        apply_answer_detail(apply, OUTCOME_MODE_CONFLICT, &lock_held_record, lock_facts(&lock, 0),
                            SLICE("the one it should go to does not fit beside the other holders"));
    } else if (lock_closes_cycle(apply, &request, &(struct lock_hand){&lock, 1, &request}, &cycle)) {
        apply_answer(apply, OUTCOME_DEADLOCK, &lock_held_record, lock_facts_of_cycle(&lock, cycle));
    } else if (!lock_may_grant(&lock)) {
        lock_refuse_second_grant(&lock);
    } else {
        lock_end_holder(&lock, &holder, END_TRANSFERRED, slice_of(NULL, 0));
        lock_grant(&lock, &request);
        if (waits) lock_dequeue(&lock, &request); /* after the grant: it may be all that hangs on its lease */
        CHECK(lock_holder(&lock, apply->index, &holder));
        apply_answer(apply, OUTCOME_OK, &lock_grant_record, lock_granted(&lock, &holder, 0));
        lock_advance(&lock);
        lock_save(&lock);
    }
}

/* --- break --- */

struct break_args {
    struct slice name, reason;
};
#define BREAK(member) .offset = offsetof(struct break_args, member), .name = #member
static const struct field break_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     BREAK(name),
     .max = 255,
     .about = "of the lock"},
    {.number = 2, .type = FIELD_TEXT, BREAK(reason), .max = 255, .about = "why, for the history"},
};
const struct record lock_break_record = RECORD("lock_break", break_args, break_fields);

struct broken {
    struct slice name;
    uint64_t ended;
};
static const struct field broken_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .offset = offsetof(struct broken, name),
     .name = "name",
     .about = "of the lock"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct broken, ended),
     .name = "ended",
     .about = "how many held it"},
};
const struct record lock_broken_record = RECORD("lock_broken", broken, broken_fields);

static void end_delay(struct lock *lock)
{
    uint64_t delay = lock->row.delay;
    lock->row.delay = 0;
    lock->changed = true;
    if (!delay) return;
    lease_detach(lock->apply, delay, LOCK_CODE, object_what(lock->apply, lock->name, 'd', slice_of(NULL, 0)));
    lock_tell(lock, LOCK_DELAY_OVER, NULL);
}

void lock_break(struct apply *apply, const void *arguments)
{
    const struct break_args *args = arguments;
    struct lock lock;
    struct holder_row holder;
    lock_load(&lock, apply, args->name);
    if (!lock.row.holders && !lock.row.delay) {
        apply_answer(apply, OUTCOME_LOCK_NOT_HELD, &lock_held_record, lock_facts(&lock, 0));
        return;
    }
    struct broken *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct broken){args->name, lock.row.holders};
    while (lock_next_holder(&lock, 0, &holder)) lock_end_holder(&lock, &holder, END_BROKEN, args->reason);
    end_delay(&lock);
    apply_answer(apply, OUTCOME_OK, &lock_broken_record, result);
    lock_advance(&lock);
    lock_save(&lock);
}

/* --- the request to yield --- */

struct yield_args {
    struct slice name, owner, reason;
};
#define YIELD(member) .offset = offsetof(struct yield_args, member), .name = #member
static const struct field yield_args_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     YIELD(name),
     .max = 255,
     .about = "of the lock"},
    {.number = 2, .type = FIELD_TEXT, YIELD(owner), .max = 255, .about = "who asks"},
    {.number = 3, .type = FIELD_TEXT, YIELD(reason), .max = 255, .about = "why"},
};
const struct record lock_yield_record = RECORD("lock_yield", yield_args, yield_args_fields);

struct yielding {
    struct slice name;
    uint64_t holders, waiters;
};
#define YIELDING(member) .offset = offsetof(struct yielding, member), .name = #member
static const struct field yielding_fields[] = {
    {.number = 1, .type = FIELD_NAME, YIELDING(name), .about = "of the lock"},
    {.number = 2, .type = FIELD_UINT, YIELDING(holders), .about = "who are told with their next renewal"},
    {.number = 3, .type = FIELD_UINT, YIELDING(waiters), .about = "how many wait"},
};
const struct record lock_yielding_record = RECORD("lock_yielding", yielding, yielding_fields);

/* It stands until nobody holds the lock; a later one takes its place. */
void lock_yield(struct apply *apply, const void *arguments)
{
    const struct yield_args *args = arguments;
    struct lock lock;
    lock_load(&lock, apply, args->name);
    if (!lock.row.holders) {
        apply_answer(apply, OUTCOME_LOCK_NOT_HELD, &lock_held_record, lock_facts(&lock, 0));
        return;
    }
    lock.row.yield_ms = apply->time_ms ? apply->time_ms : 1;
    lock.row.yield_owner = args->owner;
    lock.row.yield_reason = args->reason;
    lock.changed = true;
    lock_tell_yield(&lock);
    lock_save(&lock);
    struct yielding *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct yielding){args->name, lock.row.holders, lock.row.waiters};
    apply_answer(apply, OUTCOME_OK, &lock_yielding_record, result);
}
