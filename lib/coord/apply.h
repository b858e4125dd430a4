/* Applying one command to the rows, and answering. `apply` sees the rows, the arguments, the entry's index
 * and time, and nothing else; so every replica comes to the same rows and the same answers.
 *
 * A command is answered once: in its own entry, or (it called apply_waits) in a later entry that answers its
 * index. */
#ifndef COORDD_COORD_APPLY_H
#define COORDD_COORD_APPLY_H

#include "coord/operation.h"

struct answer {
    struct answer *next;
    uint64_t to_index; /* the entry whose request this answers */
    enum outcome outcome;
    const struct record *shape; /* of data; NULL: none */
    const void *data;
    struct slice detail; /* a sentence for people; empty: the outcome's title says it all */
    bool replayed;       /* of an earlier request with the same Idempotency-Key */
};

/* What the leader's lease clock must know of an entry. */
struct lease_change {
    struct lease_change *next;
    uint64_t lease;
    uint64_t ttl_ms;     /* 0: the lease ended */
    uint64_t generation; /* rises whenever a logged command touched it */
};

struct beats;
struct group;

struct apply {
    struct rows *rows;
    struct arena *arena; /* the turn's memory */
    uint64_t index, term, time_ms;
    uint64_t origin; /* the session lease of the node process that holds the client's connection; 0: none */
    /* out, in order: */
    struct answer *answers, **answers_end;
    struct lease_change *lease_changes, **lease_changes_end;
    struct event *events, **events_end; /* told in this entry (event.h) */
    bool settled;                       /* internal: the own index was answered or waits */
    uint64_t pulse_count;               /* internal: pulses wanted in this entry */
    uint64_t lease_count;               /* leases begun in this entry */
    uint64_t space_revision;            /* kv: the dense revision that this entry made; 0: none yet */
    uint64_t keys_deleted;              /* kv: by prefix, in this entry */
    uint64_t tasks_shared;              /* queue: with claims that waited, in this entry */
    uint64_t bytes_shared;              /* and how large they are in the answers */
    struct group *group;                /* in hand while leases end together; else NULL */
    bool in_txn;                        /* within a transaction: nothing may wait */
    struct {
        struct slice lock; /* empty: none given */
        uint64_t token;
    } fence; /* Coord-Fence of the request: the lock's token was current when the entry was applied */
    struct renewal *renewals; /* RENEWAL */
    size_t renewal_count;
    const struct beats *beats; /* OPERATION_AT_LEADER, unless stale: what heartbeats said; else NULL */
    struct beats *beats_told;  /* the same, for those that tell the leader something */
};

/* A zeroed context ready for one entry (or one query: index is then the applied index, time the last
 * entry's). */
void apply_begin(struct apply *apply, struct rows *rows, struct arena *arena, uint64_t index, uint64_t term,
                 uint64_t time_ms);

/* Answer the command or query being applied; or an earlier one that waits. data must live in the turn's arena
 * (or be static). */
void apply_answer(struct apply *apply, enum outcome outcome, const struct record *shape, const void *data);
void apply_answer_detail(struct apply *apply, enum outcome outcome, const struct record *shape,
                         const void *data, struct slice detail);
/* With `replayed`: it is the first answer to a request with the same Idempotency-Key. */
void apply_answer_again(struct apply *apply, enum outcome outcome, const struct record *shape,
                        const void *data, struct slice detail, bool replayed);
void apply_answer_to(struct apply *apply, uint64_t index, enum outcome outcome, const struct record *shape,
                     const void *data);
/* The command's answer comes with a later entry. */
void apply_waits(struct apply *apply);
void apply_lease_change(struct apply *apply, uint64_t lease, uint64_t ttl_ms, uint64_t generation);
void apply_renews(struct apply *apply, uint64_t lease);
/* With what the leader's memory of heartbeats is to know once it is renewed; `note` lives as long as the
 * arena. */
void apply_renews_noting(struct apply *apply, uint64_t lease, struct slice note);

/* Rows as records. get: false when absent; a row that does not decode ends the process. Slices point into the
 * arena (copied). */
bool row_get(struct apply *apply, struct slice key, const struct record *record, void *data);
void row_put(struct apply *apply, struct slice key, const struct record *record, const void *data);

/* Waits: the request of entry `index` waits for (primitive, what), e.g. a place in a lock's queue. */
void wait_register(struct apply *apply, uint64_t index, uint8_t primitive, struct slice what);
void wait_forget(struct apply *apply, uint64_t index); /* answered, or taken over */

/* Asks for a pulse entry soon: it calls the primitive's `pulse` with `what`, once, oldest first. Used where
 * one entry must not grant twice on the same object, since a token is the index of the entry that granted. */
void pulse_want(struct apply *apply, uint8_t primitive, struct slice what);

/* Asks for the primitive's `due` with (at_ms, what), in an entry stamped at_ms (ms since 1970) or later; in
 * the order of time, and never before. `what` is at most 490 bytes. The same again is the same. */
void due_set(struct apply *apply, uint64_t at_ms, uint8_t primitive, struct slice what);
void due_clear(struct apply *apply, uint64_t at_ms, uint8_t primitive, struct slice what); /* not any more */

#endif
