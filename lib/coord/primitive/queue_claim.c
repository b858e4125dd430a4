/* Claims: queue.claim, queue.next, queue.unclaim. Who gets what is decided in queue_share.c. */
#include "coord/primitive/queue_claim.h"

/* --- what is asked --- */

#define ASK(structure, member) .offset = offsetof(struct structure, member)
#define WORKER(structure, member)                                                                            \
    .type = FIELD_TEXT, ASK(structure, member), .name = "worker", .max = QUEUE_WORKER_MAX,                   \
    .about = "who you are; who has fewer claims in flight is served first"
#define MAX(structure, member)                                                                               \
    .type = FIELD_UINT, ASK(structure, member), .name = "max", .min = 1, .max = QUEUE_CLAIM_MAX,             \
    .initial = 1, .about = "at most that many tasks"
#define WAIT(structure, member)                                                                              \
    .type = FIELD_DURATION, ASK(structure, member), .name = "wait", .max = 600000,                           \
    .about = "at most that long for the first task; 0: only try"
#define TTL(structure, member)                                                                               \
    .type = FIELD_DURATION, ASK(structure, member), .name = "ttl", .min = LEASE_TTL_MIN_MS,                  \
    .max = LEASE_TTL_MAX_MS,                                                                                 \
    .about = "of the lease that the claim gets of its own (the queue's, unless given); not with lease"
#define LEASE(structure, member)                                                                             \
    .type = FIELD_LEASE, ASK(structure, member), .name = "lease",                                            \
    .about = "a lease that lives already, to hang the tasks on"

static const struct field ask_fields[] = {
    {.number = 1, WORKER(claim_ask, worker)}, {.number = 2, MAX(claim_ask, max)},
    {.number = 3, WAIT(claim_ask, wait_ms)},  {.number = 4, TTL(claim_ask, ttl_ms)},
    {.number = 5, LEASE(claim_ask, lease)},
};
const struct record claim_ask_record = RECORD("claim_ask", claim_ask, ask_fields);

struct claim_args {
    struct slice queue;
    struct claim_ask ask;
};
#define QUEUE(structure)                                                                                     \
    .type = FIELD_NAME, .flags = FIELD_REQUIRED, ASK(structure, queue), .name = "queue", .max = 255,         \
    .about = "its name"
static const struct field claim_fields[] = {
    {.number = 1, QUEUE(claim_args)},           {.number = 2, WORKER(claim_args, ask.worker)},
    {.number = 3, MAX(claim_args, ask.max)},    {.number = 4, WAIT(claim_args, ask.wait_ms)},
    {.number = 5, TTL(claim_args, ask.ttl_ms)}, {.number = 6, LEASE(claim_args, ask.lease)},
};
const struct record queue_claim_record = RECORD("queue_claim", claim_args, claim_fields);

struct item {
    struct slice id, result, error;
    uint64_t token, retry_after_ms;
    bool permanent;
};
#define ITEM(member) .offset = offsetof(struct item, member), .name = #member
#define ITEM_ID .type = FIELD_TEXT, .flags = FIELD_REQUIRED, ITEM(id), .min = 1, .max = 20, .about = "task"
#define ITEM_TOKEN                                                                                           \
    .type = FIELD_UINT, .flags = FIELD_REQUIRED, ITEM(token), .min = 1, .about = "as the claim gave it"
static const struct field done_fields[] = {
    {.number = 1, ITEM_ID},
    {.number = 2, ITEM_TOKEN},
    {.number = 3,
     .type = FIELD_JSON,
     ITEM(result),
     .max = QUEUE_RESULT_MAX,
     .about = "kept as long as the task, for whoever waits for it"},
};
static const struct record done_record = RECORD("queue_next_done", item, done_fields);
static const struct field failed_fields[] = {
    {.number = 1, ITEM_ID},
    {.number = 2, ITEM_TOKEN},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_LINES,
     ITEM(error),
     .max = QUEUE_ERROR_MAX,
     .about = "why, for people"},
    {.number = 4, .type = FIELD_BOOL, ITEM(permanent), .about = "another attempt is of no use"},
    {.number = 5,
     .type = FIELD_DURATION,
     .offset = offsetof(struct item, retry_after_ms),
     .name = "retry_after",
     .max = QUEUE_DURATION_MAX_MS,
     .about = "until the next attempt, instead of the queue's backoff"},
};
static const struct record failed_record = RECORD("queue_next_failed", item, failed_fields);

