/* Judges task queues: what is answered in the order of the log against what is told of each task
 * (queue_model.c), and what ends the claim of a task.
 *
 * Held after every entry: a claim is over only because its holder said so with its token, somebody cancelled
 * or removed the task, its lease ended, or a time of the task has come; a lease that ends leaves no task
 * claimed; what is handed out is told to the one who asked, who has not gone. Of answers: what was made is
 * there, as it was asked for; a duplicate is alive and has that key; whoever completes, fails or gives back a
 * task has its current token, or completed it with that token before; and who has it is never told that his
 * claim is lost. In the end, when all has been claimed, every task is over and is found in the state that was
 * told, and no time that has come waits. */
#include "base/check.h"
#include "base/memory.h"
#include "coord/coord.h"
#include "coord/primitive/schedule.h"
#include "coord/primitive/txn.h"
#include "tests/sim/queue_model.h"

#include <stdio.h>
#include <stdlib.h>

enum { LATE_MS = 3000 /* until an entry has met a time that came */ };

typedef unsigned long long number;

static struct map gone; /* index of an entry whose client waits no longer */

static const void *nth(struct list list, const struct record *shape, size_t i)
{
    return (const char *)list.items + i * shape->size;
}

static bool good(enum outcome outcome)
{
    return outcome == OUTCOME_OK || outcome == OUTCOME_CREATED;
}

const struct operation *model_operation(const struct command *command)
{
    if (command->operation != operation_guarded) return command->operation;
    return guarded_operation(command->args);
}

/* --- answers that hand out --- */

static void handed_out(const struct apply *apply, const struct record *shape, const void *data)
{
    const struct record *item = view_item(shape, "tasks");
    struct list tasks = view_list(shape, data, "tasks");
    for (size_t i = 0; i < tasks.count; i++) {
        const void *told = nth(tasks, item, i);
        uint64_t id = view_id(item, told, "id"), token = view_number(item, told, "token");
        struct model_task *task = model_find(id);
        if (!task || task->token != token || token != apply->index)
            sim_fail("entry %llu hands out task %llu with token %llu, but does not tell of it",
                     (number)apply->index, (number)id, (number)token);
        task->told_index = apply->index;
        task->lease = view_number(item, told, "lease");
    }
}

static bool hands_out(const struct record *shape)
{
    return shape == &queue_claimed_record || shape == &queue_next_result_record;
}

/* --- answers to what was said of one task --- */

static struct model_task *named(const struct operation *operation, const void *args)
{
    struct model_task *task = model_find(view_id(operation->args, args, "id"));
    return task && slice_is(view_text(operation->args, args, "queue"), task->queue->name) ? task : NULL;
}

/* The claim of that token was over in this entry, in that state. */
static bool ended_as(const struct apply *apply, const struct model_task *task, uint64_t token,
                     unsigned states)
{
    return task->left_token == token && task->left_index == apply->index && (states & 1u << task->left_state);
}

static void judge_end_of_claim(const struct apply *apply, const struct operation *operation, uint64_t id,
                               struct model_task *task, uint64_t token, unsigned states)
{
    bool again =
        task && (states & 1u << TASK_DONE) && task->last_state == TASK_DONE && task->left_token == token;
    if (again && task->left_index < apply->index) mark(MARK_TASK_COMPLETED_TWICE);
    if (!task || (!again && !ended_as(apply, task, token, states)))
        sim_fail("%s of task %llu with token %llu is answered well, but the claim was not ended by it",
                 operation->name, (number)id, (number)token);
    task->ended_index = apply->index;
}

/* It has had that token since before this entry, so it is wrong to say that the claim is lost. */
static void judge_claim_lost(const struct apply *apply, const struct model_task *task, uint64_t token)
{
    mark(MARK_TASK_CLAIM_LOST_TOLD);
    if (task && task->state == TASK_CLAIMED && task->token == token && task->changed_index < apply->index)
        sim_fail("task %llu is claimed with token %llu, but its claim is called lost", (number)task->id,
                 (number)token);
}

enum {
    AS_DONE = 1u << TASK_DONE,
    AS_FAILED = 1u << TASK_SCHEDULED | 1u << TASK_READY | 1u << TASK_DEAD | 1u << TASK_CANCELLED,
    AS_RELEASED = AS_FAILED
};

