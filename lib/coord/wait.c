/* Waits, pulses and times.
 *
 * A wait is a request whose answer a later entry brings: row KEY_WAIT, entry index -> primitive code, what.
 * It ends by that answer, or by wait.cancel, which the node that has the client proposes when the deadline
 * passed or the client went away. A pulse is work left for an entry of its own: row KEY_PULSE, entry index,
 * number -> primitive code, what. While there are any, the leader proposes entries with the command `pulse`;
 * each does the oldest one.
 *
 * A time is work for an entry stamped with it or later: row KEY_DUE. When the first has come, the leader
 * proposes entries with the command `due`; each does at most DUE_MAX of those whose time it has.
 *
 * Operation codes: 20 pulse, 21 wait.cancel, 22 state.digest, 23 due. */
#include "coord/wait.h"

#include "base/check.h"
#include "coord/coord.h"
#include "coord/key.h"
#include "coord/primitive/txn.h"

enum { DUE_MAX = 256, DUE_HEAD = 10 /* kind, time, primitive code */ };

static struct key wait_key(uint64_t index)
{
    struct key key = key_of(KEY_WAIT);
    key_number(&key, index);
    return key;
}

static void put_work(struct rows *rows, struct key key, uint8_t primitive, struct slice what)
{
    uint8_t value[KEY_SIZE_MAX];
    CHECK(what.size < sizeof value);
    value[0] = primitive;
    if (what.size) memcpy(value + 1, what.data, what.size);
    rows_put(rows, key_slice(&key), slice_of(value, what.size + 1));
}

/* Takes a wait or pulse row away; what it held, in the arena. */
static const struct primitive *take_work(struct apply *apply, struct slice key, struct slice value,
                                         struct slice *what)
{
    CHECK(value.size > 0);
    const struct primitive *primitive = primitive_by_code(value.data[0]);
    CHECK(primitive);
    *what = arena_copy(apply->arena, slice_skip(value, 1));
    rows_delete(apply->rows, key);
    return primitive;
}

void wait_register(struct apply *apply, uint64_t index, uint8_t primitive, struct slice what)
{
    put_work(apply->rows, wait_key(index), primitive, what);
}

void wait_forget(struct apply *apply, uint64_t index)
{
    struct key key = wait_key(index);
    rows_delete(apply->rows, key_slice(&key));
}

void pulse_want(struct apply *apply, uint8_t primitive, struct slice what)
{
    struct key key = key_of(KEY_PULSE);
    key_number(&key, apply->index);
    key_number(&key, apply->pulse_count++);
    put_work(apply->rows, key, primitive, what);
}

static bool first_pulse(struct rows *rows, struct slice *key, struct slice *value)
{
    struct key from = key_of(KEY_PULSE);
    return rows_seek(rows, key_slice(&from), key, value) && slice_starts_with(*key, key_slice(&from));
}

bool coord_wants_pulse(struct rows *rows)
{
    struct slice key, value;
    return first_pulse(rows, &key, &value);
}

static void apply_pulse(struct apply *apply, const void *args)
{
    (void)args;
    struct slice key, value, what;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
    if (!first_pulse(apply->rows, &key, &value)) return;
    key = arena_copy(apply->arena, key);
    const struct primitive *primitive = take_work(apply, key, value, &what);
    primitive->pulse(apply, what);
}

static struct key due_key(uint64_t at_ms, uint8_t primitive, struct slice what)
{
    struct key key = key_of(KEY_DUE);
    key_number(&key, at_ms);
    key_byte(&key, primitive);
    key_bytes(&key, what);
    return key;
}

void due_set(struct apply *apply, uint64_t at_ms, uint8_t primitive, struct slice what)
{
    struct key key = due_key(at_ms, primitive, what);
    rows_put(apply->rows, key_slice(&key), slice_of(NULL, 0));
}

void due_clear(struct apply *apply, uint64_t at_ms, uint8_t primitive, struct slice what)
{
    struct key key = due_key(at_ms, primitive, what);
    rows_delete(apply->rows, key_slice(&key));
}

static bool first_due(struct rows *rows, struct slice *key, uint64_t *at_ms)
{
    struct key from = key_of(KEY_DUE);
    struct slice value;
    if (!rows_seek(rows, key_slice(&from), key, &value) || key->data[0] != KEY_DUE) return false;
    struct slice rest = slice_skip(*key, 1);
    CHECK(take_u64be(&rest, at_ms) && rest.size);
    return true;
}