struct next_args {
    struct slice queue;
    struct list done, failed; /* struct item */
    const struct claim_ask *claim;
};
#define NEXT(member) .offset = offsetof(struct next_args, member), .name = #member
static const struct field next_fields[] = {
    {.number = 1, QUEUE(next_args)},
    {.number = 2,
     .type = FIELD_LIST,
     NEXT(done),
     .max = QUEUE_CLAIM_MAX,
     .record = &done_record,
     .about = "tasks that are completed"},
    {.number = 3,
     .type = FIELD_LIST,
     NEXT(failed),
     .max = QUEUE_CLAIM_MAX,
     .record = &failed_record,
     .about = "tasks whose attempt failed"},
    {.number = 4,
     .type = FIELD_RECORD,
     NEXT(claim),
     .record = &claim_ask_record,
     .about = "what is claimed then; absent: nothing"},
};
const struct record queue_next_record = RECORD("queue_next", next_args, next_fields);

struct unclaim_args {
    struct slice queue;
    uint64_t token, lease;
};
#define UNCLAIM(member) .offset = offsetof(struct unclaim_args, member), .name = #member
static const struct field unclaim_fields[] = {
    {.number = 1, QUEUE(unclaim_args)},
    {.number = 2, .type = FIELD_UINT, UNCLAIM(token), .about = "of the claim"},
    {.number = 3, .type = FIELD_LEASE, UNCLAIM(lease), .about = "on which its tasks hang"},
};
const struct record queue_unclaim_record = RECORD("queue_unclaim", unclaim_args, unclaim_fields);

/* --- what is answered --- */

#define INPUT(member) .offset = offsetof(struct task_input, member), .name = #member
static const struct field input_fields[] = {
    {.number = 1, .type = FIELD_TEXT, INPUT(id), .about = "of the task that was needed"},
    {.number = 2,
     .type = FIELD_CHOICE,
     INPUT(state),
     .choices = task_state_choices,
     .about = "null: it is forgotten"},
    {.number = 3,
     .type = FIELD_JSON,
     INPUT(result),
     .about = "null: it has none, or it does not fit in the answer; the task itself tells"},
};
static const struct record input_record = RECORD("task_input", task_input, input_fields);

#define TASK(member) .offset = offsetof(struct claimed_task, member)
static const struct field task_fields[] = {
    {.number = 1, .type = FIELD_TEXT, TASK(id), .name = "id", .about = "of the task"},
    {.number = 2, .type = FIELD_UINT, TASK(token), .name = "token", .about = "of this attempt, for fencing"},
    {.number = 3, .type = FIELD_JSON, TASK(payload), .name = "payload", .about = "as enqueued"},
    {.number = 4, .type = FIELD_UINT, TASK(attempts), .name = "attempt", .about = "number of this attempt"},
    {.number = 5, .type = FIELD_UINT, TASK(attempts), .name = "attempts", .about = "claims of it, with this"},
    {.number = 6, .type = FIELD_UINT, TASK(failures), .name = "failures", .about = "attempts that failed"},
    {.number = 7, .type = FIELD_UINT, TASK(losses), .name = "losses", .about = "claims of it that were lost"},
    {.number = 8, .type = FIELD_UINT, TASK(priority), .name = "priority", .about = "0 is first"},
    {.number = 9, .type = FIELD_TEXT, .flags = FIELD_NULL, TASK(key), .name = "key", .about = "as enqueued"},
    {.number = 10,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     TASK(group),
     .name = "group",
     .about = "as enqueued"},
    {.number = 11, .type = FIELD_LEASE, TASK(lease), .name = "lease", .about = "on which the claim hangs"},
    {.number = 12,
     .type = FIELD_REMAINING,
     TASK(expires),
     .name = "expires_in_ms",
     .about = "counted from when the request was sent"},
    {.number = 13, .type = FIELD_TIME, TASK(enqueued_ms), .name = "enqueued_at", .about = "when it was made"},
    {.number = 14,
     .type = FIELD_UINT,
     TASK(timeout_ms),
     .name = "timeout_ms",
     .about = "the attempt is over then, renewed or not; 0: never"},
    {.number = 15,
     .type = FIELD_TIME,
     TASK(deadline_ms),
     .name = "deadline",
     .about = "the task is dead then; null: it has none"},
    {.number = 16,
     .type = FIELD_JSON,
     TASK(progress),
     .name = "progress",
     .about = "that an attempt before this one left"},
    {.number = 17,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     TASK(origin),
     .name = "origin",
     .about = "the dead task or the schedule that it was made from"},
    {.number = 18,
     .type = FIELD_LIST,
     TASK(inputs),
     .name = "inputs",
     .record = &input_record,
     .about = "the tasks that it needed"},
};
static const struct record task_record = RECORD("claimed_task", claimed_task, task_fields);

