/* Locks (api.md 3): what their files share. lock.c: release and the table; lock_acquire.c: acquire and hold;
 * lock_queue.c: grants, ends, waits; lock_operator.c: transfer and break; lock_row.c: rows; lock_view.c:
 * queries and facts; lock_event.c: what watches see; lock_many.c and lock_acquire_many.c: several at once;
 * lock_deadlock.c: waits in a circle; lock_renew.c: renewals.
 *
 * Rows:
 *     KEY_LOCK name                 -> lock_row
 *     KEY_LOCK_HOLDER name 0 token  -> holder_row
 *     KEY_LOCK_WAITER name 0 place  -> waiter_row
 *     KEY_LOCK_KEPT index name      -> nothing: every lock row once, for the forgetting of idle ones
 *     KEY_LOCK_KEPT                 -> how many there are
 *     KEY_LOCK_MANY arrival         -> lock_many: a wait for several locks at once
 *
 * A place is 10 bytes: 0 for an upgrade or else 1, 255 - priority, index of the entry that queued.
 * On leases hang (name 0 'h' token), (name 0 'w' place), (name 0 'd') for the delay; waits are (name 0 'w'
 * place).
 *
 * Invariants:
 *
 * 1. A holder's token is the index of the entry that granted; one entry grants a lock at most once, others
 *    go by pulse.
 * 2. Holders fit each other: one exclusive, or shared ones, or permits whose sum `used` is at most `limit`.
 * 3. Nobody is granted out of the queue's order but by a transfer. The first waiter does not fit, unless a
 *    pulse is wanted.
 * 4. No waits of leases in a circle (lock_deadlock.c, which says within which bounds).
 * 5. Every holder's lease exists and has the attachment; a waiter's lease (or session) likewise. */
#ifndef COORDD_COORD_PRIMITIVE_LOCK_H
#define COORDD_COORD_PRIMITIVE_LOCK_H

#include "coord/primitive/lease.h"
#include "coord/primitive/object.h"

enum {
    LOCK_CODE = 3,
    LOCK_HISTORY = 8,
    LOCK_WAITERS_MAX = 10000,
    LOCK_KEPT_MAX = 10000,
    LOCK_DELAY_MAX_MS = 60000,
    LOCK_PRIORITY_MAX = 255,
    LOCK_MANY_MAX = 64
};

enum lock_mode { LOCK_EXCLUSIVE = 1, LOCK_SHARED, LOCK_SEMAPHORE };
extern const char *const lock_mode_choices[];

struct lock_past {
    uint64_t token, mode, since_ms, ended_ms, reason;
    struct slice owner, detail;
};

struct lock_row {
    uint64_t mode;  /* 0: no holder */
    uint64_t limit; /* of the semaphore in use; 0: none is */
    uint64_t used;  /* permits */
    uint64_t holders, waiters;
    uint64_t token;    /* the highest ever granted */
    uint64_t revision; /* index of the last change */
    uint64_t delay;    /* the lease that keeps it free of new holders; 0: none */
    bool pulse;        /* a pulse is wanted */
    uint64_t yield_ms; /* its holders were asked to give it up then; 0: they were not */
    struct slice yield_owner, yield_reason;
    struct slice history; /* the last holders, encoded: lock_history */
};

/* What a request asks for; also what a waiter row keeps. */
struct lock_request {
    uint64_t mode, permits, limit, priority;
    uint64_t lease, ttl_ms; /* lease 0: its own, of that TTL, at the grant */
    uint64_t delay_ms;
    struct slice owner, meta;
    uint64_t since_ms;     /* entry time of its arrival */
    uint64_t arrived;      /* index of its arrival: its place */
    uint64_t answer_index; /* the entry whose request is answered; 0: nobody listens */
    uint64_t origin;       /* session on which a wait without a lease hangs */
    uint64_t upgrades;     /* token of the hold that it would replace; 0: none */
    uint64_t many;         /* of a waiter: for so many locks at once (lock_many.c); 0: for this one */
    bool any;              /* and one of them is enough */
    bool on_session;       /* the hold hangs on `origin`, not on a lease of its own */
};

