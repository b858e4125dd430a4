/* Claims that wait: their rows, and how their waits end without tasks. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue_claim.h"

#define ROW(member) .offset = offsetof(struct claimer, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ROW(worker)},
    {.number = 2, .type = FIELD_UINT, ROW(max)},
    {.number = 3, .type = FIELD_UINT, ROW(ttl_ms)},
    {.number = 4, .type = FIELD_UINT, ROW(lease)},
    {.number = 5, .type = FIELD_UINT, ROW(arrived)},
    {.number = 6, .type = FIELD_UINT, ROW(since_ms)},
    {.number = 7, .type = FIELD_UINT, ROW(answer_index)},
    {.number = 8, .type = FIELD_UINT, ROW(origin)},
    {.number = 9, .type = FIELD_BOOL, ROW(next)},
    {.number = 10, .type = FIELD_LIST, ROW(finished), .record = &finished_record},
};
static const struct record row_record = RECORD("claimer_row", claimer, row_fields);

struct slice claimer_what(struct apply *apply, struct slice queue, uint64_t arrived)
{
    struct key what = {.size = 0};
    key_byte(&what, 'c');
    key_name(&what, queue);
    key_number(&what, arrived);
    return arena_copy(apply->arena, key_slice(&what));
}

bool claimer_parse_what(struct slice what, struct slice *queue, uint64_t *arrived)
{
    size_t around = 1 + 1 + sizeof *arrived;
    if (what.size <= around || what.data[0] != 'c') return false;
    *queue = slice_of(what.data + 1, what.size - around);
    what = slice_skip(what, 1 + queue->size + 1);
    return take_u64be(&what, arrived);
}

static struct key claimer_key(struct slice queue, uint64_t arrived)
{
    struct key key = queue_key_of(KEY_CLAIMER, queue);
    key_number(&key, arrived);
    return key;
}

bool claimer_next(struct queue *queue, struct key *from, struct claimer *claimer)
{
    struct key prefix = queue_key_of(KEY_CLAIMER, queue->name);
    struct slice key, value;
    if (!rows_seek(queue->apply->rows, key_slice(from), &key, &value) ||
        !slice_starts_with(key, key_slice(&prefix)))
        return false;
    key = arena_copy(queue->apply->arena, key);
    *from = key_after(key);
    return row_get(queue->apply, key, &row_record, claimer);
}

static uint64_t hangs_on(const struct claimer *claimer)
{
    return claimer->lease ? claimer->lease : claimer->origin;
}

bool claimer_leaves(struct apply *apply, const struct claimer *claimer)
{
    struct lease_row lease;
    return hangs_on(claimer) && !lease_get(apply, hangs_on(claimer), &lease);
}

void claimer_enqueue(struct queue *queue, const struct claimer *claimer)
{
    struct apply *apply = queue->apply;
    struct key key = claimer_key(queue->name, claimer->arrived);
    struct slice what = claimer_what(apply, queue->name, claimer->arrived);
    queue->row.claimers++;
    queue->changed = true;
    row_put(apply, key_slice(&key), &row_record, claimer);
    if (hangs_on(claimer)) lease_attach(apply, hangs_on(claimer), QUEUE_CODE, what);
    wait_register(apply, claimer->answer_index, QUEUE_CODE, what);
}

void claimer_dequeue(struct queue *queue, const struct claimer *claimer)
{
    struct apply *apply = queue->apply;
    struct key key = claimer_key(queue->name, claimer->arrived);
    CHECK(queue->row.claimers > 0 && rows_delete(apply->rows, key_slice(&key)));
    queue->row.claimers--;
    queue->changed = true;
    if (hangs_on(claimer))
        lease_detach(apply, hangs_on(claimer), QUEUE_CODE,
                     claimer_what(apply, queue->name, claimer->arrived));
    wait_forget(apply, claimer->answer_index);
}

/* The queue and the claim that `what` speaks of. */
static void claimer_load(struct apply *apply, struct slice what, struct queue *queue, struct claimer *claimer)
{
    struct slice name;
    uint64_t arrived;
    CHECK(claimer_parse_what(what, &name, &arrived));
    queue_load(queue, apply, name);
    struct key key = claimer_key(name, arrived);
    CHECK(row_get(apply, key_slice(&key), &row_record, claimer));
}

/* What queue.next had finished stays so: it is told of that, and not that nothing was changed. */
static void answer_ended(struct queue *queue, const struct claimer *claimer, enum outcome outcome)
{
    if (claimer->next && outcome != OUTCOME_LEASE_OVER)
        claimer_answer(queue, claimer, 0, NULL, 0);
    else
        apply_answer_to(queue->apply, claimer->answer_index, outcome, NULL, NULL);
}

void claimer_lease_ended(struct apply *apply, struct slice what, enum end_reason reason)
{
    struct queue queue;
    struct claimer claimer;
    (void)reason;
    claimer_load(apply, what, &queue, &claimer);
    claimer_dequeue(&queue, &claimer);
    answer_ended(&queue, &claimer, claimer.lease ? OUTCOME_LEASE_OVER : OUTCOME_SESSION_OVER);
    queue_save(&queue);
}

/* A claim is cheap to repeat: when its client goes away its place is not kept, not on a lease either. */
void queue_wait_ended(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason)
{
    struct queue queue;
    struct claimer claimer;
    claimer_load(apply, what, &queue, &claimer);
    CHECK(claimer.answer_index == index);
    if (MUTANT(89) && reason == END_CLIENT_GONE) return;
    claimer_dequeue(&queue, &claimer);
    if (reason == END_TIMEOUT) claimer_answer(&queue, &claimer, 0, NULL, 0);
    queue_save(&queue);
}

void queue_claimers_end(struct queue *queue, enum outcome outcome)
{
    struct key from = queue_key_of(KEY_CLAIMER, queue->name);
    struct claimer claimer;
    while (queue->row.claimers && claimer_next(queue, &from, &claimer)) {
        claimer_dequeue(queue, &claimer);
        answer_ended(queue, &claimer, outcome);
    }
}
