/* Streams of events on their way from the node to clients: chunks of bytes, made once and shared by all who
 * get them; parcels, which take a chunk to many streams of one api thread; and what events look like. No h2o
 * here.
 *
 * Invariants: 1. A chunk does not change once it is in a parcel. 2. A stream whose call the node answered
 * with a success is the node's to feed until a parcel with `last` names it; then the node has forgotten it.
 */
#ifndef COORDD_API_STREAM_H
#define COORDD_API_STREAM_H

#include "base/slice.h"
#include "coord/event.h"

#include <stdatomic.h>

struct api_loop;
struct stream; /* the api's end of one (api/http_stream.c) */
struct parcel;

enum stream_form { STREAM_SSE, STREAM_NDJSON, STREAM_FORMS };

const char *stream_type(enum stream_form form); /* as a Content-Type */

struct chunk {
    _Atomic uint32_t references;
    uint32_t size;
    struct parcel *parcel; /* the node's: the newest one under way with it */
    uint8_t bytes[];
};

struct chunk *chunk_new(struct slice bytes); /* with one reference */
void chunk_hold(struct chunk *chunk);
void chunk_release(struct chunk *chunk);
uint64_t chunk_bytes_alive(void); /* of all chunks of this process */

struct parcel {
    struct parcel *next;
    struct api_loop *home;
    struct chunk *chunk; /* NULL: nothing but the end */
    uint64_t sequence;   /* the node's */
    bool last;           /* these streams end behind the chunk */
    size_t count, capacity;
    struct stream **streams;
};

struct parcel *parcel_new(struct api_loop *home, struct chunk *chunk, bool last); /* takes a reference */
void parcel_add(struct parcel *parcel, struct stream *stream);
void parcel_free(struct parcel *parcel);

/* One event:
 *     {"revision":913,"more":false,"type":"acquired","path":"/locks/deploy","time":"2026-...Z","data":{...}}
 * `more`: further ones of the same revision follow; whoever goes on since that revision would miss them. In
 * SSE the revision is the event's id, but not when there is more: so it is never the Last-Event-ID too early.
 */
void stream_event(const struct event *event, const char *type, bool more, enum stream_form form,
                  struct buffer *out);
/* What a stream says of itself: "bookmark" (everything up to that revision has been sent), "reset", "end" or
 * "lost" with a sentence why. `resumable`: in SSE the revision becomes the id. */
void stream_control(const char *type, uint64_t revision, bool resumable, struct slice detail,
                    enum stream_form form, struct buffer *out);
/* A sign of life: SSE has comments for it. In NDJSON it is a bookmark. */
void stream_heartbeat(uint64_t revision, enum stream_form form, struct buffer *out);

#endif
