// links: daemon support
/* Watches without sockets, node or clock: every watcher gets each event that concerns it once, in order, in
 * whole revisions, whatever its credit; and requests that wait are answered once. */
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

static struct slice thing_key(struct arena *arena, struct slice name)
{
    return arena_printf(arena, "%c%.*s", KEY_THING, SLICE_ARGS(name));
}

static void get(struct apply *apply, const void *arguments)
{
    const struct thing *args = arguments;
    struct thing *found = arena_alloc(apply->arena, sizeof *found);
    if (row_get(apply, thing_key(apply->arena, args->name), &thing_record, found))
        apply_answer(apply, OUTCOME_OK, &thing_record, found);
    else
        apply_answer(apply, OUTCOME_KEY_NOT_FOUND, NULL, NULL);
}

/* Looks at three rows at most, so that pages end between things. */
static void list(struct apply *apply, const void *arguments)
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

static void watch_thing(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct thing *args = arguments;
    watch_scope_add(request, arena, "/things/", args->name, args->number == 0);
    if (args->revision & 1) watch_types_are(request, arena, (const char *const[]){"gone", NULL});
    request->initial = args->revision & 2;
}

/* Holds when the thing's number is at least that. */
static void until(struct apply *apply, const void *arguments)
{
    const struct thing *args = arguments;
    struct thing found = {0};
    bool there = row_get(apply, thing_key(apply->arena, args->name), &thing_record, &found);
    apply_answer(apply, there && found.number >= args->number ? OUTCOME_OK : OUTCOME_UNCHANGED, NULL, NULL);
}

static void watch_until(struct arena *arena, const void *arguments, struct watch_request *request)
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

static int open_world(void **state)
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

static void deliver(struct world *world)
{
    pending_deliver(world->pending);
    watches_post(world->watches);
}

static int close_world(void **state)
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

static void begin(struct world *world)
{
    apply_begin(&world->apply, world->rows, &world->arena, world->view.applied + 1, 1, 5000);
}

static void tell_large(struct world *world, const char *name, uint64_t number, uint8_t kind, uint64_t extra)
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

static void tell(struct world *world, const char *name, uint64_t number)
{
    tell_large(world, name, number, KIND_MADE, 0);
}

static void end(struct world *world)
{
    events_keep(&world->apply);
    world->view.applied = world->apply.index;
    watches_applied(world->watches, &world->arena, world->apply.index, world->apply.events);
    arena_reset(&world->arena);
    watches_see(world->watches, &world->view);
}

static uint64_t one(struct world *world, const char *name, uint64_t number)
{
    begin(world);
    tell(world, name, number);
    end(world);
    return world->view.applied;
}

static void turn(struct world *world)
{
    watches_see(world->watches, &world->view);
    watches_turn(world->watches);
    deliver(world);
    watches_check(world->watches);
}

enum { EXACT = 1, GONE_ONLY = 2, INITIAL = 4, SSE = 8 };

static struct call *open_as(struct stream *stream, const char *name, unsigned how)
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

static struct call *open_now(struct world *world, struct stream *stream, const char *name, unsigned how)
{
    struct call *call = open_as(stream, name, how);
    watches_open(world->watches, call);
    return call;
}

static struct call *open_since(struct world *world, struct stream *stream, const char *name, uint64_t since)
{
    struct call *call = open_as(stream, name, 0);
    call->since_given = true;
    call->since = since;
    watches_open(world->watches, call);
    return call;
}

/* What a stream was told of objects: "made a 1 at 3" lines, '+' for more; looked at once. */
static const char *told(struct stream *stream)
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

static void credit(struct world *world, struct call *call, struct stream *stream)
{
    watches_credit(world->watches, call->number, stream->unsent);
    stream->unsent = 0;
}

/* --- live --- */

