/* Several locks in one request: all of them or none, or the first that is free (api.md 3).
 *
 * A request that waits has a waiter in the queue of each of its locks, all at the same place (1, priority,
 * arrival), and one row, KEY_LOCK_MANY arrival -> lock_many. It holds nothing while it waits. When it is
 * first in a queue whose lock it fits, it keeps that lock for itself; once that is so for all of them (for
 * any of them), a pulse grants them in one entry. Its waits end together.
 *
 * Nobody waits in a circle because of it: places are in the same order in every queue, so of all such
 * requests the first by place is first, behind upgrades at most, in all of its queues; what remains is that
 * its locks come free. It does not starve: later ones of its priority stay behind it.
 *
 * Invariants: 1. A lock_many row and its waiters exist together. 2. It could be granted only if its pulse is
 * wanted. 3. Its lease holds none of its locks. */
#include "coord/primitive/lock_many.h"

#include "base/check.h"

/* --- the row --- */

#define MANY(member) .offset = offsetof(struct lock_many, member), .name = #member
static const struct field many_fields[] = {
    {.number = 1, .type = FIELD_TEXTS, MANY(names)},
    {.number = 2, .type = FIELD_BOOL, MANY(any)},
    {.number = 3, .type = FIELD_BOOL, MANY(pulse)},
    {.number = 4, .type = FIELD_RECORD, MANY(request), .record = &lock_waiter_record},
};
static const struct record many_record = RECORD("lock_many", lock_many, many_fields);

static struct key many_key(uint64_t arrived)
{
    struct key key = key_of(KEY_LOCK_MANY);
    key_number(&key, arrived);
    return key;
}

bool lock_many_get(struct apply *apply, uint64_t arrived, struct lock_many *many)
{
    struct key key = many_key(arrived);
    return row_get(apply, key_slice(&key), &many_record, many);
}

static void put_many(struct apply *apply, const struct lock_many *many)
{
    struct key key = many_key(many->request->arrived);
    row_put(apply, key_slice(&key), &many_record, many);
}

struct slice lock_many_name(const struct lock_many *many, size_t i)
{
    return ((const struct slice *)many->names.items)[i];
}

/* The locks as the rows have them now. Not two of these arrays at a time: each would save over the other. */
struct lock *lock_many_load(struct apply *apply, const struct lock_many *many)
{
    struct lock *locks = arena_alloc(apply->arena, many->names.count * sizeof *locks);
    for (size_t i = 0; i < many->names.count; i++) lock_load(&locks[i], apply, lock_many_name(many, i));
    return locks;
}

/* Its waiter in each queue. */
static struct lock_request waiter_of(const struct lock_many *many)
{
    struct lock_request waiter = *many->request;
    waiter.many = many->names.count;
    waiter.any = many->any;
    waiter.answer_index = 0;
    waiter.meta = slice_of(NULL, 0);
    return waiter;
}

/* --- can it go on? --- */

static bool is_ready(struct lock *lock, const struct lock_request *request)
{
    return lock_fits(lock, request, NULL) && lock_is_first(lock, request);
}

/* Which of the locks to grant: all, or the one from the first that is ready. False: it has to wait. */
bool lock_many_choose(struct lock *locks, const struct lock_many *many, struct lock_chosen *chosen)
{
    *chosen = (struct lock_chosen){0, many->names.count};
    for (size_t i = 0; i < many->names.count; i++) {
        bool ready = is_ready(&locks[i], many->request);
        if (ready && many->any) {
            *chosen = (struct lock_chosen){i, i + 1};
            return true;
        }
        if (!ready && !many->any) return false;
    }
    return !many->any;
}

void lock_many_wake(struct lock *lock, const struct lock_request *waiter)
{
    struct apply *apply = lock->apply;
    struct lock_many many;
    CHECK(lock_many_get(apply, waiter->arrived, &many));
    if (many.pulse) return;
    for (size_t i = 0; i < many.names.count && !many.any; i++) {
        struct lock other;
        if (slice_equal(lock_many_name(&many, i), lock->name))
            continue; /* the one in hand, which is not saved yet */
        lock_load(&other, apply, lock_many_name(&many, i));
        if (!is_ready(&other, many.request)) return;
    }
    many.pulse = true;
    put_many(apply, &many);
    struct key what = {.size = 0};
    key_byte(&what, 0); /* no name begins so */
    key_number(&what, waiter->arrived);
    pulse_want(apply, LOCK_CODE, key_slice(&what));
}