static void told_of_claim(const struct apply *apply, const struct operation *operation, const void *args,
                          enum outcome outcome)
{
    struct model_task *task = named(operation, args);
    uint64_t token = view_number(operation->args, args, "token"), id = view_id(operation->args, args, "id");
    if (outcome == OUTCOME_CLAIM_LOST) judge_claim_lost(apply, task, token);
    if (!good(outcome)) return;
    if (strcmp(operation->name, "queue.complete") == 0) {
        judge_end_of_claim(apply, operation, id, task, token, AS_DONE);
    } else if (strcmp(operation->name, "queue.progress") == 0) {
        if (!task || task->token != token || task->state != TASK_CLAIMED)
            sim_fail("progress of task %llu is taken from token %llu, which it has not", (number)id,
                     (number)token);
    } else {
        bool release = strcmp(operation->name, "queue.release") == 0;
        judge_end_of_claim(apply, operation, id, task, token, AS_FAILED);
        task->releases += release;
        uint64_t asked_ms = release ? view_number(operation->args, args, "delay")
                                    : view_number(operation->args, args, "retry_after");
        if (asked_ms && task->state == TASK_READY)
            sim_fail("task %llu is ready at once, not after %llu ms", (number)id, (number)asked_ms);
    }
}

/* It is asked to stop, and taken away when the grace is over. */
static void told_of_cancel(const struct apply *apply, const struct operation *operation, const void *args,
                           const struct record *shape, const void *data)
{
    struct model_task *task = named(operation, args);
    if (!task) sim_fail("a task that is not in the queue is cancelled at entry %llu", (number)apply->index);
    if (!view_bool(shape, data, "cancel_requested")) return;
    uint64_t until_ms = apply->time_ms + view_number(operation->args, args, "grace");
    if (!task->cancel_ms || until_ms < task->cancel_ms) task->cancel_ms = until_ms;
}

/* queue.next ends claims at once, and may be answered later; `said`: what it says of each, NULL: not yet. */
static void judge_next(const struct apply *apply, const struct operation *operation, const void *args,
                       const struct list *said)
{
    static const char *const lists[2] = {"done", "failed"};
    size_t at = 0;
    for (size_t l = 0; l < 2; l++) {
        struct list items = view_list(operation->args, args, lists[l]);
        const struct record *item = view_item(operation->args, lists[l]);
        unsigned states = l ? AS_FAILED : AS_DONE;
        for (size_t i = 0; i < items.count; i++, at++) {
            uint64_t id = view_id(item, nth(items, item, i), "id");
            uint64_t token = view_number(item, nth(items, item, i), "token");
            struct model_task *task = model_find(id);
            if (task && !slice_is(view_text(operation->args, args, "queue"), task->queue->name)) task = NULL;
            if (!said) {
                if (task && ended_as(apply, task, token, states)) task->ended_index = apply->index;
                continue;
            }
            if (at >= said->count)
                sim_fail("entry %llu does not say what became of all", (number)apply->index);
            const struct finished *finished = nth(*said, &finished_record, at);
            if (slice_is(finished->code, "claim_lost"))
                judge_claim_lost(apply, task, token);
            else if (!slice_is(finished->code, "task_not_found"))
                judge_end_of_claim(apply, operation, id, task, token, states);
        }
    }
}

static void told_of_next(const struct apply *apply, const struct operation *operation, const void *args,
                         const struct record *shape, const void *data)
{
    struct list said = view_list(shape, data, "finished");
    judge_next(apply, operation, args, &said);
}

/* --- answers to enqueue --- */

static void judge_made(const struct apply *apply, struct model_task *task, const struct record *asks,
                       const void *asked)
{
    struct slice group = view_text(asks, asked, "group"), key = view_text(asks, asked, "key");
    uint64_t delay_ms = view_number(asks, asked, "delay");
    if (task->last_state == 0 || task->made_index != apply->index)
        sim_fail("task %llu is said to be made in entry %llu", (number)task->id, (number)apply->index);
    if (task->shown && (!slice_is(group, task->group) || !slice_is(key, task->key)))
        sim_fail("task %llu has another group or key than it was made with", (number)task->id);
    if (delay_ms && (task->state == TASK_READY || task->state == TASK_CLAIMED))
        sim_fail("task %llu does not wait %llu ms", (number)task->id, (number)delay_ms);
}

