#include "coord/event.h"

#include "base/check.h"
#include "coord/key.h"

/* Whenever so many bytes have come, as many may go: no row is smaller than TRIM_BYTES_A_ROW. One entry trims
 * TRIM_MOST bytes and a row at most: what one large change made too much goes by and by. */
enum { TRIM_BYTES = 4096, TRIM_BYTES_A_ROW = 8, TRIM_MOST = 16 * 1024 * 1024, ROW_BYTES = 256 * 1024 };

struct row {
    uint64_t index, part, total, before, time_ms;
    struct slice events; /* in the rows: until the next put or delete */
};

static struct key event_key(uint64_t index, uint64_t part)
{
    struct key key = key_of(KEY_EVENT);
    key_number(&key, index);
    key_number(&key, part);
    return key;
}

static void damaged(void)
{
    fatal("the state is damaged: a row of the history cannot be read; restore this node from the others");
}

static bool read_row(struct slice key, struct slice value, struct row *row)
{
    if (key.data[0] != KEY_EVENT) return false;
    key = slice_skip(key, 1);
    CHECK(take_u64be(&key, &row->index) && take_u64be(&key, &row->part));
    row->events = value;
    if (!take_varint(&row->events, &row->total) || !take_varint(&row->events, &row->before) ||
        !take_varint(&row->events, &row->time_ms))
        damaged();
    return true;
}

/* The row at (index, part) or after it. */
static bool row_from(struct rows *rows, uint64_t index, uint64_t part, struct row *row)
{
    struct key from = event_key(index, part);
    struct slice key, value;
    return rows_seek(rows, key_slice(&from), &key, &value) && read_row(key, value, row);
}

static bool newest_row(struct rows *rows, struct row *row)
{
    struct key end = event_key(UINT64_MAX, UINT64_MAX);
    struct slice key, value;
    return rows_seek_back(rows, key_slice(&end), &key, &value) && read_row(key, value, row);
}

/* --- telling --- */

void event_add(struct apply *apply, const struct primitive *primitive, uint8_t kind, struct slice path,
               const void *data, uint64_t extra_bytes)
{
    const struct event_kind *told = NULL;
    for (size_t i = 0; i < primitive->event_count; i++)
        if (primitive->events[i].code == kind) told = &primitive->events[i];
    CHECK(told && path.size && path.size <= EVENT_PATH_MAX);
    struct event *event = arena_alloc(apply->arena, sizeof *event);
    *event = (struct event){.revision = apply->index,
                            .time_ms = apply->time_ms,
                            .primitive = primitive,
                            .kind = told,
                            .path = arena_copy(apply->arena, path),
                            .shape = told->kept,
                            .data = data,
                            .extra_bytes = extra_bytes};
    *apply->events_end = event;
    apply->events_end = &event->next;
}

static void encode(const struct event *event, struct buffer *record, struct buffer *out)
{
    record->size = 0;
    record_encode(event->kind->kept, event->data, record);
    buffer_add_byte(out, event->primitive->code);
    buffer_add_byte(out, event->kind->code);
    buffer_add_varint(out, event->path.size);
    buffer_add_slice(out, event->path);
    buffer_add_varint(out, record->size);
    buffer_add_slice(out, buffer_slice(record));
}

/* --- reading --- */

static struct event *decode_one(struct arena *arena, struct slice *from)
{
    struct event *event = arena_alloc(arena, sizeof *event);
    struct slice codes, record;
    uint64_t size;
    if (!take_bytes(from, 2, &codes) || !take_varint(from, &size) || !take_bytes(from, size, &event->path) ||
        !take_varint(from, &size) || !take_bytes(from, size, &record))
        damaged();
    event->primitive = primitive_by_code(codes.data[0]);
    for (size_t i = 0; event->primitive && i < event->primitive->event_count; i++)
        if (event->primitive->events[i].code == codes.data[1]) event->kind = &event->primitive->events[i];
    if (!event->kind) damaged();
    void *data = arena_alloc(arena, event->kind->kept->size);
    if (!record_decode(event->kind->kept, data, record, arena)) damaged();
    event->shape = event->kind->kept;
    event->data = data;
    return event;
}

static struct event **decode(struct arena *arena, const struct row *row, struct event **end)
{
    struct slice from = arena_copy(arena, row->events);
    while (from.size) {
        struct event *event = decode_one(arena, &from);
        event->revision = row->index;
        event->time_ms = row->time_ms;
        *end = event;
        end = &event->next;
    }
    return end;
}