static void each_gets_what_it_watches(void **state)
{
    struct world *world = *state;
    struct stream all = {0}, exact = {0}, prefix = {0}, gone = {0}, other = {0};
    open_now(world, &all, "", 0);
    open_now(world, &exact, "ab", EXACT);
    open_now(world, &prefix, "ab", 0);
    open_now(world, &gone, "a", GONE_ONLY);
    open_now(world, &other, "b", 0);
    one(world, "ab", 1);
    one(world, "abc", 2);
    begin(world);
    tell_large(world, "ab", 3, KIND_GONE, 0);
    end(world);
    deliver(world);
    assert_int_equal(delivered_count, 5);
    assert_int_equal(delivered[0]->outcome, OUTCOME_OK);
    assert_string_equal(told(&all), "made ab 1 at 1;made abc 2 at 2;gone ab 3 at 3;");
    assert_string_equal(told(&exact), "made ab 1 at 1;gone ab 3 at 3;");
    assert_string_equal(told(&prefix), "made ab 1 at 1;made abc 2 at 2;gone ab 3 at 3;");
    assert_string_equal(told(&gone), "gone ab 3 at 3;");
    assert_string_equal(told(&other), "");
}

static void the_bytes_are_made_once_for_all(void **state)
{
    struct world *world = *state;
    enum { COUNT = 1000 };
    static struct stream streams[COUNT];
    memset(streams, 0, sizeof streams);
    for (size_t i = 0; i < COUNT; i++) open_now(world, &streams[i], "a", i % 2 ? EXACT : 0);
    deliver(world);
    parcel_count = 0;
    one(world, "a", 1);
    uint64_t alive = chunk_bytes_alive();
    deliver(world);
    assert_int_equal(parcel_count, 1);
    assert_true(alive > 0 && alive < 1000);
    for (size_t i = 0; i < COUNT; i++) assert_string_equal(told(&streams[i]), "made a 1 at 1;");
}

static void a_revision_is_whole(void **state)
{
    struct world *world = *state;
    struct stream all = {0}, some = {0}, sse = {0};
    open_now(world, &all, "", 0);
    open_now(world, &some, "b", 0);
    open_now(world, &sse, "", SSE);
    deliver(world);
    buffer_free(&sse.text);
    begin(world);
    tell(world, "a", 1);
    tell(world, "b1", 2);
    tell(world, "b2", 3);
    tell(world, "c", 4);
    end(world);
    deliver(world);
    assert_string_equal(told(&all), "made a 1 at 1+;made b1 2 at 1+;made b2 3 at 1+;made c 4 at 1;");
    assert_string_equal(told(&some), "made b1 2 at 1+;made b2 3 at 1;");
    buffer_add_byte(&sse.text, 0);
    const char *text = (const char *)sse.text.data, *id = strstr(text, "id: 1\n");
    assert_non_null(id);
    assert_ptr_equal(id, strstr(text, "id: "));
    assert_true(id > strstr(text, "/things/b2"));
    assert_null(strstr(id + 1, "id: "));
    buffer_free(&sse.text);
}

/* What is shared with one stream must not come to another before what that one was sent earlier. */
static void what_comes_to_a_stream_keeps_its_order(void **state)
{
    struct world *world = *state;
    struct stream live = {0}, late = {0};
    for (unsigned i = 1; i <= 3; i++) one(world, "a", i);
    one(world, "b", 4);
    deliver(world);
    open_since(world, &late, "a", 0);
    open_now(world, &live, "", 0);
    turn(world);
    buffer_add_byte(&late.text, 0);
    const char *text = (const char *)late.text.data, *last = strstr(text, "{\"revision\":4,");
    assert_non_null(last);
    assert_true(last > strstr(text, "{\"revision\":3,"));
    buffer_free(&late.text);
    buffer_free(&live.text);
}

/* --- catching up --- */

static void from_a_revision_on(void **state)
{
    struct world *world = *state;
    struct stream early = {0}, late = {0};
    for (unsigned i = 1; i <= 5; i++) one(world, i % 2 ? "a" : "b", i);
    open_since(world, &early, "a", 0);
    open_since(world, &late, "", 3);
    turn(world);
    one(world, "a", 6);
    turn(world);
    assert_string_equal(told(&early), "made a 1 at 1;made a 3 at 3;made a 5 at 5;made a 6 at 6;");
    assert_string_equal(told(&late), "made b 4 at 4;made a 5 at 5;made a 6 at 6;");
    assert_int_equal(watches_counts(world->watches).live, 2);
}

