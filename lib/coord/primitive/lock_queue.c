/* Grants, ends and waits: how a lock goes from one to the next. */
#include "coord/primitive/lock.h"

#include "base/check.h"

enum { GRANTS_MAX = 1000 /* leases that one entry starts; further grants go by pulse */ };

/* Would it fit beside the present holders (but for `without`, which it replaces)? */
bool lock_fits(const struct lock *lock, const struct lock_request *request, const struct holder_row *without)
{
    uint64_t others = lock->row.holders - (without ? 1 : 0);
    uint64_t used = lock->row.used - (without ? without->permits : 0);
    if (lock->row.delay) return false;
    if (others == 0) return true;
    if (request->mode == LOCK_SEMAPHORE) return used + request->permits <= lock->row.limit;
    return request->mode == LOCK_SHARED && lock->row.mode == LOCK_SHARED;
}

bool lock_may_grant(const struct lock *lock)
{
    return lock->row.token < lock->apply->index && lock->apply->lease_count < GRANTS_MAX;
}

void lock_refuse_second_grant(struct lock *lock)
{
    apply_answer_detail(lock->apply, OUTCOME_SENSELESS, &lock_held_record, lock_facts(lock, 0),
                        SLICE("a transaction grants a lock at most once"));
}

/* Nobody waits whose place is before that of the request. */
bool lock_is_first(struct lock *lock, const struct lock_request *request)
{
    struct lock_request waiter;
    struct slice place = {0};
    if (!lock->row.waiters || !lock_next_waiter(lock, &place, &waiter)) return true;
    return slice_compare(lock_place(lock->apply, request), place) <= 0;
}

static void attach_holder(struct lock *lock, const struct holder_row *holder)
{
    struct slice token = lock_token_bytes(lock->apply, holder->token);
    lease_attach(lock->apply, holder->lease, LOCK_CODE, object_what(lock->apply, lock->name, 'h', token));
}

static void detach_holder(struct lock *lock, const struct holder_row *holder)
{
    struct slice token = lock_token_bytes(lock->apply, holder->token);
    lease_detach(lock->apply, holder->lease, LOCK_CODE, object_what(lock->apply, lock->name, 'h', token));
}

void lock_grant(struct lock *lock, const struct lock_request *request)
{
    struct apply *apply = lock->apply;
    CHECK(lock->row.token < apply->index);
    struct holder_row holder = {.token = apply->index,
                                .lease = request->lease,
                                .mode = request->mode,
                                .permits = request->permits,
                                .since_ms = apply->time_ms,
                                .count = 1,
                                .delay_ms = request->delay_ms,
                                .owner = request->owner,
                                .meta = request->meta};
    if (request->on_session) holder.lease = request->origin;
    if (!holder.lease)
        holder.lease = lease_start(apply, LEASE_OWN, request->ttl_ms, request->owner, slice_of(NULL, 0));
    lock->row.token = holder.token;
    lock->row.mode = holder.mode;
    lock->row.limit = request->limit;
    lock->row.holders++;
    lock->row.used += holder.permits;
    lock_put_holder(lock, &holder);
    attach_holder(lock, &holder);
    uint64_t waited_ms = request->since_ms ? apply->time_ms - request->since_ms : 0;
    lock_tell_acquired(lock, &holder, waited_ms, request->upgrades);
    if (!request->answer_index) return;
    apply_answer_to(apply, request->answer_index, OUTCOME_CREATED, &lock_grant_record,
                    lock_granted(lock, &holder, waited_ms));
}

void lock_enqueue(struct lock *lock, const struct lock_request *request)
{
    struct apply *apply = lock->apply;
    struct slice place = lock_place(apply, request);
    uint64_t hangs_on = request->lease ? request->lease : request->origin;
    lock->row.waiters++;
    if (!lock->row.holders) lock->row.limit = request->limit;
    lock_put_waiter(lock, request);
    if (hangs_on) lease_attach(apply, hangs_on, LOCK_CODE, object_what(apply, lock->name, 'w', place));
    if (request->answer_index)
        wait_register(apply, request->answer_index, LOCK_CODE, object_what(apply, lock->name, 'w', place));
}

void lock_dequeue(struct lock *lock, const struct lock_request *waiter)
{
    struct apply *apply = lock->apply;
    struct slice place = lock_place(apply, waiter);
    uint64_t hangs_on = waiter->lease ? waiter->lease : waiter->origin;
    lock->row.waiters--;
    lock_delete_waiter(lock, waiter);
    if (hangs_on) lease_detach(apply, hangs_on, LOCK_CODE, object_what(apply, lock->name, 'w', place));
    if (waiter->answer_index) wait_forget(apply, waiter->answer_index);
}

static void remember(struct lock *lock, const struct holder_row *holder, enum end_reason reason,
                     struct slice detail)
{
    lock_remember(lock, &(struct lock_past){holder->token, holder->mode, holder->since_ms,
                                            lock->apply->time_ms, reason, holder->owner, detail});
}

/* A wait to upgrade this hold has lost its ground. */
static void end_upgrade(struct lock *lock, uint64_t token, enum end_reason reason)
{
    struct lock_request waiter;
    struct slice place = {0};
    if (!lock->row.waiters || !lock_next_waiter(lock, &place, &waiter) || waiter.upgrades != token) return;
    bool lease_over = reason == END_EXPIRED || reason == END_REVOKED || reason == END_CLIENT_GONE;
    lock_dequeue(lock, &waiter);
    if (waiter.answer_index)
        apply_answer_to(lock->apply, waiter.answer_index,
                        lease_over ? OUTCOME_LEASE_OVER : OUTCOME_WAIT_BROKEN_OFF, NULL, NULL);
}

