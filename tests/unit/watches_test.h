/* A world for the watches alone: things that are told of and listed, streams that keep what comes, no node.
 */
#ifndef COORDD_TESTS_WATCHES_TEST_H
#define COORDD_TESTS_WATCHES_TEST_H

#include "coordd/watch.h"

#include "base/memory.h"
#include "coord/coord.h"
#include "coord/primitive/watch.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

/* --- a primitive of things that are told of, and of which there is a row each --- */

struct thing {
    struct slice name;
    uint64_t number, revision;
};
static const struct field thing_fields[] = {
    {.number = 1, .type = FIELD_NAME, .offset = offsetof(struct thing, name), .name = "name"},
    {.number = 2, .type = FIELD_UINT, .offset = offsetof(struct thing, number), .name = "number"},
    {.number = 3, .type = FIELD_UINT, .offset = offsetof(struct thing, revision), .name = "revision"},
};
static const struct record thing_record = RECORD("thing", thing, thing_fields);
static const struct event_kind kinds[] = {{1, "made", &thing_record, NULL}, {2, "gone", &thing_record, NULL}};

enum { KIND_MADE = 1, KIND_GONE, KEY_THING = 'T' };

struct list_args {
    struct slice prefix, cursor;
    uint64_t limit;
};
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_TEXT, .offset = offsetof(struct list_args, prefix), .name = "prefix"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct list_args, limit),
     .name = "limit",
     .max = 100},
    {.number = 3, .type = FIELD_TEXT, .offset = offsetof(struct list_args, cursor), .name = "cursor"},
};
static const struct record list_args_record = RECORD("list_args", list_args, list_args_fields);
struct list_result {
    struct list things;
    struct slice cursor;
};
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .offset = offsetof(struct list_result, things),
     .name = "things",
     .record = &thing_record},
    {.number = 2, .type = FIELD_TEXT, .offset = offsetof(struct list_result, cursor), .name = "cursor"},
};
static const struct record list_record = RECORD("things", list_result, list_fields);

static inline struct slice thing_key(struct arena *arena, struct slice name)
{
    return arena_printf(arena, "%c%.*s", KEY_THING, SLICE_ARGS(name));
}

static inline void get(struct apply *apply, const void *arguments)
{
    const struct thing *args = arguments;
    struct thing *found = arena_alloc(apply->arena, sizeof *found);
    if (row_get(apply, thing_key(apply->arena, args->name), &thing_record, found))
        apply_answer(apply, OUTCOME_OK, &thing_record, found);
    else
        apply_answer(apply, OUTCOME_KEY_NOT_FOUND, NULL, NULL);
}

/* Looks at three rows at most, so that pages end between things. */
static inline void list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct thing *things = arena_alloc(apply->arena, 3 * sizeof *things);
    struct slice key, value, from = args->prefix;
    result->things.items = things;
    if (args->cursor.size) from = arena_printf(apply->arena, "%.*s!", SLICE_ARGS(args->cursor));
    from = thing_key(apply->arena, from);
    while (rows_seek(apply->rows, from, &key, &value) && key.data[0] == KEY_THING &&
           slice_starts_with(slice_skip(key, 1), args->prefix)) {
        if (result->things.count == 3) {
            result->cursor = things[2].name;
            break;
        }
        key = arena_copy(apply->arena, key);
        things[result->things.count++].name = slice_skip(key, 1);
        from = arena_printf(apply->arena, "%.*s!", SLICE_ARGS(key));
    }
    apply_answer(apply, OUTCOME_OK, &list_record, result);
}

static inline void watch_thing(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct thing *args = arguments;
    watch_scope_add(request, arena, "/things/", args->name, args->number == 0);
    if (args->revision & 1) watch_types_are(request, arena, (const char *const[]){"gone", NULL});
    request->initial = args->revision & 2;
}

/* Holds when the thing's number is at least that. */
static inline void until(struct apply *apply, const void *arguments)
{
    const struct thing *args = arguments;
    struct thing found = {0};
    bool there = row_get(apply, thing_key(apply->arena, args->name), &thing_record, &found);
    apply_answer(apply, there && found.number >= args->number ? OUTCOME_OK : OUTCOME_UNCHANGED, NULL, NULL);
}

