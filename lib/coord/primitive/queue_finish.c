/* The end of claims: what becomes of a task whose attempt is over, and what hangs on the lease of a claim. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue_claim.h"

bool claim_of(struct queue *queue, struct slice id, uint64_t token, struct task *task, enum outcome *refused)
{
    *refused = OUTCOME_TASK_NOT_FOUND;
    if (!task_get(queue->apply, task_id_of(id), task) || !slice_equal(task->queue, queue->name)) return false;
    bool its = task->token == token || MUTANT(80);
    *refused = its && task->state == TASK_DONE ? OUTCOME_OK : OUTCOME_CLAIM_LOST;
    return its && task->state == TASK_CLAIMED;
}

/* --- an attempt is over --- */

static void remember(struct queue *queue, struct task *task, enum attempt_end end)
{
    struct attempt *history = arena_alloc(queue->apply->arena, QUEUE_ATTEMPTS_KEPT * sizeof *history);
    size_t kept = task->history.count < QUEUE_ATTEMPTS_KEPT ? task->history.count : QUEUE_ATTEMPTS_KEPT - 1;
    if (kept) memcpy(history + 1, task->history.items, kept * sizeof *history);
    history[0] = (struct attempt){.attempt = task->attempts,
                                  .token = task->token,
                                  .since_ms = task->claimed_ms,
                                  .ended_ms = queue->apply->time_ms,
                                  .end = end,
                                  .worker = task->worker,
                                  .error = task->error};
    task->history = (struct list){history, kept + 1};
}

static void count_for_worker(struct queue *queue, const struct task *task, enum attempt_end end)
{
    struct worker_row worker;
    if (!task->worker.size) return;
    worker_load(queue->apply, queue->name, task->worker, &worker);
    CHECK(worker.claimed);
    worker.claimed--;
    worker.done += end == ATTEMPT_DONE;
    worker.failed += end == ATTEMPT_FAILED;
    worker.lost += end == ATTEMPT_LOST || end == ATTEMPT_TIMEOUT;
    worker.released += end == ATTEMPT_RELEASED;
    worker.run_ms += queue->apply->time_ms - task->claimed_ms;
    worker.last_ms = queue->apply->time_ms;
    worker_save(queue->apply, queue->name, task->worker, &worker);
}

/* Of a claimed task; what becomes of it is for the caller to say. */
static void end_attempt(struct queue *queue, struct task *task, enum attempt_end end, struct slice error)
{
    task->error = error;
    remember(queue, task, end);
    count_for_worker(queue, task, end);
    if (end == ATTEMPT_FAILED) {
        task->failures++;
        queue->row.failed++;
        queue_now(queue)->failed++;
    } else if (end == ATTEMPT_LOST || end == ATTEMPT_TIMEOUT) {
        task->losses += !MUTANT(92);
        queue->row.lost++;
        queue_now(queue)->lost++;
    } else if (end == ATTEMPT_RELEASED) {
        task->releases++;
        queue->row.released++;
    }
}

/* --- dead --- */

/* A copy of a copy is not made: two queues could be each other's. */
static bool wants_dead_letter(struct queue *queue, const struct task *task, struct task_body *body)
{
    struct slice name = queue->config.dead_letter;
    if (!name.size) return false;
    CHECK(!slice_equal(name, queue->name)); /* it would be in hand twice */
    task_body(queue->apply, task->id, body);
    return !body->is_letter;
}

/* Where the dead letter queue takes no more, the task is still to be found dead in its own. */
static void send_dead_letter(struct queue *queue, const struct task *task, const struct task_body *body)
{
    struct apply *apply = queue->apply;
    struct slice detail;
    struct enqueued made;
    struct task_spec spec = {.payload = body->payload,
                             .key = task->key,
                             .group = task->group,
                             .origin = arena_printf(apply->arena, "%.*s/%llu", SLICE_ARGS(queue->name),
                                                    (unsigned long long)task->id),
                             .priority = task->priority + 1,
                             .dedup = DEDUP_OFF,
                             .is_letter = true};
    queue_enqueue(apply, queue->config.dead_letter, &spec, &made, &detail);
}

/* Its attempt, if it had one, is over. The body is read first: the queue may keep no dead ones. */
static void bury(struct queue *queue, struct task *task, enum dead_reason reason)
{
    struct task_body body;
    bool letter = wants_dead_letter(queue, task, &body);
    task->dead_reason = reason;
    task_enter(queue, task, TASK_DEAD);
    if (letter) send_dead_letter(queue, task, &body);
}

void task_die(struct queue *queue, struct task *task, enum dead_reason reason)
{
    enum attempt_end end = reason == DEAD_DEADLINE ? ATTEMPT_DEADLINE : ATTEMPT_CANCELLED;
    if (task->state == TASK_CLAIMED) end_attempt(queue, task, end, slice_of(NULL, 0));
    bury(queue, task, reason);
}

/* --- cancelled --- */

void task_cancel(struct queue *queue, struct task *task, struct slice reason)
{
    if (task->state == TASK_CLAIMED) end_attempt(queue, task, ATTEMPT_CANCELLED, slice_of(NULL, 0));
    if (reason.size) task->cancel_reason = reason;
    task_enter(queue, task, TASK_CANCELLED);
}

