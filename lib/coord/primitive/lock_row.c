/* The rows of locks. */
#include "coord/primitive/lock.h"

#include "base/check.h"
#include "coord/primitive/object.h"

const char *const lock_mode_choices[] = {"exclusive", "shared", "semaphore", NULL};

#define PAST(member) .offset = offsetof(struct lock_past, member), .name = #member
static const struct field past_fields[] = {
    {.number = 1, .type = FIELD_UINT, PAST(token)},
    {.number = 2, .type = FIELD_CHOICE, PAST(mode), .choices = lock_mode_choices},
    {.number = 3, .type = FIELD_TIME, PAST(since_ms)},
    {.number = 4, .type = FIELD_TIME, PAST(ended_ms)},
    {.number = 5, .type = FIELD_CHOICE, PAST(reason), .choices = end_reason_choices},
    {.number = 6, .type = FIELD_TEXT, PAST(owner)},
    {.number = 7, .type = FIELD_TEXT, PAST(detail)},
};
static const struct record past_record = RECORD("lock_past", lock_past, past_fields);

#define ROW(member) .offset = offsetof(struct lock_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_UINT, ROW(mode)},
    {.number = 2, .type = FIELD_UINT, ROW(limit)},
    {.number = 3, .type = FIELD_UINT, ROW(used)},
    {.number = 4, .type = FIELD_UINT, ROW(holders)},
    {.number = 5, .type = FIELD_UINT, ROW(waiters)},
    {.number = 6, .type = FIELD_UINT, ROW(token)},
    {.number = 7, .type = FIELD_UINT, ROW(revision)},
    {.number = 8, .type = FIELD_UINT, ROW(delay)},
    {.number = 10, .type = FIELD_BOOL, ROW(pulse)},
    {.number = 11, .type = FIELD_BYTES, ROW(history)},
    {.number = 12, .type = FIELD_TIME, ROW(yield_ms)},
    {.number = 13, .type = FIELD_TEXT, ROW(yield_owner)},
    {.number = 14, .type = FIELD_TEXT, ROW(yield_reason)},
};
static const struct record row_record = RECORD("lock_row", lock_row, row_fields);

#define HOLDER(member) .offset = offsetof(struct holder_row, member), .name = #member
static const struct field holder_fields[] = {
    {.number = 1, .type = FIELD_UINT, HOLDER(token)},    {.number = 2, .type = FIELD_UINT, HOLDER(lease)},
    {.number = 3, .type = FIELD_UINT, HOLDER(mode)},     {.number = 4, .type = FIELD_UINT, HOLDER(permits)},
    {.number = 5, .type = FIELD_UINT, HOLDER(since_ms)}, {.number = 6, .type = FIELD_UINT, HOLDER(count)},
    {.number = 7, .type = FIELD_UINT, HOLDER(delay_ms)}, {.number = 8, .type = FIELD_TEXT, HOLDER(owner)},
    {.number = 9, .type = FIELD_JSON, HOLDER(meta)},
};
static const struct record holder_record = RECORD("holder_row", holder_row, holder_fields);

#define WAITER(member) .offset = offsetof(struct lock_request, member), .name = #member
static const struct field waiter_fields[] = {
    {.number = 1, .type = FIELD_UINT, WAITER(mode)},
    {.number = 2, .type = FIELD_UINT, WAITER(permits)},
    {.number = 3, .type = FIELD_UINT, WAITER(limit)},
    {.number = 4, .type = FIELD_UINT, WAITER(priority)},
    {.number = 5, .type = FIELD_UINT, WAITER(lease)},
    {.number = 6, .type = FIELD_UINT, WAITER(ttl_ms)},
    {.number = 7, .type = FIELD_UINT, WAITER(delay_ms)},
    {.number = 8, .type = FIELD_TEXT, WAITER(owner)},
    {.number = 9, .type = FIELD_JSON, WAITER(meta)},
    {.number = 10, .type = FIELD_UINT, WAITER(since_ms)},
    {.number = 11, .type = FIELD_UINT, WAITER(arrived)},
    {.number = 12, .type = FIELD_UINT, WAITER(answer_index)},
    {.number = 13, .type = FIELD_UINT, WAITER(origin)},
    {.number = 14, .type = FIELD_UINT, WAITER(upgrades)},
    {.number = 15, .type = FIELD_UINT, WAITER(many)},
    {.number = 16, .type = FIELD_BOOL, WAITER(any)},
    {.number = 17, .type = FIELD_BOOL, WAITER(on_session)},
};
const struct record lock_waiter_record = RECORD("waiter_row", lock_request, waiter_fields);

/* --- the lock itself --- */

static struct key lock_key(struct slice name)
{
    struct key key = key_of(KEY_LOCK);
    key_bytes(&key, name);
    return key;
}

static bool idle(const struct lock_row *row)
{
    return !row->holders && !row->waiters && !row->delay;
}

