/* Watches: the streams of events that this node's clients read, and the requests of theirs that wait until
 * something changes. All of it on the node thread, from the rows of this node: events are of committed
 * entries, so any node may serve them, whether it leads or not.
 *
 * A live watcher gets the events of an entry as it is applied; the bytes are made once and shared by all who
 * get them. One that begins in the past, or that took its bytes too slowly, catches up from the history in
 * the rows, and becomes live when it has read all of it. What a watcher has not taken is bounded: by a window
 * each, and by a smaller one when all together have much under way.
 *
 * Invariants: 1. A watcher gets whole revisions, each once, in order. 2. Between an open that was answered
 * with a success and the parcel with `last`, its stream is known here. 3. A call that is kept is answered
 * exactly once. */
#ifndef COORDD_WATCH_H
#define COORDD_WATCH_H

#include "coord/apply.h"
#include "coord/event.h"
#include "coordd/held.h"
#include "coordd/pending.h"

enum {
    WATCH_HEARTBEAT_MS = 5000,
    WATCH_WINDOW = 256 * 1024,       /* unsent bytes of a watcher beyond which it waits */
    WATCH_NARROW_WINDOW = 16 * 1024, /* while all watchers together have more than the budget */
    WATCH_BUDGET = 64 * 1024 * 1024,
    WATCH_ALONE_MS = 10000, /* without a leader, until streams end: what they tell is old */
    WATCH_AHEAD_MS = 2000   /* how long a watch waits for a revision that this node has not reached */
};

struct watches;

struct watches *watches_new(struct pending *pending, const struct lease_clock *leases);
void watches_free(struct watches *watches);

/* What there is to see, as of now. Before any other call in a turn, and again whenever it changed. */
struct watches_view {
    struct rows *rows;
    uint64_t applied, term, time_ms; /* of the last entry applied */
    uint64_t now_ms;
    uint64_t unable_since_ms; /* no leader is known since then; 0: one is */
};
void watches_see(struct watches *watches, const struct watches_view *view);

/* A STREAM call: answered through pending now or soon; after a success its stream is fed. */
void watches_open(struct watches *watches, struct call *call);
/* Until when the session of the node is known to live, on which hangs what streams hold: past it they end as
 * lost. */
void watches_session(struct watches *watches, uint64_t until_ms);
/* What streams held that ended before it did, since the last call: a chain, for the caller to undo and free.
 */
struct held *watches_ended(struct watches *watches);
/* A QUERY was run and answered in `apply`. True: nothing has changed since what the client has seen, or its
 * condition does not hold yet, and the call is kept until that is otherwise or its wait is over. False: it is
 * to be answered with `answer`, the one of `apply` or that nothing has changed. */
bool watches_keep(struct watches *watches, struct call *call, struct apply *apply, struct answer *answer);
/* An entry was applied (also one without events). Its events are completed when somebody wants them. */
void watches_applied(struct watches *watches, struct arena *arena, uint64_t index, struct event *events);
/* The rows were exchanged for later ones. */
void watches_switched(struct watches *watches);

void watches_gone(struct watches *watches, uint64_t number);
void watches_credit(struct watches *watches, uint64_t number, uint64_t bytes);

/* A bounded piece of all that is to do: reading history, first states, waits that may be over, signs of life.
 */
void watches_turn(struct watches *watches);
/* Calls whose wait is over and that want a look at the newest state: a chain, each with last_look set. */
struct call *watches_due(struct watches *watches);
/* Hands what was made to the api threads; after pending_deliver. */
void watches_post(struct watches *watches);
uint64_t watches_next_ms(const struct watches *watches); /* UINT64_MAX: nothing to do by itself */
/* Ends every stream with a last event, and refuses every call that is kept. */
void watches_stop(struct watches *watches);

struct watches_counts {
    size_t streams, live, kept; /* now */
    uint64_t resets;            /* streams that ended because the history had been trimmed past them */
};
struct watches_counts watches_counts(const struct watches *watches);
void watches_check(const struct watches *watches);

#endif