/* --- done, or once more --- */

void task_complete(struct queue *queue, struct task *task, struct slice result)
{
    task_put_result(queue->apply, task->id, result);
    end_attempt(queue, task, ATTEMPT_DONE, slice_of(NULL, 0));
    task_enter(queue, task, TASK_DONE);
}

static void go_on_after(struct queue *queue, struct task *task, uint64_t delay_ms)
{
    task->not_before_ms = queue->apply->time_ms + delay_ms;
    task_enter(queue, task, delay_ms && !MUTANT(94) ? TASK_SCHEDULED : TASK_READY);
}

static bool all_attempts_used(const struct queue *queue, const struct task *task)
{
    uint64_t max = task->max_attempts ? task->max_attempts : queue->config.max_attempts;
    return max && task->failures + task->losses >= max;
}

static bool all_losses_used(const struct queue *queue, const struct task *task)
{
    uint64_t max = task->max_losses ? task->max_losses : queue->config.max_losses;
    return max && task->losses >= max;
}

void task_fail(struct queue *queue, struct task *task, const struct failing *failing)
{
    end_attempt(queue, task, ATTEMPT_FAILED, failing->error);
    if (task->cancel_ms)
        task_enter(queue, task, TASK_CANCELLED);
    else if (failing->permanent)
        bury(queue, task, DEAD_PERMANENT);
    else if (all_attempts_used(queue, task))
        bury(queue, task, DEAD_FAILURES);
    else
        go_on_after(queue, task,
                    failing->retry_after_ms ? failing->retry_after_ms : task_backoff_ms(queue, task));
}

void task_lose(struct queue *queue, struct task *task, enum attempt_end how)
{
    end_attempt(queue, task, how, slice_of(NULL, 0));
    if (task->cancel_ms)
        task_enter(queue, task, TASK_CANCELLED);
    else if (all_losses_used(queue, task) || all_attempts_used(queue, task))
        bury(queue, task, DEAD_LOSSES);
    else
        go_on_after(queue, task, task_backoff_ms(queue, task));
}

void task_release(struct queue *queue, struct task *task, uint64_t delay_ms)
{
    end_attempt(queue, task, ATTEMPT_RELEASED, slice_of(NULL, 0));
    if (task->cancel_ms)
        task_enter(queue, task, TASK_CANCELLED);
    else
        go_on_after(queue, task, delay_ms);
}

/* --- for schedules --- */

enum task_state queue_task_state(struct apply *apply, uint64_t id)
{
    struct task task;
    return task_get(apply, id, &task) ? (enum task_state)task.state : (enum task_state)0;
}

void queue_cancel_task(struct apply *apply, uint64_t id, struct slice reason)
{
    struct queue queue;
    struct task task;
    if (!task_get(apply, id, &task) || task_is_over(task.state)) return;
    queue_load(&queue, apply, task.queue);
    task_ask_to_cancel(&queue, &task, reason, QUEUE_GRACE_MS);
    queue_hand_out(&queue);
    queue_save(&queue);
}

void task_ask_to_cancel(struct queue *queue, struct task *task, struct slice reason, uint64_t grace_ms)
{
    if (task->state != TASK_CLAIMED || !grace_ms) {
        task_cancel(queue, task, reason);
        return;
    }
    if (reason.size) task->cancel_reason = reason;
    if (!task->cancel_ms) task->cancel_asked_ms = queue->apply->time_ms;
    task->cancel_ms = queue->apply->time_ms + grace_ms;
    task_store(queue, task);
    task_tell(queue, task, QUEUE_TASK_CANCEL_REQUESTED);
}

/* --- what hangs on leases --- */

static bool is_task(struct slice what, uint64_t *id)
{
    return what.size == sizeof *id && take_u64be(&what, id);
}

void queue_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason)
{
    struct queue queue;
    struct task task;
    uint64_t id;
    if (!is_task(what, &id)) {
        claimer_lease_ended(apply, what, reason);
        return;
    }
    CHECK(task_get(apply, id, &task) && task.state == TASK_CLAIMED && task.lease == lease);
    queue_load(&queue, apply, task.queue);
    if (MUTANT(81)) return;
    task_lose(&queue, &task, ATTEMPT_LOST);
    queue_hand_out(&queue);
    queue_save(&queue);
}

struct slice queue_what_path(struct apply *apply, struct slice what)
{
    struct slice name;
    struct task task;
    uint64_t id, arrived;
    if (is_task(what, &id)) {
        CHECK(task_get(apply, id, &task));
        return task_path(apply, &task);
    }
    CHECK(claimer_parse_what(what, &name, &arrived));
    return arena_printf(apply->arena, "/queues/%.*s", SLICE_ARGS(name));
}

const struct yield_request *queue_yield(struct apply *apply, struct slice what)
{
    struct task task;
    uint64_t id;
    if (!is_task(what, &id)) return NULL;
    CHECK(task_get(apply, id, &task));
    if (!task.cancel_ms) return NULL;
    struct yield_request *asked = arena_alloc(apply->arena, sizeof *asked);
    *asked = (struct yield_request){task.cancel_asked_ms, SLICE("cancel"), task.cancel_reason};
    return asked;
}
