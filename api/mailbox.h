/* The two mailboxes between the api threads (HTTP) and the node thread: all that they share. A third,
 * read-only window shows the api threads what answers carry in their headers and what the health pages say.
 *
 * A call is one request on its way to the node and back. Whoever holds it owns it and its arena: the api
 * until mailbox_submit, then the node until mailbox_deliver, then the api again, which frees it. */
#ifndef COORDD_API_MAILBOX_H
#define COORDD_API_MAILBOX_H

#include "api/stream.h"
#include "coord/operation.h"

struct api_loop; /* an api thread (api/http.c) */

struct call {
    struct call *next;
    struct arena arena; /* args and result live here */
    /* request */
    const struct operation *operation;
    void *args;
    const void *guard;   /* COMMAND: struct guarded_args around operation and args; NULL: it goes as it is */
    uint64_t arrived_ms; /* CLOCK_BOOTTIME when the api thread read it */
    uint64_t wait_ms;    /* OPERATION_WAITS: how long its answer may take beyond the commit; 0: do not wait */
    uint64_t number;     /* unique in this process, from 1: names the call in a notice */
    bool stale;          /* QUERY: answer from local state at once */
    uint64_t min_revision; /* QUERY: not before this node has applied it; 0: none */
    bool since_given;      /* QUERY with an object: unless something has changed since, wait or answer
                              UNCHANGED. STREAM: events after it */
    uint64_t since;
    struct stream *stream; /* STREAM: the api's end of it, the node's to feed after a success */
    enum stream_form form;
    /* answer */
    enum outcome outcome;
    const struct record *shape; /* of result, NULL: none */
    const void *result;
    struct slice detail;
    bool replayed;     /* of an earlier request with the same Idempotency-Key */
    uint64_t revision; /* index of the entry that answered, or of the state that was read */
    uint64_t age_ms;   /* stale reads: since this node last knew itself up to date */
    /* the node's */
    uint64_t index;         /* of its entry, once proposed and known */
    bool last_look;         /* its wait is over: what is found now is the answer */
    struct call_hold *hold; /* STREAM that is to hold something: coordd/held.h; NULL: none */
    /* the api's */
    struct api_loop *home;
    void *request;
};

enum notice_kind {
    NOTICE_GONE = 1,    /* the client of call `number` went away: drop its wait, end its stream */
    NOTICE_UNDELIVERED, /* its answer came too late: `call` comes back, the node undoes the grant if its
                           operation has an undo, and frees it */
    NOTICE_BARRIER, /* answer to mailbox_ask_barrier: everything the api thread could read before it was asked
                       has been submitted */
    NOTICE_STOP,    /* a signal asks for the end */
    NOTICE_CREDIT,  /* the client of stream `number` has taken so many bytes more */
};

struct notice {
    struct notice *next;
    enum notice_kind kind;
    uint64_t number; /* GONE, CREDIT: of the call; BARRIER: the one asked */
    uint64_t bytes;  /* CREDIT */
    struct call *call;
};

struct call *call_new(void); /* zeroed, with its number */
void call_free(struct call *call);

struct mailbox;
struct mailbox *mailbox_new(void);
void mailbox_free(struct mailbox *mailbox);

/* api -> node. Lists are chains by next; the node is woken once. Calls keep their order. */
void mailbox_submit(struct mailbox *mailbox, struct call *calls);
void mailbox_notify(struct mailbox *mailbox,
                    struct notice *notice); /* allocated with malloc; the taker frees it */

/* node: takes all there is, without waiting. */
struct mail {
    struct call *calls;
    struct notice *notices;
};
struct mail mailbox_take(struct mailbox *mailbox);
/* Readable when there may be something to take; stays so until it is taken. */
int mailbox_descriptor(const struct mailbox *mailbox);

/* node -> api (api/http.c): answered calls, each to its home; every api thread is woken at most once. */
void mailbox_deliver(struct call *calls);
/* Parcels for streams, each to its home, in order; a stream's call must have been delivered before. */
void mailbox_post(struct parcel *parcels);
/* Asks every api thread for a barrier notice with this number, sent after a full pass over its readable
 * sockets that began after the asking. */
void mailbox_ask_barrier(struct mailbox *mailbox, uint64_t number);
/* How many barrier notices one asking brings: the number of api threads. */
size_t mailbox_barrier_count(const struct mailbox *mailbox);

/* The window: written by the node thread once a turn when it changed, read by the api threads. */
enum node_phase { NODE_STARTING, NODE_RUNNING, NODE_STOPPING };
struct node_view {
    enum node_phase phase;
    uint64_t cluster; /* 0: it belongs to none yet */
    const char *role; /* "leader", "follower", "candidate", "learner", "observer" */
    char leader[64];  /* its name, "" unknown */
    uint64_t term, commit, applied, last_index, first_index;
    uint64_t leases, locks_held, waiters; /* gauges */
    uint64_t log_bytes, state_rows_dirty;
    uint64_t syncs, entries_saved, batches, snapshots; /* counters */
    uint64_t expired_leases, renewals, offices;        /* counters */
    uint64_t heartbeats;                               /* counter: of members, taken as leader */
    uint64_t watches, watches_behind, requests_kept;   /* gauges of this node's clients */
    uint64_t watches_reset;                            /* counter */
    bool ready;                                        /* can serve linearizable requests */
    bool storage_full;
    uint64_t turn_ms; /* CLOCK_BOOTTIME of the newest turn's start; refreshed at least once a second */
    struct lock_metrics *locks;         /* (api/lock_metrics.h) outlives node and api; NULL: not counted */
    struct queue_metrics *queues;       /* (api/queue_metrics.h) the same */
    struct group_metrics *groups;       /* (api/group_metrics.h) the same */
    struct schedule_metrics *schedules; /* (api/schedule_metrics.h) the same */
};
void mailbox_show(struct mailbox *mailbox, const struct node_view *view);
struct node_view mailbox_view(struct mailbox *mailbox);

/* CLOCK_BOOTTIME in ms. */
uint64_t boottime_ms(void);

#endif
