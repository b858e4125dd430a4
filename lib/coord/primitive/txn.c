/* Transactions: conditions, then the operations of one of two branches, all or nothing, in one entry.
 *
 * Conditions are queries; one holds when its answer is a success. All of them, those of nested transactions
 * too, are looked at before anything is changed. The operations run one after another on the same rows, each
 * sees what those before it wrote; when a command among them is refused, all that was written is taken back
 * and the answer is a refusal that says which. A query that finds nothing refuses nothing.
 *
 * Operation codes: 70 txn, 71 guarded (retry.c). */
#include "coord/primitive/txn.h"

#include "base/check.h"
#include "coord/event.h"

struct txn_args {
    struct list conditions, then, otherwise; /* struct operation_item */
};
#define TXN(member, text)                                                                                    \
    .type = FIELD_OPERATIONS, .offset = offsetof(struct txn_args, member), .name = text,                     \
    .max = TXN_OPERATIONS_MAX, .among = primitives
static const struct field txn_fields[] = {
    {.number = 1, TXN(conditions, "if"), .about = "queries; all must succeed (none: they do)"},
    {.number = 2, TXN(then, "then"), .about = "done when they do"},
    {.number = 3, TXN(otherwise, "else"), .about = "done when they do not"},
};
static const struct record txn_record = RECORD("txn_args", txn_args, txn_fields);

struct txn_result {
    bool succeeded;
    struct list results; /* struct operation_result */
    uint64_t revision;
};
#define DONE(member) .offset = offsetof(struct txn_result, member), .name = #member
static const struct field done_fields[] = {
    {.number = 1, .type = FIELD_BOOL, DONE(succeeded), .about = "the conditions held: then was done"},
    {.number = 2,
     .type = FIELD_RESULTS,
     DONE(results),
     .among = primitives,
     .about = "of the operations done, in order"},
    {.number = 3, .type = FIELD_UINT, DONE(revision), .about = "of the entry"},
};
static const struct record done_record = RECORD("txn", txn_result, done_fields);

struct txn_refusal {
    bool succeeded;
    uint64_t position;
    struct list refused; /* the one struct operation_result */
};
#define REFUSED(member) .offset = offsetof(struct txn_refusal, member), .name = #member
static const struct field refused_fields[] = {
    {.number = 1, .type = FIELD_BOOL, REFUSED(succeeded), .about = "the conditions held: then was tried"},
    {.number = 2, .type = FIELD_UINT, REFUSED(position), .about = "of the refused operation, from 0"},
    {.number = 3,
     .type = FIELD_RESULTS,
     REFUSED(refused),
     .among = primitives,
     .about = "the refused operation"},
};
static const struct record refused_record = RECORD("txn_refused", txn_refusal, refused_fields);

/* --- one operation --- */

/* Takes the answer to this entry out of those that came behind `place`. */
static const struct answer *take_own(struct apply *apply, struct answer **place)
{
    for (; *place; place = &(*place)->next) {
        const struct answer *found = *place;
        if (found->to_index != apply->index) continue;
        *place = found->next;
        if (!found->next) apply->answers_end = place;
        return found;
    }
    return NULL;
}

bool txn_run(struct apply *apply, const struct operation_item *item, struct operation_result *result,
             bool *replayed)
{
    struct answer **place = apply->answers_end;
    apply->settled = false;
    item->operation->apply(apply, item->args);
    CHECK(apply->settled);
    const struct answer *answer = take_own(apply, place);
    if (!answer) return false;
    *result = (struct operation_result){item->operation, answer->outcome, answer->shape, answer->data,
                                        answer->detail};
    *replayed = answer->replayed;
    apply->settled = false;
    return true;
}

static bool is_success(const struct operation_result *result)
{
    return outcome_facts(result->outcome)->status < 400;
}

/* --- is it one at all? --- */

static bool is_txn(const struct operation_item *item)
{
    return item->operation == &txn_primitive.operations[0];
}

static const char does_not_wait[] = "a transaction does not wait: leave wait out";

static const char *senseless(const struct txn_args *args, unsigned depth, size_t *count);

static bool would_wait(const struct operation_item *item)
{
    return operation_wait_ms(item->operation, item->args) > 0;
}

