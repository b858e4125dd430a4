/* Complete, fail, release, progress, extend, cancel: what the worker of a claimed task, or anybody, says of
 * it.
 */
#include "base/check.h"
#include "coord/primitive/queue.h"

/* --- what is answered --- */

struct told {
    struct slice id, queue, cancel_reason;
    uint64_t state, attempts, failures, losses, releases, not_before_ms, dead_reason;
    bool cancel_requested;
};
#define TOLD(member) .offset = offsetof(struct told, member)
static const struct field told_fields[] = {
    {.number = 1, .type = FIELD_TEXT, TOLD(id), .name = "id", .about = "of the task"},
    {.number = 2, .type = FIELD_TEXT, TOLD(queue), .name = "queue", .about = "whose it is"},
    {.number = 3,
     .type = FIELD_CHOICE,
     TOLD(state),
     .name = "state",
     .choices = task_state_choices,
     .about = "now"},
    {.number = 4,
     .type = FIELD_UINT,
     TOLD(attempts),
     .name = "attempts",
     .about = "how many times it was claimed"},
    {.number = 5, .type = FIELD_UINT, TOLD(failures), .name = "failures", .about = "attempts that failed"},
    {.number = 6,
     .type = FIELD_UINT,
     TOLD(losses),
     .name = "losses",
     .about = "attempts whose lease ended, or that took too long"},
    {.number = 7, .type = FIELD_UINT, TOLD(releases), .name = "releases", .about = "attempts given back"},
    {.number = 8,
     .type = FIELD_TIME,
     TOLD(not_before_ms),
     .name = "not_before",
     .about = "of a scheduled one: when it becomes ready"},
    {.number = 9,
     .type = FIELD_CHOICE,
     TOLD(dead_reason),
     .name = "dead_reason",
     .choices = dead_reason_choices,
     .about = "of a dead one"},
    {.number = 10,
     .type = FIELD_BOOL,
     TOLD(cancel_requested),
     .name = "cancel_requested",
     .about = "of a claimed one: somebody wants it to stop"},
    {.number = 11,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     TOLD(cancel_reason),
     .name = "cancel_reason",
     .about = "as given"},
};
const struct record queue_told_record = RECORD("task_told", told, told_fields);

static bool cancel_requested(const struct task *task)
{
    return task->state == TASK_CLAIMED && task->cancel_ms;
}

static void tell(struct apply *apply, const struct task *task)
{
    struct told *told = arena_alloc(apply->arena, sizeof *told);
    *told = (struct told){.id = task_id_text(apply, task->id),
                          .queue = task->queue,
                          .cancel_reason = task->cancel_reason,
                          .state = task->state,
                          .attempts = task->attempts,
                          .failures = task->failures,
                          .losses = task->losses,
                          .releases = task->releases,
                          .not_before_ms = task->state == TASK_SCHEDULED ? task->not_before_ms : 0,
                          .dead_reason = task->state == TASK_DEAD ? task->dead_reason : 0,
                          .cancel_requested = cancel_requested(task)};
    apply_answer(apply, OUTCOME_OK, &queue_told_record, told);
}

#define FINISHED(member) .offset = offsetof(struct finished, member), .name = #member
static const struct field finished_fields[] = {
    {.number = 1, .type = FIELD_TEXT, FINISHED(id), .about = "as given"},
    {.number = 2, .type = FIELD_TEXT, FINISHED(code), .about = "done, failed, or why not: claim_lost"},
    {.number = 3,
     .type = FIELD_CHOICE,
     FINISHED(state),
     .choices = task_state_choices,
     .about = "of the task now; null: it is not in this queue"},
};
const struct record finished_record = RECORD("task_finished", finished, finished_fields);

