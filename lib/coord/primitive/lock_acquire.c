/* Acquiring one lock. */
#include "coord/primitive/lock.h"

#include "base/check.h"
#include "coord/primitive/watch.h"

struct acquire_args {
    struct slice name, owner, meta;
    uint64_t ttl_ms, lease, wait_ms, mode, permits, limit, priority, delay_ms;
    bool reentrant;
    bool on_session; /* lock.take */
};

#define ACQUIRE(member) .offset = offsetof(struct acquire_args, member)
static const struct field acquire_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     ACQUIRE(name),
     .name = "name",
     .max = 255,
     .about = "of the lock"},
    {.number = 2,
     .type = FIELD_DURATION,
     ACQUIRE(ttl_ms),
     .name = "ttl",
     .min = LEASE_TTL_MIN_MS,
     .max = LEASE_TTL_MAX_MS,
     .about = "of the lease that the lock gets of its own (30s unless given); not with lease"},
    {.number = 3,
     .type = FIELD_LEASE,
     ACQUIRE(lease),
     .name = "lease",
     .about = "a lease that lives already, to hang the lock on"},
    {.number = 4,
     .type = FIELD_TEXT,
     ACQUIRE(owner),
     .name = "owner",
     .max = 255,
     .about = "who you are, for people"},
    {.number = 5,
     .type = FIELD_DURATION,
     ACQUIRE(wait_ms),
     .name = "wait",
     .max = 600000,
     .about = "at most that long in the queue; 0: only try"},
    {.number = 6,
     .type = FIELD_CHOICE,
     ACQUIRE(mode),
     .name = "mode",
     .choices = lock_mode_choices,
     .initial = LOCK_EXCLUSIVE,
     .about = "alone, with other readers, or so many permits of a limit"},
    {.number = 7,
     .type = FIELD_UINT,
     ACQUIRE(permits),
     .name = "permits",
     .min = 1,
     .max = 1000000,
     .about = "of a semaphore (1 unless given)"},
    {.number = 8,
     .type = FIELD_UINT,
     ACQUIRE(limit),
     .name = "limit",
     .min = 1,
     .max = 1000000,
     .about = "of a semaphore: all its permits"},
    {.number = 9,
     .type = FIELD_UINT,
     ACQUIRE(priority),
     .name = "priority",
     .max = LOCK_PRIORITY_MAX,
     .about = "higher waits before lower"},
    {.number = 10,
     .type = FIELD_DURATION,
     ACQUIRE(delay_ms),
     .name = "delay",
     .max = LOCK_DELAY_MAX_MS,
     .about = "after an expiry of this hold nobody gets the lock for that long"},
    {.number = 11,
     .type = FIELD_JSON,
     ACQUIRE(meta),
     .name = "meta",
     .max = 4096,
     .about = "anything the holder wants to say"},
    {.number = 12,
     .type = FIELD_BOOL,
     ACQUIRE(reentrant),
     .name = "reentrant",
     .about = "the same lease may take it again; it is free after as many releases"},
};
const struct record lock_acquire_record = RECORD("lock_acquire", acquire_args, acquire_fields);

static void refuse(struct lock *lock, enum outcome outcome, uint64_t position)
{
    apply_answer(lock->apply, outcome, &lock_held_record, lock_facts(lock, position));
}

static void refuse_deadlock(struct lock *lock, struct list cycle)
{
    apply_answer(lock->apply, OUTCOME_DEADLOCK, &lock_held_record, lock_facts_of_cycle(lock, cycle));
}

static bool sensible(struct apply *apply, const struct acquire_args *args)
{
    const char *why = NULL;
    bool semaphore = args->mode == LOCK_SEMAPHORE;
    if (args->lease && args->ttl_ms)
        why = "a lock lives as long as its lease: give either lease or ttl";
    else if (semaphore && !args->limit)
        why = "a semaphore needs a limit";
    else if (!semaphore && (args->limit || args->permits))
        why = "only a semaphore has permits and a limit";
    else if (args->reentrant && !args->lease)
        why = "only a lease that is named can take a lock again";
    if (why)
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
    else if (semaphore && args->permits > args->limit)
        apply_answer(apply, OUTCOME_PERMITS_EXCEED_LIMIT, NULL, NULL);
    else
        return true;
    return false;
}

