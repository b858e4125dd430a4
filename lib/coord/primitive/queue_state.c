/* A task enters and leaves a state. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue.h"

enum { STRICT_BITS = 48, SURPLUS_LOOKS = 2 };

uint64_t task_rank(const struct queue *queue, const struct task *task)
{
    uint64_t now_ms = queue->apply->time_ms, aging_ms = queue->config.aging_ms;
    return aging_ms ? now_ms + task->priority * aging_ms : task->priority << STRICT_BITS | now_ms;
}

uint64_t task_backoff_ms(const struct queue *queue, const struct task *task)
{
    const struct queue_config *config = &queue->config;
    uint64_t wait_ms = config->backoff_ms, times = task->failures + task->losses;
    for (uint64_t i = 1; i < times && wait_ms < config->backoff_max_ms; i++) {
        if (config->backoff_factor == 1) break;
        wait_ms *= config->backoff_factor;
    }
    if (wait_ms > config->backoff_max_ms) wait_ms = config->backoff_max_ms;
    uint64_t dice = ((task->id ^ times << 40) * 0x9e3779b97f4a7c15u >> 32) % 1001;
    return wait_ms + wait_ms * config->backoff_jitter * dice / 100000;
}

void task_free_key(struct task *task, struct apply *apply)
{
    if (!task->owns_key || MUTANT(85)) return;
    struct key key = queue_key_of(KEY_TASK_KEY, task->queue);
    key_bytes(&key, task->key);
    CHECK(rows_delete(apply->rows, key_slice(&key)));
    task->owns_key = false;
}

/* A failing head of an ordered group goes on blocking it. */
static bool blocks_group(const struct queue *queue)
{
    return queue->config.group_concurrency == 1 && queue->config.group_on_fail == GROUP_BLOCK && !MUTANT(83);
}

static void depart(struct queue *queue, struct task *task)
{
    struct key key = task_state_key(task);
    CHECK(rows_delete(queue->apply->rows, key_slice(&key)) && queue->row.counts[task->state]);
    queue->row.counts[task->state]--;
    if (task->state == TASK_READY) lane_leave(queue, task);
    if (task->state != TASK_CLAIMED) return;
    lease_detach(queue->apply, task->lease, QUEUE_CODE, task_what(queue->apply, task->id));
    task->lease = 0;
}

/* Of those that are over, more than the queue keeps. */
static void forget_surplus(struct queue *queue, enum task_state state)
{
    struct key prefix = queue_key_of(KEY_TASK_STATE, queue->name);
    key_byte(&prefix, (uint8_t)state);
    struct key from = prefix;
    uint64_t id;
    for (int look = 0; look < SURPLUS_LOOKS && queue->row.counts[state] > queue->config.retain_max &&
                       queue_next_id(queue->apply, key_slice(&prefix), &from, &id);
         look++)
        task_forget_or_keep(queue, id);
}

static void count(struct queue *queue, const struct task *task)
{
    uint64_t now_ms = queue->apply->time_ms;
    struct queue_minute *minute = queue_now(queue);
    if (task->state == TASK_CLAIMED) {
        uint64_t waited_ms = task->attempt_waited_ms;
        queue->row.claimed++;
        minute->claimed++;
        minute->wait_ms += waited_ms;
        if (waited_ms > minute->wait_max_ms) minute->wait_max_ms = waited_ms;
    } else if (task->state == TASK_DONE) {
        uint64_t ran_ms = now_ms - task->claimed_ms;
        queue->row.done++;
        minute->done++;
        minute->run_ms += ran_ms;
        if (ran_ms > minute->run_max_ms) minute->run_max_ms = ran_ms;
    } else if (task->state == TASK_DEAD) {
        queue->row.dead++;
    }
}

static void arrive(struct queue *queue, struct task *task, enum task_state state)
{
    struct apply *apply = queue->apply;
    if (state == TASK_CLAIMED) task->attempt_waited_ms = apply->time_ms - task->since_ms;
    task->state = state;
    task->order = apply->index;
    task->since_ms = apply->time_ms;
    struct key key = task_state_key(task);
    rows_put(apply->rows, key_slice(&key), slice_of(NULL, 0));
    queue->row.counts[state]++;
    queue->changed = true;
    if (state == TASK_READY) {
        if (!task->expires_ms && task->ttl_ms) task->expires_ms = apply->time_ms + task->ttl_ms;
        task->rank = task_rank(queue, task);
        lane_enter(queue, task);
    }
    if (task_is_over(state) || (state == TASK_CLAIMED && task->dedup == DEDUP_WAITING))
        task_free_key(task, apply);
    task_set_timer(queue, task);
    task_put(apply, task);
    task_tell(queue, task, (enum queue_event)state);
    count(queue, task);
}

/* What follows for others once it stands in its rows. */
static void settle(struct queue *queue, struct task *task)
{
    if (task->state == TASK_CLAIMED) lane_claimed(queue, task);
    if (!task_is_over(task->state)) return;
    if (task->parents) parents_let_go(queue->apply, task);
    if (task->dependants) dependants_tell(queue, task);
    queue_want_sweep(queue);
    forget_surplus(queue, (enum task_state)task->state);
}

void task_begin(struct queue *queue, struct task *task, const struct task_body *body, enum task_state state)
{
    task->id = task->id ? task->id : task_new_id(queue->apply);
    task->queue = queue->name;
    task->enqueued_ms = task->since_ms = queue->apply->time_ms;
    task_put_body(queue->apply, task->id, body);
    queue->row.enqueued++;
    queue_now(queue)->enqueued++;
    arrive(queue, task, state);
    settle(queue, task);
}

void task_enter(struct queue *queue, struct task *task, enum task_state state)
{
    bool was_claimed = task->state == TASK_CLAIMED;
    depart(queue, task);
    if (task_is_over(state))
        lane_give_back(queue, task, false);
    else if (was_claimed)
        lane_give_back(queue, task, blocks_group(queue));
    arrive(queue, task, state);
    settle(queue, task);
}

void task_store(struct queue *queue, struct task *task)
{
    queue->changed = true;
    task_set_timer(queue, task);
    task_put(queue->apply, task);
}

void task_forget(struct queue *queue, struct task *task)
{
    CHECK(task_is_over(task->state) && !task_is_needed(task));
    struct key key = task_state_key(task);
    CHECK(rows_delete(queue->apply->rows, key_slice(&key)));
    queue->row.counts[task->state]--;
    queue->changed = true;
    task_delete(queue->apply, task->id);
    task_tell(queue, task, QUEUE_TASK_FORGOTTEN);
}

void task_forget_or_keep(struct queue *queue, uint64_t id)
{
    struct task task;
    CHECK(task_get(queue->apply, id, &task));
    if (!task_is_needed(&task)) {
        task_forget(queue, &task);
        return;
    }
    struct key key = task_state_key(&task);
    CHECK(rows_delete(queue->apply->rows, key_slice(&key)));
    task.order = queue->apply->index;
    task.since_ms = queue->apply->time_ms;
    key = task_state_key(&task);
    rows_put(queue->apply->rows, key_slice(&key), slice_of(NULL, 0));
    task_put(queue->apply, &task);
}