/* Two holders that expire one after the other: the lock stays free for the longer of their delays, from now.
 */
static void begin_delay(struct lock *lock, uint64_t delay_ms)
{
    struct apply *apply = lock->apply;
    struct slice what = object_what(apply, lock->name, 'd', slice_of(NULL, 0));
    struct lease_row running;
    uint64_t before = lock->row.delay;
    if (before && lease_get(apply, before, &running) && running.ttl_ms > delay_ms) delay_ms = running.ttl_ms;
    lock->row.delay = lease_start(apply, LEASE_DELAY, delay_ms, SLICE("lock-delay"), slice_of(NULL, 0));
    lease_attach(apply, lock->row.delay, LOCK_CODE, what);
    if (before) lease_detach(apply, before, LOCK_CODE, what);
}

void lock_end_holder(struct lock *lock, const struct holder_row *holder, enum end_reason reason,
                     struct slice detail)
{
    lock->row.holders--;
    lock->row.used -= holder->permits;
    if (!lock->row.holders) lock->row.yield_ms = 0;
    lock_delete_holder(lock, holder->token);
    end_upgrade(lock, holder->token, reason);
    detach_holder(lock, holder);
    remember(lock, holder, reason, detail);
    lock_tell_ended(lock, holder, reason, detail);
    if (reason == END_EXPIRED && holder->delay_ms) begin_delay(lock, holder->delay_ms);
}

/* An upgrade keeps what hangs on its lease: the hold is replaced, not ended. */
static void replace_hold(struct lock *lock, const struct holder_row *old)
{
    lock->row.holders--;
    lock->row.used -= old->permits;
    lock_delete_holder(lock, old->token);
}

static bool first_grantable(struct lock *lock, struct lock_request *first, struct holder_row *replaced)
{
    struct slice place = {0};
    struct lease_row lease;
    if (!lock->row.waiters || !lock_next_waiter(lock, &place, first)) return false;
    uint64_t on = first->on_session ? first->origin : first->lease;
    if (on && !lease_get(lock->apply, on, &lease)) return false; /* about to leave */
    if (first->upgrades) CHECK(lock_holder(lock, first->upgrades, replaced));
    return lock_fits(lock, first, first->upgrades ? replaced : NULL);
}

/* Grants to the first waiter when it fits; one grant an entry, a pulse does the next. */
void lock_advance(struct lock *lock)
{
    struct lock_request first;
    struct holder_row replaced;
    if (!first_grantable(lock, &first, &replaced)) return;
    if (!first.many && lock_may_grant(lock)) {
        struct holder_row old = replaced;
        if (first.upgrades) replace_hold(lock, &old);
        lock_grant(lock, &first);
        lock_dequeue(lock, &first); /* after the grant: it may be all that hangs on its lease */
        if (first.upgrades) detach_holder(lock, &old);
        if (!first_grantable(lock, &first, &replaced)) return;
    }
    if (first.many) {
        lock_many_wake(lock, &first);
        return;
    }
    if (lock->row.pulse) return;
    lock->row.pulse = lock->changed = true;
    pulse_want(lock->apply, LOCK_CODE, lock->name);
}

void lock_pulse(struct apply *apply, struct slice what)
{
    struct lock lock;
    if (what.size && what.data[0] == 0) {
        uint64_t arrived;
        what = slice_skip(what, 1);
        CHECK(take_u64be(&what, &arrived));
        lock_many_pulse(apply, arrived);
        return;
    }
    lock_load(&lock, apply, what);
    if (!lock.exists) return;
    lock.row.pulse = false;
    lock.changed = true;
    lock_advance(&lock);
    lock_save(&lock);
}

void lock_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason)
{
    struct slice name, rest;
    struct lock lock;
    struct holder_row holder;
    struct lock_request waiter;
    uint64_t token;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    lock_load(&lock, apply, name);
    if (kind == 'd') {
        CHECK(lock.row.delay == lease);
        lock.row.delay = 0;
        lock.changed = true;
        lock_tell(&lock, LOCK_DELAY_OVER, NULL);
    } else if (kind == 'h') {
        CHECK(take_u64be(&rest, &token) && lock_holder(&lock, token, &holder));
        lock_end_holder(&lock, &holder, reason, slice_of(NULL, 0));
    } else {
        CHECK(lock_waiter_at(&lock, rest, &waiter));
        enum outcome outcome = waiter.lease ? OUTCOME_LEASE_OVER : OUTCOME_SESSION_OVER;
        if (waiter.many) {
            lock_many_end(apply, waiter.arrived, outcome);
            return;
        }
        lock_dequeue(&lock, &waiter);
        if (waiter.answer_index) apply_answer_to(apply, waiter.answer_index, outcome, NULL, NULL);
    }
    lock_advance(&lock);
    lock_save(&lock);
}

void lock_wait_ended(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason)
{
    struct slice name, place;
    struct lock lock;
    struct lock_request waiter;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &place) && kind == 'w');
    lock_load(&lock, apply, name);
    CHECK(lock_waiter_at(&lock, place, &waiter));
    if (waiter.many) {
        lock_many_wait_ended(apply, waiter.arrived, index, reason);
        return;
    }
    CHECK(waiter.answer_index == index);
    waiter.answer_index = 0;
    if (reason == END_CLIENT_GONE && waiter.lease) { /* its lease keeps the place */
        lock_put_waiter(&lock, &waiter);
        return;
    }
    lock_dequeue(&lock, &waiter);
    if (reason == END_TIMEOUT)
        apply_answer_to(apply, index, OUTCOME_LOCK_HELD, &lock_held_record, lock_facts(&lock, 0));
    lock_advance(&lock);
    lock_save(&lock);
}