static inline void watch_until(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct thing *args = arguments;
    watch_scope_add(request, arena, "/things/", args->name, false);
    request->revision = args->revision;
}

static const struct operation operations[] = {
    {.code = 1,
     .name = "thing.get",
     .method = "GET",
     .path = "/v1/things/{name}",
     .kind = OPERATION_QUERY,
     .args = &thing_record,
     .result = &thing_record,
     .apply = get,
     .object = "/things/{name}"},
    {.code = 2,
     .name = "thing.list",
     .method = "GET",
     .path = "/v1/things",
     .kind = OPERATION_QUERY,
     .args = &list_args_record,
     .result = &list_record,
     .apply = list,
     .object = "/things/{prefix}*"},
    {.code = 3,
     .name = "thing.watch",
     .method = "GET",
     .path = "/v1/watch",
     .kind = OPERATION_STREAM,
     .args = &thing_record,
     .watch = watch_thing,
     .refusal = &watch_refused_record},
    {.code = 4,
     .name = "thing.until",
     .kind = OPERATION_QUERY,
     .args = &thing_record,
     .apply = until,
     .watch = watch_until},
};
static const struct primitive thing_primitive = {.name = "thing",
                                                 .code = 9,
                                                 .operations = operations,
                                                 .operation_count = 4,
                                                 .events = kinds,
                                                 .event_count = 2};
const struct primitive *const primitives[] = {&thing_primitive, NULL};

/* --- the api's end --- */

struct stream {
    struct buffer text; /* what has come and was not looked at */
    uint64_t unsent;
    bool last;
};
struct api_loop {
    int number;
};
static struct api_loop home;
static struct call *delivered[4096];
static size_t delivered_count, parcel_count;
static bool closing; /* the streams of the test are gone */

void mailbox_deliver(struct call *calls)
{
    for (struct call *call = calls; call; call = call->next) delivered[delivered_count++] = call;
}

void mailbox_post(struct parcel *parcels)
{
    for (struct parcel *parcel = parcels, *next; parcel; parcel = next) {
        next = parcel->next;
        parcel_count++;
        assert_ptr_equal(parcel->home, &home);
        for (size_t i = 0; i < parcel->count && !closing; i++) {
            struct stream *stream = parcel->streams[i];
            assert_false(stream->last);
            stream->last = parcel->last;
            if (!parcel->chunk) continue;
            buffer_add(&stream->text, parcel->chunk->bytes, parcel->chunk->size);
            stream->unsent += parcel->chunk->size;
        }
        parcel_free(parcel);
    }
}

struct call *call_new(void)
{
    static uint64_t number;
    struct call *call = memory_new(sizeof *call);
    call->number = ++number;
    call->home = &home;
    return call;
}

void call_free(struct call *call)
{
    arena_free(&call->arena);
    free(call);
}

/* --- a world --- */

struct world {
    struct rows *rows;
    struct arena arena;
    struct pending *pending;
    struct lease_clock *leases;
    struct watches *watches;
    struct watches_view view;
    struct apply apply;
};

static inline int open_world(void **state)
{
    struct world *world = memory_new(sizeof *world);
    world->rows = rows_memory_new();
    world->pending = pending_new();
    world->leases = lease_clock_new(100);
    pending_clock(world->pending, world->leases, 1000);
    world->watches = watches_new(world->pending, world->leases);
    world->view = (struct watches_view){.rows = world->rows, .now_ms = 1000};
    watches_see(world->watches, &world->view);
    delivered_count = parcel_count = 0;
    closing = false;
    *state = world;
    return 0;
}

static inline void deliver(struct world *world)
{
    pending_deliver(world->pending);
    watches_post(world->watches);
}

static inline int close_world(void **state)
{
    struct world *world = *state;
    closing = true;
    watches_stop(world->watches);
    deliver(world);
    for (size_t i = 0; i < delivered_count; i++) call_free(delivered[i]);
    watches_free(world->watches);
    pending_free(world->pending);
    lease_clock_free(world->leases);
    rows_memory_free(world->rows);
    arena_free(&world->arena);
    assert_int_equal(chunk_bytes_alive(), 0);
    free(world);
    return 0;
}