struct claim_refused {
    struct slice queue, id, worker;
    uint64_t state, attempt, since_ms;
};
#define REFUSED(member) .offset = offsetof(struct claim_refused, member)
static const struct field refused_fields[] = {
    {.number = 1, .type = FIELD_TEXT, REFUSED(queue), .name = "queue", .about = "as given"},
    {.number = 2, .type = FIELD_TEXT, REFUSED(id), .name = "id", .about = "as given"},
    {.number = 3,
     .type = FIELD_CHOICE,
     REFUSED(state),
     .name = "state",
     .choices = task_state_choices,
     .about = "of the task now; null: it is not in this queue"},
    {.number = 4,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     REFUSED(attempt),
     .name = "attempt",
     .about = "the present or the last one"},
    {.number = 5,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     REFUSED(worker),
     .name = "worker",
     .about = "of that attempt"},
    {.number = 6, .type = FIELD_TIME, REFUSED(since_ms), .name = "since", .about = "of the state"},
};
const struct record claim_refused_record = RECORD("claim_refused", claim_refused, refused_fields);

static void refuse(struct queue *queue, struct slice id, enum outcome outcome, struct slice detail)
{
    struct apply *apply = queue->apply;
    struct claim_refused *refused = arena_alloc(apply->arena, sizeof *refused);
    struct task task;
    *refused = (struct claim_refused){.queue = queue->name, .id = id};
    if (task_get(apply, task_id_of(id), &task) && slice_equal(task.queue, queue->name)) {
        refused->state = task.state;
        refused->attempt = task.attempts;
        refused->worker = task.worker;
        refused->since_ms = task.since_ms;
    }
    apply_answer_detail(apply, outcome, &claim_refused_record, refused, detail);
}

void claim_refuse(struct queue *queue, struct slice id, enum outcome outcome)
{
    refuse(queue, id, outcome, slice_of(NULL, 0));
}

/* --- arguments --- */

struct claim_args {
    struct slice queue, id;
    uint64_t token;
};
#define CLAIM_FIELDS(structure)                                                                              \
    {.number = 1,                                                                                            \
     .type = FIELD_NAME,                                                                                     \
     .flags = FIELD_REQUIRED,                                                                                \
     .offset = offsetof(structure, claim.queue),                                                             \
     .name = "queue",                                                                                        \
     .max = 255,                                                                                             \
     .about = "its name"},                                                                                   \
        {.number = 2,                                                                                        \
         .type = FIELD_NAME,                                                                                 \
         .flags = FIELD_REQUIRED,                                                                            \
         .offset = offsetof(structure, claim.id),                                                            \
         .name = "id",                                                                                       \
         .max = 20,                                                                                          \
         .about = "of the task"},                                                                            \
    {                                                                                                        \
        .number = 3, .type = FIELD_UINT, .flags = FIELD_REQUIRED,                                            \
        .offset = offsetof(structure, claim.token), .name = "token", .min = 1, .about = "of the claim"       \
    }

/* Loads the queue and the task of a claim. False: it is answered why not. */
static bool claim_load(struct apply *apply, const struct claim_args *args, struct queue *queue,
                       struct task *task)
{
    enum outcome refused;
    queue_load(queue, apply, args->queue);
    if (claim_of(queue, args->id, args->token, task, &refused)) return true;
    claim_refuse(queue, args->id, refused == OUTCOME_OK ? OUTCOME_CLAIM_LOST : refused);
    return false;
}

static void put_down(struct queue *queue, const struct task *task)
{
    tell(queue->apply, task);
    queue_hand_out(queue);
    queue_save(queue);
}

/* --- complete --- */

struct complete_args {
    struct claim_args claim;
    struct slice result;
};
static const struct field complete_fields[] = {
    CLAIM_FIELDS(struct complete_args),
    {.number = 4,
     .type = FIELD_JSON,
     .offset = offsetof(struct complete_args, result),
     .name = "result",
     .max = QUEUE_RESULT_MAX,
     .about = "for who waits for it, and for the tasks that need this one"},
};
const struct record queue_complete_record = RECORD("task_complete", complete_args, complete_fields);