static const char *senseless_branch(struct list branch, unsigned depth, size_t *count)
{
    const struct operation_item *items = branch.items;
    const char *why = NULL;
    for (size_t i = 0; i < branch.count && !why; i++) {
        if (!operation_in_txn(items[i].operation))
            why = "an operation cannot stand in a transaction";
        else if (would_wait(&items[i]))
            why = does_not_wait;
        else if (is_txn(&items[i]))
            why = senseless(items[i].args, depth + 1, count);
    }
    *count += branch.count;
    return why;
}

/* NULL, or a sentence. */
static const char *senseless(const struct txn_args *args, unsigned depth, size_t *count)
{
    const struct operation_item *conditions = args->conditions.items;
    if (depth > TXN_DEPTH_MAX) return "transactions are nested more than 4 deep";
    for (size_t i = 0; i < args->conditions.count; i++) {
        if (conditions[i].operation->kind != OPERATION_QUERY || !operation_in_txn(conditions[i].operation))
            return "a condition must be a query, such as lock.check or kv.compare";
        if (would_wait(&conditions[i])) return does_not_wait;
    }
    *count += args->conditions.count;
    const char *why = senseless_branch(args->then, depth, count);
    if (!why) why = senseless_branch(args->otherwise, depth, count);
    if (!why && *count > TXN_OPERATIONS_MAX) why = "a transaction has at most 128 conditions and operations";
    return why;
}

/* --- conditions --- */

enum { STATUS_SENSELESS = 422 };

/* What was decided, in the order in which the transactions begin; and the size of the results so far. */
struct decisions {
    bool held[TXN_OPERATIONS_MAX + 1];
    size_t count, used, bytes;
};

static struct list branch_of(const struct txn_args *args, bool held)
{
    return held ? args->then : args->otherwise;
}

static const struct txn_refusal *refusal_of(struct apply *apply, bool succeeded, size_t position,
                                            const struct operation_result *result)
{
    struct txn_refusal *refusal = arena_alloc(apply->arena, sizeof *refusal);
    struct operation_result *refused = arena_alloc(apply->arena, sizeof *refused);
    *refused = *result;
    *refusal = (struct txn_refusal){succeeded, position, {refused, 1}};
    return refusal;
}

/* Its answer, which may be large, is for nobody: it does not stay in the turn's memory. */
static int status_of(struct apply *apply, const struct operation_item *condition)
{
    struct arena own = {0}, *turn = apply->arena;
    struct operation_result result;
    bool replayed;
    apply->arena = &own;
    CHECK(txn_run(apply, condition, &result, &replayed));
    apply->arena = turn;
    arena_free(&own);
    return outcome_facts(result.outcome)->status;
}

/* A condition that makes no sense is no condition that fails: NULL, or what refuses the transaction. */
static const struct txn_refusal *decide(struct apply *apply, const struct txn_args *args,
                                        struct decisions *decisions)
{
    const struct operation_item *conditions = args->conditions.items;
    bool held = true, replayed;
    for (size_t i = 0; i < args->conditions.count && held; i++) {
        struct operation_result result;
        int status = status_of(apply, &conditions[i]);
        held = status < 400;
        if (status != STATUS_SENSELESS) continue;
        CHECK(txn_run(apply, &conditions[i], &result, &replayed)); /* once more, for its answer */
        return refusal_of(apply, false, i, &result);
    }
    decisions->held[decisions->count++] = held;
    struct list branch = branch_of(args, held);
    const struct operation_item *items = branch.items;
    const struct txn_refusal *refusal = NULL;
    for (size_t i = 0; i < branch.count && !refusal; i++)
        if (is_txn(&items[i])) refusal = decide(apply, items[i].args, decisions);
    return refusal;
}

/* --- doing it --- */

static const struct txn_refusal *run(struct apply *apply, const struct txn_args *args,
                                     struct decisions *decisions, struct txn_result *result);

static struct operation_result waits(const struct operation_item *item)
{
    return (struct operation_result){.operation = item->operation,
                                     .outcome = OUTCOME_SENSELESS,
                                     .detail = SLICE("a transaction does not wait")};
}

/* Found on the way: a hundred reads of the same large value are not gathered first. */
static const struct txn_refusal too_large;

