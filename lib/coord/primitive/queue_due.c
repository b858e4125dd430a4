/* Timers and pulses: what happens to queues and tasks because its time has come, or goes on in another entry.
 *
 * What is set: a letter of enum queue_work and its rest. A task's timer is its due_ms; a queue's sweep
 * forgets what has been over for long enough, and the minutes behind the last 16. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue.h"

/* Between two looks at a task that others still need: longer the longer that goes on. */
enum { NEEDED_MIN_MS = 1000, NEEDED_MAX_MS = 60 * 1000 };

struct slice queue_work_what(struct apply *apply, enum queue_work work, struct slice rest)
{
    struct key what;
    what.size = 0;
    key_byte(&what, (uint8_t)work);
    key_bytes(&what, rest);
    return arena_copy(apply->arena, key_slice(&what));
}

/* --- tasks --- */

static void sooner(uint64_t *due_ms, uint64_t at_ms)
{
    if (at_ms && (!*due_ms || at_ms < *due_ms)) *due_ms = at_ms;
}

static uint64_t times_out_ms(const struct task *task)
{
    return task->timeout_ms ? (MUTANT(90) ? task->enqueued_ms : task->claimed_ms) + task->timeout_ms : 0;
}

static bool may_expire(const struct task *task)
{
    return task->state == TASK_READY && !task->attempts && task->expires_ms;
}

static uint64_t next_due_ms(const struct task *task)
{
    uint64_t due_ms = 0;
    if (task_is_over(task->state)) return 0;
    if (task->state == TASK_SCHEDULED) sooner(&due_ms, task->not_before_ms);
    if (may_expire(task)) sooner(&due_ms, task->expires_ms);
    if (task->state == TASK_CLAIMED) {
        sooner(&due_ms, times_out_ms(task));
        sooner(&due_ms, task->cancel_ms);
    }
    sooner(&due_ms, task->deadline_ms);
    return due_ms;
}

void task_set_timer(struct queue *queue, struct task *task)
{
    struct apply *apply = queue->apply;
    uint64_t due_ms = next_due_ms(task);
    if (due_ms == task->due_ms) return;
    struct slice what = queue_work_what(apply, WORK_TASK, task_what(apply, task->id));
    if (task->due_ms && !MUTANT(86)) due_clear(apply, task->due_ms, QUEUE_CODE, what);
    if (due_ms) due_set(apply, due_ms, QUEUE_CODE, what);
    task->due_ms = due_ms;
}

static bool has_come(const struct apply *apply, uint64_t at_ms)
{
    return at_ms && at_ms <= apply->time_ms;
}

static void do_task(struct apply *apply, uint64_t at_ms, struct slice rest)
{
    struct queue queue;
    struct task task;
    uint64_t id;
    CHECK(take_u64be(&rest, &id) && task_get(apply, id, &task) && task.due_ms == at_ms);
    task.due_ms = 0;
    queue_load(&queue, apply, task.queue);
    if (has_come(apply, task.deadline_ms))
        task_die(&queue, &task, DEAD_DEADLINE);
    else if (task.state == TASK_SCHEDULED)
        task_enter(&queue, &task, TASK_READY);
    else if (may_expire(&task))
        task_enter(&queue, &task, TASK_EXPIRED);
    else if (has_come(apply, task.cancel_ms))
        task_cancel(&queue, &task, task.cancel_reason);
    else {
        CHECK(task.state == TASK_CLAIMED && has_come(apply, times_out_ms(&task)));
        task_lose(&queue, &task, ATTEMPT_TIMEOUT);
    }
    queue_hand_out(&queue);
    queue_save(&queue);
}

/* --- queues --- */

static uint64_t retained_ms(const struct queue *queue, enum task_state state)
{
    if (state == TASK_DONE) return queue->config.retain_done_ms;
    return state == TASK_DEAD ? queue->config.retain_dead_ms : queue->config.retain_cancelled_ms;
}

static uint64_t needed_ms(const struct task *task)
{
    uint64_t age_ms = task->since_ms - task->enqueued_ms;
    if (age_ms > NEEDED_MAX_MS) return NEEDED_MAX_MS;
    return age_ms > NEEDED_MIN_MS ? age_ms : NEEDED_MIN_MS;
}

