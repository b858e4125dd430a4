/* Tasks as they were told to be. Every change of a task's state is told by an event; each must be one that
 * its state before, its times and its queue allow.
 *
 * Held of each: it is made once, under an id above all before; it is handed out only when ready, never before
 * its time, not while its queue is paused, and no more often than it may be tried; of a group with one slot
 * in the order of ids, one after the other, and nobody passes one that is to be tried again; of groups, keys
 * and queues never more at once than their limit; it leaves the state blocked when all that it waited for is
 * over; what is over stays so unless it is redriven, and is forgotten no sooner than its queue says. */
#include "tests/sim/queue_model.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

static struct map tasks; /* id -> struct model_task */
static struct model_task *newest;
static struct model_queue *queues;

typedef unsigned long long number;

struct model_task *model_find(uint64_t id)
{
    return id ? map_get(&tasks, id) : NULL;
}

struct model_task *model_all(void)
{
    return newest;
}

bool model_live(const struct model_task *task)
{
    return task->state && !task_is_over(task->state);
}

static void copy_name(char *to, struct slice name)
{
    size_t size = name.size < MODEL_NAME - 1 ? name.size : MODEL_NAME - 1;
    if (size) memcpy(to, name.data, size);
    to[size] = 0;
}

/* --- queues --- */

static bool has_live(const struct model_queue *queue)
{
    for (const struct model_task *task = newest; task; task = task->next)
        if (task->queue == queue && model_live(task)) return true;
    return false;
}

static void refresh(struct model_queue *queue)
{
    char line[MODEL_NAME + 8];
    snprintf(line, sizeof line, "queue=%s", queue->name);
    const struct answer *answer = judge_ask("queue.get", line);
    struct queue_config config = queue_config_default;
    queue->paused = false;
    if (answer->outcome == OUTCOME_OK) {
        queue->paused = view_bool(answer->shape, answer->data, "paused");
        config = *(const struct queue_config *)view_record(answer->shape, answer->data, "config");
    }
    bool same = config.concurrency == queue->config.concurrency &&
                config.group_concurrency == queue->config.group_concurrency &&
                config.key_concurrency == queue->config.key_concurrency &&
                config.group_on_fail == queue->config.group_on_fail &&
                config.max_attempts == queue->config.max_attempts;
    queue->config = config;
    queue->config.dead_letter = slice_of(NULL, 0);
    queue->steady = (queue->steady && same) || !has_live(queue);
}

void model_refresh_all(void)
{
    for (struct model_queue *queue = queues; queue; queue = queue->next) refresh(queue);
}

struct model_queue *model_queue(const char *name)
{
    for (struct model_queue *queue = queues; queue; queue = queue->next)
        if (strcmp(queue->name, name) == 0) return queue;
    struct model_queue *queue = memory_new(sizeof *queue);
    *queue = (struct model_queue){.next = queues, .steady = true, .config = queue_config_default};
    snprintf(queue->name, sizeof queue->name, "%s", name);
    queues = queue;
    return queue;
}

struct model_queue *model_queues(void)
{
    return queues;
}

/* --- a new task --- */

static const struct answer *show(const struct model_task *task)
{
    char line[MODEL_NAME + 40];
    snprintf(line, sizeof line, "queue=%s id=%llu", task->queue->name, (number)task->id);
    return judge_ask("queue.get_task", line);
}

void model_look(struct model_task *task)
{
    const struct answer *answer = show(task);
    if (answer->outcome != OUTCOME_OK) return;
    task->not_before_ms = view_number(answer->shape, answer->data, "not_before");
    task->expires_ms = view_number(answer->shape, answer->data, "expires");
    task->deadline_ms = view_number(answer->shape, answer->data, "deadline");
    task->timeout_ms = view_number(answer->shape, answer->data, "timeout_ms");
    task->max_attempts = view_number(answer->shape, answer->data, "max_attempts");
}

static struct model_task *make(const struct apply *apply, uint64_t id, struct slice queue_name)
{
    char name[MODEL_NAME];
    if (newest && newest->id >= id) sim_fail("task %llu was made after %llu", (number)id, (number)newest->id);
    copy_name(name, queue_name);
    struct model_task *task = memory_new(sizeof *task);
    *task =
        (struct model_task){.next = newest, .id = id, .queue = model_queue(name), .made_index = apply->index};
    newest = task;
    map_put(&tasks, id, task);
    const struct answer *answer = show(task);
    if (answer->outcome != OUTCOME_OK) return task; /* made and forgotten in one entry */
    const struct record *shape = answer->shape;
    task->shown = true;
    model_look(task);
    copy_name(task->group, view_text(shape, answer->data, "group"));
    copy_name(task->key, view_text(shape, answer->data, "key"));
    task->on_dep_fail = view_number(shape, answer->data, "on_dep_fail");
    struct list after = view_list(shape, answer->data, "after");
    for (size_t i = 0; i < after.count && i < MODEL_AFTER; i++) {
        char digits[24];
        copy_name(digits, ((const struct slice *)after.items)[i]);
        task->after[task->after_count++] = strtoull(digits, NULL, 10);
    }
    return task;
}