static struct lock_request request_of(const struct apply *apply, const struct acquire_args *args)
{
    return (struct lock_request){.mode = args->mode,
                                 .permits = args->permits ? args->permits : 1,
                                 .limit = args->limit,
                                 .priority = args->priority,
                                 .lease = args->lease,
                                 .ttl_ms = args->ttl_ms ? args->ttl_ms : LEASE_TTL_DEFAULT_MS,
                                 .delay_ms = args->delay_ms,
                                 .owner = args->owner,
                                 .meta = args->meta,
                                 .since_ms = apply->time_ms,
                                 .arrived = apply->index,
                                 .answer_index = apply->index,
                                 .origin = apply->origin,
                                 .on_session = args->on_session};
}

/* A lock in use as a semaphore is none for readers and writers, and the other way round; all name the same
 * limit. */
bool lock_mode_agrees(struct lock *lock, const struct lock_request *request)
{
    if (!lock->row.holders && !lock->row.waiters) return true;
    if ((lock->row.limit != 0) != (request->limit != 0))
        refuse(lock, OUTCOME_MODE_CONFLICT, 0);
    else if (lock->row.limit != request->limit)
        refuse(lock, OUTCOME_LIMIT_MISMATCH, 0);
    else
        return true;
    return false;
}

/* Nor can it be queued for later: a transaction is over with its entry. */
static bool granted_now(struct lock *lock, const struct lock_request *request,
                        const struct holder_row *replaced)
{
    bool fits = lock_fits(lock, request, replaced) && lock_is_first(lock, request);
    if (fits && lock_may_grant(lock)) return true;
    if (fits)
        lock_refuse_second_grant(lock);
    else
        apply_answer_detail(lock->apply, OUTCOME_SENSELESS, &lock_held_record, lock_facts(lock, 0),
                            SLICE("a transaction does not wait"));
    return false;
}

/* A wait needs somebody who listens: the lease it names, or the session of the process that has the client.
 */
static bool can_wait(struct lock *lock, const struct lock_request *request)
{
    struct lease_row session;
    if (!request->lease && request->origin && !lease_get(lock->apply, request->origin, &session)) {
        apply_answer(lock->apply, OUTCOME_SESSION_OVER, NULL, NULL);
        return false;
    }
    if (lock->row.waiters < LOCK_WAITERS_MAX) return true;
    refuse(lock, OUTCOME_TOO_MANY_WAITERS, 0);
    return false;
}

/* Into the queue, and on at once when it is first there and fits: an upgrade, or behind a place that was
 * given up. */
static void queue_up(struct lock *lock, const struct lock_request *request)
{
    struct lock before = *lock;
    struct list cycle;
    if (!can_wait(lock, request)) return;
    lock_enqueue(lock, request);
    if (lock_closes_cycle(lock->apply, request, &(struct lock_hand){lock, 1, NULL}, &cycle)) {
        lock_dequeue(lock, request);
        *lock = before;
        refuse_deadlock(lock, cycle);
        return;
    }
    lock_advance(lock);
    if (!lock->apply->settled) apply_waits(lock->apply);
}

uint64_t lock_position(struct lock *lock, const struct lock_request *waiter)
{
    struct lock_request other;
    struct slice place = {0};
    for (uint64_t position = 1; lock_next_waiter(lock, &place, &other); position++)
        if (other.arrived == waiter->arrived) return position;
    return 0;
}

static bool asks_for_less(const struct lock_request *request, const struct holder_row *holder)
{
    if (request->mode == LOCK_SEMAPHORE) return request->permits < holder->permits;
    return request->mode == LOCK_SHARED && holder->mode == LOCK_EXCLUSIVE;
}

/* The lease holds as much already: the same token again, or a downgrade in place. A nested (reentrant)
 * request never takes away from the outer one. */