/* --- granting and ending --- */

static const struct field item_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .offset = offsetof(struct lock_granted_item, name),
     .name = "name",
     .about = "of the lock"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct lock_granted_item, token),
     .name = "token",
     .about = "fencing token of the hold"},
};
static const struct record item_record = RECORD("lock_token_of", lock_granted_item, item_fields);

struct many_grant {
    struct list locks;
    struct slice owner;
    uint64_t token, lease, mode, expires_in_ms, waited_ms;
};
#define GRANT(member) .offset = offsetof(struct many_grant, member), .name = #member
static const struct field grant_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     GRANT(locks),
     .record = &item_record,
     .about = "what was granted, in the order asked for"},
    {.number = 2, .type = FIELD_UINT, GRANT(token), .about = "of this grant: the same for all of them"},
    {.number = 3, .type = FIELD_LEASE, GRANT(lease), .about = "on which the holds hang"},
    {.number = 4, .type = FIELD_TEXT, GRANT(owner), .about = "as given"},
    {.number = 5, .type = FIELD_CHOICE, GRANT(mode), .choices = lock_mode_choices, .about = "as given"},
    {.number = 6,
     .type = FIELD_REMAINING,
     GRANT(expires_in_ms),
     .about = "counted from when the request was sent; after a wait, from the answer"},
    {.number = 7, .type = FIELD_UINT, GRANT(waited_ms), .about = "in the queues"},
};
const struct record lock_many_grant_record = RECORD("lock_many_grant", many_grant, grant_fields);

static void dequeue_all(struct lock *locks, const struct lock_many *many)
{
    struct lock_request waiter = waiter_of(many);
    struct key key = many_key(many->request->arrived);
    for (size_t i = 0; i < many->names.count; i++) lock_dequeue(&locks[i], &waiter);
    if (many->request->answer_index) wait_forget(locks->apply, many->request->answer_index);
    CHECK(rows_delete(locks->apply->rows, key_slice(&key)));
}

/* A new row makes room for itself by forgetting idle ones: by then none of the others may look idle that is
 * not.
 */
void lock_many_save(struct lock *locks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (locks[i].exists) lock_save(&locks[i]);
    for (size_t i = 0; i < count; i++)
        if (!locks[i].exists) lock_save(&locks[i]);
}

/* What was changed is in the rows: the locks go on, one after the other. */
void lock_many_advance(struct apply *apply, const struct lock_many *many)
{
    for (size_t i = 0; i < many->names.count; i++) {
        struct lock lock;
        lock_load(&lock, apply, lock_many_name(many, i));
        lock_advance(&lock);
        lock_save(&lock);
    }
}

void lock_many_answer(struct apply *apply, const struct lock_many *many, uint64_t lease,
                      struct lock_granted_item *items, size_t count)
{
    const struct lock_request *request = many->request;
    if (!request->answer_index) return;
    struct many_grant *grant = arena_alloc(apply->arena, sizeof *grant);
    *grant = (struct many_grant){.locks = {items, count},
                                 .owner = request->owner,
                                 .token = items[0].token,
                                 .lease = lease,
                                 .mode = request->mode,
                                 .expires_in_ms = lease,
                                 .waited_ms = apply->time_ms - request->since_ms};
    bool anew = items[0].token == apply->index;
    apply_answer_to(apply, request->answer_index, anew ? OUTCOME_CREATED : OUTCOME_OK,
                    &lock_many_grant_record, grant);
}

/* One lease for all, when it has none of its own. */
void lock_many_grant(struct apply *apply, struct lock *locks, const struct lock_many *many,
                     struct lock_chosen chosen)
{
    struct lock_request request = *many->request;
    struct lock_granted_item *items = arena_alloc(apply->arena, many->names.count * sizeof *items);
    request.answer_index = 0;
    if (!request.lease)
        request.lease = lease_start(apply, LEASE_OWN, request.ttl_ms, request.owner, slice_of(NULL, 0));
    for (size_t i = chosen.from; i < chosen.to; i++) {
        lock_grant(&locks[i], &request);
        items[i - chosen.from] = (struct lock_granted_item){locks[i].name, apply->index};
    }
    lock_many_answer(apply, many, request.lease, items, chosen.to - chosen.from);
}