static void a_turn_reads_a_bounded_piece_of_the_history(void **state)
{
    struct world *world = *state;
    enum { COUNT = 2000 };
    struct stream stream = {0};
    for (unsigned i = 1; i <= COUNT; i++) one(world, "a", i);
    struct call *call = open_since(world, &stream, "", 0);
    size_t turns = 0, next = 1;
    while (!watches_counts(world->watches).live) {
        assert_int_equal(watches_next_ms(world->watches), 0);
        if (turns++ < 3) one(world, "a", COUNT + turns); /* the history grows meanwhile */
        turn(world);
        for (const char *at = told(&stream); *at; at = strchr(at, ';') + 1)
            assert_int_equal(strtoul(strstr(at, "made a ") + 7, NULL, 10), next++);
        credit(world, call, &stream);
    }
    assert_int_equal(next, COUNT + 4);
    assert_true(turns > 5);
}

static void too_old_a_revision_is_refused(void **state)
{
    struct world *world = *state;
    struct stream stream = {0};
    for (unsigned i = 0; i < 6; i++) {
        begin(world);
        tell_large(world, "a", i, KIND_MADE, 20u << 20);
        end(world);
    }
    uint64_t floor = events_floor(world->rows);
    assert_true(floor > 1);
    struct call *call = open_since(world, &stream, "", floor - 1);
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_REVISION_GONE);
    const struct watch_refused *refused = call->result;
    assert_int_equal(refused->oldest, floor);
    assert_int_equal(refused->revision, 6);
    open_since(world, &stream, "", floor);
    turn(world);
    assert_non_null(strstr(told(&stream), "at 6;"));
}

static void one_that_is_overtaken_by_the_trimming_is_told_so(void **state)
{
    struct world *world = *state;
    struct stream stream = {0};
    open_now(world, &stream, "", 0);
    deliver(world);
    told(&stream);
    uint64_t revision = 0;
    while (stream.unsent < WATCH_WINDOW) {
        revision = one(world, "a", 7);
        deliver(world);
    }
    buffer_free(&stream.text);
    one(world, "a", 8);
    assert_int_equal(watches_counts(world->watches).live, 0);
    for (unsigned i = 0; i < 6; i++) {
        begin(world);
        tell_large(world, "b", i, KIND_MADE, 20u << 20);
        end(world);
    }
    for (unsigned i = 0; i < 400; i++) one(world, "c", i); /* what is trimmed goes in bounded pieces */
    assert_true(events_floor(world->rows) > revision);
    turn(world);
    assert_false(stream.last);
    struct call *call = delivered[0];
    credit(world, call, &stream);
    turn(world);
    assert_true(stream.last);
    assert_string_equal(told(&stream), "reset;");
    assert_int_equal(watches_counts(world->watches).streams, 0);
    assert_int_equal(watches_counts(world->watches).resets, 1);
}

static void what_is_unsent_is_bounded_and_nothing_is_lost(void **state)
{
    struct world *world = *state;
    struct stream slow = {0}, quick = {0};
    struct call *call = open_now(world, &slow, "", 0), *other = open_now(world, &quick, "", 0);
    enum { COUNT = 4000 };
    for (unsigned i = 1; i <= COUNT; i++) {
        one(world, "a", i);
        turn(world);
        credit(world, other, &quick);
    }
    assert_true(slow.unsent < WATCH_WINDOW + 1000);
    assert_int_equal(watches_counts(world->watches).live, 1);
    unsigned next = 1;
    for (unsigned i = 0; i < 100 && next <= COUNT; i++) {
        for (const char *at = told(&slow); *at; at = strchr(at, ';') + 1)
            assert_int_equal(strtoul(strstr(at, "made a ") + 7, NULL, 10), next++);
        credit(world, call, &slow);
        turn(world);
    }
    assert_int_equal(next, COUNT + 1);
    assert_int_equal(watches_counts(world->watches).live, 2);
    buffer_free(&quick.text);
}