static bool serve_from_hold(struct lock *lock, const struct lock_request *request, struct holder_row *holder,
                            bool reentrant)
{
    bool same = request->mode == holder->mode && request->permits == holder->permits;
    bool less = asks_for_less(request, holder);
    if (!same && !less) return false;
    if (reentrant) {
        holder->count++;
    } else if (less) {
        lock->row.used -= holder->permits - request->permits;
        lock->row.mode = holder->mode = request->mode;
        holder->permits = request->permits;
    }
    if (reentrant || less) {
        lock_put_holder(lock, holder);
        lock_tell(lock, reentrant ? LOCK_COUNTED : LOCK_DOWNGRADED, holder);
    }
    apply_answer(lock->apply, OUTCOME_OK, &lock_grant_record, lock_granted(lock, holder, 0));
    lock_advance(lock);
    return true;
}

static void refuse_second_upgrade(struct lock *lock, const struct lock_request *request,
                                  const struct lock_request *first)
{
    struct lock_cycle_step *steps = arena_alloc(lock->apply->arena, 2 * sizeof *steps);
    steps[0] = (struct lock_cycle_step){request->lease, first->lease, request->owner, lock->name, false};
    steps[1] = (struct lock_cycle_step){first->lease, request->lease, first->owner, lock->name, false};
    apply_answer_detail(lock->apply, OUTCOME_DEADLOCK, &lock_held_record,
                        lock_facts_of_cycle(lock, (struct list){steps, 2}),
                        SLICE("another holder waits for its upgrade already; each would wait for the "
                              "other: release and take it anew"));
}

static void upgrade(struct lock *lock, struct lock_request *request, const struct holder_row *holder,
                    bool wait)
{
    struct lock_request first;
    struct slice place = {0};
    request->upgrades = holder->token;
    if (lock_next_waiter(lock, &place, &first) && first.upgrades)
        refuse_second_upgrade(lock, request, &first);
    else if (!wait && !lock_fits(lock, request, holder))
        refuse(lock, OUTCOME_LOCK_HELD, 0);
    else if (!lock->apply->in_txn || granted_now(lock, request, holder))
        queue_up(lock, request);
}

/* The lease waits for it already: the newer request takes the place over, or a new place when it asks for
 * something else. */
static bool take_over(struct lock *lock, struct lock_request *request, struct lock_request *waiter, bool wait)
{
    if (!wait) {
        refuse(lock, OUTCOME_LOCK_HELD, lock_position(lock, waiter));
        return true;
    }
    if (waiter->many) {
        CHECK(!lock->changed);
        lock_many_end(lock->apply, waiter->arrived, OUTCOME_WAIT_BROKEN_OFF);
        lock_load(lock, lock->apply, lock->name);
        return false;
    }
    uint64_t answered = waiter->answer_index;
    bool same = waiter->mode == request->mode && waiter->permits == request->permits &&
                waiter->priority == request->priority;
    lock_dequeue(lock, waiter);
    if (answered) apply_answer_to(lock->apply, answered, OUTCOME_WAIT_BROKEN_OFF, NULL, NULL);
    if (same) {
        request->arrived = waiter->arrived;
        request->since_ms = waiter->since_ms;
        request->upgrades = waiter->upgrades;
    }
    return false;
}

static void acquire_new(struct lock *lock, struct lock_request *request, bool wait)
{
    struct list cycle;
    bool fits = lock_fits(lock, request, NULL) && lock_is_first(lock, request);
    if (!fits && !wait)
        refuse(lock, OUTCOME_LOCK_HELD, 0);
    else if (lock->apply->in_txn && !granted_now(lock, request, NULL))
        return;
    else if (fits && lock_closes_cycle(lock->apply, request, &(struct lock_hand){lock, 1, request}, &cycle))
        refuse_deadlock(lock, cycle);
    else if (fits && lock_may_grant(lock))
        lock_grant(lock, request);
    else
        queue_up(lock, request);
}

/* By a lease that the client named: it may hold the lock, or wait for it, or both (an upgrade). While one
 * wait is replaced by another the lease may have nothing else hanging on it: `guard` keeps it alive until the
 * end. */
