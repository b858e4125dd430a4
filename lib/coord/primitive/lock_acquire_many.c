/* Several locks in one request: the commands. */
#include "coord/primitive/lock_many.h"

#include "base/check.h"

struct acquire_args {
    struct list names;
    struct slice owner, meta;
    uint64_t ttl_ms, lease, wait_ms, mode, priority;
    bool any;
};
#define ACQUIRE(member) .offset = offsetof(struct acquire_args, member)
static const char *const modes[] = {"exclusive", "shared", NULL};
static const struct field acquire_fields[] = {
    {.number = 1,
     .type = FIELD_TEXTS,
     .flags = FIELD_REQUIRED,
     ACQUIRE(names),
     .name = "names",
     .max = LOCK_MANY_MAX,
     .about = "of the locks"},
    {.number = 2,
     .type = FIELD_DURATION,
     ACQUIRE(ttl_ms),
     .name = "ttl",
     .min = LEASE_TTL_MIN_MS,
     .max = LEASE_TTL_MAX_MS,
     .about = "of the one lease that they get (30s unless given); not with lease"},
    {.number = 3,
     .type = FIELD_LEASE,
     ACQUIRE(lease),
     .name = "lease",
     .about = "a lease that lives already, to hang the locks on"},
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
     .about = "at most that long in the queues; 0: only try"},
    {.number = 6,
     .type = FIELD_CHOICE,
     ACQUIRE(mode),
     .name = "mode",
     .choices = modes,
     .initial = LOCK_EXCLUSIVE,
     .about = "of all of them"},
    {.number = 7,
     .type = FIELD_UINT,
     ACQUIRE(priority),
     .name = "priority",
     .max = LOCK_PRIORITY_MAX,
     .about = "higher waits before lower"},
    {.number = 8,
     .type = FIELD_BOOL,
     ACQUIRE(any),
     .name = "any",
     .about = "true: only one of them, the first that is free"},
    {.number = 9,
     .type = FIELD_JSON,
     ACQUIRE(meta),
     .name = "meta",
     .max = 4096,
     .about = "anything the holder wants to say"},
};
const struct record lock_many_record = RECORD("lock_acquire_many", acquire_args, acquire_fields);

static const char *senseless(const struct acquire_args *args)
{
    const struct slice *names = args->names.items;
    if (args->lease && args->ttl_ms) return "a lock lives as long as its lease: give either lease or ttl";
    if (!args->names.count) return "names is empty";
    for (size_t i = 0; i < args->names.count; i++) {
        if (!names[i].size || names[i].size > 255) return "a name has 1 to 255 bytes";
        for (size_t k = 0; k < i; k++)
            if (slice_equal(names[i], names[k])) return "a name stands twice in names";
    }
    return NULL;
}

static struct lock_request *request_of(struct apply *apply, const struct acquire_args *args)
{
    struct lock_request *request = arena_alloc(apply->arena, sizeof *request);
    *request = (struct lock_request){.mode = args->mode,
                                     .permits = 1,
                                     .priority = args->priority,
                                     .lease = args->lease,
                                     .ttl_ms = args->ttl_ms ? args->ttl_ms : LEASE_TTL_DEFAULT_MS,
                                     .owner = args->owner,
                                     .meta = args->meta,
                                     .since_ms = apply->time_ms,
                                     .arrived = apply->index,
                                     .answer_index = apply->index,
                                     .origin = apply->origin};
    return request;
}

/* The lease holds some of the locks: the same answer again when they are what it asks for, else a refusal.
 * True: answered. */
static bool served_from_holds(struct apply *apply, struct lock *locks, const struct lock_many *many)
{
    struct lock_granted_item *items = arena_alloc(apply->arena, many->names.count * sizeof *items);
    size_t held = 0, enough = 0, which = 0;
    for (size_t i = 0; i < many->names.count && many->request->lease; i++) {
        struct holder_row holder;
        if (!lock_held_by(&locks[i], many->request->lease, &holder)) continue;
        held++;
        which = i;
        if (holder.mode == many->request->mode || holder.mode == LOCK_EXCLUSIVE)
            items[enough++] = (struct lock_granted_item){locks[i].name, holder.token};
    }
    if (!held) return false;
    if (many->any ? enough > 0 : enough == many->names.count)
        lock_many_answer(apply, many, many->request->lease, items, many->any ? 1 : enough);
    else
        apply_answer_detail(apply, OUTCOME_PARTLY_HELD, &lock_held_record, lock_facts(&locks[which], 0),
                            SLICE("ask for the others only, or release what it holds first"));
    return true;
}

