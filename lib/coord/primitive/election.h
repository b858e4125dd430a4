/* Elections (api.md 4): what their files share. election.c: commands and table; election_queue.c: terms of
 * office and the queue of candidates; election_row.c: rows; election_view.c: queries, facts and events.
 *
 * One candidate leads; its term of office is a fencing token and ends by a resignation, a transfer, the end
 * of its lease, or an operator. The next in the queue follows in the same entry.
 *
 * Rows:
 *     KEY_ELECTION name            -> election_row
 *     KEY_CANDIDATE name 0 place   -> candidate_row: one that waits
 *     KEY_ELECTION_KEPT index name -> nothing (object.h)
 *
 * A place is 9 bytes: 255 - priority, index of the entry that queued. On leases hang (name 0 't') for the
 * term, (name 0 'c' place) for a candidate; waits are (name 0 'c' place).
 *
 * Invariants:
 *
 * 1. At most one leads. Its token is the index of the entry that elected it, and the highest of the election;
 *    so one entry elects at most once.
 * 2. While nobody leads nobody waits, unless a pulse is wanted.
 * 3. Nobody is elected out of the queue's order but by a transfer.
 * 4. The leader's lease exists and has the attachment; a candidate's lease (or session) likewise.
 * 5. A lease leads an election or waits for it, with one candidate. */
#ifndef COORDD_COORD_PRIMITIVE_ELECTION_H
#define COORDD_COORD_PRIMITIVE_ELECTION_H

#include "coord/event.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/object.h"

enum {
    ELECTION_CODE = 5,
    ELECTION_HISTORY = 16,
    ELECTION_CANDIDATES_MAX = 10000,
    ELECTION_KEPT_MAX = 10000,
    ELECTION_VALUE_MAX = 4096,
    ELECTION_PRIORITY_MAX = 255
};

struct term {
    uint64_t token, lease, since_ms;
    struct slice candidate, value;
};

struct term_past {
    uint64_t token, since_ms, ended_ms, reason;
    struct slice candidate, detail;
};

struct election_row {
    const struct term *leader; /* NULL: nobody leads */
    uint64_t candidates;       /* that wait */
    uint64_t token;            /* the highest ever */
    uint64_t revision;         /* index of the last change */
    bool pulse;                /* a pulse is wanted */
    struct list history;       /* struct term_past, newest first */
};

/* What a request asks for; also what a candidate row keeps. */
struct candidacy {
    struct slice candidate, value;
    uint64_t priority;
    uint64_t lease, ttl_ms; /* lease 0: its own, of that TTL, when it is elected */
    uint64_t since_ms;      /* entry time of its arrival */
    uint64_t arrived;       /* index of its arrival: its place */
    uint64_t answer_index;  /* the entry whose request is answered; 0: nobody listens */
    uint64_t origin;        /* session on which a wait without a lease hangs */
};

/* An election in the hands of one entry: loaded, changed, saved. */
struct election {
    struct apply *apply;
    struct slice name;
    struct election_row row;
    bool exists;  /* has a row */
    bool changed; /* and must be saved */
};

/* election_row.c */
void election_load(struct election *election, struct apply *apply, struct slice name);
void election_save(struct election *election); /* when it changed: the revision becomes the entry's index */
/* In order of the queue; `place` is where to go on, empty at first, and becomes the found one's. */
bool election_next(struct election *election, struct slice *place, struct candidacy *candidacy);
bool election_at(struct election *election, struct slice place, struct candidacy *candidacy);
void election_put(struct election *election, const struct candidacy *candidacy);
void election_delete(struct election *election, const struct candidacy *candidacy);
struct slice election_place(struct apply *apply, const struct candidacy *candidacy);
bool election_awaited_by(struct election *election, uint64_t lease, struct candidacy *candidacy);
void election_check(struct rows *rows, struct arena *arena);

/* election_queue.c */
bool election_has_elected(const struct election *election); /* in this entry: it cannot again */
/* Begins a term and answers the candidacy's request. */
void election_elect(struct election *election, const struct candidacy *candidacy);
void election_end_term(struct election *election, enum end_reason reason, struct slice detail);
void election_enqueue(struct election *election, const struct candidacy *candidacy);
void election_dequeue(struct election *election, const struct candidacy *candidacy);
void election_advance(struct election *election); /* nobody leads: the first in the queue does, if it can */
void election_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason);
void election_wait_ended(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason);
void election_pulse(struct apply *apply, struct slice what);

/* election_view.c */
enum election_event { ELECTION_ELECTED = 1, ELECTION_PROCLAIMED, ELECTION_ENDED, ELECTION_EVENTS = 3 };
extern const struct event_kind election_events[ELECTION_EVENTS];
extern const char *const election_reason_choices[]; /* of enum end_reason, as elections call them */
struct election_name_args {
    struct slice name;
};
struct election_token_args {
    struct slice name;
    uint64_t token;
};
extern const struct record election_name_record, election_token_record, election_list_args_record;
extern const struct record election_held_record, election_term_record, election_view_record,
    election_list_record, election_check_record;
const void *election_facts(struct election *election, uint64_t position); /* of election_held_record */
const void *election_term(struct election *election, uint64_t waited_ms); /* of election_term_record */
/* Tells of the leader's term: `past` when it has ended, else NULL. */
void election_tell(struct election *election, enum election_event event, const struct term_past *past);
void election_get(struct apply *apply, const void *args);
void election_list(struct apply *apply, const void *args);
void election_check_token(struct apply *apply, const void *args);
struct slice election_path(struct apply *apply, struct slice what);
uint64_t election_waiters(struct apply *apply, struct slice what);

extern const struct primitive election_primitive;

#endif
