/* Locks: the commands. Operation codes 40 to 59. */
#include "coord/primitive/lock.h"

#include "base/check.h"

/* --- acquire --- */

struct acquire_args {
    struct slice name, owner, meta;
    uint64_t ttl_ms, lease, wait_ms, mode, permits, limit, priority, delay_ms;
    bool reentrant;
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
static const struct record acquire_record = RECORD("lock_acquire", acquire_args, acquire_fields);

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
                                 .origin = apply->origin};
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

static void acquire(struct apply *apply, const void *arguments)
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

/* --- release --- */

struct release_result {
    struct slice name;
    uint64_t token, count;
    bool released;
};
#define RELEASED(member) .offset = offsetof(struct release_result, member), .name = #member
static const struct field release_fields[] = {
    {.number = 1, .type = FIELD_NAME, RELEASED(name), .about = "of the lock"},
    {.number = 2, .type = FIELD_UINT, RELEASED(token), .about = "of the grant"},
    {.number = 3,
     .type = FIELD_BOOL,
     RELEASED(released),
     .about = "false: it was taken several times and is still held"},
    {.number = 4, .type = FIELD_UINT, RELEASED(count), .about = "how often it is still taken (reentrant)"},
};
static const struct record release_record = RECORD("lock_release", release_result, release_fields);

static void answer_release(struct lock *lock, uint64_t token, uint64_t count)
{
    struct release_result *result = arena_alloc(lock->apply->arena, sizeof *result);
    *result = (struct release_result){lock->name, token, count, count == 0};
    apply_answer(lock->apply, OUTCOME_OK, &release_record, result);
}

/* A release that comes twice, because the first answer was lost, is not an error while the history remembers
 * it. */
static bool was_released(const struct lock *lock, uint64_t token)
{
    struct list history = lock_history(lock);
    const struct lock_past *pasts = history.items;
    for (size_t i = 0; i < history.count; i++)
        if (pasts[i].token == token && pasts[i].reason == END_RELEASED) return true;
    return false;
}

static void release(struct apply *apply, const void *arguments)
{
    const struct lock_token_args *args = arguments;
    struct lock lock;
    struct holder_row holder;
    lock_load(&lock, apply, args->name);
    if (!lock_holder(&lock, args->token, &holder)) {
        if (was_released(&lock, args->token))
            answer_release(&lock, args->token, 0);
        else
            refuse(&lock, OUTCOME_STALE_TOKEN, 0);
        return;
    }
    answer_release(&lock, args->token, holder.count - 1);
    if (--holder.count) {
        lock_put_holder(&lock, &holder);
        lock_tell(&lock, LOCK_COUNTED, &holder);
    } else {
        lock_end_holder(&lock, &holder, END_RELEASED, slice_of(NULL, 0));
        lock_advance(&lock);
    }
    lock_save(&lock);
}

/* --- table --- */

static const struct operation operations[] = {
    {.code = 40,
     .name = "lock.acquire",
     .method = "POST",
     .path = "/v1/locks/{name}/acquire",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS | OPERATION_WAITS,
     .args = &acquire_record,
     .result = &lock_grant_record,
     .refusal = &lock_held_record,
     .apply = acquire,
     .undo = "lock.release",
     .about = "Takes a lock, or waits for it in its queue."},
    {.code = 48,
     .name = "lock.acquire_many",
     .method = "POST",
     .path = "/v1/locks/acquire",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS | OPERATION_WAITS,
     .args = &lock_many_record,
     .result = &lock_many_grant_record,
     .refusal = &lock_held_record,
     .apply = lock_acquire_many,
     .undo = "lock.release_many",
     .about = "Takes all of several locks or none, or the first that is free."},
    {.code = 49,
     .name = "lock.release_many",
     .method = "POST",
     .path = "/v1/locks/release",
     .kind = OPERATION_COMMAND,
     .args = &lock_release_many_args_record,
     .result = &lock_released_many_record,
     .apply = lock_release_many,
     .about = "Gives back all that one request was granted."},
    {.code = 41,
     .name = "lock.release",
     .method = "POST",
     .path = "/v1/locks/{name}/release",
     .kind = OPERATION_COMMAND,
     .args = &lock_token_record,
     .result = &release_record,
     .refusal = &lock_held_record,
     .apply = release,
     .about = "Gives a lock back; the next in the queue gets it."},
    {.code = 42,
     .name = "lock.renew",
     .method = "POST",
     .path = "/v1/locks/{name}/renew",
     .kind = OPERATION_RENEWAL,
     .args = &lock_token_record,
     .result = &lock_renewed_record,
     .refusal = &lock_held_record,
     .renews = lock_renews,
     .renewed = lock_renewed,
     .about = "Renews the lease on which a hold hangs."},
    {.code = 43,
     .name = "lock.transfer",
     .method = "POST",
     .path = "/v1/locks/{name}/transfer",
     .kind = OPERATION_COMMAND,
     .args = &lock_transfer_record,
     .result = &lock_grant_record,
     .refusal = &lock_held_record,
     .apply = lock_transfer,
     .about = "Hands a lock to one who waits for it, or to a lease, with a new token."},
    {.code = 44,
     .name = "lock.break",
     .method = "POST",
     .path = "/v1/locks/{name}/break",
     .kind = OPERATION_COMMAND,
     .args = &lock_break_record,
     .result = &lock_broken_record,
     .refusal = &lock_held_record,
     .apply = lock_break,
     .about = "Takes a lock away from its holders: for operators."},
    {.code = 50,
     .name = "lock.yield",
     .method = "POST",
     .path = "/v1/locks/{name}/yield",
     .kind = OPERATION_COMMAND,
     .args = &lock_yield_record,
     .result = &lock_yielding_record,
     .refusal = &lock_held_record,
     .apply = lock_yield,
     .about = "Asks the holders of a lock to give it up: they are told when they renew."},
    {.code = 45,
     .name = "lock.check",
     .method = "GET",
     .path = "/v1/locks/{name}/check",
     .kind = OPERATION_QUERY,
     .args = &lock_token_record,
     .result = &lock_check_record,
     .refusal = &lock_held_record,
     .apply = lock_check_token,
     .object = "/locks/{name}",
     .about = "Is this token current? What a fenced resource asks."},
    {.code = 46,
     .name = "lock.get",
     .method = "GET",
     .path = "/v1/locks/{name}",
     .kind = OPERATION_QUERY,
     .args = &lock_name_record,
     .result = &lock_view_record,
     .apply = lock_get,
     .object = "/locks/{name}",
     .about = "A lock: holders, waiters, history. One never used is free."},
    {.code = 47,
     .name = "lock.list",
     .method = "GET",
     .path = "/v1/locks",
     .kind = OPERATION_QUERY,
     .args = &lock_list_args_record,
     .result = &lock_list_record,
     .apply = lock_list,
     .object = "/locks/{prefix}*",
     .about = "Locks by the prefix of their names."},
};

const struct primitive lock_primitive = {
    .name = "lock",
    .code = LOCK_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .lease_ended = lock_lease_ended,
    .wait_ended = lock_wait_ended,
    .pulse = lock_pulse,
    .path = lock_path,
    .waiters = lock_waiters,
    .yield = lock_asked,
    .events = lock_events,
    .event_count = LOCK_EVENTS,
    .check = lock_check,
};