static bool is_idle(struct apply *apply, struct slice name)
{
    struct lock lock;
    lock_load(&lock, apply, name);
    CHECK(lock.exists);
    return idle(&lock.row);
}

static const struct object_kind locks = {KEY_LOCK, KEY_LOCK_KEPT, LOCK_KEPT_MAX, is_idle};

void lock_load(struct lock *lock, struct apply *apply, struct slice name)
{
    *lock = (struct lock){.apply = apply, .name = name};
    struct key key = lock_key(name);
    lock->exists = row_get(apply, key_slice(&key), &row_record, &lock->row);
}

void lock_save(struct lock *lock)
{
    struct lock_row *row = &lock->row;
    if (!lock->changed) return;
    if (!row->holders) row->mode = 0;
    if (!row->yield_ms) row->yield_owner = row->yield_reason = slice_of(NULL, 0);
    if (!row->holders && !row->waiters) row->limit = 0;
    row->revision = lock->apply->index;
    struct key key = lock_key(lock->name);
    row_put(lock->apply, key_slice(&key), &row_record, row);
    if (!lock->exists)
        object_keep(lock->apply, &locks, lock->name);
    else if (idle(row))
        object_forget_surplus(lock->apply, &locks);
    lock->exists = true;
}

/* --- history: varint size + record for each, newest first; few who load a lock want to see it --- */

static struct slice take_past(struct slice *history)
{
    uint64_t size;
    struct slice past;
    CHECK(take_varint(history, &size) && take_bytes(history, (size_t)size, &past));
    return past;
}

void lock_remember(struct lock *lock, const struct lock_past *past)
{
    struct buffer record = {0}, history = {0};
    struct slice rest = lock->row.history;
    record_encode(&past_record, past, &record);
    buffer_add_varint(&history, record.size);
    buffer_add_slice(&history, buffer_slice(&record));
    for (size_t kept = 1; kept < LOCK_HISTORY && rest.size; kept++) take_past(&rest);
    buffer_add(&history, lock->row.history.data, lock->row.history.size - rest.size);
    lock->row.history = arena_copy(lock->apply->arena, buffer_slice(&history));
    lock->changed = true;
    buffer_free(&record);
    buffer_free(&history);
}

struct list lock_history(const struct lock *lock)
{
    struct arena *arena = lock->apply->arena;
    struct lock_past *pasts = arena_alloc(arena, LOCK_HISTORY * sizeof *pasts);
    struct list list = {.items = pasts};
    for (struct slice rest = lock->row.history; rest.size; list.count++) {
        CHECK(list.count < LOCK_HISTORY);
        CHECK(record_decode(&past_record, &pasts[list.count], take_past(&rest), arena));
    }
    return list;
}

/* --- holders --- */

static struct key holder_key(struct slice name, uint64_t token)
{
    struct key key = key_of(KEY_LOCK_HOLDER);
    key_name(&key, name);
    key_number(&key, token);
    return key;
}

bool lock_holder(struct lock *lock, uint64_t token, struct holder_row *holder)
{
    struct key key = holder_key(lock->name, token);
    return lock->row.holders && row_get(lock->apply, key_slice(&key), &holder_record, holder);
}

bool lock_next_holder(struct lock *lock, uint64_t after_token, struct holder_row *holder)
{
    struct key from = holder_key(lock->name, after_token + 1);
    struct slice key, value;
    if (!lock->row.holders || !rows_seek(lock->apply->rows, key_slice(&from), &key, &value)) return false;
    if (!slice_starts_with(key, slice_of(from.bytes, from.size - 8)) || key.size != from.size) return false;
    key = arena_copy(lock->apply->arena, key);
    return row_get(lock->apply, key, &holder_record, holder);
}

void lock_put_holder(struct lock *lock, const struct holder_row *holder)
{
    lock->changed = true;
    struct key key = holder_key(lock->name, holder->token);
    row_put(lock->apply, key_slice(&key), &holder_record, holder);
}

void lock_delete_holder(struct lock *lock, uint64_t token)
{
    lock->changed = true;
    struct key key = holder_key(lock->name, token);
    CHECK(rows_delete(lock->apply->rows, key_slice(&key)));
}

/* --- waiters --- */

enum { PLACE_SIZE = 10 };

struct slice lock_place(struct apply *apply, const struct lock_request *waiter)
{
    struct key place;
    place.size = 0;
    key_byte(&place, waiter->upgrades ? 0 : 1);
    key_byte(&place, (uint8_t)(LOCK_PRIORITY_MAX - waiter->priority));
    key_number(&place, waiter->arrived);
    return arena_copy(apply->arena, key_slice(&place));
}

static struct key waiter_key(struct slice name, struct slice place)
{
    struct key key = key_of(KEY_LOCK_WAITER);
    key_name(&key, name);
    key_bytes(&key, place);
    return key;
}