/* The oldest of that state; false: none. */
static bool oldest(struct queue *queue, enum task_state state, uint64_t *id, uint64_t *until_ms)
{
    struct key prefix = queue_key_of(KEY_TASK_STATE, queue->name);
    struct task task;
    key_byte(&prefix, (uint8_t)state);
    struct key from = prefix;
    if (!queue_next_id(queue->apply, key_slice(&prefix), &from, id)) return false;
    CHECK(task_get(queue->apply, *id, &task));
    uint64_t kept_ms = retained_ms(queue, state);
    if (task_is_needed(&task) && kept_ms < needed_ms(&task)) kept_ms = needed_ms(&task);
    *until_ms = (MUTANT(91) ? task.enqueued_ms : task.since_ms) + kept_ms;
    return true;
}

static void set_sweep(struct queue *queue, uint64_t at_ms)
{
    struct apply *apply = queue->apply;
    struct slice what = queue_work_what(apply, WORK_SWEEP, queue->name);
    if (at_ms == queue->row.sweep_due_ms) return;
    if (queue->row.sweep_due_ms) due_clear(apply, queue->row.sweep_due_ms, QUEUE_CODE, what);
    if (at_ms) due_set(apply, at_ms, QUEUE_CODE, what);
    queue->row.sweep_due_ms = at_ms;
    queue->changed = true;
}

/* A timer that is set already is late at most until the first that it was set for; the shortest retention is
 * looked at, since the state that was entered last may be kept for less than the others. */
void queue_want_sweep(struct queue *queue)
{
    const struct queue_config *config = &queue->config;
    uint64_t shortest_ms = 15 * 60 * 1000;
    if (config->retain_done_ms < shortest_ms) shortest_ms = config->retain_done_ms;
    if (config->retain_cancelled_ms < shortest_ms) shortest_ms = config->retain_cancelled_ms;
    if (config->retain_dead_ms < shortest_ms) shortest_ms = config->retain_dead_ms;
    uint64_t at_ms = queue->apply->time_ms + shortest_ms;
    if (!queue->row.sweep_due_ms || at_ms < queue->row.sweep_due_ms) set_sweep(queue, at_ms);
}

static void sweep(struct apply *apply, struct slice name)
{
    struct queue queue;
    uint64_t next_ms = 0, until_ms, id;
    int looked = 0;
    queue_load(&queue, apply, name);
    queue.row.sweep_due_ms = 0;
    queue.changed = true;
    for (enum task_state state = TASK_DONE; state <= TASK_STATES; state++)
        while (oldest(&queue, state, &id, &until_ms)) {
            if (until_ms > apply->time_ms || looked == QUEUE_WORK_MAX) {
                sooner(&next_ms, until_ms);
                break;
            }
            task_forget_or_keep(&queue, id);
            looked++;
        }
    sooner(&next_ms, queue_minutes_forget(&queue));
    if (next_ms) set_sweep(&queue, next_ms > apply->time_ms ? next_ms : apply->time_ms + 1);
    queue_save(&queue);
}

static void hand_out(struct apply *apply, struct slice name, bool pulse)
{
    struct queue queue;
    queue_load(&queue, apply, name);
    if (!queue.exists) return; /* removed while the pulse was wanted */
    if (pulse)
        queue.row.pulse = false;
    else
        queue.row.rate_due_ms = 0;
    queue.changed = true;
    queue_hand_out(&queue);
    queue_save(&queue);
}

/* --- hooks --- */

void queue_due(struct apply *apply, uint64_t at_ms, struct slice what)
{
    struct slice rest = slice_skip(what, 1);
    switch (what.data[0]) {
    case WORK_TASK:
        do_task(apply, at_ms, rest);
        return;
    case WORK_SWEEP:
        sweep(apply, rest);
        return;
    case WORK_RATE:
        hand_out(apply, rest, false);
        return;
    default:
        CHECK(what.data[0] == WORK_LANE);
        lane_work(apply, rest, false);
    }
}

void queue_pulse(struct apply *apply, struct slice what)
{
    struct slice rest = slice_skip(what, 1);
    switch (what.data[0]) {
    case WORK_LANE:
        lane_work(apply, rest, true);
        return;
    case WORK_LANES:
        lanes_pulse(apply, rest);
        return;
    case WORK_HAND_OUT:
        hand_out(apply, rest, true);
        return;
    case WORK_DEPENDANTS:
        dependants_pulse(apply, rest);
        return;
    default:
        CHECK(what.data[0] == WORK_PARENTS);
        parents_pulse(apply, rest);
    }
}
