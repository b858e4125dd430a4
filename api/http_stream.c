/* Streams on their way out. The node sends chunks in parcels; each stream has a queue of them, and h2o has
 * one write of it under way at a time. The node bounds the queue: it sends no more than the credit that it
 * gets back for what was taken.
 *
 * A stream outlives its request when the client goes away: it is freed when the node has let go of it too. */
#include "api/http.h"

#include "base/check.h"
#include "base/memory.h"

#include <malloc.h>

enum { PIECES_PER_SEND = 16, CREDIT_BYTES = 16 * 1024, CREDIT_BYTES_AT_REST = 4 * 1024, CROWD = 1024 };

struct stream {
    h2o_generator_t generator; /* first: h2o hands it back */
    struct loop *loop;
    struct request *request; /* NULL: the client is gone */
    uint64_t number;         /* of its call: its name in notices */
    enum stream_form form;
    bool answered; /* the node has said that it begins */
    bool started;  /* the head is sent */
    bool last;     /* the node has let go of it: what is queued is all */
    bool closing;  /* the client closed its side: nothing more is sent */
    struct chunk **queue;
    size_t first, count, capacity, in_flight;
    uint64_t uncredited;
};

static void notify(const struct stream *stream, enum notice_kind kind, uint64_t bytes)
{
    struct notice *notice = memory_new(sizeof *notice);
    *notice = (struct notice){.kind = kind, .number = stream->number, .bytes = bytes};
    mailbox_notify(stream->loop->api->mailbox, notice);
}

/* --- life --- */

struct stream *stream_new(struct loop *loop, uint64_t number, enum stream_form form)
{
    struct stream *stream = memory_new(sizeof *stream);
    stream->loop = loop;
    stream->number = number;
    stream->form = form;
    loop->stream_count++;
    if (loop->stream_count > loop->streams_high) loop->streams_high = loop->stream_count;
    metric_set(&loop->metrics->streams, loop->stream_count);
    return stream;
}

static void drop_pieces(struct stream *stream, size_t count)
{
    for (size_t i = 0; i < count; i++) chunk_release(stream->queue[stream->first + i]);
    stream->first += count;
    stream->count -= count;
    if (stream->count) return;
    stream->first = stream->capacity = 0;
    free(stream->queue);
    stream->queue = NULL;
}

/* The allocator keeps what a crowd has left: it is told to give it back, a few times while a crowd goes. */
static void trim_memory(struct loop *loop)
{
    if (loop->streams_high < CROWD || loop->stream_count > loop->streams_high / 2) return;
    loop->streams_high = loop->stream_count;
    malloc_trim(0);
}

void stream_free(struct stream *stream)
{
    struct loop *loop = stream->loop;
    drop_pieces(stream, stream->count);
    free(stream);
    loop->stream_count--;
    metric_set(&loop->metrics->streams, loop->stream_count);
    trim_memory(loop);
}

/* --- out --- */

static void give_credit(struct stream *stream)
{
    uint64_t enough = stream->count ? CREDIT_BYTES : CREDIT_BYTES_AT_REST;
    if (stream->last || stream->uncredited < enough) return;
    notify(stream, NOTICE_CREDIT, stream->uncredited);
    stream->uncredited = 0;
}

static void start(struct stream *stream)
{
    struct reply reply = {.status = 200, .type = stream_type(stream->form)};
    stream->started = true;
    send_head(stream->loop, stream->request->req, &reply, &stream->generator);
}

/* What can be sent now. With FINAL, h2o ends the request: then it calls on_dispose, and nothing else. */
static void pump(struct stream *stream)
{
    h2o_iovec_t pieces[PIECES_PER_SEND];
    size_t count = stream->closing ? 0 : stream->count, size = 0;
    bool final = stream->closing || (stream->last && count <= PIECES_PER_SEND);
    if (!stream->answered || stream->in_flight || (!count && !final)) return;
    h2o_req_t *req = stream->request->req;
    if (count > PIECES_PER_SEND) count = PIECES_PER_SEND;
    for (size_t i = 0; i < count; i++) {
        struct chunk *chunk = stream->queue[stream->first + i];
        pieces[i] = h2o_iovec_init(chunk->bytes, chunk->size);
        size += chunk->size;
    }
    if (!stream->started) start(stream);
    if (final && stream->loop->draining) req->http1_is_persistent = 0;
    stream->in_flight = count ? count : 1;
    metric_add(&stream->loop->metrics->body_bytes_out, size);
    h2o_send(req, pieces, count, final ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct stream *stream = (struct stream *)generator;
    (void)req;
    for (size_t i = 0; i < stream->in_flight; i++)
        stream->uncredited += stream->queue[stream->first + i]->size;
    drop_pieces(stream, stream->in_flight);
    stream->in_flight = 0;
    give_credit(stream);
    pump(stream);
}

static void push(struct stream *stream, struct chunk *chunk)
{
    if (stream->first + stream->count == stream->capacity) {
        if (stream->first) {
            memmove(stream->queue, stream->queue + stream->first, stream->count * sizeof(struct chunk *));
            stream->first = 0;
        }
        if (stream->count == stream->capacity) {
            stream->capacity = stream->capacity ? stream->capacity * 2 : 2;
            stream->queue = memory_resize(stream->queue, stream->capacity * sizeof(struct chunk *));
        }
    }
    chunk_hold(chunk);
    stream->queue[stream->first + stream->count++] = chunk;
}

static void take(struct stream *stream, struct chunk *chunk, bool last)
{
    stream->last |= last;
    if (!stream->request) {
        if (last) stream_free(stream);
        return;
    }
    if (chunk) push(stream, chunk);
    pump(stream);
}

void stream_take(struct loop *loop, struct parcel *parcels)
{
    (void)loop;
    for (struct parcel *parcel = parcels, *next; parcel; parcel = next) {
        next = parcel->next;
        for (size_t i = 0; i < parcel->count; i++) take(parcel->streams[i], parcel->chunk, parcel->last);
        parcel_free(parcel);
    }
}

/* --- what happens to its request --- */

void stream_begin(struct stream *stream, struct request *request)
{
    stream->generator = (h2o_generator_t){on_proceed, NULL};
    stream->request = request;
    stream->answered = true;
    pump(stream);
}

/* The node has begun to feed it, or will, and nobody is there. */
void stream_lost(struct stream *stream)
{
    stream->request = NULL;
    drop_pieces(stream, stream->count);
    if (stream->last)
        stream_free(stream);
    else
        notify(stream, NOTICE_GONE, 0);
}

void stream_close(struct stream *stream)
{
    stream->request->req->http1_is_persistent = 0;
    stream->closing = true;
    pump(stream);
}