static inline void begin(struct world *world)
{
    apply_begin(&world->apply, world->rows, &world->arena, world->view.applied + 1, 1, 5000);
}

static inline void tell_large(struct world *world, const char *name, uint64_t number, uint8_t kind,
                              uint64_t extra)
{
    struct arena *arena = &world->arena;
    struct thing *thing = arena_alloc(arena, sizeof *thing);
    *thing = (struct thing){arena_copy(arena, slice_text(name)), number, world->apply.index};
    struct slice path = arena_printf(arena, "/things/%s", name);
    event_add(&world->apply, &thing_primitive, kind, path, thing, extra);
    struct slice key = thing_key(arena, thing->name);
    if (kind == KIND_MADE)
        row_put(&world->apply, key, &thing_record, thing);
    else
        rows_delete(world->rows, key);
}

static inline void tell(struct world *world, const char *name, uint64_t number)
{
    tell_large(world, name, number, KIND_MADE, 0);
}

static inline void end(struct world *world)
{
    events_keep(&world->apply);
    world->view.applied = world->apply.index;
    watches_applied(world->watches, &world->arena, world->apply.index, world->apply.events);
    arena_reset(&world->arena);
    watches_see(world->watches, &world->view);
}

static inline uint64_t one(struct world *world, const char *name, uint64_t number)
{
    begin(world);
    tell(world, name, number);
    end(world);
    return world->view.applied;
}

static inline void turn(struct world *world)
{
    watches_see(world->watches, &world->view);
    watches_turn(world->watches);
    deliver(world);
    watches_check(world->watches);
}

enum { EXACT = 1, GONE_ONLY = 2, INITIAL = 4, SSE = 8 };

static inline struct call *open_as(struct stream *stream, const char *name, unsigned how)
{
    struct call *call = call_new();
    struct thing *args = arena_alloc(&call->arena, sizeof *args);
    *args =
        (struct thing){slice_text(name), how & EXACT, (how & GONE_ONLY ? 1 : 0) | (how & INITIAL ? 2 : 0)};
    call->operation = &operations[2];
    call->args = args;
    call->stream = stream;
    call->form = how & SSE ? STREAM_SSE : STREAM_NDJSON;
    return call;
}

static inline struct call *open_now(struct world *world, struct stream *stream, const char *name,
                                    unsigned how)
{
    struct call *call = open_as(stream, name, how);
    watches_open(world->watches, call);
    return call;
}

static inline struct call *open_since(struct world *world, struct stream *stream, const char *name,
                                      uint64_t since)
{
    struct call *call = open_as(stream, name, 0);
    call->since_given = true;
    call->since = since;
    watches_open(world->watches, call);
    return call;
}

/* What a stream was told of objects: "made a 1 at 3" lines, '+' for more; looked at once. */
static inline const char *told(struct stream *stream)
{
    static char text[1 << 16];
    size_t size = 0;
    buffer_add_byte(&stream->text, 0);
    for (char *line = strtok((char *)stream->text.data, "\n"); line; line = strtok(NULL, "\n")) {
        char type[32], more[8], path[64];
        unsigned long long revision, number = 0;
        int got = sscanf(
            line, "{\"revision\":%llu,\"more\":%7[a-z],\"type\":\"%31[a-z]\",\"path\":\"/things/%63[^\"]",
            &revision, more, type, path);
        if (got == 3 && strcmp(type, "bookmark") == 0) continue;
        if (got == 3) {
            size += (size_t)snprintf(text + size, sizeof text - size, "%s;", type);
            continue;
        }
        assert_int_equal(got, 4);
        const char *at = strstr(line, "\"number\":");
        assert_int_equal(sscanf(at, "\"number\":%llu", &number), 1);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s %s %llu at %llu%s;", type, path, number,
                                 revision, strcmp(more, "true") == 0 ? "+" : "");
        assert_true(size < sizeof text);
    }
    text[size] = 0;
    buffer_free(&stream->text);
    return text;
}

static inline void credit(struct world *world, struct call *call, struct stream *stream)
{
    watches_credit(world->watches, call->number, stream->unsent);
    stream->unsent = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

#endif