void lock_many_pulse(struct apply *apply, uint64_t arrived)
{
    struct lock_many many;
    struct lock_chosen chosen;
    if (!lock_many_get(apply, arrived, &many)) return;
    many.pulse = false;
    put_many(apply, &many);
    struct lock *locks = lock_many_load(apply, &many);
    if (!lock_many_choose(locks, &many, &chosen)) return;
    lock_many_grant(apply, locks, &many, chosen);
    dequeue_all(locks, &many); /* after the grant: it may be all that hangs on its lease */
    lock_many_save(locks, many.names.count);
    lock_many_advance(apply, &many);
}

const void *lock_many_in_the_way(struct apply *apply, const struct lock_many *many, uint64_t position)
{
    struct lock *locks = lock_many_load(apply, many);
    size_t way = 0;
    while (way + 1 < many->names.count && is_ready(&locks[way], many->request)) way++;
    return lock_facts(is_ready(&locks[way], many->request) ? &locks[0] : &locks[way], position);
}

static void end_wait(struct apply *apply, const struct lock_many *many)
{
    struct lock *locks = lock_many_load(apply, many);
    dequeue_all(locks, many);
    lock_many_save(locks, many->names.count);
    lock_many_advance(apply, many);
}

/* An end without a grant; NOTHING: nobody is answered. */
void lock_many_end(struct apply *apply, uint64_t arrived, enum outcome outcome)
{
    struct lock_many many;
    CHECK(lock_many_get(apply, arrived, &many));
    end_wait(apply, &many);
    uint64_t index = many.request->answer_index;
    if (!index || outcome == OUTCOME_NOTHING) return;
    if (outcome == OUTCOME_LOCK_HELD)
        apply_answer_to(apply, index, outcome, &lock_held_record, lock_many_in_the_way(apply, &many, 0));
    else
        apply_answer_to(apply, index, outcome, NULL, NULL);
}

void lock_many_wait_ended(struct apply *apply, uint64_t arrived, uint64_t index, enum end_reason reason)
{
    struct lock_many many;
    CHECK(lock_many_get(apply, arrived, &many) && many.request->answer_index == index);
    if (reason == END_CLIENT_GONE && many.request->lease) { /* its lease keeps the place */
        struct lock_request request = *many.request;
        request.answer_index = 0;
        many.request = &request;
        put_many(apply, &many);
        return;
    }
    lock_many_end(apply, arrived, reason == END_TIMEOUT ? OUTCOME_LOCK_HELD : OUTCOME_NOTHING);
}

/* Its waiters, which may be there already, say what it says. */
void lock_many_wait(struct apply *apply, const struct lock_many *many)
{
    struct lock_request waiter = waiter_of(many);
    struct slice place = lock_place(apply, &waiter);
    for (size_t i = 0; i < many->names.count; i++) {
        struct lock lock;
        struct lock_request before;
        lock_load(&lock, apply, lock_many_name(many, i));
        if (lock_waiter_at(&lock, place, &before))
            lock_put_waiter(&lock, &waiter);
        else
            lock_enqueue(&lock, &waiter);
        lock_save(&lock);
    }
    wait_register(apply, many->request->answer_index, LOCK_CODE,
                  object_what(apply, lock_many_name(many, 0), 'w', place));
    put_many(apply, many);
}

/* --- invariants --- */

static void check_one(struct apply *apply, const struct lock_many *many)
{
    struct lock *locks = lock_many_load(apply, many);
    struct lock_request expected = waiter_of(many);
    struct slice place = lock_place(apply, &expected);
    struct lock_chosen chosen;
    for (size_t i = 0; i < many->names.count; i++) {
        struct lock_request waiter;
        struct holder_row holder;
        CHECK(lock_waiter_at(&locks[i], place, &waiter) && waiter.many == many->names.count);
        CHECK(!expected.lease || !lock_held_by(&locks[i], expected.lease, &holder));
    }
    CHECK(many->pulse || !lock_many_choose(locks, many, &chosen));
}

uint64_t lock_many_check(struct apply *apply)
{
    struct key from = key_of(KEY_LOCK_MANY);
    struct slice key, value;
    uint64_t waiters = 0;
    while (rows_seek(apply->rows, key_slice(&from), &key, &value) && key.data[0] == KEY_LOCK_MANY) {
        struct lock_many many;
        uint64_t arrived;
        key = slice_skip(key, 1);
        CHECK(take_u64be(&key, &arrived) && lock_many_get(apply, arrived, &many));
        CHECK(many.request->arrived == arrived);
        check_one(apply, &many);
        waiters += many.names.count;
        from = many_key(arrived + 1);
    }
    return waiters;
}