static void a_revision_to_come_is_waited_for(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, never = {0};
    one(world, "a", 1);
    struct call *call = open_since(world, &stream, "", 3), *other = open_since(world, &never, "", 100);
    turn(world);
    assert_int_equal(delivered_count, 0);
    for (unsigned i = 2; i <= 5; i++) one(world, "a", i);
    turn(world);
    turn(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
    assert_string_equal(told(&stream), "made a 4 at 4;made a 5 at 5;");
    assert_true(watches_next_ms(world->watches) > world->view.now_ms);
    world->view.now_ms += WATCH_AHEAD_MS;
    turn(world);
    assert_int_equal(other->outcome, OUTCOME_MIN_REVISION_AHEAD);
    assert_int_equal(watches_counts(world->watches).kept, 0);
}

static void other_rows_take_over(void **state)
{
    struct world *world = *state;
    struct stream stream = {0};
    open_now(world, &stream, "", 0);
    one(world, "a", 1);
    struct rows *after = rows_memory_clone(world->rows);
    struct world ahead = *world;
    ahead.rows = ahead.view.rows = after;
    for (unsigned i = 2; i <= 4; i++) {
        begin(&ahead);
        tell(&ahead, "a", i);
        events_keep(&ahead.apply);
        ahead.view.applied++;
        arena_reset(&ahead.arena);
    }
    watches_switched(world->watches);
    struct rows *before = world->rows;
    world->rows = world->view.rows = after;
    world->view.applied = ahead.view.applied;
    world->arena = ahead.arena;
    rows_memory_free(before);
    turn(world);
    one(world, "a", 5);
    turn(world);
    assert_string_equal(told(&stream),
                        "made a 1 at 1;made a 2 at 2;made a 3 at 3;made a 4 at 4;made a 5 at 5;");
}

/* --- the present state first --- */

static void things_as_they_are_then_what_happens(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, alone = {0}, none = {0};
    const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
    for (unsigned i = 0; i < 7; i++) one(world, names[i], i);
    open_now(world, &stream, "", INITIAL);
    open_now(world, &alone, "c", INITIAL | EXACT);
    open_now(world, &none, "x", INITIAL | EXACT);
    for (unsigned i = 0; i < 10; i++) turn(world);
    one(world, "c", 9);
    deliver(world);
    assert_string_equal(told(&stream),
                        "present a 0 at 7+;present b 1 at 7+;present c 2 at 7+;present d 3 at 7+;"
                        "present e 4 at 7+;present f 5 at 7+;present g 6 at 7+;made c 9 at 8;");
    assert_string_equal(told(&alone), "present c 2 at 7+;made c 9 at 8;");
    assert_string_equal(told(&none), "");
}

/* Applied in order, what a stream tells is the state, at any revision that can be resumed from. */
struct model {
    uint64_t numbers[26];
};

static void follow(struct model *model, const char *text)
{
    for (const char *at = text; *at; at = strchr(at, ';') + 1) {
        char type[32], name;
        unsigned long long number;
        assert_int_equal(sscanf(at, "%31s %c %llu", type, &name, &number), 3);
        uint64_t *place = &model->numbers[name - 'a'];
        assert_true(strcmp(type, "present") != 0 || *place == 0);
        *place = strcmp(type, "gone") == 0 ? 0 : number;
    }
}

static void change(struct world *world, struct model *model)
{
    static uint64_t number;
    begin(world);
    for (unsigned used = 0, i = 0; i < 1 + (unsigned)rand() % 3; i++) {
        unsigned which = (unsigned)rand() % 26;
        char name[2] = {(char)('a' + which), 0};
        if (used >> which & 1) continue;
        used |= 1u << which;
        bool goes = rand() % 4 == 0;
        model->numbers[which] = goes ? 0 : ++number;
        tell_large(world, name, number, goes ? KIND_GONE : KIND_MADE, 0);
    }
    end(world);
}

static void the_present_state_while_it_changes(void **state)
{
    struct world *world = *state;
    struct model model = {0};
    srand(7);
    for (unsigned i = 0; i < 50; i++) change(world, &model);
    for (unsigned round = 0; round < 100; round++) {
        struct stream stream = {0};
        struct model seen = {0};
        struct call *call = open_now(world, &stream, "", INITIAL);
        for (unsigned i = 0;
             i < 1000 &&
             !strstr((const char *)stream.text.data ? (const char *)stream.text.data : "", "bookmark");
             i++) {
            for (unsigned more = i >= 20 ? 0 : rand() % 10 ? 1 : 150; more; more--) change(world, &model);
            watches_see(world->watches, &world->view);
            watches_turn(world->watches);
            deliver(world);
            buffer_add_byte(&stream.text, 0);
            stream.text.size--;
        }
        change(world, &model);
        deliver(world);
        follow(&seen, told(&stream));
        assert_memory_equal(&seen, &model, sizeof model);
        watches_gone(world->watches, call->number);
        deliver(world);
        assert_true(stream.last);
    }
}

/* --- signs of life and ends --- */

static void signs_of_life_come_in_time(void **state)
{
    struct world *world = *state;
    enum { COUNT = 50 };
    static struct stream streams[COUNT];
    memset(streams, 0, sizeof streams);
    for (size_t i = 0; i < COUNT; i++) open_now(world, &streams[i], "", i % 2 ? SSE : 0);
    deliver(world);
    for (size_t i = 0; i < COUNT; i++) buffer_free(&streams[i].text);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t end_ms = world->view.now_ms + WATCH_HEARTBEAT_MS; world->view.now_ms < end_ms;) {
            uint64_t next_ms = watches_next_ms(world->watches);
            assert_true(next_ms > world->view.now_ms && next_ms <= world->view.now_ms + 1000);
            world->view.now_ms = next_ms;
            turn(world);
        }
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(streams[i].text.size > 0 && streams[i].text.size < 200);
            buffer_free(&streams[i].text);
        }
    }
}