static size_t size_of(const struct operation_result *result)
{
    struct buffer bytes = {0};
    if (result->shape) record_encode(result->shape, result->data, &bytes);
    size_t size = bytes.size;
    buffer_free(&bytes);
    return size;
}

static bool run_nested(struct apply *apply, const struct operation_item *item, struct decisions *decisions,
                       struct operation_result *result)
{
    struct txn_result *nested = arena_alloc(apply->arena, sizeof *nested);
    const struct txn_refusal *refusal = run(apply, item->args, decisions, nested);
    *result = (struct operation_result){.operation = item->operation,
                                        .outcome = refusal ? OUTCOME_TXN_REFUSED : OUTCOME_OK,
                                        .shape = refusal ? &refused_record : &done_record,
                                        .data = refusal ? (const void *)refusal : nested};
    return true;
}

static const struct txn_refusal *run(struct apply *apply, const struct txn_args *args,
                                     struct decisions *decisions, struct txn_result *result)
{
    bool held = decisions->held[decisions->used++], replayed;
    struct list branch = branch_of(args, held);
    const struct operation_item *items = branch.items;
    struct operation_result *results = arena_alloc(apply->arena, branch.count * sizeof *results);
    *result = (struct txn_result){held, {results, branch.count}, apply->index};
    for (size_t i = 0; i < branch.count; i++) {
        bool answered = is_txn(&items[i]) ? run_nested(apply, &items[i], decisions, &results[i])
                                          : txn_run(apply, &items[i], &results[i], &replayed);
        if (!answered) results[i] = waits(&items[i]);
        if (!is_txn(&items[i])) decisions->bytes += size_of(&results[i]);
        if (decisions->bytes > TXN_ANSWER_MAX) return &too_large;
        bool command = items[i].operation->kind == OPERATION_COMMAND;
        if (command && !is_success(&results[i])) return refusal_of(apply, held, i, &results[i]);
    }
    return NULL;
}

static bool is_too_large(const struct txn_result *result)
{
    struct buffer bytes = {0};
    record_encode(&done_record, result, &bytes);
    bool large = bytes.size > TXN_ANSWER_MAX;
    buffer_free(&bytes);
    return large;
}

/* Back to how the entry stood before. */
static void take_back(struct apply *apply, const struct apply *before)
{
    rows_decide(apply->rows, false);
    *apply = *before;
    *apply->answers_end = NULL;
    *apply->lease_changes_end = NULL;
    *apply->events_end = NULL;
}

static void txn(struct apply *apply, const void *arguments)
{
    const struct txn_args *args = arguments;
    size_t count = 0;
    const char *why = senseless(args, 1, &count);
    if (why) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
        return;
    }
    struct decisions decisions = {.count = 0};
    struct txn_result *result = arena_alloc(apply->arena, sizeof *result);
    apply->in_txn = true;
    const struct txn_refusal *refusal = decide(apply, args, &decisions);
    struct apply before = *apply;
    rows_try(apply->rows);
    if (!refusal) refusal = run(apply, args, &decisions, result);
    bool large = refusal == &too_large || (!refusal && is_too_large(result));
    if (refusal || large)
        take_back(apply, &before);
    else
        rows_decide(apply->rows, true);
    apply->in_txn = false;
    apply->settled = false;
    if (large)
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL,
                            SLICE("the results are larger than 1.5 MiB together: read less"));
    else if (refusal)
        apply_answer(apply, OUTCOME_TXN_REFUSED, &refused_record, refusal);
    else
        apply_answer(apply, OUTCOME_OK, &done_record, result);
}

static const struct operation operations[] = {
    {.code = 70,
     .name = "txn",
     .method = "POST",
     .path = "/v1/txn",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &txn_record,
     .result = &done_record,
     .refusal = &refused_record,
     .apply = txn,
     .about = "Does several operations of any primitives, all or nothing, if the conditions hold."},
    {.code = 71,
     .name = "guarded",
     .kind = OPERATION_COMMAND,
     .args = &guarded_record,
     .apply = guarded_apply,
     .about = "Does an operation once for its Idempotency-Key, and only while its Coord-Fence is current."},
};
const struct operation *const operation_guarded = &operations[1];

const struct primitive txn_primitive = {
    .name = "txn",
    .code = TXN_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .due = retry_due,
    .check = retry_check,
};