bool lock_next_waiter(struct lock *lock, struct slice *place, struct lock_request *waiter)
{
    struct key from = waiter_key(lock->name, *place);
    size_t head = from.size - place->size;
    struct slice key, value;
    if (place->size) key_byte(&from, 0);
    if (!rows_seek(lock->apply->rows, key_slice(&from), &key, &value)) return false;
    if (!slice_starts_with(key, slice_of(from.bytes, head)) || key.size != head + PLACE_SIZE) return false;
    key = arena_copy(lock->apply->arena, key);
    *place = slice_skip(key, head);
    return row_get(lock->apply, key, &lock_waiter_record, waiter);
}

bool lock_waiter_at(struct lock *lock, struct slice place, struct lock_request *waiter)
{
    struct key key = waiter_key(lock->name, place);
    return row_get(lock->apply, key_slice(&key), &lock_waiter_record, waiter);
}

void lock_put_waiter(struct lock *lock, const struct lock_request *waiter)
{
    lock->changed = true;
    struct key key = waiter_key(lock->name, lock_place(lock->apply, waiter));
    row_put(lock->apply, key_slice(&key), &lock_waiter_record, waiter);
}

void lock_delete_waiter(struct lock *lock, const struct lock_request *waiter)
{
    lock->changed = true;
    struct key key = waiter_key(lock->name, lock_place(lock->apply, waiter));
    CHECK(rows_delete(lock->apply->rows, key_slice(&key)));
}

/* --- attachments --- */

struct slice lock_token_bytes(struct apply *apply, uint64_t token)
{
    struct key key;
    key.size = 0;
    key_number(&key, token);
    return arena_copy(apply->arena, key_slice(&key));
}

bool lock_held_by(struct lock *lock, uint64_t lease, struct holder_row *holder)
{
    struct slice rest;
    uint64_t token;
    if (!lock->row.holders || !object_attached(lock->apply, lease, LOCK_CODE, lock->name, 'h', &rest))
        return false;
    CHECK(take_u64be(&rest, &token) && lock_holder(lock, token, holder));
    return true;
}

bool lock_awaited_by(struct lock *lock, uint64_t lease, struct lock_request *waiter)
{
    struct slice rest;
    if (!lock->row.waiters || !object_attached(lock->apply, lease, LOCK_CODE, lock->name, 'w', &rest))
        return false;
    CHECK(lock_waiter_at(lock, rest, waiter));
    return true;
}

/* --- invariants --- */

static void check_holders(struct lock *lock)
{
    struct holder_row holder;
    struct lease_row lease;
    uint64_t count = 0, used = 0;
    for (uint64_t last = 0; lock_next_holder(lock, last, &holder); last = holder.token) {
        CHECK(holder.mode == lock->row.mode && holder.token <= lock->row.token && holder.count >= 1);
        CHECK(lease_get(lock->apply, holder.lease, &lease));
        count++;
        used += holder.permits;
    }
    CHECK(count == lock->row.holders && used == lock->row.used);
    CHECK((lock->row.mode == 0) == (count == 0));
    CHECK(lock->row.mode != LOCK_EXCLUSIVE || count == 1);
    CHECK(lock->row.mode != LOCK_SEMAPHORE || used <= lock->row.limit);
}

/* Returns how many of them wait for other locks too. */
static uint64_t check_waiters(struct lock *lock)
{
    struct lock_request waiter, first = {0};
    struct lease_row lease;
    struct slice place = {0};
    uint64_t count = 0, many = 0;
    while (lock_next_waiter(lock, &place, &waiter)) {
        if (count++ == 0) first = waiter;
        many += waiter.many > 0;
        if (waiter.lease) CHECK(lease_get(lock->apply, waiter.lease, &lease));
        CHECK(slice_equal(place, lock_place(lock->apply, &waiter)));
    }
    CHECK(count == lock->row.waiters);
    struct holder_row replaced;
    bool upgrade = count && first.upgrades;
    if (upgrade) CHECK(lock_holder(lock, first.upgrades, &replaced));
    CHECK(!count || first.many || lock->row.pulse || !lock_fits(lock, &first, upgrade ? &replaced : NULL));
    return many;
}

void lock_check(struct rows *rows, struct arena *arena)
{
    struct apply apply;
    struct key from = object_first(KEY_LOCK, (struct slice){0}, (struct slice){0});
    struct slice name;
    uint64_t count = 0, many = 0;
    apply_begin(&apply, rows, arena, UINT64_MAX, 0, 0);
    for (; object_next(&apply, &from, (struct slice){0}, &name); count++) {
        struct lock lock;
        lock_load(&lock, &apply, name);
        lock_history(&lock);
        check_holders(&lock);
        many += check_waiters(&lock);
    }
    object_check_kept(rows, arena, &locks, count);
    CHECK(many == lock_many_check(&apply));
}
