/* Safe retries and fences: the command "guarded" around another command.
 *
 * Rows:
 *     KEY_RETRY key          -> retry_row: what was asked under the key, and the first answer to it
 *     KEY_RETRY              -> how many there are
 *     KEY_RETRY_WAIT index   -> the key of the request of that entry, which still waits for its answer
 *
 * Invariants:
 *
 * 1. A key's row has an answer, or a wait row. At its forget_ms it is due (due_set).
 * 2. An answer that invites a retry (retryable: nothing was changed) is not kept, and a wait that ends
 * without an answer leaves no row: the next request with the key is done anew.
 * 3. A kept answer outlives RETRY_KEPT_MS, counted from when it was given. */
#include "coord/primitive/txn.h"

#include "base/check.h"
#include "coord/key.h"
#include "coord/primitive/lock.h"

enum { WAITS_LONGER_MS = 60 * 1000 };

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
    uint64_t forget_ms;
    struct list answer; /* one struct operation_result; none: it waits */
};
#define ROW(member) .offset = offsetof(struct retry_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_UINT, ROW(asked), .about = "digest of what was asked"},
    {.number = 2, .type = FIELD_UINT, ROW(index), .about = "of the first entry"},
    {.number = 3, .type = FIELD_UINT, ROW(forget_ms), .about = "when it is due"},
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
    struct key key = key_of(KEY_RETRY);
    return rows_number(rows, key_slice(&key));
}

static void set_kept_count(struct rows *rows, uint64_t count)
{
    struct key key = key_of(KEY_RETRY);
    rows_set_number(rows, key_slice(&key), count);
}

static void begin(struct apply *apply, struct slice name, const struct retry_row *row)
{
    struct key key = retry_key(name);
    row_put(apply, key_slice(&key), &row_record, row);
    due_set(apply, row->forget_ms, TXN_CODE, name);
    set_kept_count(apply->rows, kept_count(apply->rows) + 1);
}

static void forget(struct apply *apply, struct slice name, const struct retry_row *row)
{
    struct key key = retry_key(name), wait = numbered(KEY_RETRY_WAIT, row->index);
    CHECK(rows_delete(apply->rows, key_slice(&key)));
    rows_delete(apply->rows, key_slice(&wait));
    due_clear(apply, row->forget_ms, TXN_CODE, name);
    set_kept_count(apply->rows, kept_count(apply->rows) - 1);
}

/* Its time is over; one that still waits stays. */
void retry_due(struct apply *apply, uint64_t at_ms, struct slice name)
{
    struct key key = retry_key(name);
    struct retry_row row;
    CHECK(row_get(apply, key_slice(&key), &row_record, &row) && row.forget_ms == at_ms);
    if (row.answer.count) {
        forget(apply, name, &row);
        return;
    }
    row.forget_ms += WAITS_LONGER_MS;
    row_put(apply, key_slice(&key), &row_record, &row);
    due_set(apply, row.forget_ms, TXN_CODE, name);
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
        forget(apply, name, row);
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
        due_clear(apply, row.forget_ms, TXN_CODE, name);
        row.forget_ms = apply->time_ms + RETRY_KEPT_MS;
        due_set(apply, row.forget_ms, TXN_CODE, name);
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
    struct slice name = arena_copy(apply->arena, value);
    struct key key = retry_key(name);
    struct retry_row row;
    CHECK(row_get(apply, key_slice(&key), &row_record, &row));
    forget(apply, name, &row);
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
    struct retry_row row = {digest_of(item), apply->index, apply->time_ms + RETRY_KEPT_MS, {NULL, 0}};
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
    bool senseless = args->operation.count != 1 || item->operation->kind != OPERATION_COMMAND ||
                     !operation_in_txn(item->operation);
    if (senseless) {
        apply_answer(apply, OUTCOME_SENSELESS, NULL, NULL);
        return;
    }
    if (args->retry_key.size)
        run_once(apply, args, item);
    else if (fence_holds(apply, args))
        item->operation->apply(apply, item->args);
}

/* --- check --- */

static void check_row(struct apply *apply, struct slice name)
{
    struct key key = retry_key(name);
    struct retry_row row;
    struct slice value;
    uint64_t code;
    CHECK(row_get(apply, key_slice(&key), &row_record, &row));
    struct key wait = numbered(KEY_RETRY_WAIT, row.index), due = key_of(KEY_DUE);
    bool waits = rows_get(apply->rows, key_slice(&wait), &value);
    CHECK(waits == (row.answer.count == 0));
    if (waits) CHECK(take_varint(&value, &code) && operation_by_code(code) && slice_equal(value, name));
    key_number(&due, row.forget_ms);
    key_byte(&due, TXN_CODE);
    key_bytes(&due, name);
    CHECK(rows_get(apply->rows, key_slice(&due), &value));
}

static struct slice next_key(struct rows *rows, struct key *from, struct arena *arena)
{
    struct slice key, value;
    if (!rows_seek(rows, key_slice(from), &key, &value) || key.data[0] != from->bytes[0])
        return (struct slice){0};
    key = arena_copy(arena, key);
    *from = key_after(key);
    return key;
}

void retry_check(struct rows *rows, struct arena *arena)
{
    struct apply apply = {.rows = rows, .arena = arena};
    struct key from = key_of(KEY_RETRY), wait = key_of(KEY_RETRY_WAIT);
    uint64_t count = 0, waits = 0;
    for (struct slice key; (key = next_key(rows, &from, arena)).size;) {
        if (key.size == 1) continue; /* how many there are */
        check_row(&apply, slice_skip(key, 1));
        count++;
    }
    while (next_key(rows, &wait, arena).size) waits++;
    CHECK(count == kept_count(rows) && waits <= count);
}
