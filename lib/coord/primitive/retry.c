/* Safe retries and fences: the command "guarded" around another command.
 *
 * Rows:
 *     KEY_RETRY key          -> retry_row: what was asked under the key, and the first answer to it
 *     KEY_RETRY_AGE index    -> the key: which to forget first
 *     KEY_RETRY_AGE          -> how many there are
 *     KEY_RETRY_WAIT index   -> the key of the request of that entry, which still waits for its answer
 *
 * Invariants:
 *
 * 1. A key's row has one age row. It has an answer, or a wait row.
 * 2. An answer that invites a retry (retryable: nothing was changed) is not kept, and a wait that ends
 * without an answer leaves no row: the next request with the key is done anew.
 * 3. A kept answer outlives RETRY_KEPT_MS; it is forgotten by a later guarded command. */
#include "coord/primitive/txn.h"

#include "base/check.h"
#include "coord/key.h"
#include "coord/primitive/lock.h"

enum { FORGOTTEN_AN_ENTRY = 8 };

#define GUARDED(member) .offset = offsetof(struct guarded_args, member), .name = #member
static const struct field guarded_fields[] = {
    {.number = 1, .type = FIELD_TEXT, GUARDED(retry_key), .max = RETRY_KEY_MAX, .about = "Idempotency-Key"},
    {.number = 2, .type = FIELD_TEXT, GUARDED(fence_lock), .max = 255, .about = "lock of the Coord-Fence"},
    {.number = 3, .type = FIELD_UINT, GUARDED(fence_token), .about = "token of the Coord-Fence"},
    {.number = 4,
     .type = FIELD_OPERATIONS,
     .flags = FIELD_REQUIRED,
     GUARDED(operation),
     .max = 1,
     .among = primitives,
     .about = "what is to be done"},
};
const struct record guarded_record = RECORD("guarded", guarded_args, guarded_fields);

struct retry_row {
    uint64_t asked; /* a digest of the operation and its arguments */
    uint64_t index; /* of the first entry */
    uint64_t time_ms;
    struct list answer; /* one struct operation_result; none: it waits */
};
#define ROW(member) .offset = offsetof(struct retry_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_UINT, ROW(asked), .about = "digest of what was asked"},
    {.number = 2, .type = FIELD_UINT, ROW(index), .about = "of the first entry"},
    {.number = 3, .type = FIELD_UINT, ROW(time_ms), .about = "of the first entry"},
    {.number = 4, .type = FIELD_RESULTS, ROW(answer), .among = primitives, .about = "to the first entry"},
};
static const struct record row_record = RECORD("retry_row", retry_row, row_fields);

/* --- rows --- */

static struct key retry_key(struct slice name)
{
    struct key key = key_of(KEY_RETRY);
    key_bytes(&key, name);
    return key;
}

static struct key numbered(enum key_kind kind, uint64_t index)
{
    struct key key = key_of(kind);
    key_number(&key, index);
    return key;
}

static uint64_t kept_count(struct rows *rows)
{
    struct key key = key_of(KEY_RETRY_AGE);
    struct slice value;
    uint64_t count = 0;
    if (rows_get(rows, key_slice(&key), &value)) CHECK(take_varint(&value, &count));
    return count;
}

static void set_kept_count(struct rows *rows, uint64_t count)
{
    struct key key = key_of(KEY_RETRY_AGE);
    struct buffer value = {0};
    buffer_add_varint(&value, count);
    rows_put(rows, key_slice(&key), buffer_slice(&value));
    buffer_free(&value);
}

static void begin(struct apply *apply, struct slice name, const struct retry_row *row)
{
    struct key key = retry_key(name), age = numbered(KEY_RETRY_AGE, row->index);
    row_put(apply, key_slice(&key), &row_record, row);
    rows_put(apply->rows, key_slice(&age), name);
    set_kept_count(apply->rows, kept_count(apply->rows) + 1);
}

static void forget(struct apply *apply, struct slice name, uint64_t index)
{
    struct key key = retry_key(name), age = numbered(KEY_RETRY_AGE, index),
               wait = numbered(KEY_RETRY_WAIT, index);
    rows_delete(apply->rows, key_slice(&key));
    rows_delete(apply->rows, key_slice(&wait));
    CHECK(rows_delete(apply->rows, key_slice(&age)));
    set_kept_count(apply->rows, kept_count(apply->rows) - 1);
}

