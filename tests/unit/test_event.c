// links: api lib support
/* The history of events: what is told is read back, in the order of the log, until it is trimmed by size; and
 * changes of rows that can be taken back. */
#include "coord/event.h"
#include "coord/primitive/kv.h"
#include "coord/undo.h"
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#define MIB (1024ull * 1024)
#define KEPT_MIB ((uint64_t)EVENT_BYTES_KEPT / MIB)

/* A guard's event holds what it is given and leaves nothing to clear away. */
static void tell(struct apply *apply, struct slice path, const char *lock, uint64_t extra_bytes)
{
    struct slice *data = arena_alloc(apply->arena, sizeof *data);
    *data = slice_text(lock);
    event_add(apply, &kv_primitive, KV_GUARDED, path, data, extra_bytes);
}

static void begin(struct coord_world *world, struct apply *apply)
{
    apply_begin(apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
}

static void end(struct coord_world *world, struct apply *apply)
{
    events_keep(apply);
    events_check(world->rows, &world->arena);
    arena_reset(&world->arena);
}

/* One entry that tells one event. */
static void tell_one(struct coord_world *world, const char *path, const char *lock, uint64_t extra_bytes)
{
    struct apply apply;
    begin(world, &apply);
    tell(&apply, slice_text(path), lock, extra_bytes);
    end(world, &apply);
}

static struct event *next(struct coord_world *world, uint64_t after)
{
    return events_next(world->rows, &world->arena, after);
}

static void is(const struct event *event, uint64_t revision, const char *path, const char *lock)
{
    assert_non_null(event);
    assert_int_equal(event->revision, revision);
    assert_true(slice_is(event->path, path));
    assert_ptr_equal(event->primitive, &kv_primitive);
    assert_string_equal(event->kind->name, "guarded");
    assert_ptr_equal(event->shape, event->kind->kept);
    assert_true(slice_is(*(const struct slice *)event->data, lock));
}

static void nothing_was_told(void **state)
{
    struct coord_world *world = *state;
    assert_null(next(world, 0));
    assert_null(next(world, UINT64_MAX));
    assert_int_equal(events_floor(world->rows), 0);
    struct apply apply;
    begin(world, &apply);
    end(world, &apply); /* an entry without events leaves no row */
    assert_int_equal(rows_memory_count(world->rows), 0);
}

static void entries_are_read_in_the_order_of_the_log(void **state)
{
    struct coord_world *world = *state;
    tell_one(world, "/guards/a", "one", 0); /* 8 */
    world->index += 10;
    world->time_ms += 500;
    tell_one(world, "/guards/b", "two", 0); /* 19 */
    is(next(world, 0), 8, "/guards/a", "one");
    is(next(world, 7), 8, "/guards/a", "one");
    is(next(world, 8), 19, "/guards/b", "two");
    assert_int_equal(next(world, 0)->time_ms, world->time_ms - 500);
    assert_int_equal(next(world, 18)->time_ms, world->time_ms);
    assert_null(next(world, 8)->next);
    assert_null(next(world, 19));
    assert_null(next(world, UINT64_MAX));
    assert_int_equal(events_floor(world->rows), 0);
}

static void events_of_an_entry_come_together(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    begin(world, &apply);
    tell(&apply, SLICE("/guards/a"), "first", 0);
    tell(&apply, SLICE("/guards/a"), "second", 0);
    tell(&apply, SLICE("/guards/b"), "", 0);
    const struct event *live = apply.events;
    events_complete(world->rows, &world->arena, apply.events); /* as the live ones are shown */
    is(live, 8, "/guards/a", "first");
    is(live->next->next, 8, "/guards/b", "");
    end(world, &apply);
    const struct event *event = next(world, 0);
    is(event, 8, "/guards/a", "first");
    is(event->next, 8, "/guards/a", "second");
    is(event->next->next, 8, "/guards/b", "");
    assert_null(event->next->next->next);
}

static void a_path_is_any_bytes(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    uint8_t path[EVENT_PATH_MAX];
    for (size_t i = 0; i < sizeof path; i++) path[i] = (uint8_t)(i * 7);
    begin(world, &apply);
    tell(&apply, slice_of(path, sizeof path), "x", 0);
    end(world, &apply);
    assert_true(slice_equal(next(world, 0)->path, slice_of(path, sizeof path)));
}

/* What was told is a copy: the caller's path may go. */
static void the_path_is_copied(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    char path[] = "/guards/a";
    begin(world, &apply);
    tell(&apply, slice_text(path), "x", 0);
    path[8] = 'b';
    end(world, &apply);
    is(next(world, 0), 8, "/guards/a", "x");
}

static size_t count(const struct event *event)
{
    size_t count = 0;
    for (; event; event = event->next) count++;
    return count;
}

/* --- parts --- */

static void tell_many(struct coord_world *world, size_t many, uint64_t extra_bytes)
{
    struct apply apply;
    begin(world, &apply);
    for (size_t i = 0; i < many; i++) {
        char path[256];
        snprintf(path, sizeof path, "/guards/%0240zu", i);
        tell(&apply, slice_text(path), "x", extra_bytes);
    }
    end(world, &apply);
}

static void an_entry_that_tells_much_has_parts(void **state)
{
    struct coord_world *world = *state;
    tell_one(world, "/guards/before", "x", 0);
    tell_many(world, 3000, 0); /* about 750 KB: three rows */
    assert_int_equal(rows_memory_count(world->rows), 1 + 3);
    tell_one(world, "/guards/after", "x", 0);
    const struct event *event = next(world, 8);
    assert_int_equal(count(event), 3000);
    for (size_t i = 0; i < 3000; i++, event = event->next) {
        assert_int_equal(event->revision, 9);
        assert_int_equal(strtoul((const char *)event->path.data + 8, NULL, 10), i);
    }
    is(next(world, 9), 10, "/guards/after", "x");
}

/* Its first part went: whoever has not seen the entry has a gap. */
static void a_part_is_not_the_entry(void **state)
{
    struct coord_world *world = *state;
    tell_many(world, 3000, 0);
    struct slice key, value;
    uint64_t first_total = 0, total = 0;
    assert_true(rows_seek(world->rows, SLICE("e"), &key, &value) && take_varint(&value, &first_total));
    /* just so much that the first part is more than may be kept */
    tell_one(world, "/guards/big", "x", 0);
    assert_true(rows_seek_back(world->rows, SLICE("f"), &key, &value));
    assert_true(take_varint(&value, &total));
    tell_one(world, "/guards/big", "x", EVENT_BYTES_KEPT - (total - first_total) - 10);
    assert_int_equal(events_floor(world->rows), 8);
    assert_true(count(next(world, 7)) < 3000); /* no one may ask from below the floor */
    is(next(world, 8), 9, "/guards/big", "x");
}

/* --- trimming --- */

static void the_history_is_trimmed_by_size(void **state)
{
    struct coord_world *world = *state;
    for (uint64_t i = 0; i < KEPT_MIB - 1; i++) tell_one(world, "/guards/a", "x", MIB);
    assert_int_equal(events_floor(world->rows), 0);
    assert_int_equal(rows_memory_count(world->rows), KEPT_MIB - 1);
    for (int i = 0; i < 10; i++) {
        tell_one(world, "/guards/a", "x", MIB);
        assert_true(rows_memory_count(world->rows) <= KEPT_MIB);
        uint64_t floor = events_floor(world->rows);
        if (!floor) continue;
        assert_int_equal(floor, next(world, 0)->revision - 1);
        is(next(world, floor), floor + 1, "/guards/a", "x");
    }
    assert_int_equal(events_floor(world->rows), world->index - rows_memory_count(world->rows));
}

/* A prefix of many large values is deleted: no later entry pays for it alone. */
static void what_is_far_too_much_goes_by_and_by(void **state)
{
    struct coord_world *world = *state;
    tell_many(world, 300, MIB);
    size_t left = rows_memory_count(world->rows), entries = 0;
    assert_int_equal(left, 300);
    for (; left > KEPT_MIB; entries++) {
        tell_one(world, "/guards/a", "x", MIB);
        size_t now = rows_memory_count(world->rows);
        assert_true(now <= left && left + 1 - now <= 18);
        left = now;
    }
    assert_in_range(entries, 14, 17);
}

static void the_floor_is_the_last_that_went(void **state)
{
    struct coord_world *world = *state;
    tell_one(world, "/guards/a", "x", 0); /* 8 */
    world->index += 5;
    tell_one(world, "/guards/b", "x", 0); /* 14 */
    world->index += 5;
    tell_one(world, "/guards/c", "x", EVENT_BYTES_KEPT - 1); /* 20: with it, a alone is too much */
    assert_int_equal(events_floor(world->rows), 14);
    is(next(world, 14), 20, "/guards/c", "x");
}

static void the_newest_entry_stays(void **state)
{
    struct coord_world *world = *state;
    tell_one(world, "/guards/a", "x", 0);
    tell_one(world, "/guards/b", "x", 3ull * EVENT_BYTES_KEPT);
    assert_int_equal(rows_memory_count(world->rows), 1);
    is(next(world, 8), 9, "/guards/b", "x");
    assert_int_equal(events_floor(world->rows), 8);
    tell_many(world, 3000, MIB); /* all its parts, too */
    assert_int_equal(count(next(world, 9)), 3000);
    assert_int_equal(events_floor(world->rows), 9);
}

/* What an event kept alive goes with it. */
static void rows_kept_for_an_event_go_with_it(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(coord_world_do(world, "kv.put", "{\"key\":\"k\",\"value\":\"1\"}"), OUTCOME_CREATED);
    assert_int_equal(coord_world_do(world, "kv.put", "{\"key\":\"k\",\"value\":\"2\"}"), OUTCOME_OK);
    assert_int_equal(coord_world_do(world, "kv.delete", "{\"key\":\"k\"}"), OUTCOME_OK);
    assert_int_equal(coord_world_ask(world, "kv.get", "{\"key\":\"k\",\"at\":8}"), OUTCOME_OK);
    size_t before = rows_memory_count(world->rows);
    tell_one(world, "/guards/big", "x", EVENT_BYTES_KEPT); /* drives the three out */
    assert_int_equal(rows_memory_count(world->rows),
                     before - 3 /* events */ - 3 /* versions */ - 1 /* key */ + 1);
    assert_int_equal(coord_world_ask(world, "kv.get", "{\"key\":\"k\",\"at\":8}"), OUTCOME_REVISION_GONE);
    coord_check(world->rows, &world->arena);
}

static void events_are_completed_from_other_rows(void **state)
{
    struct coord_world *world = *state;
    coord_world_do(world, "kv.put", "{\"key\":\"k\",\"value\":\"1\"}");
    coord_world_do(world, "kv.put", "{\"key\":\"k\",\"value\":\"2\"}");
    const struct event *event = next(world, 8);
    struct buffer text = {0};
    record_json(event->shape, event->data, &(struct json){&text, false});
    buffer_add_byte(&text, 0);
    assert_non_null(strstr((const char *)text.data, "\"key\":\"k\",\"value\":\"2\""));
    assert_non_null(strstr((const char *)text.data, "\"prev\":{\"value\":\"1\",\"revision\":8"));
    buffer_free(&text);
}

/* --- changes that can be taken back --- */

static void put(struct rows *rows, const char *key, const char *value)
{
    rows_put(rows, slice_text(key), slice_text(value));
}

static bool has(struct rows *rows, const char *key, const char *value)
{
    struct slice found;
    bool there = rows_get(rows, slice_text(key), &found);
    return value ? there && slice_is(found, value) : !there;
}

static void what_is_decided_stays(void **state)
{
    struct rows *rows = ((struct coord_world *)*state)->rows;
    put(rows, "a", "1");
    rows_try(rows);
    put(rows, "a", "2");
    put(rows, "b", "1");
    rows_delete(rows, SLICE("a"));
    rows_decide(rows, true);
    assert_true(has(rows, "a", NULL) && has(rows, "b", "1"));
    rows_try(rows); /* and is not in the next one's way */
    put(rows, "b", "2");
    rows_decide(rows, false);
    assert_true(has(rows, "a", NULL) && has(rows, "b", "1"));
}

static void what_is_taken_back_never_was(void **state)
{
    struct rows *rows = ((struct coord_world *)*state)->rows;
    put(rows, "changed", "1");
    put(rows, "deleted", "");
    put(rows, "there and back", "x");
    uint64_t digest = rows_digest(rows);
    rows_try(rows);
    put(rows, "changed", "2");
    put(rows, "changed", "");
    put(rows, "new", "1");
    assert_true(rows_delete(rows, SLICE("deleted")));
    assert_false(rows_delete(rows, SLICE("never")));
    put(rows, "new and gone", "1");
    assert_true(rows_delete(rows, SLICE("new and gone")));
    assert_true(rows_delete(rows, SLICE("there and back")));
    put(rows, "there and back", "y");
    assert_true(has(rows, "changed", "") && has(rows, "deleted", NULL)); /* until then it is seen */
    rows_decide(rows, false);
    assert_true(has(rows, "changed", "1") && has(rows, "deleted", "") && has(rows, "there and back", "x"));
    assert_true(has(rows, "new", NULL) && has(rows, "new and gone", NULL));
    assert_true(rows_digest(rows) == digest);
    assert_int_equal(rows_memory_count(rows), 3);
}

static void nothing_tried_nothing_changed(void **state)
{
    struct rows *rows = ((struct coord_world *)*state)->rows;
    put(rows, "a", "1");
    rows_try(rows);
    rows_decide(rows, false);
    assert_true(has(rows, "a", "1"));
    put(rows, "a", "2"); /* outside: not noted */
    rows_try(rows);
    rows_decide(rows, false);
    assert_true(has(rows, "a", "2"));
}

static void change_at_random(struct rows *rows, unsigned *seed)
{
    char key[8], value[64];
    snprintf(key, sizeof key, "k%d", rand_r(seed) % 20);
    int size = rand_r(seed) % 60;
    memset(value, 'v', (size_t)size);
    if (size % 3)
        rows_put(rows, slice_text(key), slice_of(value, (size_t)size));
    else
        rows_delete(rows, slice_text(key));
}

static void any_changes_are_taken_back(void **state)
{
    struct rows *rows = ((struct coord_world *)*state)->rows;
    unsigned seed = 1;
    for (int round = 0; round < 200; round++) {
        for (int i = rand_r(&seed) % 10; i; i--) change_at_random(rows, &seed);
        struct rows *before = rows_memory_clone(rows);
        bool keep = rand_r(&seed) % 2;
        rows_try(rows);
        for (int i = rand_r(&seed) % 60; i; i--) change_at_random(rows, &seed);
        uint64_t tried = rows_digest(rows);
        rows_decide(rows, keep);
        assert_true(rows_digest(rows) == (keep ? tried : rows_digest(before)));
        if (!keep) assert_int_equal(rows_memory_count(rows), rows_memory_count(before));
        rows_memory_free(before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(nothing_was_told),
        COORD_TEST(entries_are_read_in_the_order_of_the_log),
        COORD_TEST(events_of_an_entry_come_together),
        COORD_TEST(a_path_is_any_bytes),
        COORD_TEST(the_path_is_copied),
        COORD_TEST(an_entry_that_tells_much_has_parts),
        COORD_TEST(a_part_is_not_the_entry),
        COORD_TEST(the_history_is_trimmed_by_size),
        COORD_TEST(what_is_far_too_much_goes_by_and_by),
        COORD_TEST(the_floor_is_the_last_that_went),
        COORD_TEST(the_newest_entry_stays),
        COORD_TEST(rows_kept_for_an_event_go_with_it),
        COORD_TEST(events_are_completed_from_other_rows),
        COORD_TEST(what_is_decided_stays),
        COORD_TEST(what_is_taken_back_never_was),
        COORD_TEST(nothing_tried_nothing_changed),
        COORD_TEST(any_changes_are_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