static void the_end_is_told(void **state)
{
    struct world *world = *state;
    struct stream live = {0}, behind = {0}, polled = {0};
    one(world, "a", 1);
    open_now(world, &live, "", 0);
    open_since(world, &behind, "", 0);
    open_since(world, &polled, "", 100);
    watches_stop(world->watches);
    deliver(world);
    assert_true(live.last && behind.last && !polled.last);
    assert_string_equal(told(&live), "end;");
    assert_string_equal(told(&behind), "end;");
    assert_int_equal(delivered[2]->outcome, OUTCOME_SHUTTING_DOWN);
}

static void a_client_that_is_gone_gets_a_last_parcel(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, waits = {0};
    struct call *call = open_now(world, &stream, "", 0), *other = open_since(world, &waits, "", 100);
    deliver(world);
    told(&stream);
    watches_gone(world->watches, call->number);
    watches_gone(world->watches, other->number);
    watches_gone(world->watches, 12345678);
    one(world, "a", 1);
    deliver(world);
    assert_true(stream.last);
    assert_string_equal(told(&stream), "");
    assert_int_equal(other->outcome, OUTCOME_WAIT_BROKEN_OFF);
    watches_credit(world->watches, call->number, 100);
}

/* --- requests that wait --- */

static struct call *ask(struct world *world, const char *name, uint64_t since, uint64_t wait_ms)
{
    struct call *call = call_new();
    struct thing *args = arena_alloc(&call->arena, sizeof *args);
    args->name = slice_text(name);
    call->operation = &operations[0];
    call->args = args;
    call->arrived_ms = world->view.now_ms;
    call->wait_ms = wait_ms;
    call->since_given = true;
    call->since = since;
    return call;
}

static bool run(struct world *world, struct call *call)
{
    struct apply apply;
    struct answer answer;
    apply_begin(&apply, world->rows, &world->arena, world->view.applied, 1, 5000);
    coord_query(&apply, call->operation, call->args);
    bool kept = watches_keep(world->watches, call, &apply, &answer);
    if (!kept) pending_reply(world->pending, call, &answer, world->view.applied);
    arena_reset(&world->arena);
    return kept;
}

static void a_request_waits_for_a_change(void **state)
{
    struct world *world = *state;
    uint64_t revision = one(world, "a", 1);
    struct call *call = ask(world, "a", revision, 60000), *absent = ask(world, "b", revision, 60000);
    assert_true(run(world, call) && run(world, absent));
    one(world, "c", 2);
    turn(world);
    assert_int_equal(delivered_count, 0);
    assert_int_equal(watches_counts(world->watches).kept, 2);
    one(world, "a", 3);
    turn(world);
    assert_int_equal(delivered_count, 1);
    assert_ptr_equal(delivered[0], call);
    assert_int_equal(call->outcome, OUTCOME_OK);
    assert_int_equal(((const struct thing *)call->result)->number, 3);
    one(world, "b", 4);
    turn(world);
    assert_int_equal(absent->outcome, OUTCOME_OK);
    assert_int_equal(watches_counts(world->watches).kept, 0);
}