void queue_complete(struct apply *apply, const void *arguments)
{
    const struct complete_args *args = arguments;
    struct queue queue;
    struct task task;
    enum outcome refused;
    queue_load(&queue, apply, args->claim.queue);
    if (claim_of(&queue, args->claim.id, args->claim.token, &task, &refused)) {
        task_complete(&queue, &task, args->result);
        put_down(&queue, &task);
    } else if (refused == OUTCOME_OK) {
        tell(apply, &task); /* once more, because the first answer was lost */
    } else {
        claim_refuse(&queue, args->claim.id, refused);
    }
}

/* --- fail --- */

struct fail_args {
    struct claim_args claim;
    struct failing failing;
};
static const struct field fail_fields[] = {
    CLAIM_FIELDS(struct fail_args),
    {.number = 4,
     .type = FIELD_TEXT,
     .flags = FIELD_LINES,
     .offset = offsetof(struct fail_args, failing.error),
     .name = "error",
     .max = QUEUE_ERROR_MAX,
     .about = "what went wrong, for people"},
    {.number = 5,
     .type = FIELD_BOOL,
     .offset = offsetof(struct fail_args, failing.permanent),
     .name = "permanent",
     .about = "true: trying again is no use, the task is dead"},
    {.number = 6,
     .type = FIELD_DURATION,
     .offset = offsetof(struct fail_args, failing.retry_after_ms),
     .name = "retry_after",
     .max = QUEUE_DURATION_MAX_MS,
     .about = "when to try again; 0: as the queue's backoff says"},
};
const struct record queue_fail_record = RECORD("task_fail", fail_args, fail_fields);

void queue_fail(struct apply *apply, const void *arguments)
{
    const struct fail_args *args = arguments;
    struct queue queue;
    struct task task;
    if (args->failing.permanent && args->failing.retry_after_ms) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL,
                            SLICE("what failed for good is not tried again: give permanent or retry_after"));
        return;
    }
    if (!claim_load(apply, &args->claim, &queue, &task)) return;
    task_fail(&queue, &task, &args->failing);
    put_down(&queue, &task);
}

/* --- release --- */

struct release_args {
    struct claim_args claim;
    uint64_t delay_ms;
};
static const struct field release_fields[] = {
    CLAIM_FIELDS(struct release_args),
    {.number = 4,
     .type = FIELD_DURATION,
     .offset = offsetof(struct release_args, delay_ms),
     .name = "delay",
     .max = QUEUE_DURATION_MAX_MS,
     .about = "before it may be claimed again"},
};
const struct record queue_release_record = RECORD("task_release", release_args, release_fields);

void queue_release(struct apply *apply, const void *arguments)
{
    const struct release_args *args = arguments;
    struct queue queue;
    struct task task;
    if (!claim_load(apply, &args->claim, &queue, &task)) return;
    task_release(&queue, &task, args->delay_ms);
    put_down(&queue, &task);
}

/* --- progress --- */

struct progress_args {
    struct claim_args claim;
    struct slice progress;
};
static const struct field progress_fields[] = {
    CLAIM_FIELDS(struct progress_args),
    {.number = 4,
     .type = FIELD_JSON,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct progress_args, progress),
     .name = "progress",
     .max = QUEUE_PROGRESS_MAX,
     .about = "how far it is: for who looks, and for the next attempt if this one is lost"},
};
const struct record queue_progress_record = RECORD("task_progress", progress_args, progress_fields);

/* Who tells of progress is alive: it counts as a renewal, too. */
void queue_progress(struct apply *apply, const void *arguments)
{
    const struct progress_args *args = arguments;
    struct queue queue;
    struct task task;
    if (!claim_load(apply, &args->claim, &queue, &task)) return;
    lease_touch(apply, task.lease);
    task.progress = args->progress;
    task_store(&queue, &task);
    task_tell(&queue, &task, QUEUE_TASK_PROGRESS);
    put_down(&queue, &task);
}

/* --- extend --- */

struct extend_args {
    struct claim_args claim;
};
static const struct field extend_fields[] = {CLAIM_FIELDS(struct extend_args)};
const struct record queue_extend_record = RECORD("task_extend", extend_args, extend_fields);