static bool same_names(const struct lock_many *one, const struct lock_many *other)
{
    if (one->names.count != other->names.count || one->any != other->any) return false;
    for (size_t i = 0; i < one->names.count; i++)
        if (!slice_equal(lock_many_name(one, i), lock_many_name(other, i))) return false;
    return true;
}

/* It keeps its place, and what it keeps for itself; only who is answered changes, and what is said of it. */
static void take_over(struct apply *apply, const struct lock_many *before, struct lock_many *many)
{
    struct lock_request request = *many->request;
    uint64_t answered = before->request->answer_index;
    request.arrived = before->request->arrived;
    request.since_ms = before->request->since_ms;
    many->request = &request;
    many->pulse = before->pulse;
    if (answered) {
        wait_forget(apply, answered);
        apply_answer_to(apply, answered, OUTCOME_WAIT_BROKEN_OFF, NULL, NULL);
    }
    lock_many_wait(apply, many);
    apply_waits(apply);
}

static void replace_wait(struct lock *lock, const struct lock_request *waiter)
{
    if (waiter->many) {
        lock_many_end(lock->apply, waiter->arrived, OUTCOME_WAIT_BROKEN_OFF);
        return;
    }
    lock_dequeue(lock, waiter);
    if (waiter->answer_index)
        apply_answer_to(lock->apply, waiter->answer_index, OUTCOME_WAIT_BROKEN_OFF, NULL, NULL);
    lock_advance(lock);
    lock_save(lock);
}

/* The lease waits for one of them already: the newer request takes the place over when it asks for the same,
 * else it comes instead. True: that is all. */
static bool goes_on(struct apply *apply, struct lock_many *many, bool wait)
{
    const struct lock_request *request = many->request;
    for (size_t i = 0; i < many->names.count && request->lease; i++) {
        struct lock lock;
        struct lock_request waiter;
        struct lock_many before;
        lock_load(&lock, apply, lock_many_name(many, i));
        if (!lock_awaited_by(&lock, request->lease, &waiter)) continue;
        bool same = waiter.many && lock_many_get(apply, waiter.arrived, &before) &&
                    same_names(many, &before) && waiter.mode == request->mode &&
                    waiter.priority == request->priority;
        if (!wait)
            apply_answer(apply, OUTCOME_LOCK_HELD, &lock_held_record,
                         lock_facts(&lock, lock_position(&lock, &waiter)));
        else if (same)
            take_over(apply, &before, many);
        else
            replace_wait(&lock, &waiter);
        if (!wait || same) return true;
    }
    return false;
}

static bool can_wait(struct apply *apply, struct lock *locks, const struct lock_many *many)
{
    struct lease_row session;
    const struct lock_request *request = many->request;
    if (!request->lease && request->origin && !lease_get(apply, request->origin, &session)) {
        apply_answer(apply, OUTCOME_SESSION_OVER, NULL, NULL);
        return false;
    }
    for (size_t i = 0; i < many->names.count; i++) {
        if (locks[i].row.waiters < LOCK_WAITERS_MAX) continue;
        apply_answer(apply, OUTCOME_TOO_MANY_WAITERS, &lock_held_record, lock_facts(&locks[i], 0));
        return false;
    }
    return true;
}

/* Not if another was granted one of them in this entry. */
static struct lock *granted_already(struct lock *locks, struct lock_chosen chosen)
{
    for (size_t i = chosen.from; i < chosen.to; i++)
        if (!lock_may_grant(&locks[i])) return &locks[i];
    return NULL;
}

static void refuse_deadlock(struct apply *apply, struct lock *locks, const struct lock_many *many,
                            struct list cycle)
{
    const struct lock_cycle_step *first = cycle.items;
    size_t way = 0;
    while (way + 1 < many->names.count && !slice_equal(locks[way].name, first->waits_for)) way++;
    apply_answer(apply, OUTCOME_DEADLOCK, &lock_held_record, lock_facts_of_cycle(&locks[way], cycle));
}

static void wait_unless_in_a_circle(struct apply *apply, const struct lock_many *many)
{
    struct lock_request request = *many->request;
    struct list cycle;
    request.many = many->names.count;
    lock_many_wait(apply, many);
    if (lock_closes_cycle(apply, &request, &(struct lock_hand){NULL, 0, NULL}, &cycle)) {
        lock_many_end(apply, request.arrived, OUTCOME_NOTHING);
        refuse_deadlock(apply, lock_many_load(apply, many), many, cycle);
    } else {
        apply_waits(apply);
        lock_many_advance(apply, many); /* it may be ready, but for a grant in this entry */
    }
}