static void told_of_made(const struct apply *apply, struct slice queue, const struct record *asks,
                         const void *asked, const struct record *shape, const void *data)
{
    uint64_t id = view_id(shape, data, "id");
    struct model_task *task = model_find(id);
    if (!task || !slice_is(queue, task->queue->name))
        sim_fail("task %llu is said to be in queue %.*s, and is not", (number)id, (int)queue.size,
                 (const char *)queue.data);
    if (!view_bool(shape, data, "deduplicated")) {
        judge_made(apply, task, asks, asked);
        return;
    }
    mark(MARK_TASK_DEDUPLICATED);
    task->asked_index = apply->index;
    task->replaced = true;
    if (!slice_is(view_text(asks, asked, "key"), task->key))
        sim_fail("task %llu has not that key", (number)id);
    if (!model_live(task) && task->changed_index < apply->index)
        sim_fail("task %llu is named as a duplicate, but it is over", (number)id);
}

static void told_of_many(const struct apply *apply, const struct operation *operation, const void *args,
                         const struct record *shape, const void *data)
{
    struct slice queue = view_text(operation->args, args, "queue");
    const struct record *asks = view_item(operation->args, "tasks"), *made = view_item(shape, "tasks");
    struct list asked = view_list(operation->args, args, "tasks"), told = view_list(shape, data, "tasks");
    if (asked.count != told.count) sim_fail("entry %llu made another number of tasks", (number)apply->index);
    for (size_t i = 0; i < told.count; i++)
        told_of_made(apply, queue, asks, nth(asked, asks, i), made, nth(told, made, i));
}

/* --- one answer --- */

static void told(const struct apply *apply, const struct operation *operation, const void *args,
                 const struct operation_result *result);

static void told_of_txn(const struct apply *apply, const struct operation *operation, const void *args,
                        const struct operation_result *result)
{
    bool held = view_bool(result->shape, result->data, "succeeded");
    struct list items = view_list(operation->args, args, held ? "then" : "else");
    struct list results = view_list(result->shape, result->data, "results");
    for (size_t i = 0; i < results.count; i++) {
        const struct operation_item *item = &((const struct operation_item *)items.items)[i];
        told(apply, item->operation, item->args, &((const struct operation_result *)results.items)[i]);
    }
}

static void told(const struct apply *apply, const struct operation *operation, const void *args,
                 const struct operation_result *result)
{
    static const char *const of_claims[] = {"queue.complete", "queue.fail", "queue.release",
                                            "queue.progress"};
    const char *name = operation->name;
    if (good(result->outcome) && hands_out(result->shape)) handed_out(apply, result->shape, result->data);
    for (size_t i = 0; i < sizeof of_claims / sizeof *of_claims; i++)
        if (strcmp(name, of_claims[i]) == 0) told_of_claim(apply, operation, args, result->outcome);
    if (!good(result->outcome)) return;
    if (strcmp(name, "txn") == 0)
        told_of_txn(apply, operation, args, result);
    else if (strcmp(name, "queue.next") == 0)
        told_of_next(apply, operation, args, result->shape, result->data);
    else if (strcmp(name, "queue.cancel") == 0)
        told_of_cancel(apply, operation, args, result->shape, result->data);
    else if (strcmp(name, "queue.enqueue_many") == 0)
        told_of_many(apply, operation, args, result->shape, result->data);
    else if (strcmp(name, "queue.enqueue") == 0)
        told_of_made(apply, view_text(operation->args, args, "queue"), operation->args, args, result->shape,
                     result->data);
}

static const void *args_of(const struct command *command)
{
    const struct guarded_args *guarded = command->args;
    if (command->operation != operation_guarded) return command->args;
    return ((const struct operation_item *)guarded->operation.items)->args;
}

/* What was done under an Idempotency-Key is not done again under it. */
static void judge_once(const struct apply *apply, const struct command *command)
{
    static struct map done; /* hash of a key */
    if (command->operation != operation_guarded || world.faults.wall_jumps) return;
    const struct guarded_args *guarded = command->args;
    uint64_t hash = row_hash(guarded->retry_key, SLICE("x")) | 1;
    if (guarded->retry_key.size && map_get(&done, hash))
        sim_fail("entry %llu does again what was done under its Idempotency-Key", (number)apply->index);
    map_put(&done, hash, &done);
}