static void acquire_by_lease(struct lock *lock, struct lock_request *request, const struct acquire_args *args)
{
    struct apply *apply = lock->apply;
    struct slice guard = object_what(apply, lock->name, 'g', slice_of(NULL, 0));
    struct holder_row holder;
    struct lock_request waiter;
    bool holds = lock_held_by(lock, args->lease, &holder), wait = args->wait_ms > 0;
    if (holds && serve_from_hold(lock, request, &holder, args->reentrant)) return;
    lease_attach(apply, args->lease, LOCK_CODE, guard);
    bool waits = lock_awaited_by(lock, args->lease, &waiter);
    if (!waits || !take_over(lock, request, &waiter, wait)) {
        if (holds)
            upgrade(lock, request, &holder, wait);
        else
            acquire_new(lock, request, wait);
        lock_advance(lock); /* a place that was given up may let the next one through */
    }
    lease_detach(apply, args->lease, LOCK_CODE, guard);
}

void lock_acquire(struct apply *apply, const void *arguments)
{
    const struct acquire_args *args = arguments;
    struct lock lock;
    struct lock_request request = request_of(apply, args);
    if (!sensible(apply, args) || (args->lease && !object_lease_usable(apply, args->lease))) return;
    if (args->lease) lease_touch(apply, args->lease);
    lock_load(&lock, apply, args->name);
    if (!lock_mode_agrees(&lock, &request)) return;
    if (args->lease)
        acquire_by_lease(&lock, &request, args);
    else
        acquire_new(&lock, &request, args->wait_ms > 0);
    lock_save(&lock);
}

/* --- hold: the connection is the lease --- */

#define HOLD(member) .offset = offsetof(struct acquire_args, member)
static const struct field hold_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     HOLD(name),
     .name = "name",
     .max = 255,
     .about = "of the lock"},
    {.number = 4,
     .type = FIELD_TEXT,
     HOLD(owner),
     .name = "owner",
     .max = 255,
     .about = "who you are, for people"},
    {.number = 5,
     .type = FIELD_DURATION,
     HOLD(wait_ms),
     .name = "wait",
     .max = 600000,
     .about = "at most that long in the queue; 0: only try"},
    {.number = 6,
     .type = FIELD_CHOICE,
     HOLD(mode),
     .name = "mode",
     .choices = lock_mode_choices,
     .initial = LOCK_EXCLUSIVE,
     .about = "alone, with other readers, or so many permits of a limit"},
    {.number = 7,
     .type = FIELD_UINT,
     HOLD(permits),
     .name = "permits",
     .min = 1,
     .max = 1000000,
     .about = "of a semaphore (1 unless given)"},
    {.number = 8,
     .type = FIELD_UINT,
     HOLD(limit),
     .name = "limit",
     .min = 1,
     .max = 1000000,
     .about = "of a semaphore: all its permits"},
    {.number = 9,
     .type = FIELD_UINT,
     HOLD(priority),
     .name = "priority",
     .max = LOCK_PRIORITY_MAX,
     .about = "higher waits before lower"},
    {.number = 10,
     .type = FIELD_DURATION,
     HOLD(delay_ms),
     .name = "delay",
     .max = LOCK_DELAY_MAX_MS,
     .about = "after an expiry of this hold, when its node was lost, nobody gets the lock for that long"},
    {.number = 11,
     .type = FIELD_JSON,
     HOLD(meta),
     .name = "meta",
     .max = 4096,
     .about = "anything the holder wants to say"},
};
const struct record lock_hold_record = RECORD("lock_hold", acquire_args, hold_fields);

/* The hold hangs on the session of the node that has the connection. */
void lock_take(struct apply *apply, const void *arguments)
{
    struct acquire_args args = *(const struct acquire_args *)arguments;
    struct lease_row session;
    args.on_session = true;
    if (lease_get(apply, apply->origin, &session))
        lock_acquire(apply, &args);
    else
        apply_answer(apply, OUTCOME_SESSION_OVER, NULL, NULL);
}

void lock_hold(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct acquire_args *args = arguments;
    static const char *const types[] = {"yield",  "released",    "expired",     "revoked",
                                        "broken", "transferred", "client_gone", NULL};
    watch_scope_add(request, arena, "/locks/", args->name, false);
    watch_types_are(request, arena, types);
    request->first = operation_by_name(SLICE("lock.take"));
    request->first_args = args;
    request->ends = (struct list){(struct slice *)request->types.items + 1, request->types.count - 1};
}
