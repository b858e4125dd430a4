/* What the files of the watches share: watch.c (opening, ending, credit, signs of life), watch_topic.c (who
 * watches a path), watch_send.c (events to watchers), watch_catchup.c (from the history), watch_initial.c
 * (the present state), watch_poll.c (requests that wait for a change). */
#ifndef COORDD_WATCH_INTERNAL_H
#define COORDD_WATCH_INTERNAL_H

#include "api/mailbox.h"
#include "base/heap.h"
#include "base/map.h"
#include "coord/primitive/watch.h"
#include "coordd/watch.h"

enum { WATCH_SLOTS = 20 };

/* A ring of things; the head is one of it. */
struct link {
    struct link *previous, *next;
};

static inline void link_open(struct link *head)
{
    head->previous = head->next = head;
}
static inline void link_add(struct link *head, struct link *link)
{
    link->previous = head->previous;
    link->next = head;
    head->previous->next = link;
    head->previous = link;
}
static inline void link_remove(struct link *link)
{
    if (!link->next) return;
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->previous = link->next = NULL;
}
static inline bool link_is_empty(const struct link *head)
{
    return head->next == head;
}

/* --- who watches what (watch_topic.c) --- */

/* All who watch the same object, or the same beginning of paths, for the same types of events. */
struct topic {
    struct topic *next; /* with the same hash */
    struct link watchers, polls;
    uint64_t hash;
    bool prefix;
    size_t type_count;
    struct slice *types;
    struct slice path;
};

struct topics {
    struct map by_hash;                   /* chains */
    uint32_t lengths[EVENT_PATH_MAX + 1]; /* how many topics there are with a prefix of that length */
    uint16_t used[EVENT_PATH_MAX + 1];    /* those of which there are any, rising */
    size_t used_count, count;
};

struct topic *topics_hold(struct topics *topics, const struct watch_scope *scope, struct list types);
void topics_drop(struct topics *topics, struct topic *topic); /* frees it when nobody is left in it */
void topics_free(struct topics *topics);
/* Those that `path` belongs to, as an array in the arena. */
struct topic **topics_of(const struct topics *topics, struct slice path, struct arena *arena, size_t *count);
bool topic_wants(const struct topic *topic, const char *type);

/* --- watchers --- */

enum watcher_state {
    WATCHER_LIVE,    /* has all that was applied */
    WATCHER_WAITING, /* to catch up from `seen` */
    WATCHER_CONVOY,  /* catches up: has all up to `seen` or where the convoy is, whichever is later */
    WATCHER_BLOCKED, /* has too much unsent; has all up to `seen` */
    WATCHER_INITIAL, /* is being told the present state */
    WATCHER_STATES
};

struct initial;

struct watcher {
    struct link of_state, of_topic, of_slot, of_holders;
    struct topic *topic;
    struct stream *stream;
    struct api_loop *home;
    uint64_t number;
    enum watcher_state state;
    enum stream_form form;
    uint64_t seen;
    uint64_t told;     /* the newest revision that its client can resume from */
    uint64_t unsent;   /* bytes posted and not taken yet */
    uint64_t sequence; /* of the newest parcel for it */
    uint64_t sent_revision, matched_revision;
    size_t matched_last; /* of the events of matched_revision, the last one for it */
    struct initial *initial;
    struct held *held; /* what it holds as long as it is open; NULL: nothing */
    bool over;         /* that has ended */
};

/* The present state, told object by object (watch_initial.c). */
struct initial {
    struct watch_scope scope;
    size_t position; /* among the lists of objects */
    bool begun;      /* this list */
    uint64_t seen;   /* what was shown is as of this revision */
    /* How far this list was shown: the last name looked at, or its number when objects are ordered by one. */
    struct buffer cursor;
    uint64_t number;
};

/* --- calls that wait (watch_poll.c) --- */

struct interest {
    struct link of_topic;
    struct topic *topic;
    struct parked *parked;
};

struct parked {
    struct call *call; /* in whose arena this lies */
    struct link of_woken;
    struct timer deadline, revision;
    size_t interest_count;
    struct interest interests[];
};

struct watches {
    struct pending *pending;
    const struct lease_clock *leases;
    struct watches_view view;
    struct arena arena; /* one piece of work's */
    struct topics topics;
    struct map watchers; /* by number */
    struct link states[WATCHER_STATES];
    size_t state_counts[WATCHER_STATES];
    uint64_t convoy_at;
    struct link slots[WATCH_SLOTS]; /* each gets its sign of life at another time */
    unsigned slot;
    uint64_t slot_ms; /* when the next slot is due */
    struct parcel *parcels, **parcels_end;
    uint64_t sequence;
    struct chunk *bookmarks[STREAM_FORMS]; /* the newest one made, of the revision `bookmarked` */
    uint64_t bookmarked[STREAM_FORMS];
    struct map parked; /* by number */
    struct heap deadlines, revisions;
    struct link woken;
    struct call *due, **due_end;
    uint64_t resets;
    struct link holders, over; /* watchers that hold something; those of them for which that has ended */
    uint64_t session_until_ms;
    struct held *ended;
    bool stopped;
};

/* watch.c */
struct watcher *watcher_new(struct watches *watches, struct call *call, const struct watch_request *request);
void watcher_enter(struct watches *watches, struct watcher *watcher, enum watcher_state state);
void watcher_end(struct watches *watches, struct watcher *watcher, struct chunk *last);
void watcher_reset(struct watches *watches, struct watcher *watcher, uint64_t floor);
/* What a stream says of itself, for send_chunk; with one reference. */
struct chunk *watch_control(const char *type, uint64_t revision, bool resumable, const char *detail,
                            enum stream_form form);
bool watcher_has_room(const struct watcher *watcher);
/* Everything up to `revision` has been sent. */
void watcher_bookmark(struct watches *watches, struct watcher *watcher, uint64_t revision);

/* watch_send.c */
void send_chunk(struct watches *watches, struct watcher *watcher, struct chunk *chunk, bool last);
/* The events of one revision to all watchers in that state; `complete` when they still lack data. */
void send_revision(struct watches *watches, struct arena *arena, struct event *events,
                   enum watcher_state whom, bool complete);

/* watch_catchup.c */
void catchup_step(struct watches *watches);
bool catchup_has_work(const struct watches *watches);

/* watch_hold.c */
void holds_begin(struct watches *watches); /* streams whose first command was granted */
void holds_step(struct watches *watches);  /* those that are lost, or over */
bool hold_wants(const struct watcher *watcher, const struct event *event);
void hold_seen(struct watches *watches, struct watcher *watcher, const struct event *event);
void hold_let_go(struct watches *watches, struct watcher *watcher); /* it is about to be freed */

/* watch_initial.c */
struct initial *initial_new(const struct watch_scope *scope, uint64_t revision);
void initial_free(struct initial *initial);
void initial_step(struct watches *watches);

/* watch_poll.c */
void polls_wake(struct watches *watches, struct topic *topic);
void polls_reached(struct watches *watches); /* the view has moved on */
void polls_step(struct watches *watches);
void polls_ahead(struct watches *watches, struct call *call); /* a STREAM that waits for a revision */
void polls_gone(struct watches *watches, uint64_t number);
void polls_stop(struct watches *watches);

#endif