uint64_t coord_due_ms(struct rows *rows)
{
    struct slice key;
    uint64_t at_ms;
    return first_due(rows, &key, &at_ms) ? at_ms : UINT64_MAX;
}

static void apply_due(struct apply *apply, const void *args)
{
    (void)args;
    struct slice key;
    uint64_t at_ms;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
    for (int i = 0; i < DUE_MAX && first_due(apply->rows, &key, &at_ms) && at_ms <= apply->time_ms; i++) {
        key = arena_copy(apply->arena, key);
        rows_delete(apply->rows, key);
        const struct primitive *primitive = primitive_by_code(key.data[DUE_HEAD - 1]);
        CHECK(primitive && primitive->due);
        primitive->due(apply, at_ms, slice_skip(key, DUE_HEAD));
    }
}

static void apply_cancel(struct apply *apply, const void *arguments)
{
    const struct wait_cancel_args *args = arguments;
    struct key key = wait_key(args->index);
    struct slice value, what;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
    if (!rows_get(apply->rows, key_slice(&key), &value)) return; /* answered meanwhile */
    const struct primitive *primitive = take_work(apply, key_slice(&key), value, &what);
    primitive->wait_ended(apply, args->index, what, (enum end_reason)args->reason);
    if (args->reason == END_CLIENT_GONE) retry_forget(apply, args->index);
}

static const struct record pulse_record = {"pulse", sizeof(struct pulse_args), NULL, 0};
static const struct record due_record = {"due", sizeof(struct due_args), NULL, 0};

static const struct field cancel_fields[] = {
    {.number = 1,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct wait_cancel_args, index),
     .name = "index",
     .about = "entry whose request waits"},
    {.number = 2,
     .type = FIELD_CHOICE,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct wait_cancel_args, reason),
     .name = "reason",
     .choices = end_reason_choices,
     .about = "why it ends"},
};
static const struct record cancel_record = RECORD("wait_cancel", wait_cancel_args, cancel_fields);

static const struct field digest_fields[] = {
    {.number = 1,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct digest_args, index),
     .name = "index",
     .about = "the entry after which the digest was taken"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct digest_args, digest),
     .name = "digest",
     .about = "of the rows"},
};
static const struct record digest_record = RECORD("state_digest", digest_args, digest_fields);

/* The node compares; the rows do not change. */
static void apply_digest(struct apply *apply, const void *args)
{
    (void)args;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
}

static const struct operation operations[] = {
    {.code = 20,
     .name = "pulse",
     .kind = OPERATION_COMMAND,
     .args = &pulse_record,
     .apply = apply_pulse,
     .about = "Does the oldest piece of work that was left for an entry of its own."},
    {.code = 21,
     .name = "wait.cancel",
     .kind = OPERATION_COMMAND,
     .args = &cancel_record,
     .apply = apply_cancel,
     .about = "Ends a wait whose deadline passed or whose client went away."},
    {.code = 22,
     .name = "state.digest",
     .kind = OPERATION_COMMAND,
     .args = &digest_record,
     .apply = apply_digest,
     .about = "The leader's digest of the state; a replica whose own differs stops."},
    {.code = 23,
     .name = "due",
     .kind = OPERATION_COMMAND,
     .args = &due_record,
     .apply = apply_due,
     .about = "Does what was set to a time that has come."},
};
const struct operation *const operation_pulse = &operations[0], *const operation_wait_cancel = &operations[1],
                              *const operation_digest = &operations[2], *const operation_due = &operations[3];

static void check_dues(struct rows *rows)
{
    struct key from = key_of(KEY_DUE);
    struct slice key, value;
    while (rows_seek(rows, key_slice(&from), &key, &value) && key.data[0] == KEY_DUE) {
        const struct primitive *primitive = primitive_by_code(key.data[DUE_HEAD - 1]);
        CHECK(primitive && primitive->due);
        from = key_after(key);
    }
}

/* Every piece of work names a primitive of this build. */
static void check_waits(struct rows *rows, struct arena *arena)
{
    (void)arena;
    static const enum key_kind kinds[] = {KEY_WAIT, KEY_PULSE};
    check_dues(rows);
    for (size_t i = 0; i < 2; i++) {
        struct key from = key_of(kinds[i]);
        struct slice key = key_slice(&from), value;
        while (rows_seek(rows, key_slice(&from), &key, &value) && key.data[0] == kinds[i]) {
            CHECK(value.size > 0 && primitive_by_code(value.data[0]));
            from = key_after(key);
        }
    }
}

const struct primitive wait_primitive = {
    .name = "wait",
    .code = 1,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .check = check_waits,
};