struct holder_row {
    uint64_t token, lease, mode, permits, since_ms, count, delay_ms;
    struct slice owner, meta;
};

struct lock_many {
    struct list names; /* struct slice, as given */
    bool any;          /* one of them is enough */
    bool pulse;        /* a pulse is wanted */
    const struct lock_request *request;
};

/* A lock in the hands of one entry: loaded, changed, saved. */
struct lock {
    struct apply *apply;
    struct slice name;
    struct lock_row row;
    bool exists;  /* has a row */
    bool changed; /* and must be saved */
};

/* lock.c */
void lock_give_back(struct lock *lock, struct holder_row *holder);

/* lock_acquire.c */
extern const struct record lock_acquire_record, lock_hold_record;
void lock_acquire(struct apply *apply, const void *args);
void lock_take(struct apply *apply, const void *args);
void lock_hold(struct arena *arena, const void *args, struct watch_request *request);
bool lock_mode_agrees(struct lock *lock, const struct lock_request *request); /* false: answered */
uint64_t lock_position(struct lock *lock, const struct lock_request *waiter);

/* lock_row.c */
extern const struct record lock_waiter_record;
void lock_load(struct lock *lock, struct apply *apply, struct slice name);
void lock_save(struct lock *lock); /* when it changed: the revision becomes the entry's index */
void lock_remember(struct lock *lock, const struct lock_past *past);
struct list lock_history(const struct lock *lock); /* struct lock_past, newest first */
bool lock_holder(struct lock *lock, uint64_t token, struct holder_row *holder);
bool lock_next_holder(struct lock *lock, uint64_t after_token, struct holder_row *holder);
void lock_put_holder(struct lock *lock, const struct holder_row *holder);
void lock_delete_holder(struct lock *lock, uint64_t token);
/* In order of the queue; `place` (10 bytes) is where to go on, empty at first, and becomes the found one's.
 */
bool lock_next_waiter(struct lock *lock, struct slice *place, struct lock_request *waiter);
bool lock_waiter_at(struct lock *lock, struct slice place, struct lock_request *waiter);
void lock_put_waiter(struct lock *lock, const struct lock_request *waiter);
void lock_delete_waiter(struct lock *lock, const struct lock_request *waiter);
struct slice lock_place(struct apply *apply, const struct lock_request *waiter);
struct slice lock_token_bytes(struct apply *apply, uint64_t token);
/* What this lease holds of the lock, and waits for. */
bool lock_held_by(struct lock *lock, uint64_t lease, struct holder_row *holder);
bool lock_awaited_by(struct lock *lock, uint64_t lease, struct lock_request *waiter);
void lock_check(struct rows *rows, struct arena *arena);

/* lock_queue.c */
bool lock_fits(const struct lock *lock, const struct lock_request *request, const struct holder_row *without);
/* Once an entry; more than that only a transaction asks for. */
bool lock_may_grant(const struct lock *lock);
void lock_refuse_second_grant(struct lock *lock);
bool lock_is_first(struct lock *lock, const struct lock_request *request);
void lock_grant(struct lock *lock, const struct lock_request *request); /* answers request->answer_index */
void lock_enqueue(struct lock *lock, const struct lock_request *request);
void lock_dequeue(struct lock *lock, const struct lock_request *waiter);
void lock_end_holder(struct lock *lock, const struct holder_row *holder, enum end_reason reason,
                     struct slice detail);
void lock_advance(struct lock *lock);
void lock_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason);
void lock_wait_ended(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason);
void lock_pulse(struct apply *apply, struct slice what);

/* lock_event.c: every change of who holds a lock, and how, is one event of "/locks/NAME". The queue tells
 * none. */
