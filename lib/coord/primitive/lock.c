/* Locks: the commands. Operation codes 40 to 59. */
#include "coord/primitive/lock.h"

#include "base/check.h"

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

/* Once: it may have been taken several times. */
void lock_give_back(struct lock *lock, struct holder_row *holder)
{
    if (--holder->count) {
        lock_put_holder(lock, holder);
        lock_tell(lock, LOCK_COUNTED, holder);
    } else {
        lock_end_holder(lock, holder, END_RELEASED, slice_of(NULL, 0));
        lock_advance(lock);
    }
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
            apply_answer(apply, OUTCOME_STALE_TOKEN, &lock_held_record, lock_facts(&lock, 0));
        return;
    }
    answer_release(&lock, args->token, holder.count - 1);
    lock_give_back(&lock, &holder);
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
     .args = &lock_acquire_record,
     .result = &lock_grant_record,
     .refusal = &lock_held_record,
     .apply = lock_acquire,
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
    {.code = 51,
     .name = "lock.hold",
     .method = "POST",
     .path = "/v1/locks/{name}/hold",
     .kind = OPERATION_STREAM,
     .flags = OPERATION_GROWS | OPERATION_WAITS,
     .args = &lock_hold_record,
     .refusal = &lock_held_record,
     .watch = lock_hold,
     .about = "Takes a lock, or waits for it, and holds it as long as the connection is open."},
    {.code = 52,
     .name = "lock.take",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS | OPERATION_WAITS,
     .args = &lock_hold_record,
     .result = &lock_grant_record,
     .refusal = &lock_held_record,
     .apply = lock_take,
     .undo = "lock.release",
     .about = "Takes a lock for a connection: it ends with the session of its node."},
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
