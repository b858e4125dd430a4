/* The history: what happened to which object, in the order of the log, kept for watches until it is trimmed
 * by size. One row an entry, or a few when it told much (KEY_EVENT, entry index, part):
 *
 *     varint  total   bytes of all events ever told up to and with this row
 *     varint  before  index of the row before; 0: it was the first
 *     varint  time    ms since 1970
 *     for each event: primitive code (1 byte), kind code (1 byte), varint size + path, varint size + record
 *
 * Invariants: 1. `total` rises from row to row, `before` never falls; what is kept is always the newest part,
 * at least the newest entry's once there was any. 2. An object's path: "/locks/deploy", "/kv/" and the key's
 * bytes. Names and keys stand in it as they are. */
#ifndef COORDD_COORD_EVENT_H
#define COORDD_COORD_EVENT_H

#include "coord/apply.h"

#ifndef EVENT_BYTES_KEPT
#define EVENT_BYTES_KEPT (64u * 1024 * 1024) /* the simulator's lives are short: it keeps less */
#endif

enum { EVENT_PATH_MAX = 500 };

struct event_kind {
    uint8_t code;
    const char *name;          /* "acquired" */
    const struct record *kept; /* what its row holds */
    const struct record
        *shape; /* of its data for clients; NULL: as kept. The primitive's event_read makes it */
};

struct event {
    struct event *next; /* of the same entry */
    uint64_t revision;  /* index of its entry */
    uint64_t time_ms;
    const struct primitive *primitive;
    const struct event_kind *kind;
    struct slice path;
    const struct record *shape; /* of data */
    const void *data;
    uint64_t extra_bytes; /* kept elsewhere for its sake (a value), for the size of the history */
};

/* Tells that something happened in this entry. `data` is a struct of the kind's `kept` and must live as long
 * as the arena; the path is copied. `extra_bytes`: what is kept elsewhere as long as the event is. */
void event_add(struct apply *apply, const struct primitive *primitive, uint8_t kind, struct slice path,
               const void *data, uint64_t extra_bytes);

/* Writes the entry's events into their row, and trims the history. Called once an entry, by coord_apply. */
void events_keep(struct apply *apply);

/* The events of the first entry after `after` that has any, as a chain; NULL: there is none. Complete
 * (event_read), in the arena. */
struct event *events_next(struct rows *rows, struct arena *arena, uint64_t after);
/* Completes events that an apply has just told, so that they can be shown as events_next would. */
void events_complete(struct rows *rows, struct arena *arena, struct event *events);
/* The revision after which nothing is missing: who has seen all up to it, or later, can go on without a gap.
 */
uint64_t events_floor(struct rows *rows);
void events_check(struct rows *rows, struct arena *arena);

#endif