/* Those whose time is over, a few at a time; one that still waits stays. */
static void forget_old(struct apply *apply)
{
    struct key from = numbered(KEY_RETRY_AGE, 0);
    struct slice key, value;
    for (int i = 0; i < FORGOTTEN_AN_ENTRY; i++) {
        struct retry_row row;
        if (!rows_seek(apply->rows, key_slice(&from), &key, &value) || key.data[0] != KEY_RETRY_AGE) return;
        struct slice name = arena_copy(apply->arena, value);
        struct key of = retry_key(name);
        CHECK(row_get(apply, key_slice(&of), &row_record, &row));
        if (apply->time_ms < row.time_ms + RETRY_KEPT_MS) return;
        from = numbered(KEY_RETRY_AGE, row.index + 1);
        if (row.answer.count) forget(apply, name, row.index);
    }
}

/* --- the answer --- */

/* Keeps it, unless it invites a retry or is too large to keep. */
static void keep(struct apply *apply, struct slice name, struct retry_row *row,
                 struct operation_result *answer)
{
    struct key key = retry_key(name), wait = numbered(KEY_RETRY_WAIT, row->index);
    struct buffer bytes = {0};
    row->answer = (struct list){answer, 1};
    record_encode(&row_record, row, &bytes);
    rows_delete(apply->rows, key_slice(&wait));
    if (bytes.size > RETRY_ANSWER_MAX) {
        *answer = (struct operation_result){.operation = answer->operation,
                                            .outcome = answer->outcome,
                                            .detail = SLICE("done; the answer was too large to be kept")};
        bytes.size = 0;
        record_encode(&row_record, row, &bytes);
    }
    if (outcome_facts(answer->outcome)->retryable)
        forget(apply, name, row->index);
    else
        rows_put(apply->rows, key_slice(&key), buffer_slice(&bytes));
    buffer_free(&bytes);
}

void retry_answered(struct apply *apply)
{
    for (const struct answer *answer = apply->answers; answer; answer = answer->next) {
        struct key wait = numbered(KEY_RETRY_WAIT, answer->to_index);
        struct retry_row row;
        struct slice value;
        if (answer->to_index == apply->index || !rows_get(apply->rows, key_slice(&wait), &value)) continue;
        uint64_t code;
        CHECK(take_varint(&value, &code));
        struct slice name = arena_copy(apply->arena, value);
        struct key key = retry_key(name);
        CHECK(row_get(apply, key_slice(&key), &row_record, &row));
        struct operation_result result = {operation_by_code(code), answer->outcome, answer->shape,
                                          answer->data, answer->detail};
        CHECK(result.operation);
        keep(apply, name, &row, &result);
    }
}

void retry_forget(struct apply *apply, uint64_t index)
{
    struct key wait = numbered(KEY_RETRY_WAIT, index);
    struct slice value;
    uint64_t code;
    if (!rows_get(apply->rows, key_slice(&wait), &value)) return;
    CHECK(take_varint(&value, &code));
    forget(apply, arena_copy(apply->arena, value), index);
}

static void answer_as(struct apply *apply, const struct operation_result *result, bool replayed)
{
    apply_answer_again(apply, result->outcome, result->shape, result->data, result->detail, replayed);
}

/* --- guards --- */

static uint64_t digest_of(const struct operation_item *item)
{
    struct buffer bytes = {0};
    record_encode(item->operation->args, item->args, &bytes);
    uint64_t digest = row_hash(slice_text(item->operation->name), buffer_slice(&bytes));
    buffer_free(&bytes);
    return digest;
}

/* True: it was asked before, and is answered now. */
static bool asked_before(struct apply *apply, struct slice name, uint64_t asked)
{
    struct key key = retry_key(name);
    struct retry_row row;
    if (!row_get(apply, key_slice(&key), &row_record, &row)) return false;
    if (row.asked != asked)
        apply_answer(apply, OUTCOME_RETRY_MISMATCH, NULL, NULL);
    else if (!row.answer.count)
        apply_answer(apply, OUTCOME_RETRY_IN_FLIGHT, NULL, NULL);
    else
        answer_as(apply, row.answer.items, true);
    return true;
}