static void a_request_that_is_late_does_not_wait(void **state)
{
    struct world *world = *state;
    one(world, "a", 1);
    one(world, "b", 1);
    struct call *call = ask(world, "a", 0, 60000), *absent = ask(world, "x", 0, 60000);
    assert_false(run(world, call));
    assert_true(run(world, absent)); /* the history tells that nothing of it changed */
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
}

static void what_the_history_cannot_tell_is_answered(void **state)
{
    struct world *world = *state;
    for (unsigned i = 0; i < 1000; i++) one(world, "b", i);
    assert_false(run(world, ask(world, "x", 1, 60000)));
    assert_true(run(world, ask(world, "x", 900, 60000)));
}

static void without_a_wait_or_a_change_nothing_is_new(void **state)
{
    struct world *world = *state;
    uint64_t revision = one(world, "a", 1);
    struct call *call = ask(world, "a", revision, 0);
    assert_false(run(world, call));
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_UNCHANGED);
    assert_int_equal(call->revision, revision);
}

static void at_the_end_of_the_wait_the_newest_state_is_looked_at(void **state)
{
    struct world *world = *state;
    uint64_t revision = one(world, "a", 1);
    struct call *call = ask(world, "a", revision, 500);
    assert_true(run(world, call));
    assert_int_equal(watches_next_ms(world->watches), world->view.now_ms + 500);
    turn(world);
    assert_null(watches_due(world->watches));
    world->view.now_ms += 500;
    turn(world);
    assert_ptr_equal(watches_due(world->watches), call);
    assert_null(call->next);
    assert_true(call->last_look);
    assert_false(run(world, call));
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_UNCHANGED);
}

static struct call *wait_until(struct world *world, const char *name, uint64_t number, uint64_t revision)
{
    struct call *call = ask(world, name, 0, 60000);
    struct thing *args = call->args;
    args->number = number;
    args->revision = revision;
    call->operation = &operations[3];
    call->since_given = false;
    return call;
}