#define CLAIMED(member) .offset = offsetof(struct claimed, member)
#define CLAIM_FIELDS(first)                                                                                  \
    {.number = (first), .type = FIELD_NAME, CLAIMED(queue), .name = "queue", .about = "its name"},           \
        {.number = (first) + 1,                                                                              \
         .type = FIELD_UINT,                                                                                 \
         .flags = FIELD_NULL,                                                                                \
         CLAIMED(token),                                                                                     \
         .name = "token",                                                                                    \
         .about = "of all the tasks below; null: there are none"},                                           \
        {.number = (first) + 2,                                                                              \
         .type = FIELD_LEASE,                                                                                \
         CLAIMED(lease),                                                                                     \
         .name = "lease",                                                                                    \
         .about = "on which they hang"},                                                                     \
        {.number = (first) + 3,                                                                              \
         .type = FIELD_REMAINING,                                                                            \
         .flags = FIELD_NULL,                                                                                \
         CLAIMED(expires),                                                                                   \
         .name = "expires_in_ms",                                                                            \
         .about = "counted from when the request was sent"},                                                 \
    {                                                                                                        \
        .number = (first) + 4, .type = FIELD_LIST, CLAIMED(tasks), .name = "tasks", .record = &task_record,  \
        .about = "what was claimed"                                                                          \
    }
static const struct field claimed_fields[] = {CLAIM_FIELDS(1)};
const struct record queue_claimed_record = RECORD("queue_claimed", claimed, claimed_fields);
static const struct field next_result_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     CLAIMED(finished),
     .name = "finished",
     .record = &finished_record,
     .about = "done and failed, in the order given"},
    CLAIM_FIELDS(2),
};
const struct record queue_next_result_record = RECORD("queue_next_result", claimed, next_result_fields);

void claimer_answer(struct queue *queue, const struct claimer *claimer, uint64_t lease,
                    const struct claimed_task *tasks, size_t count)
{
    struct apply *apply = queue->apply;
    struct claimed *claimed = arena_alloc(apply->arena, sizeof *claimed);
    *claimed = (struct claimed){.finished = claimer->finished,
                                .queue = arena_copy(apply->arena, queue->name),
                                .token = count ? tasks[0].token : 0,
                                .lease = lease,
                                .expires = lease};
    if (count) {
        struct claimed_task *copies = arena_alloc(apply->arena, count * sizeof *copies);
        memcpy(copies, tasks, count * sizeof *copies);
        claimed->tasks = (struct list){copies, count};
    }
    apply_answer_to(apply, claimer->answer_index, OUTCOME_OK,
                    claimer->next ? &queue_next_result_record : &queue_claimed_record, claimed);
}

/* --- a claim --- */

static bool usable(struct apply *apply, const struct claim_ask *ask)
{
    if (ask->lease && ask->ttl_ms)
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL,
                            SLICE("claims live as long as their lease: give either lease or ttl"));
    else if (!ask->lease)
        return true;
    else if (object_lease_usable(apply, ask->lease)) {
        lease_touch(apply, ask->lease);
        return true;
    }
    return false;
}

static struct claimer claimer_of(const struct apply *apply, const struct claim_ask *ask,
                                 const struct list *finished)
{
    return (struct claimer){.worker = ask->worker,
                            .max = ask->max ? ask->max : 1,
                            .ttl_ms = ask->ttl_ms,
                            .lease = ask->lease,
                            .arrived = apply->index,
                            .since_ms = apply->time_ms,
                            .answer_index = apply->index,
                            .origin = apply->origin,
                            .finished = finished ? *finished : (struct list){0},
                            .next = finished != NULL};
}

/* OUTCOME_OK: it can. A wait needs somebody who listens: the lease it names, or the session of the process
 * that has the client. */
static enum outcome can_wait(struct queue *queue, const struct claimer *claimer)
{
    if (!claimer->lease && claimer_leaves(queue->apply, claimer)) return OUTCOME_SESSION_OVER;
    if (queue->row.claimers >= QUEUE_CLAIMERS_MAX) return OUTCOME_TOO_MANY_WAITERS;
    return OUTCOME_OK;
}

/* It has got nothing: it waits, or is answered. What queue.next has finished is told in any case. */
static bool await(struct queue *queue, const struct claimer *claimer, uint64_t wait_ms)
{
    struct apply *apply = queue->apply;
    bool wait = wait_ms && !apply->in_txn;
    enum outcome outcome = wait ? can_wait(queue, claimer) : OUTCOME_OK;
    if (outcome != OUTCOME_OK && !claimer->next) {
        apply_answer(apply, outcome, NULL, NULL);
    } else if (outcome != OUTCOME_OK || !wait) {
        claimer_answer(queue, claimer, 0, NULL, 0);
    } else {
        claimer_enqueue(queue, claimer);
        apply_waits(apply);
        return true;
    }
    return false;
}

static void count_task(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    uint64_t *count = context;
    (void)apply;
    *count += primitive == QUEUE_CODE && what.size == sizeof(uint64_t);
}

/* How many more tasks may hang on the lease: its end is one entry. They are counted only where there may be
 * so many. */