struct extended {
    struct slice id, cancel_reason;
    uint64_t lease, ttl_ms, expires_in_ms;
    bool cancel_requested;
};
#define EXTENDED(member) .offset = offsetof(struct extended, member), .name = #member
static const struct field extended_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EXTENDED(id), .about = "of the task"},
    {.number = 2,
     .type = FIELD_LEASE,
     EXTENDED(lease),
     .about = "that was renewed, with all that hangs on it"},
    {.number = 3, .type = FIELD_UINT, EXTENDED(ttl_ms), .about = "of the lease"},
    {.number = 4,
     .type = FIELD_UINT,
     EXTENDED(expires_in_ms),
     .about = "counted from when the request was sent"},
    {.number = 5, .type = FIELD_BOOL, EXTENDED(cancel_requested), .about = "somebody wants it to stop"},
    {.number = 6, .type = FIELD_TEXT, .flags = FIELD_NULL, EXTENDED(cancel_reason), .about = "as given"},
};
const struct record queue_extended_record = RECORD("task_extended", extended, extended_fields);

void queue_extends(struct apply *apply, const void *arguments)
{
    const struct extend_args *args = arguments;
    struct queue queue;
    struct task task;
    if (claim_load(apply, &args->claim, &queue, &task)) apply_renews(apply, task.lease);
}

void queue_extended(struct apply *apply, const void *arguments, const struct renewal *renewals, size_t count)
{
    const struct extend_args *args = arguments;
    struct queue queue;
    struct task task;
    struct lease_row lease;
    CHECK(count == 1);
    if (!claim_load(apply, &args->claim, &queue, &task)) return; /* lost while the round went on */
    if (!renewals[0].renewed || !lease_get(apply, renewals[0].lease, &lease)) {
        refuse(&queue, args->claim.id, OUTCOME_CLAIM_LOST, SLICE("the lease of the claim is over"));
        return;
    }
    struct extended *extended = arena_alloc(apply->arena, sizeof *extended);
    *extended = (struct extended){.id = task_id_text(apply, task.id),
                                  .cancel_reason = task.cancel_reason,
                                  .lease = lease.id,
                                  .ttl_ms = lease.ttl_ms,
                                  .expires_in_ms = lease.ttl_ms,
                                  .cancel_requested = cancel_requested(&task)};
    apply_answer(apply, OUTCOME_OK, &queue_extended_record, extended);
}

/* --- cancel --- */

struct cancel_args {
    struct slice queue, id, reason;
    uint64_t grace_ms;
};
#define CANCEL(member) .offset = offsetof(struct cancel_args, member)
static const struct field cancel_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     CANCEL(queue),
     .name = "queue",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     CANCEL(id),
     .name = "id",
     .max = 20,
     .about = "of the task"},
    {.number = 3,
     .type = FIELD_TEXT,
     CANCEL(reason),
     .name = "reason",
     .max = 255,
     .about = "why, for its worker and for people"},
    {.number = 4,
     .type = FIELD_DURATION,
     CANCEL(grace_ms),
     .name = "grace",
     .max = QUEUE_DURATION_MAX_MS,
     .initial = QUEUE_GRACE_MS,
     .about = "how long the worker of a claimed one has to stop by itself; 0: none"},
};
const struct record queue_cancel_record = RECORD("task_cancel", cancel_args, cancel_fields);

void queue_cancel(struct apply *apply, const void *arguments)
{
    const struct cancel_args *args = arguments;
    struct queue queue;
    struct task task;
    queue_load(&queue, apply, args->queue);
    if (!task_get(apply, task_id_of(args->id), &task) || !slice_equal(task.queue, queue.name)) {
        claim_refuse(&queue, args->id, OUTCOME_TASK_NOT_FOUND);
    } else if (task_is_over(task.state)) {
        claim_refuse(&queue, args->id, OUTCOME_TASK_OVER);
    } else {
        task_ask_to_cancel(&queue, &task, args->reason, args->grace_ms);
        put_down(&queue, &task);
    }
}