/* Past those who wait: they would wait for what else this lease waits for. */
static bool passes_into_a_circle(struct apply *apply, struct lock *locks, const struct lock_many *many,
                                 struct lock_chosen chosen)
{
    struct list cycle;
    for (size_t i = chosen.from; i < chosen.to; i++) {
        struct lock_hand hand = {&locks[i], 1, many->request};
        if (!lock_closes_cycle(apply, many->request, &hand, &cycle)) continue;
        refuse_deadlock(apply, locks, many, cycle);
        return true;
    }
    return false;
}

static void acquire(struct apply *apply, struct lock_many *many, bool wait)
{
    struct lock *locks = lock_many_load(apply, many), *granted = NULL;
    struct lock_chosen chosen;
    for (size_t i = 0; i < many->names.count; i++)
        if (!lock_mode_agrees(&locks[i], many->request)) return;
    if (served_from_holds(apply, locks, many) || goes_on(apply, many, wait)) return;
    locks = lock_many_load(apply, many);
    bool ready = lock_many_choose(locks, many, &chosen);
    if (ready) granted = granted_already(locks, chosen);
    if (ready && passes_into_a_circle(apply, locks, many, chosen)) return;
    if (ready && !granted) {
        lock_many_grant(apply, locks, many, chosen);
        lock_many_save(locks, many->names.count);
    } else if (granted && apply->in_txn) {
        lock_refuse_second_grant(granted);
    } else if (!wait) {
        apply_answer(apply, OUTCOME_LOCK_HELD, &lock_held_record, lock_many_in_the_way(apply, many, 0));
    } else if (can_wait(apply, locks, many)) {
        wait_unless_in_a_circle(apply, many);
    }
}

void lock_acquire_many(struct apply *apply, const void *arguments)
{
    const struct acquire_args *args = arguments;
    const char *why = senseless(args);
    if (why) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
        return;
    }
    if (args->lease && !object_lease_usable(apply, args->lease)) return;
    struct lock_many many = {.names = args->names, .any = args->any, .request = request_of(apply, args)};
    struct slice guard = object_what(apply, lock_many_name(&many, 0), 'g', slice_of(NULL, 0));
    if (args->lease) {
        lease_touch(apply, args->lease);
        lease_attach(apply, args->lease, LOCK_CODE, guard); /* while one wait is replaced by another */
    }
    acquire(apply, &many, args->wait_ms > 0);
    if (args->lease) lease_detach(apply, args->lease, LOCK_CODE, guard);
}

/* --- giving them back --- */

struct release_args {
    uint64_t lease, token;
};
#define RELEASE(member) .offset = offsetof(struct release_args, member), .name = #member
static const struct field release_args_fields[] = {
    {.number = 1,
     .type = FIELD_LEASE,
     .flags = FIELD_REQUIRED,
     RELEASE(lease),
     .about = "on which the holds hang"},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     RELEASE(token),
     .min = 1,
     .about = "of their grant"},
};
const struct record lock_release_many_args_record =
    RECORD("lock_release_many", release_args, release_args_fields);

struct released {
    struct list names;
    uint64_t token;
};
#define RELEASED(member) .offset = offsetof(struct released, member), .name = #member
static const struct field released_fields[] = {
    {.number = 1, .type = FIELD_TEXTS, RELEASED(names), .about = "of the locks that were held"},
    {.number = 2, .type = FIELD_UINT, RELEASED(token), .about = "of their grant"},
};
const struct record lock_released_many_record = RECORD("locks_released", released, released_fields);

struct found {
    uint64_t token;
    struct list names;
};

static void find_hold(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    struct found *found = context;
    struct slice name, rest;
    uint64_t token;
    char kind;
    (void)apply;
    if (primitive != LOCK_CODE) return;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    if (kind != 'h' || !take_u64be(&rest, &token) || token != found->token) return;
    if (found->names.count < LOCK_MANY_MAX) ((struct slice *)found->names.items)[found->names.count++] = name;
}

void lock_release_many(struct apply *apply, const void *arguments)
{
    const struct release_args *args = arguments;
    struct found found = {.token = args->token};
    struct slice *names = arena_alloc(apply->arena, LOCK_MANY_MAX * sizeof *names);
    found.names.items = names;
    lease_each_attachment(apply, args->lease, SIZE_MAX, find_hold, &found);
    for (size_t i = 0; i < found.names.count; i++) {
        struct lock lock;
        struct holder_row holder;
        lock_load(&lock, apply, names[i]);
        CHECK(lock_holder(&lock, args->token, &holder));
        lock_give_back(&lock, &holder);
        lock_save(&lock);
    }
    struct released *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct released){found.names, args->token};
    apply_answer(apply, OUTCOME_OK, &lock_released_many_record, result);
}