void events_complete(struct rows *rows, struct arena *arena, struct event *events)
{
    for (struct event *event = events; event; event = event->next)
        if (event->primitive->event_read) event->primitive->event_read(rows, arena, event);
}

struct event *events_next(struct rows *rows, struct arena *arena, uint64_t after)
{
    struct row row;
    struct event *events = NULL, **end = &events;
    if (after == UINT64_MAX || !row_from(rows, after + 1, 0, &row)) return NULL;
    for (uint64_t index = row.index; row.index == index;) {
        end = decode(arena, &row, end);
        if (!row_from(rows, index, row.part + 1, &row)) break;
    }
    events_complete(rows, arena, events);
    return events;
}

uint64_t events_floor(struct rows *rows)
{
    struct row row;
    return row_from(rows, 0, 0, &row) ? row.before : 0;
}

/* --- keeping --- */

/* Most kinds of events leave nothing to clear away: those are not decoded. */
static bool leaves_something(struct slice events)
{
    struct slice codes, skipped;
    uint64_t size;
    while (events.size) {
        if (!take_bytes(&events, 2, &codes) || !take_varint(&events, &size) ||
            !take_bytes(&events, size, &skipped) || !take_varint(&events, &size) ||
            !take_bytes(&events, size, &skipped))
            damaged();
        const struct primitive *primitive = primitive_by_code(codes.data[0]);
        if (primitive && primitive->event_gone) return true;
    }
    return false;
}

static void trim(struct apply *apply, uint64_t total, uint64_t rows_max)
{
    struct row row;
    uint64_t first_total = 0;
    while (rows_max-- && row_from(apply->rows, 0, 0, &row)) {
        if (row.index == apply->index || total - row.total <= EVENT_BYTES_KEPT) return;
        if (!first_total) first_total = row.total;
        if (row.total - first_total > TRIM_MOST) return;
        struct event *events = NULL;
        if (leaves_something(row.events)) decode(apply->arena, &row, &events);
        struct key key = event_key(row.index, row.part);
        rows_delete(apply->rows, key_slice(&key));
        for (struct event *event = events; event; event = event->next)
            if (event->primitive->event_gone) event->primitive->event_gone(apply, event);
    }
}

static void put_row(struct apply *apply, const struct row *row, struct slice events)
{
    struct key key = event_key(row->index, row->part);
    struct buffer value = {0};
    buffer_add_varint(&value, row->total);
    buffer_add_varint(&value, row->before);
    buffer_add_varint(&value, row->time_ms);
    buffer_add_slice(&value, events);
    rows_put(apply->rows, key_slice(&key), buffer_slice(&value));
    buffer_free(&value);
}

void events_keep(struct apply *apply)
{
    if (!apply->events) return;
    struct row row, newest = {0};
    struct buffer events = {0}, record = {0};
    uint64_t extra_bytes = 0;
    newest_row(apply->rows, &newest);
    row = (struct row){
        .index = apply->index, .total = newest.total, .before = newest.index, .time_ms = apply->time_ms};
    for (const struct event *event = apply->events; event; event = event->next) {
        size_t before = events.size;
        encode(event, &record, &events);
        row.total += events.size - before + event->extra_bytes;
        extra_bytes += event->extra_bytes;
        if (event->next && events.size + extra_bytes < ROW_BYTES) continue;
        put_row(apply, &row, buffer_slice(&events));
        row.part++;
        row.before = apply->index; /* whoever lacks a part lacks the entry */
        events.size = 0;
        extra_bytes = 0;
    }
    buffer_free(&events);
    buffer_free(&record);
    uint64_t due = row.total / TRIM_BYTES - newest.total / TRIM_BYTES;
    if (due) trim(apply, row.total, due * (TRIM_BYTES / TRIM_BYTES_A_ROW));
}

void events_check(struct rows *rows, struct arena *arena)
{
    struct row row, last = {0};
    bool first = true;
    while (row_from(rows, last.index, first ? 0 : last.part + 1, &row)) {
        CHECK(row.total > last.total && row.before <= row.index);
        if (!first) CHECK(row.before == last.index && (row.index > last.index || row.part == last.part + 1));
        struct event *events = NULL;
        decode(arena, &row, &events);
        CHECK(events);
        last = row;
        first = false;
    }
}