enum lock_event {
    LOCK_ACQUIRED = 1,
    LOCK_DOWNGRADED = 2, /* in place: the same token, with less */
    LOCK_COUNTED = 3,    /* taken again, or given back in part (reentrant) */
    LOCK_DELAY_OVER = 4, /* the lock-delay */
    LOCK_YIELD = 5,      /* its holders are asked to give it up */
    LOCK_ENDED = 16      /* + enum end_reason */
};
enum { LOCK_EVENTS = 11 };
extern const struct event_kind lock_events[LOCK_EVENTS];
void lock_tell(struct lock *lock, enum lock_event kind,
               const struct holder_row *holder); /* DELAY_OVER: NULL */
void lock_tell_acquired(struct lock *lock, const struct holder_row *holder, uint64_t waited_ms,
                        uint64_t replaces);
void lock_tell_yield(struct lock *lock);
void lock_tell_ended(struct lock *lock, const struct holder_row *holder, enum end_reason reason,
                     struct slice detail);

/* lock_many.c */
extern const struct record lock_many_record, lock_many_grant_record, lock_release_many_args_record,
    lock_released_many_record;
void lock_acquire_many(struct apply *apply, const void *args);
void lock_release_many(struct apply *apply, const void *args);
bool lock_many_get(struct apply *apply, uint64_t arrived, struct lock_many *many);
/* The lock in hand, which is to be saved after this, is free for its first waiter, one of those. */
void lock_many_wake(struct lock *lock, const struct lock_request *waiter);
void lock_many_pulse(struct apply *apply, uint64_t arrived);
/* These must be called with none of its locks in hand. */
void lock_many_end(struct apply *apply, uint64_t arrived, enum outcome outcome);
void lock_many_wait_ended(struct apply *apply, uint64_t arrived, uint64_t index, enum end_reason reason);
uint64_t lock_many_check(struct apply *apply); /* returns how many waiters such requests have */

/* lock_deadlock.c */
struct lock_cycle_step {
    uint64_t lease;   /* 0: of a request for several locks that named none */
    uint64_t held_by; /* the next one's */
    struct slice owner, waits_for;
    bool queued; /* the next one does not hold it, but is before this one in its queue */
};
/* Locks that are not saved yet; with `gets`, it is granted the first of them past the queue, else it waits.
 */
struct lock_hand {
    struct lock *locks;
    size_t count;
    const struct lock_request *gets;
};
/* The request (with a lease, or for several locks) stands in its queues or is to be granted a lock; would it
 * wait for itself? Then `cycle` is a list of struct lock_cycle_step. */
bool lock_closes_cycle(struct apply *apply, const struct lock_request *request, const struct lock_hand *hand,
                       struct list *cycle);

/* lock_operator.c */
extern const struct record lock_transfer_record, lock_break_record, lock_broken_record, lock_yield_record,
    lock_yielding_record;
void lock_transfer(struct apply *apply, const void *args);
void lock_break(struct apply *apply, const void *args);
void lock_yield(struct apply *apply, const void *args);

/* lock_view.c */
struct lock_token_args {
    struct slice name;
    uint64_t token;
};
extern const struct record lock_name_record,
    lock_token_record; /* arguments: the name; the name and a token */
extern const struct record lock_held_record, lock_grant_record, lock_view_record, lock_list_args_record,
    lock_list_record, lock_check_record;
const void *lock_facts(struct lock *lock, uint64_t position); /* a struct of lock_held_record */
const void *lock_facts_of_cycle(struct lock *lock, struct list cycle);
const void *lock_granted(struct lock *lock, const struct holder_row *holder,
                         uint64_t waited_ms); /* of lock_grant_record */
void lock_get(struct apply *apply, const void *args);
void lock_list(struct apply *apply, const void *args);
void lock_check_token(struct apply *apply, const void *args);
struct slice lock_path(struct apply *apply, struct slice what);
uint64_t lock_waiters(struct apply *apply, struct slice what);

/* lock_renew.c */
extern const struct record lock_renewed_record;
void lock_renews(struct apply *apply, const void *args);
void lock_renewed(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);
const struct yield_request *lock_asked(struct apply *apply, struct slice what);
const struct yield_request *lock_yield_of(const struct lock *lock); /* NULL: none */

extern const struct primitive lock_primitive;

#endif
