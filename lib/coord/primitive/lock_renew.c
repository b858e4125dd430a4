/* Renewing a lock, and what its holder is told then. */
#include "coord/primitive/lock.h"

#include "base/check.h"

const struct yield_request *lock_yield_of(const struct lock *lock)
{
    if (!lock->row.yield_ms) return NULL;
    struct yield_request *asked = arena_alloc(lock->apply->arena, sizeof *asked);
    *asked = (struct yield_request){lock->row.yield_ms, lock->row.yield_owner, lock->row.yield_reason};
    return asked;
}

const struct yield_request *lock_asked(struct apply *apply, struct slice what)
{
    struct slice name, rest;
    struct lock lock;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    if (kind != 'h') return NULL;
    lock_load(&lock, apply, name);
    return lock_yield_of(&lock);
}

struct renew_result {
    struct slice name;
    uint64_t token, lease, expires_in_ms, waiters, waiter_priority;
    const struct yield_request *yield;
};
#define RENEWED(member) .offset = offsetof(struct renew_result, member), .name = #member
static const struct field renew_fields[] = {
    {.number = 1, .type = FIELD_NAME, RENEWED(name), .about = "of the lock"},
    {.number = 2, .type = FIELD_UINT, RENEWED(token), .about = "of the grant"},
    {.number = 3, .type = FIELD_LEASE, RENEWED(lease), .about = "that was renewed"},
    {.number = 4,
     .type = FIELD_UINT,
     RENEWED(expires_in_ms),
     .about = "counted from when the request was sent"},
    {.number = 5, .type = FIELD_UINT, RENEWED(waiters), .about = "how many wait for the lock"},
    {.number = 6, .type = FIELD_UINT, RENEWED(waiter_priority), .about = "of the first of them"},
    {.number = 7,
     .type = FIELD_RECORD,
     RENEWED(yield),
     .record = &lease_yield_record,
     .about = "a request to give it up"},
};
const struct record lock_renewed_record = RECORD("lock_renew", renew_result, renew_fields);

void lock_renews(struct apply *apply, const void *arguments)
{
    const struct lock_token_args *args = arguments;
    struct lock lock;
    struct holder_row holder;
    lock_load(&lock, apply, args->name);
    struct lease_row lease;
    bool held = lock_holder(&lock, args->token, &holder);
    if (held && lease_get(apply, holder.lease, &lease) && lease.kind == LEASE_SESSION)
        apply_answer_detail(apply, OUTCOME_SENSELESS, &lock_held_record, lock_facts(&lock, 0),
                            SLICE("a connection holds it, as long as it is open"));
    else if (held)
        apply_renews(apply, holder.lease);
    else
        apply_answer(apply, OUTCOME_STALE_TOKEN, &lock_held_record, lock_facts(&lock, 0));
}

void lock_renewed(struct apply *apply, const void *arguments, const struct renewal *renewals, size_t count)
{
    const struct lock_token_args *args = arguments;
    struct lock lock;
    struct lease_row lease;
    CHECK(count == 1);
    lock_load(&lock, apply, args->name);
    if (!renewals[0].renewed || !lease_get(apply, renewals[0].lease, &lease)) {
        apply_answer(apply, OUTCOME_LEASE_OVER, &lock_held_record, lock_facts(&lock, 0));
        return;
    }
    struct renew_result *result = arena_alloc(apply->arena, sizeof *result);
    struct lock_request first = {.priority = 0};
    struct slice place = {0};
    if (lock.row.waiters) CHECK(lock_next_waiter(&lock, &place, &first));
    *result = (struct renew_result){.name = args->name,
                                    .token = args->token,
                                    .lease = lease.id,
                                    .expires_in_ms = lease.ttl_ms,
                                    .waiters = lock.row.waiters,
                                    .waiter_priority = first.priority,
                                    .yield = lock_yield_of(&lock)};
    apply_answer(apply, OUTCOME_OK, &lock_renewed_record, result);
}
