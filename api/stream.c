#include "api/stream.h"

#include "base/check.h"
#include "base/memory.h"

/* --- chunks --- */

static _Atomic uint64_t bytes_alive;

struct chunk *chunk_new(struct slice bytes)
{
    CHECK(bytes.size <= UINT32_MAX);
    struct chunk *chunk = memory_new(sizeof *chunk + bytes.size);
    atomic_init(&chunk->references, 1);
    chunk->size = (uint32_t)bytes.size;
    memcpy(chunk->bytes, bytes.data, bytes.size);
    atomic_fetch_add_explicit(&bytes_alive, bytes.size, memory_order_relaxed);
    return chunk;
}

void chunk_hold(struct chunk *chunk)
{
    atomic_fetch_add_explicit(&chunk->references, 1, memory_order_relaxed);
}

void chunk_release(struct chunk *chunk)
{
    if (atomic_fetch_sub_explicit(&chunk->references, 1, memory_order_acq_rel) != 1) return;
    atomic_fetch_sub_explicit(&bytes_alive, chunk->size, memory_order_relaxed);
    free(chunk);
}

uint64_t chunk_bytes_alive(void)
{
    return atomic_load_explicit(&bytes_alive, memory_order_relaxed);
}

/* --- parcels --- */

struct parcel *parcel_new(struct api_loop *home, struct chunk *chunk, bool last)
{
    struct parcel *parcel = memory_new(sizeof *parcel);
    parcel->home = home;
    parcel->chunk = chunk;
    parcel->last = last;
    if (chunk) chunk_hold(chunk);
    return parcel;
}

void parcel_add(struct parcel *parcel, struct stream *stream)
{
    if (parcel->count == parcel->capacity) {
        parcel->capacity = parcel->capacity ? parcel->capacity * 2 : 1;
        parcel->streams = memory_resize(parcel->streams, parcel->capacity * sizeof(struct stream *));
    }
    parcel->streams[parcel->count++] = stream;
}

void parcel_free(struct parcel *parcel)
{
    if (parcel->chunk) chunk_release(parcel->chunk);
    free(parcel->streams);
    free(parcel);
}

/* --- what clients read --- */

const char *stream_type(enum stream_form form)
{
    return form == STREAM_SSE ? "text/event-stream" : "application/x-ndjson";
}

static void open_message(enum stream_form form, const char *name, uint64_t revision, bool has_id,
                         struct buffer *out)
{
    if (form != STREAM_SSE) return;
    if (name) {
        buffer_add_text(out, "event: ");
        buffer_add_text(out, name);
        buffer_add_byte(out, '\n');
    }
    if (has_id) {
        buffer_add_text(out, "id: ");
        buffer_add_decimal(out, revision);
        buffer_add_byte(out, '\n');
    }
    buffer_add_text(out, "data: ");
}

static void close_message(enum stream_form form, struct buffer *out)
{
    buffer_add_text(out, form == STREAM_SSE ? "\n\n" : "\n");
}

static void path_member(struct json *json, struct slice path)
{
    static const struct field fields[] = {{.number = 1, .type = FIELD_BYTES, .name = "path"}};
    static const struct record record = {"path", sizeof(struct slice), fields, 1};
    record_json_members(&record, &path, json);
}

void stream_event(const struct event *event, const char *type, bool more, enum stream_form form,
                  struct buffer *out)
{
    struct json json = {out, false};
    open_message(form, NULL, event->revision, !more, out);
    json_open(&json, '{');
    json_key(&json, "revision");
    json_uint(&json, event->revision);
    json_key(&json, "more");
    json_bool(&json, more);
    json_key(&json, "type");
    json_text(&json, slice_text(type));
    path_member(&json, event->path);
    json_key(&json, "time");
    json_time(&json, event->time_ms);
    json_key(&json, "data");
    if (event->shape)
        record_json(event->shape, event->data, &json);
    else
        json_null(&json);
    json_close(&json, '}');
    close_message(form, out);
}

void stream_control(const char *type, uint64_t revision, bool resumable, struct slice detail,
                    enum stream_form form, struct buffer *out)
{
    struct json json = {out, false};
    open_message(form, type, revision, resumable, out);
    json_open(&json, '{');
    json_key(&json, "revision");
    json_uint(&json, revision);
    json_key(&json, "more");
    json_bool(&json, !resumable);
    json_key(&json, "type");
    json_text(&json, slice_text(type));
    if (detail.size) {
        json_key(&json, "detail");
        json_text(&json, detail);
    }
    json_close(&json, '}');
    close_message(form, out);
}

void stream_heartbeat(uint64_t revision, enum stream_form form, struct buffer *out)
{
    if (form == STREAM_SSE)
        buffer_add_text(out, ": heartbeat\n\n");
    else
        stream_control("bookmark", revision, true, (struct slice){0}, form, out);
}