static uint64_t room_on(struct queue *queue, uint64_t lease)
{
    uint64_t count = 0;
    if (!lease || queue->row.counts[TASK_CLAIMED] < QUEUE_LEASE_TASKS_MAX - QUEUE_CLAIM_MAX)
        return QUEUE_CLAIM_MAX;
    lease_each_attachment(queue->apply, lease, QUEUE_LEASE_TASKS_MAX, count_task, &count);
    return QUEUE_LEASE_TASKS_MAX - count;
}

void queue_take(struct queue *queue, const struct claim_ask *ask, const struct list *finished)
{
    struct apply *apply = queue->apply;
    struct claimer claimer = claimer_of(apply, ask, finished);
    uint64_t room = room_on(queue, ask->lease);
    bool served;
    if (!room && !finished) {
        apply_answer(apply, OUTCOME_LEASE_FULL, NULL, NULL);
        return;
    }
    if (room < claimer.max) claimer.max = room;
    enum share_end end = queue_share(queue, &claimer, &served);
    bool waits = !served && await(queue, &claimer, room ? ask->wait_ms : 0);
    if (claimer.next && claimer.lease && !waits)
        lease_detach(apply, claimer.lease, QUEUE_CODE, claimer_what(apply, queue->name, claimer.arrived));
    queue_share_later(queue, end);
}

void queue_claim(struct apply *apply, const void *arguments)
{
    const struct claim_args *args = arguments;
    struct queue queue;
    if (!usable(apply, &args->ask)) return;
    queue_load(&queue, apply, args->queue);
    queue_take(&queue, &args->ask, NULL);
    queue_save(&queue);
}

/* --- next --- */

static struct finished finish(struct queue *queue, const struct item *item, bool done)
{
    struct apply *apply = queue->apply;
    struct finished finished = {.id = item->id};
    struct task task;
    enum outcome refused = OUTCOME_OK;
    if (!claim_of(queue, item->id, item->token, &task, &refused)) {
        bool again = done && refused == OUTCOME_OK; /* was completed with that token already */
        if (refused == OUTCOME_OK && !done) refused = OUTCOME_CLAIM_LOST;
        finished.code = again ? SLICE("done") : slice_text(outcome_facts(refused)->code);
        if (refused != OUTCOME_TASK_NOT_FOUND) finished.state = queue_task_state(apply, task_id_of(item->id));
        return finished;
    }
    if (done)
        task_complete(queue, &task, item->result);
    else
        task_fail(queue, &task, &(struct failing){item->error, item->permanent, item->retry_after_ms});
    finished.code = done ? SLICE("done") : SLICE("failed");
    finished.state = task.state;
    return finished;
}

static struct list finish_all(struct queue *queue, const struct next_args *args)
{
    size_t count = args->done.count + args->failed.count;
    struct finished *finished = arena_alloc(queue->apply->arena, count * sizeof *finished);
    const struct item *done = args->done.items, *failed = args->failed.items;
    for (size_t i = 0; i < args->done.count; i++) finished[i] = finish(queue, &done[i], true);
    for (size_t i = 0; i < args->failed.count; i++)
        finished[args->done.count + i] = finish(queue, &failed[i], false);
    return (struct list){finished, count};
}

/* The lease for the new claim may be one that ends when nothing hangs on it any more, and what is finished
 * now may be the last: the claim hangs on it meanwhile, as if it waited. */
void queue_next(struct apply *apply, const void *arguments)
{
    const struct next_args *args = arguments;
    struct queue queue;
    uint64_t lease = args->claim ? args->claim->lease : 0;
    if (args->claim && !usable(apply, args->claim)) return;
    queue_load(&queue, apply, args->queue);
    if (lease) lease_attach(apply, lease, QUEUE_CODE, claimer_what(apply, args->queue, apply->index));
    struct list finished = finish_all(&queue, args);
    if (args->claim) {
        queue_take(&queue, args->claim, &finished);
    } else {
        struct claimer nothing = {.answer_index = apply->index, .finished = finished, .next = true};
        claimer_answer(&queue, &nothing, 0, NULL, 0);
        queue_hand_out(&queue);
    }
    queue_save(&queue);
}

/* --- a claim whose answer could not be delivered --- */

void queue_unclaim(struct apply *apply, const void *arguments)
{
    const struct unclaim_args *args = arguments;
    struct queue queue;
    struct task task;
    uint64_t id;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
    queue_load(&queue, apply, args->queue);
    struct key prefix = queue_key_of(KEY_TASK_STATE, args->queue), from;
    key_byte(&prefix, TASK_CLAIMED);
    key_number(&prefix, args->token);
    from = prefix;
    while (args->token && queue_next_id(apply, key_slice(&prefix), &from, &id)) {
        if (!task_get(apply, id, &task) || task.lease != args->lease) continue;
        task_release(&queue, &task, 0);
    }
    queue_hand_out(&queue);
    queue_save(&queue);
}