/* --- handing out --- */

static bool claimed(const struct model_task *task)
{
    return task->state == TASK_CLAIMED;
}

/* It was tried, and is to be tried again before the rest of its group. */
static bool blocks_group(const struct model_task *task)
{
    return task->claims && (task->state == TASK_READY || task->state == TASK_SCHEDULED);
}

/* `freed`: index at which the slot of its group was last given back. Who was ready before this one could have
 * the slot, and has a lower id, goes first. */
static void judge_order(const struct model_task *task, const struct model_task *other, uint64_t freed)
{
    if (claimed(other))
        sim_fail("tasks %llu and %llu of group %s are claimed at once", (number)task->id, (number)other->id,
                 task->group);
    if (task->queue->config.group_on_fail == GROUP_BLOCK && blocks_group(other))
        sim_fail("task %llu passes %llu of its group, which is to be tried again", (number)task->id,
                 (number)other->id);
    uint64_t since = freed > task->changed_index ? freed : task->changed_index;
    if (other->state != TASK_READY || other->id > task->id || task->claims) return;
    if (other->changed_index < since)
        sim_fail("task %llu is handed out before %llu of its group", (number)task->id, (number)other->id);
}

static void judge_group(const struct model_task *task)
{
    uint64_t freed = 0;
    if (task->queue->config.group_concurrency != 1 || !task->group[0]) return;
    for (int round = 0; round < 2; round++)
        for (const struct model_task *other = newest; other; other = other->next) {
            if (other == task || other->queue != task->queue || strcmp(task->group, other->group) != 0)
                continue;
            if (round == 1)
                judge_order(task, other, freed);
            else if (other->left_index > freed)
                freed = other->left_index;
        }
    mark(MARK_TASK_GROUP_ORDERED);
}

static void judge_limits(const struct model_task *task)
{
    const struct queue_config *config = &task->queue->config;
    uint64_t in_queue = 0, in_group = 0, of_key = 0;
    for (const struct model_task *other = newest; other; other = other->next) {
        if (other == task || other->queue != task->queue || !claimed(other)) continue;
        in_queue++;
        in_group += task->group[0] && strcmp(task->group, other->group) == 0;
        of_key += task->key[0] && strcmp(task->key, other->key) == 0;
    }
    if ((config->concurrency && in_queue >= config->concurrency) ||
        (config->group_concurrency && task->group[0] && in_group >= config->group_concurrency) ||
        (config->key_concurrency && task->key[0] && of_key >= config->key_concurrency))
        sim_fail(
            "task %llu is one too many: %llu of its queue, %llu of its group, %llu of its key are claimed",
            (number)task->id, (number)in_queue, (number)in_group, (number)of_key);
}

/* May the entry itself have changed the queue's settings before it handed out? */
static bool may_have_set(const struct command *command)
{
    const char *name = model_operation(command)->name;
    return strcmp(name, "txn") == 0 || strcmp(name, "queue.resume") == 0 || strcmp(name, "queue.put") == 0;
}

static void hand_out(const struct apply *apply, const struct command *command, struct model_task *task)
{
    struct model_queue *queue = task->queue;
    bool steady = queue->steady && !may_have_set(command);
    if (apply->index <= task->token)
        sim_fail("task %llu: token %llu after %llu", (number)task->id, (number)apply->index,
                 (number)task->token);
    if (queue->paused && !may_have_set(command))
        sim_fail("task %llu is handed out while its queue is paused", (number)task->id);
    if (steady) judge_limits(task);
    if (steady) judge_group(task);
    task->claims++;
    task->most = steady && task->shown && !task->replaced ? task->max_attempts : 0;
    task->token = apply->index;
    task->claimed_ms = apply->time_ms;
    task->lease = task->cancel_ms = 0;
}

/* --- other changes --- */

#define TO(state) (1u << (state))
static const unsigned allowed[TASK_STATES + 1] = {
    [0] = TO(TASK_SCHEDULED) | TO(TASK_BLOCKED) | TO(TASK_READY),
    [TASK_SCHEDULED] = TO(TASK_READY) | TO(TASK_DEAD) | TO(TASK_CANCELLED) | TO(TASK_EXPIRED),
    [TASK_BLOCKED] = TO(TASK_READY) | TO(TASK_SCHEDULED) | TO(TASK_DEAD) | TO(TASK_CANCELLED),
    [TASK_READY] = TO(TASK_CLAIMED) | TO(TASK_DEAD) | TO(TASK_CANCELLED) | TO(TASK_EXPIRED),
    [TASK_CLAIMED] = TO(TASK_READY) | TO(TASK_SCHEDULED) | TO(TASK_DONE) | TO(TASK_DEAD) | TO(TASK_CANCELLED),
    [TASK_DEAD] = TO(TASK_READY),
};