static void a_condition_is_looked_at_whenever_its_object_changes(void **state)
{
    struct world *world = *state;
    struct call *call = wait_until(world, "a", 3, 0), *held = wait_until(world, "a", 1, 0);
    assert_true(run(world, call));
    one(world, "a", 1);
    assert_false(run(world, held));
    for (unsigned i = 0; i < 300; i++) {
        one(world, "a", 2);
        turn(world);
        assert_int_equal(watches_counts(world->watches).kept, 1);
    }
    assert_true(watches_next_ms(world->watches) > world->view.now_ms);
    one(world, "a", 3);
    turn(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
    assert_int_equal(watches_counts(world->watches).kept, 0);
    assert_int_equal(delivered_count, 2);
}

static void a_condition_is_looked_at_when_its_revision_is_reached(void **state)
{
    struct world *world = *state;
    one(world, "a", 5);
    struct call *call = wait_until(world, "a", 9, 4);
    assert_true(run(world, call));
    one(world, "b", 1);
    turn(world);
    struct rows *rows = world->rows; /* the thing changes, and nothing tells */
    struct thing thing = {SLICE("a"), 9, 0};
    apply_begin(&world->apply, rows, &world->arena, 2, 1, 1);
    row_put(&world->apply, thing_key(&world->arena, thing.name), &thing_record, &thing);
    one(world, "b", 1);
    turn(world);
    assert_int_equal(delivered_count, 0);
    one(world, "b", 1);
    turn(world);
    assert_int_equal(delivered_count, 1);
    assert_int_equal(call->outcome, OUTCOME_OK);
}

static void many_that_wait_are_answered_in_bounded_turns(void **state)
{
    struct world *world = *state;
    enum { COUNT = 1000 };
    uint64_t revision = one(world, "a", 1);
    for (unsigned i = 0; i < COUNT; i++) assert_true(run(world, ask(world, "a", revision, 60000)));
    one(world, "a", 2);
    turn(world);
    assert_in_range(delivered_count, 1, COUNT / 2);
    for (unsigned i = 0; i < 10; i++) turn(world);
    assert_int_equal(delivered_count, COUNT);
}

/* --- all at once --- */

struct reader {
    struct stream stream;
    struct call *call;
    char prefix[3];
    uint64_t last; /* seen whole */
    uint64_t count;
};

/* Checks that what came is what the log of events holds for its prefix, and takes it. */
static void read_all(struct reader *reader, const char *log, const uint64_t *revisions, size_t count)
{
    size_t at = 0;
    while (at < count && revisions[at] <= reader->last) at++;
    for (const char *text = told(&reader->stream); *text; text = strchr(text, ';') + 1) {
        char name;
        unsigned long long number, revision;
        assert_int_equal(sscanf(text, "%*s %c%*c %llu at %llu", &name, &number, &revision), 3);
        while (at < count && reader->prefix[0] && log[at] != reader->prefix[0]) at++;
        assert_true(at < count && log[at] == name && revisions[at] == revision && number == at);
        at++;
        reader->last = revision;
        reader->count++;
        assert_true(strchr(text, ';')[-1] != '+' || at < count);
    }
}

static void whoever_reads_however_slowly_gets_all_of_it_once(void **state)
{
    struct world *world = *state;
    enum { READERS = 30, REVISIONS = 6000 };
    static char log[3 * REVISIONS];
    static uint64_t revisions[3 * REVISIONS];
    static struct reader readers[READERS];
    size_t count = 0;
    srand(11);
    memset(readers, 0, sizeof readers);
    for (unsigned i = 0; i < READERS; i++) {
        if (i % 3) readers[i].prefix[0] = (char)('a' + i % 3);
        readers[i].call = open_since(world, &readers[i].stream, readers[i].prefix, 0);
    }
    for (unsigned i = 0; i < REVISIONS; i++) {
        begin(world);
        for (unsigned k = 0, more = 1 + (unsigned)rand() % 3; k < more; k++, count++) {
            char name[3] = {(char)('a' + rand() % 4), 'z', 0};
            log[count] = name[0];
            revisions[count] = world->apply.index;
            tell(world, name, count);
        }
        end(world);
        if (rand() % 4 == 0) turn(world);
        struct reader *reader = &readers[rand() % READERS];
        if (rand() % 50 == 0) {
            deliver(world);
            read_all(reader, log, revisions, count);
            credit(world, reader->call, &reader->stream);
        }
        if (rand() % 200 == 0) { /* it breaks off, and goes on where it was */
            deliver(world);
            read_all(reader, log, revisions, count);
            watches_gone(world->watches, reader->call->number);
            deliver(world);
            reader->stream = (struct stream){0};
            reader->call = open_since(world, &reader->stream, reader->prefix, reader->last);
        }
    }
    for (unsigned round = 0; round < 200; round++) {
        turn(world);
        for (unsigned i = 0; i < READERS; i++) {
            read_all(&readers[i], log, revisions, count);
            credit(world, readers[i].call, &readers[i].stream);
        }
    }
    assert_int_equal(watches_counts(world->watches).live, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        size_t wanted = 0;
        for (size_t k = 0; k < count; k++) wanted += !readers[i].prefix[0] || log[k] == readers[i].prefix[0];
        assert_int_equal(readers[i].count, wanted);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_gets_what_it_watches),
        TEST(the_bytes_are_made_once_for_all),
        TEST(a_revision_is_whole),
        TEST(what_comes_to_a_stream_keeps_its_order),
        TEST(from_a_revision_on),
        TEST(a_turn_reads_a_bounded_piece_of_the_history),
        TEST(too_old_a_revision_is_refused),
        TEST(one_that_is_overtaken_by_the_trimming_is_told_so),
        TEST(what_is_unsent_is_bounded_and_nothing_is_lost),
        TEST(a_revision_to_come_is_waited_for),
        TEST(other_rows_take_over),
        TEST(things_as_they_are_then_what_happens),
        TEST(the_present_state_while_it_changes),
        TEST(signs_of_life_come_in_time),
        TEST(the_end_is_told),
        TEST(a_client_that_is_gone_gets_a_last_parcel),
        TEST(a_request_waits_for_a_change),
        TEST(a_request_that_is_late_does_not_wait),
        TEST(what_the_history_cannot_tell_is_answered),
        TEST(without_a_wait_or_a_change_nothing_is_new),
        TEST(at_the_end_of_the_wait_the_newest_state_is_looked_at),
        TEST(a_condition_is_looked_at_whenever_its_object_changes),
        TEST(a_condition_is_looked_at_when_its_revision_is_reached),
        TEST(many_that_wait_are_answered_in_bounded_turns),
        TEST(whoever_reads_however_slowly_gets_all_of_it_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