static void judge_answer(const struct apply *apply, const struct command *command,
                         const struct answer *answer)
{
    if (answer->replayed) return;
    if (answer->to_index == apply->index && good(answer->outcome)) judge_once(apply, command);
    if (answer->to_index != apply->index) { /* it waited */
        if (!hands_out(answer->shape) || !good(answer->outcome)) return;
        if (map_get(&gone, answer->to_index))
            sim_fail("entry %llu answers the claim of entry %llu, whose client is gone", (number)apply->index,
                     (number)answer->to_index);
        if (view_list(answer->shape, answer->data, "tasks").count) mark(MARK_TASK_HANDED_TO_WAITER);
        handed_out(apply, answer->shape, answer->data);
        return;
    }
    const void *args = args_of(command);
    struct operation_result result = {
        .outcome = answer->outcome, .shape = answer->shape, .data = answer->data};
    told(apply, model_operation(command), args, &result);
}

/* --- why a claim is over --- */

static bool lease_ended(const struct apply *apply, uint64_t lease)
{
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next)
        if (change->lease == lease && !change->ttl_ms) return true;
    return false;
}

static bool time_has_come(const struct apply *apply, const struct model_task *task)
{
    if (task->timeout_ms && apply->time_ms >= task->claimed_ms + task->timeout_ms) {
        mark(MARK_TASK_TIMED_OUT);
        return true;
    }
    return (task->deadline_ms && apply->time_ms >= task->deadline_ms) ||
           (task->cancel_ms && apply->time_ms >= task->cancel_ms);
}

