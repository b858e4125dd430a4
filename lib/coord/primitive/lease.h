/* Leases: what ends unless renewed, and all that hangs on it (api.md 2, shared/facts/leases.md). */
#ifndef COORDD_COORD_PRIMITIVE_LEASE_H
#define COORDD_COORD_PRIMITIVE_LEASE_H

#include "coord/apply.h"
#include "coord/event.h"

enum {
    LEASE_TTL_MIN_MS = 500,
    LEASE_TTL_MAX_MS = 24 * 3600 * 1000,
    LEASE_TTL_DEFAULT_MS = 30 * 1000,
    LEASE_BATCH_MAX = 10000,
    LEASE_ENTRY_BITS = 20
};

enum lease_kind {
    LEASE_NAMED = 1, /* made by POST /v1/leases */
    LEASE_OWN,       /* made for one grant that named no lease: ends with it */
    LEASE_DELAY,     /* keeps a lock free of new holders after an expiry; nobody renews it */
    LEASE_SESSION,   /* a node process: waits whose client it holds hang on it */
    LEASE_MEMBER,    /* a member of a group: its heartbeats renew it */
};

struct lease_row {
    uint64_t id; /* entry index << LEASE_ENTRY_BITS | number within the entry: never 0, never reused */
    uint64_t ttl_ms, generation, kind, created_ms;
    struct slice owner, meta;
};

/* Makes a lease in this entry and tells the lease clock. */
uint64_t lease_start(struct apply *apply, enum lease_kind kind, uint64_t ttl_ms, struct slice owner,
                     struct slice meta);
bool lease_get(struct apply *apply, uint64_t lease,
               struct lease_row *row); /* false: it is over or never was */
/* A logged command of the lease's owner: generation rises, the deadline starts anew. */
void lease_touch(struct apply *apply, uint64_t lease);
/* Ends it: everything attached is told (primitive.lease_ended), in the order of attachment keys. */
void lease_end(struct apply *apply, uint64_t lease, enum end_reason reason);
/* Several as one: none of them is there any more when the first thing that hangs on any of them is told. */
void lease_end_all(struct apply *apply, const uint64_t *leases, size_t count, enum end_reason reason);

/* Hangs (primitive, what) on the lease; `what` is the primitive's own key for it, at most 490 bytes. */
void lease_attach(struct apply *apply, uint64_t lease, uint8_t primitive, struct slice what);
/* Takes it off; a LEASE_OWN or LEASE_DELAY lease with nothing left on it ends silently. */
void lease_detach(struct apply *apply, uint64_t lease, uint8_t primitive, struct slice what);

/* Every lease of the state, in order of id: what a new leader's clock starts from. `from` is the last id
 * seen, 0 at first; false at the end. */
bool lease_next(struct rows *rows, struct arena *arena, uint64_t from, struct lease_row *row);

/* The session of a node's process, 0: none. */
uint64_t lease_session_of(struct rows *rows, uint64_t node);

/* Commands that nodes propose. */
struct lease_expire_item {
    uint64_t lease, generation;
};
struct lease_expire_args {
    uint64_t term;
    struct list items; /* struct lease_expire_item, at most 1,024 */
};
struct lease_session_args { /* opens the session of a node process; ends the one it had before */
    uint64_t node, nonce, ttl_ms;
};
struct lease_session_result {
    uint64_t node, nonce, lease;
};
extern const struct operation *const operation_lease_expire, *const operation_lease_session;
extern const struct primitive lease_primitive;

/* Events of "/leases/L..": of leases that clients made by themselves. */
enum lease_event { LEASE_GRANTED = 1, LEASE_ENDED = 2, LEASE_EVENTS = 2 };
extern const struct event_kind lease_events[LEASE_EVENTS];

/* lease_operations.c */
struct lease_id_args {
    uint64_t id;
};
extern const struct record lease_id_record;
bool lease_named(struct apply *apply, uint64_t lease, struct lease_row *row); /* false: answered why not */

/* lease_renew.c */
struct lease_result {
    uint64_t lease, ttl_ms, expires_in_ms, waiters;
    struct slice owner, meta;
    struct list yield; /* struct asked_hold */
};
struct lease_result *lease_result_of(struct apply *apply, const struct lease_row *row);
extern const struct record lease_renewed_record, lease_renew_many_record, lease_renewed_many_record;
extern const struct record lease_yield_record; /* struct yield_request, in what holders are told */
void lease_renews(struct apply *apply, const void *args);
void lease_renewed(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);
void lease_renews_many(struct apply *apply, const void *args);
void lease_renewed_many(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);

extern const char *const lease_kind_choices[];
void lease_check(struct rows *rows, struct arena *arena);

/* Why a lease cannot be used: OUTCOME_LEASE_OVER when its id may have existed, OUTCOME_LEASE_NOT_FOUND when
 * it cannot have. */
enum outcome lease_missing(const struct apply *apply, uint64_t lease);
/* A lease that clients may name: not a lock's delay, not a node's session. */
bool lease_is_clients(const struct lease_row *row);
/* Calls `each` for what hangs on the lease, in order of their keys, at most `max`. */
void lease_each_attachment(struct apply *apply, uint64_t lease, size_t max,
                           void (*each)(struct apply *apply, uint8_t primitive, struct slice what,
                                        void *context),
                           void *context);

#endif
