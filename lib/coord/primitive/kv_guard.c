/* Guards: a prefix of keys bound to a lock. Clients put and delete such keys only with the lock's current
 * fence; of several guards on a key the one with the longest prefix decides. */
#include "coord/primitive/kv.h"

#include "base/check.h"
#include "coord/primitive/object.h"

enum { LIST_MAX = 1000 };

struct guard_row {
    struct slice lock;
    uint64_t revision, since_ms;
};
#define ROW(member) .offset = offsetof(struct guard_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_NAME, ROW(lock)},
    {.number = 2, .type = FIELD_UINT, ROW(revision)},
    {.number = 3, .type = FIELD_TIME, ROW(since_ms)},
};
static const struct record row_record = RECORD("guard_row", guard_row, row_fields);

static struct key guard_key(struct slice prefix)
{
    struct key key = key_of(KEY_GUARD);
    key_bytes(&key, prefix);
    return key;
}

static bool load(struct apply *apply, struct slice prefix, struct guard_row *row)
{
    struct key key = guard_key(prefix);
    return row_get(apply, key_slice(&key), &row_record, row);
}

/* --- what they do --- */

static size_t common(struct slice a, struct slice b)
{
    size_t size = 0;
    while (size < a.size && size < b.size && a.data[size] == b.data[size]) size++;
    return size;
}

/* The last guard at or before the key, when it is no prefix of it, has all shorter candidates below the part
 * that they share. */
static bool longest(struct apply *apply, struct slice key, struct slice *prefix)
{
    struct slice found, value;
    for (size_t size = key.size;;) {
        struct key before = guard_key(slice_of(key.data, size));
        key_byte(&before, 0);
        if (!rows_seek_back(apply->rows, key_slice(&before), &found, &value) || found.data[0] != KEY_GUARD)
            return false;
        found = slice_skip(found, 1);
        size = common(found, key);
        if (size < found.size) continue;
        *prefix = slice_of(key.data, size);
        return true;
    }
}

bool kv_any_guard(struct apply *apply)
{
    struct key from = guard_key((struct slice){0});
    struct slice key, value;
    return rows_seek(apply->rows, key_slice(&from), &key, &value) && key.data[0] == KEY_GUARD;
}

bool kv_guarded(struct apply *apply, struct slice key)
{
    struct slice prefix;
    struct guard_row row;
    if (!longest(apply, key, &prefix)) return false;
    CHECK(load(apply, prefix, &row));
    if (slice_equal(apply->fence.lock, row.lock)) return false;
    struct kv_refusal *facts = arena_alloc(apply->arena, sizeof *facts);
    *facts = (struct kv_refusal){
        .key = arena_copy(apply->arena, key), .guard = arena_copy(apply->arena, prefix), .lock = row.lock};
    apply_answer(apply, OUTCOME_GUARDED, &kv_refusal_record, facts);
    return true;
}

/* --- shapes --- */

struct prefix_args {
    struct slice prefix;
};
static const struct field prefix_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct prefix_args, prefix),
     .name = "prefix",
     .min = 1,
     .max = KV_KEY_MAX,
     .about = "of keys"},
};
const struct record kv_guard_prefix_record = RECORD("guard_prefix", prefix_args, prefix_fields);

struct put_args {
    struct slice prefix, lock;
};
#define PUT(member) .offset = offsetof(struct put_args, member), .name = #member
static const struct field put_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     .flags = FIELD_REQUIRED,
     PUT(prefix),
     .min = 1,
     .max = KV_KEY_MAX,
     .about = "of keys"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     PUT(lock),
     .max = 255,
     .about = "whose current fence (header Coord-Fence) writes below the prefix need from now on"},
};
const struct record kv_guard_put_record = RECORD("guard_put", put_args, put_fields);

struct guard {
    struct slice prefix, lock;
    uint64_t since_ms, revision;
};
#define GUARD(member) .offset = offsetof(struct guard, member)
static const struct field guard_fields[] = {
    {.number = 1, .type = FIELD_BYTES, GUARD(prefix), .name = "prefix", .about = "of keys"},
    {.number = 2, .type = FIELD_NAME, GUARD(lock), .name = "lock", .about = "whose fence writes need"},
    {.number = 3, .type = FIELD_TIME, GUARD(since_ms), .name = "since", .about = "of this binding"},
    {.number = 4, .type = FIELD_UINT, GUARD(revision), .name = "revision", .about = "of this binding"},
};
const struct record kv_guard_record = RECORD("guard", guard, guard_fields);