/* Commands that may end claims of tasks that they do not answer for one by one. */
static bool may_end_any(const struct command *command)
{
    static const char *const names[] = {"txn",           "queue.cancel",       "queue.purge", "queue.delete",
                                        "queue.enqueue", "queue.enqueue_many", "schedule.run"};
    const char *name = model_operation(command)->name;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* Its answer could not be delivered, so the node gives it back. */
static bool is_unclaimed(const struct command *command, const struct model_task *task)
{
    const struct operation *operation = command->operation;
    return strcmp(operation->name, "queue.unclaim") == 0 &&
           view_number(operation->args, command->args, "token") == task->left_token;
}

static void judge_ended_claim(const struct apply *apply, const struct command *command,
                              struct model_task *task)
{
    if (task->ended_index == apply->index || may_end_any(command)) return;
    if (is_unclaimed(command, task)) {
        task->releases++;
        return;
    }
    if (lease_ended(apply, task->left_lease)) {
        mark(MARK_TASK_LOST);
        return;
    }
    if (command->operation == operation_due && time_has_come(apply, task)) return;
    if (command->operation == operation_due && task->left_state == TASK_CANCELLED) return; /* a schedule's */
    sim_fail("the claim of task %llu is over at entry %llu (%s) for no reason", (number)task->id,
             (number)apply->index, command->operation->name);
}

static void judge_tasks(const struct apply *apply, const struct command *command)
{
    for (struct model_task *task = model_all(); task; task = task->next) {
        if (task->left_index == apply->index) judge_ended_claim(apply, command, task);
        if (task->state != TASK_CLAIMED) continue;
        if (task->changed_index == apply->index && task->told_index != apply->index)
            sim_fail("task %llu is handed out at entry %llu, but nobody is told", (number)task->id,
                     (number)apply->index);
        if (task->most && task->claims - task->releases > task->most)
            sim_fail("task %llu is handed out the %lluth time", (number)task->id, (number)task->claims);
        if (apply->lease_changes && lease_ended(apply, task->lease))
            sim_fail("lease L%llx has ended, but task %llu is still claimed by it", (number)task->lease,
                     (number)task->id);
    }
}

/* --- entries --- */

static void note_gone(const struct command *command)
{
    if (command->operation != operation_wait_cancel) return;
    const struct wait_cancel_args *args = command->args;
    map_put(&gone, args->index, &gone);
}

static void look_again(const struct apply *apply, const struct command *command)
{
    for (struct model_task *task = model_all(); task; task = task->next)
        if (task->changed_index == apply->index || task->asked_index == apply->index) model_look(task);
    const char *name = model_operation(command)->name;
    if (strncmp(name, "queue.", 6) == 0 || strcmp(name, "txn") == 0) model_refresh_all();
}

void judge_queue_entry(struct apply *apply, const struct command *command)
{
    bool any = false;
    for (const struct event *event = apply->events; event; event = event->next)
        if (event->primitive == &queue_primitive) {
            any = true;
            model_event(apply, command, event);
        }
    for (const struct event *event = apply->events; event; event = event->next)
        if (event->primitive == &schedule_primitive) judge_schedule_event(apply, event);
    for (const struct answer *answer = apply->answers; answer; answer = answer->next)
        judge_answer(apply, command, answer);
    if (any && strcmp(model_operation(command)->name, "queue.next") == 0)
        judge_next(apply, model_operation(command), args_of(command), NULL);
    if (any || apply->lease_changes) judge_tasks(apply, command);
    note_gone(command);
    look_again(apply, command);
}

/* --- the end --- */

size_t judge_queue_count(void)
{
    size_t count = 0;
    for (const struct model_task *task = model_all(); task; task = task->next) count += model_live(task);
    return count;
}

static bool held_up(const struct model_task *task)
{
    if (task->state != TASK_BLOCKED || task->on_dep_fail != DEP_FAIL_HOLD) return false;
    for (size_t i = 0; i < task->after_count; i++) {
        const struct model_task *parent = model_find(task->after[i]);
        if (parent && !model_live(parent) && parent->last_state != TASK_DONE) return true;
    }
    return false;
}

bool judge_queue_left(struct left_task *left)
{
    size_t count = judge_queue_count(), which = count ? (size_t)draw(count) : 0;
    for (const struct model_task *task = model_all(); task; task = task->next) {
        if (!model_live(task) || which-- > 0) continue;
        uint64_t now_ms = judge_time_ms();
        *left =
            (struct left_task){.queue = task->queue->name,
                               .id = task->id,
                               .state = task->state,
                               .due_in_ms = task->not_before_ms > now_ms ? task->not_before_ms - now_ms : 0,
                               .held_up = held_up(task)};
        return true;
    }
    return false;
}

void judge_queue_trace(void)
{
    for (const struct model_task *task = model_all(); task; task = task->next)
        if (model_live(task))
            sim_trace(
                "task %llu of %s: state %llu since entry %llu, group %s, key %s, %llu claims, lease L%llx",
                (number)task->id, task->queue->name, (number)task->state, (number)task->changed_index,
                task->group, task->key, (number)task->claims, (number)task->lease);
}

/* Those that are not forgotten are found as they were told to be. */
static void find(const struct model_task *task)
{
    char line[2 * MODEL_NAME + 16];
    snprintf(line, sizeof line, "queue=%s id=%llu", task->queue->name, (number)task->id);
    const struct answer *answer = judge_ask("queue.get_task", line);
    bool found = answer->outcome == OUTCOME_OK;
    if (found != (task->state != 0))
        sim_fail("task %llu is %s", (number)task->id,
                 found ? "there although it was forgotten" : "not there");
    if (found && view_number(answer->shape, answer->data, "state") != task->state)
        sim_fail("task %llu is in another state than was told", (number)task->id);
}

/* What a queue says of how many there are. */
static void count(const struct model_queue *queue)
{
    char line[MODEL_NAME + 8];
    uint64_t counts[TASK_STATES + 1] = {0};
    snprintf(line, sizeof line, "queue=%s", queue->name);
    const struct answer *answer = judge_ask("queue.get", line);
    for (const struct model_task *task = model_all(); task; task = task->next)
        if (task->queue == queue) counts[task->state]++;
    for (size_t state = 1; state <= TASK_STATES; state++) {
        bool found = answer->outcome == OUTCOME_OK;
        const char *name = task_state_choices[state - 1];
        uint64_t shown = found ? view_number(answer->shape, answer->data, name) : 0;
        if (shown != counts[state])
            sim_fail("queue %s has %llu tasks %s, and says %llu", queue->name, (number)counts[state], name,
                     (number)shown);
    }
}

void judge_queue_end(void)
{
    for (const struct model_queue *queue = model_queues(); queue; queue = queue->next) count(queue);
    uint64_t due_ms = coord_due_ms(judge_rows());
    for (const struct model_task *task = model_all(); task; task = task->next) find(task);
    if (due_ms < judge_time_ms() && due_ms + LATE_MS < judge_time_ms())
        sim_fail("a time that came %llu ms ago has not been met", (number)(judge_time_ms() - due_ms));
}