static void unblock(const struct model_task *task)
{
    mark(MARK_TASK_UNBLOCKED);
    for (size_t i = 0; i < task->after_count; i++) {
        const struct model_task *parent = model_find(task->after[i]);
        if (!parent) continue;
        if (!parent->was_over) /* one that was redriven since counts once */
            sim_fail("task %llu goes on before %llu, which it waits for, is over", (number)task->id,
                     (number)parent->id);
        if (parent->last_state != TASK_DONE && task->on_dep_fail != DEP_FAIL_RUN)
            sim_fail("task %llu goes on although %llu, which it waits for, did not succeed", (number)task->id,
                     (number)parent->id);
    }
}

static void redriven(struct model_task *task)
{
    task->claims = task->releases = 0;
}

/* A duplicate may bring another time for the task that is there. */
static bool may_replace(const struct command *command)
{
    const char *name = model_operation(command)->name;
    return strncmp(name, "queue.enqueue", 13) == 0 || strcmp(name, "txn") == 0;
}

static void judge_change(const struct apply *apply, const struct command *command, struct model_task *task,
                         uint64_t state)
{
    if (!(allowed[task->state] & TO(state)) || (!task->state && task->last_state))
        sim_fail("task %llu goes from state %llu to %llu", (number)task->id, (number)task->state,
                 (number)state);
    if (task->state == TASK_SCHEDULED && state == TASK_READY && apply->time_ms < task->not_before_ms &&
        !may_replace(command))
        sim_fail("task %llu is ready %llu ms before its time", (number)task->id,
                 (number)(task->not_before_ms - apply->time_ms));
    if (task->state == TASK_BLOCKED && (state == TASK_READY || state == TASK_SCHEDULED)) unblock(task);
    if (state == TASK_EXPIRED) {
        mark(MARK_TASK_EXPIRED);
        if (apply->time_ms < task->expires_ms)
            sim_fail("task %llu expires before its time", (number)task->id);
    }
    if (state == TASK_DEAD) mark(MARK_TASK_DEAD);
    if (task->state == TASK_DEAD) redriven(task);
    if (state == TASK_CLAIMED) hand_out(apply, command, task);
}

/* --- forgetting --- */

static uint64_t kept_ms(const struct model_task *task)
{
    const struct queue_config *config = &task->queue->config;
    if (task->state == TASK_DONE) return config->retain_done_ms;
    return task->state == TASK_DEAD ? config->retain_dead_ms : config->retain_cancelled_ms;
}

static void forget(const struct apply *apply, const struct command *command, struct model_task *task)
{
    bool by_time = command->operation == operation_due;
    uint64_t same = 0;
    if (!task_is_over(task->state)) sim_fail("task %llu is forgotten before it is over", (number)task->id);
    for (const struct model_task *other = newest; other; other = other->next)
        same += other->queue == task->queue && other->state == task->state;
    bool surplus = same > task->queue->config.retain_max;
    if (by_time && !surplus && apply->time_ms < task->changed_ms + kept_ms(task))
        sim_fail("task %llu is forgotten %llu ms after it was over", (number)task->id,
                 (number)(apply->time_ms - task->changed_ms));
    task->state = 0;
}

/* --- events --- */

/* "/queues/NAME/tasks/ID" */
static uint64_t parse(struct slice path, struct slice *queue)
{
    static const char head[] = "/queues/", tail[] = "/tasks/";
    char text[300], *slash;
    CHECK(path.size < sizeof text);
    memcpy(text, path.data, path.size);
    text[path.size] = 0;
    if (strncmp(text, head, sizeof head - 1) != 0 || !(slash = strstr(text, tail))) return 0;
    *queue = slice_of(path.data + sizeof head - 1, (size_t)(slash - text) - (sizeof head - 1));
    return strtoull(slash + sizeof tail - 1, NULL, 10);
}

void model_event(const struct apply *apply, const struct command *command, const struct event *event)
{
    struct slice queue;
    uint64_t id = parse(event->path, &queue), state = event->kind->code;
    if (!id) return;
    sim_trace("  %llu: task %llu %s (%s)", (number)apply->index, (number)id, event->kind->name,
              command->operation->name);
    struct model_task *task = model_find(id);
    if (state == QUEUE_TASK_FORGOTTEN) {
        if (!task) sim_fail("task %llu is forgotten, but was never made", (number)id);
        forget(apply, command, task);
        return;
    }
    if (state > TASK_STATES) {
        if (task && state == QUEUE_TASK_CANCEL_REQUESTED) task->asked_index = apply->index;
        return;
    }
    if (!task) task = make(apply, id, queue);
    judge_change(apply, command, task, state);
    if (claimed(task)) {
        task->left_index = apply->index;
        task->left_lease = task->lease;
        task->left_token = task->token;
        task->left_state = state;
    }
    task->was_over |= task_is_over(state);
    task->state = task->last_state = state;
    task->changed_index = apply->index;
    task->changed_ms = apply->time_ms;
    task->not_before_ms = 0;
}
