/* Deadlocks: would a wait close a circle of those who wait for each other?
 *
 * Who waits is a lease that a client named, or a request for several locks that named none (it holds nothing,
 * but keeps what it is first in the queue for). Others wait for it when they cannot be granted a lock unless
 * it goes: it holds the lock and they do not fit beside it, or it is before them in the queue. A request for
 * any one of several locks waits for nobody: another of them may come free.
 *
 * New pairs come about only with who joins a queue, or is granted a lock past it (by its priority, or handed
 * over): in all of them it is one of the two. So a new circle leads through it, and whoever is refused there
 * keeps the whole free of circles. A grant to the first of a queue makes no new pair.
 *
 * The search looks at SEARCH_MAX pairs at most: first along those who hold locks, as far as that goes, then
 * along the queues. A circle that is too large is not seen, and ends with the wait of one of its members. */
#include "coord/primitive/lock.h"

#include "base/check.h"

enum { SEARCH_MAX = 1000, DEPENDENTS_MAX = 64 };

struct member {
    uint64_t lease, many; /* one of them: the lease, or the arrival of a request for several locks */
    struct slice owner;
    struct slice lock; /* that the one before waits for */
    size_t before;     /* who waits for it */
    bool queued;       /* it does not hold that lock, it is before the other in the queue */
};

struct search {
    struct apply *apply;
    const struct lock_hand *hand;
    struct member *members;
    size_t count, room, pairs;
    size_t closes; /* whose wait leads back to the first member; SIZE_MAX: none yet */
    struct member closing;
    size_t from; /* whose waits are looked at */
    bool queues; /* for those before it in the queue, else for who holds the lock */
};

/* A lock in hand is newer than its row. */
static struct lock load(struct search *search, struct slice name)
{
    struct lock lock;
    for (size_t i = 0; i < search->hand->count; i++)
        if (slice_equal(search->hand->locks[i].name, name)) return search->hand->locks[i];
    lock_load(&lock, search->apply, name);
    return lock;
}

static bool same(const struct member *one, const struct member *other)
{
    return one->lease == other->lease && one->many == other->many;
}

static void add(struct search *search, struct member found)
{
    found.before = search->from;
    search->pairs++;
    if (same(&found, &search->members[search->from])) return; /* an upgrade: it holds what it waits for */
    if (same(&found, &search->members[0])) {
        if (search->closes != SIZE_MAX) return;
        search->closes = search->from;
        search->closing = found;
        return;
    }
    for (size_t i = 0; i < search->count; i++)
        if (same(&search->members[i], &found)) return;
    if (search->count == search->room) {
        struct member *more = arena_alloc(search->apply->arena, 2 * search->room * sizeof *more);
        memcpy(more, search->members, search->count * sizeof *more);
        search->members = more;
        search->room *= 2;
    }
    search->members[search->count++] = found;
}

static bool done(const struct search *search)
{
    return search->closes != SIZE_MAX || search->pairs >= SEARCH_MAX;
}

/* Both cannot hold the lock at once. */
static bool exclude(const struct lock *lock, const struct lock_request *waiter,
                    const struct holder_row *holder)
{
    if (waiter->mode == LOCK_SEMAPHORE) return waiter->permits + holder->permits > lock->row.limit;
    return waiter->mode != LOCK_SHARED || holder->mode != LOCK_SHARED;
}

static void look_at_holders(struct search *search, struct lock *lock, const struct lock_request *waiter,
                            bool passed)
{
    const struct lock_request *gets = search->hand->gets;
    struct holder_row holder;
    for (uint64_t last = 0; !done(search) && lock_next_holder(lock, last, &holder); last = holder.token)
        if (exclude(lock, waiter, &holder))
            add(search, (struct member){.lease = holder.lease, .owner = holder.owner, .lock = lock->name});
    if (!passed) return;
    struct holder_row next = {.mode = gets->mode, .permits = gets->permits};
    if (exclude(lock, waiter, &next))
        add(search, (struct member){.lease = gets->lease, .owner = gets->owner, .lock = lock->name});
}

static void look_at_queue(struct search *search, struct lock *lock, struct slice place)
{
    struct lock_request other;
    for (struct slice at = {0}; !done(search) && lock_next_waiter(lock, &at, &other);) {
        if (slice_compare(at, place) >= 0) break;
        if (other.lease || other.many)
            add(search, (struct member){.lease = other.lease,
                                        .many = other.lease ? 0 : other.arrived,
                                        .owner = other.owner,
                                        .lock = lock->name,
                                        .queued = true});
        else
            search->pairs++; /* it waits for nothing but what this one waits for too */
    }
}