static bool fence_holds(struct apply *apply, const struct guarded_args *args)
{
    struct lock lock;
    struct holder_row holder;
    if (!args->fence_lock.size) return true;
    lock_load(&lock, apply, args->fence_lock);
    if (lock_holder(&lock, args->fence_token, &holder)) {
        apply->fence.lock = args->fence_lock;
        apply->fence.token = args->fence_token;
        return true;
    }
    apply_answer_detail(apply, OUTCOME_FENCED, NULL, NULL,
                        arena_printf(apply->arena,
                                     "token %llu is not current on the lock %.*s; nothing was changed",
                                     (unsigned long long)args->fence_token, SLICE_ARGS(args->fence_lock)));
    return false;
}

static void run_once(struct apply *apply, const struct guarded_args *args, const struct operation_item *item)
{
    struct retry_row row = {digest_of(item), apply->index, apply->time_ms, {NULL, 0}};
    struct operation_result result;
    bool replayed;
    if (asked_before(apply, args->retry_key, row.asked)) return;
    if (kept_count(apply->rows) >= RETRY_KEPT_MAX) {
        apply_answer(apply, OUTCOME_RETRY_FULL, NULL, NULL);
        return;
    }
    if (!fence_holds(apply, args)) return;
    begin(apply, args->retry_key, &row);
    if (txn_run(apply, item, &result, &replayed)) {
        struct operation_result kept = result;
        keep(apply, args->retry_key, &row, &kept);
        answer_as(apply, &result, false);
        return;
    }
    struct key wait = numbered(KEY_RETRY_WAIT, apply->index);
    struct buffer value = {0};
    buffer_add_varint(&value, item->operation->code);
    buffer_add_slice(&value, args->retry_key);
    rows_put(apply->rows, key_slice(&wait), buffer_slice(&value));
    buffer_free(&value);
}

const struct operation *guarded_operation(const struct guarded_args *args)
{
    const struct operation_item *items = args->operation.items;
    return args->operation.count ? items[0].operation : operation_guarded;
}

void guarded_apply(struct apply *apply, const void *arguments)
{
    const struct guarded_args *args = arguments;
    const struct operation_item *item = args->operation.items;
    bool senseless =
        args->operation.count != 1 || item->operation->kind != OPERATION_COMMAND || !item->operation->path;
    if (senseless) {
        apply_answer(apply, OUTCOME_SENSELESS, NULL, NULL);
        return;
    }
    forget_old(apply);
    if (args->retry_key.size)
        run_once(apply, args, item);
    else if (fence_holds(apply, args))
        item->operation->apply(apply, item->args);
}

/* --- check --- */

static void check_age(struct apply *apply, struct slice key, struct slice name, uint64_t *count)
{
    struct retry_row row;
    struct slice value;
    uint64_t index, code;
    struct slice rest = slice_skip(key, 1);
    CHECK(take_u64be(&rest, &index));
    struct key of = retry_key(name), wait = numbered(KEY_RETRY_WAIT, index);
    CHECK(row_get(apply, key_slice(&of), &row_record, &row) && row.index == index);
    bool waits = rows_get(apply->rows, key_slice(&wait), &value);
    CHECK(waits == (row.answer.count == 0));
    if (waits) CHECK(take_varint(&value, &code) && operation_by_code(code) && slice_equal(value, name));
    ++*count;
}

static uint64_t count_rows(struct rows *rows, enum key_kind kind)
{
    struct key from = key_of(kind);
    struct slice key, value;
    uint64_t count = 0;
    for (; rows_seek(rows, key_slice(&from), &key, &value) && key.data[0] == kind; count++) {
        from.size = 0;
        key_bytes(&from, key);
        key_byte(&from, 0);
    }
    return count;
}

void retry_check(struct rows *rows, struct arena *arena)
{
    struct apply apply = {.rows = rows, .arena = arena};
    struct key from = numbered(KEY_RETRY_AGE, 0);
    struct slice key, value;
    uint64_t count = 0;
    while (rows_seek(rows, key_slice(&from), &key, &value) && key.data[0] == KEY_RETRY_AGE) {
        key = arena_copy(arena, key);
        check_age(&apply, key, arena_copy(arena, value), &count);
        from.size = 0;
        key_bytes(&from, key);
        key_byte(&from, 0);
    }
    CHECK(count == kept_count(rows) && count == count_rows(rows, KEY_RETRY));
    CHECK(count_rows(rows, KEY_RETRY_WAIT) <= count);
}