struct unguarded {
    struct slice prefix;
    bool deleted;
};
#define UNGUARDED(member) .offset = offsetof(struct unguarded, member), .name = #member
static const struct field unguarded_fields[] = {
    {.number = 1, .type = FIELD_BYTES, UNGUARDED(prefix), .about = "of keys"},
    {.number = 2, .type = FIELD_BOOL, UNGUARDED(deleted), .about = "false: there was no guard"},
};
const struct record kv_unguarded_record = RECORD("unguarded", unguarded, unguarded_fields);

struct list_args {
    struct slice prefix, cursor;
    uint64_t limit;
};
#define ASKED(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_BYTES, ASKED(prefix), .max = KV_KEY_MAX, .about = "of the guarded prefix"},
    {.number = 2,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = LIST_MAX,
     .initial = 100,
     .about = "at most that many"},
    {.number = 3, .type = FIELD_BYTES, ASKED(cursor), .max = KV_KEY_MAX, .about = "of the page before"},
};
const struct record kv_guard_list_args_record = RECORD("guard_list", list_args, list_args_fields);

struct list_result {
    struct list guards;
    struct slice cursor;
    uint64_t revision;
};
#define PAGE(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(guards),
     .record = &kv_guard_record,
     .about = "in the order of their prefixes"},
    {.number = 2,
     .type = FIELD_BYTES,
     .flags = FIELD_NULL,
     PAGE(cursor),
     .about = "for the next page; null at the end"},
    {.number = 3, .type = FIELD_UINT, PAGE(revision), .about = "of the state that was read"},
};
const struct record kv_guard_list_record = RECORD("guards", list_result, list_fields);

/* --- operations --- */

static struct guard guard_of(struct slice prefix, const struct guard_row *row)
{
    return (struct guard){prefix, row->lock, row->since_ms, row->revision};
}

static void answer(struct apply *apply, enum outcome outcome, struct slice prefix,
                   const struct guard_row *row)
{
    struct guard *guard = arena_alloc(apply->arena, sizeof *guard);
    *guard = guard_of(prefix, row);
    apply_answer(apply, outcome, &kv_guard_record, guard);
}

void kv_guard_put(struct apply *apply, const void *arguments)
{
    const struct put_args *args = arguments;
    struct key key = guard_key(args->prefix);
    struct guard_row row;
    bool there = load(apply, args->prefix, &row);
    if (!there || !slice_equal(row.lock, args->lock)) {
        row = (struct guard_row){args->lock, apply->index, apply->time_ms};
        row_put(apply, key_slice(&key), &row_record, &row);
        kv_tell_guard(apply, KV_GUARDED, args->prefix, args->lock);
    }
    answer(apply, there ? OUTCOME_OK : OUTCOME_CREATED, args->prefix, &row);
}

void kv_guard_get(struct apply *apply, const void *arguments)
{
    const struct prefix_args *args = arguments;
    struct guard_row row;
    if (load(apply, args->prefix, &row))
        answer(apply, OUTCOME_OK, args->prefix, &row);
    else
        apply_answer(apply, OUTCOME_GUARD_NOT_FOUND, NULL, NULL);
}

void kv_guard_delete(struct apply *apply, const void *arguments)
{
    const struct prefix_args *args = arguments;
    struct unguarded *result = arena_alloc(apply->arena, sizeof *result);
    struct key key = guard_key(args->prefix);
    struct guard_row row;
    *result = (struct unguarded){args->prefix, load(apply, args->prefix, &row)};
    if (result->deleted) {
        rows_delete(apply->rows, key_slice(&key));
        kv_tell_guard(apply, KV_UNGUARDED, args->prefix, row.lock);
    }
    apply_answer(apply, OUTCOME_OK, &kv_unguarded_record, result);
}

void kv_guard_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct guard *guards = arena_alloc(apply->arena, args->limit * sizeof *guards);
    struct key from = object_first(KEY_GUARD, args->prefix, args->cursor);
    struct slice prefix;
    struct guard_row row;
    result->guards.items = guards;
    result->revision = apply->index;
    while (object_next(apply, &from, args->prefix, &prefix)) {
        if (result->guards.count == args->limit) {
            result->cursor = guards[args->limit - 1].prefix;
            break;
        }
        CHECK(load(apply, prefix, &row));
        guards[result->guards.count++] = guard_of(prefix, &row);
    }
    apply_answer(apply, OUTCOME_OK, &kv_guard_list_record, result);
}

void kv_guard_check(struct rows *rows, struct arena *arena)
{
    struct apply apply = {.rows = rows, .arena = arena};
    struct key from = guard_key((struct slice){0});
    struct guard_row row;
    struct slice prefix;
    while (object_next(&apply, &from, (struct slice){0}, &prefix))
        CHECK(prefix.size && load(&apply, prefix, &row) && row.lock.size && row.revision);
}