static void look_at_wait(struct search *search, struct slice name, struct slice place)
{
    struct lock lock = load(search, name);
    struct lock_request waiter;
    CHECK(lock_waiter_at(&lock, place, &waiter));
    bool passed = search->hand->gets && slice_equal(search->hand->locks[0].name, name);
    if (waiter.any || (passed && search->from == 0)) return; /* or: that wait is over with the grant */
    if (search->queues)
        look_at_queue(search, &lock, place);
    else
        look_at_holders(search, &lock, &waiter, passed);
}

static void look_at_attachment(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    struct search *search = context;
    struct slice name, rest;
    char kind;
    (void)apply;
    search->pairs++;
    if (primitive != LOCK_CODE || done(search)) return;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    if (kind == 'w') look_at_wait(search, name, rest);
}

static void look_at_waits(struct search *search)
{
    const struct member *member = &search->members[search->from];
    struct lock_many many;
    struct lease_row lease;
    if (member->lease) {
        bool known = lease_get(search->apply, member->lease, &lease);
        if (known && lease.kind == LEASE_SESSION) return; /* of many clients, each with waits of its own */
        lease_each_attachment(search->apply, member->lease, SEARCH_MAX - search->pairs, look_at_attachment,
                              search);
        return;
    }
    CHECK(lock_many_get(search->apply, member->many, &many));
    struct slice place = lock_place(search->apply, many.request);
    for (size_t i = 0; i < many.names.count && !done(search); i++)
        look_at_wait(search, ((const struct slice *)many.names.items)[i], place);
}

/* --- a look first whether anybody can wait for it --- */

struct dependents {
    struct search *search;
    size_t looked;
    bool any;
};

static bool is_last(struct search *search, struct slice name, struct slice place)
{
    struct lock lock = load(search, name);
    struct lock_request waiter;
    return !lock_next_waiter(&lock, &place, &waiter);
}

static void look_for_dependents(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    struct dependents *dependents = context;
    struct slice name, rest;
    char kind;
    (void)apply;
    dependents->looked++;
    if (dependents->any || primitive != LOCK_CODE) return;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    if (kind == 'h') dependents->any = load(dependents->search, name).row.waiters > 0;
    if (kind == 'w') dependents->any = !is_last(dependents->search, name, rest);
}

static bool has_dependents(struct search *search)
{
    const struct member *first = &search->members[0];
    struct dependents dependents = {.search = search};
    struct lock_many many;
    if (search->hand->gets) return search->hand->locks[0].row.waiters > 0;
    if (first->lease) {
        lease_each_attachment(search->apply, first->lease, DEPENDENTS_MAX, look_for_dependents, &dependents);
        return dependents.any || dependents.looked == DEPENDENTS_MAX;
    }
    CHECK(lock_many_get(search->apply, first->many, &many));
    struct slice place = lock_place(search->apply, many.request);
    for (size_t i = 0; i < many.names.count && !dependents.any; i++)
        dependents.any = !is_last(search, ((const struct slice *)many.names.items)[i], place);
    return dependents.any;
}

/* --- the circle --- */

static struct slice owner_of(const struct search *search, const struct member *member)
{
    struct lease_row lease;
    bool own = member->owner.size || !member->lease || !lease_get(search->apply, member->lease, &lease);
    return own ? member->owner : lease.owner;
}

static struct list circle(const struct search *search)
{
    size_t length = 1;
    for (size_t at = search->closes; at; at = search->members[at].before) length++;
    struct lock_cycle_step *steps = arena_alloc(search->apply->arena, length * sizeof *steps);
    const struct member *next = &search->closing;
    for (size_t i = length, at = search->closes; i-- > 0; at = search->members[at].before) {
        const struct member *member = &search->members[at];
        steps[i] = (struct lock_cycle_step){member->lease, next->lease, owner_of(search, member), next->lock,
                                            next->queued};
        next = member;
    }
    return (struct list){steps, length};
}

static void look_around(struct search *search)
{
    size_t along_holders = 0, along_queues = 0;
    while (!done(search) && along_queues < search->count) {
        search->queues = along_holders == search->count;
        search->from = search->queues ? along_queues++ : along_holders++;
        look_at_waits(search);
    }
}

bool lock_closes_cycle(struct apply *apply, const struct lock_request *request, const struct lock_hand *hand,
                       struct list *cycle)
{
    struct member first = {
        .lease = request->lease, .many = request->lease ? 0 : request->arrived, .owner = request->owner};
    struct search search = {
        .apply = apply, .hand = hand, .members = &first, .count = 1, .room = 1, .closes = SIZE_MAX};
    if (!request->lease && !request->many) return false;
    if (!has_dependents(&search)) return false;
    look_around(&search);
    if (search.closes == SIZE_MAX) return false;
    *cycle = circle(&search);
    return true;
}
