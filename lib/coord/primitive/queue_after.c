/* Dependencies: a task that others need tells them when it is over, and is kept until they are.
 *
 * A row of KEY_TASK_AFTER is empty as long as it counts in the child's `needs`; then it has one byte, so that
 * the end of a task that is dead, redriven and done counts once. It goes when the child is over. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue.h"

enum { PARENTS_AT_ONCE = 16 };

static struct key edges_of(uint64_t parent)
{
    struct key key = key_of(KEY_TASK_AFTER);
    key_number(&key, parent);
    return key;
}

static struct key edge_key(uint64_t parent, uint64_t child)
{
    struct key key = edges_of(parent);
    key_number(&key, child);
    return key;
}

static struct slice numbers(struct apply *apply, uint64_t first, uint64_t second)
{
    struct key rest;
    rest.size = 0;
    key_number(&rest, first);
    key_number(&rest, second);
    return arena_copy(apply->arena, key_slice(&rest));
}

/* --- a task gets parents --- */

void after_add(struct apply *apply, struct task *child, uint64_t parent, uint64_t *state)
{
    struct key key = edge_key(parent, child->id);
    struct task task;
    CHECK(task_get(apply, parent, &task));
    bool fulfilled = task.state == TASK_DONE || (MUTANT(88) && task.state == TASK_CLAIMED);
    if (task_has_failed(task.state)) fulfilled = child->on_dep_fail == DEP_FAIL_RUN;
    rows_put(apply->rows, key_slice(&key), fulfilled ? SLICE("+") : slice_of(NULL, 0));
    task.dependants++;
    task_put(apply, &task);
    child->parents++;
    child->needs += !fulfilled;
    *state = task.state;
}

/* --- a parent is over --- */

static void want_dependants(struct apply *apply, uint64_t parent, uint64_t state, uint64_t after)
{
    struct key rest;
    rest.size = 0;
    key_number(&rest, parent);
    key_byte(&rest, (uint8_t)state);
    key_number(&rest, after);
    pulse_want(apply, QUEUE_CODE, queue_work_what(apply, WORK_DEPENDANTS, key_slice(&rest)));
}

void dependants_tell(struct queue *queue, const struct task *task)
{
    if (task->dependants) want_dependants(queue->apply, task->id, task->state, 0);
}

struct slice after_reason(struct apply *apply, uint64_t parent, uint64_t state)
{
    return arena_printf(apply->arena, "it needs task %llu, which is %s", (unsigned long long)parent,
                        task_state_choices[state - 1]);
}

/* One need less. */
static void fulfil(struct queue *queue, struct task *child, const struct key *edge)
{
    struct apply *apply = queue->apply;
    rows_put(apply->rows, key_slice(edge), SLICE("+"));
    CHECK(child->needs);
    if (--child->needs)
        task_store(queue, child);
    else
        task_enter(queue, child, child->not_before_ms > apply->time_ms ? TASK_SCHEDULED : TASK_READY);
}

static void tell_child(struct apply *apply, uint64_t parent, uint64_t state, uint64_t id)
{
    struct key edge = edge_key(parent, id);
    struct queue queue;
    struct task child;
    CHECK(task_get(apply, id, &child));
    if (child.state != TASK_BLOCKED) return; /* over, its rows are about to go */
    bool failed = task_has_failed(state);
    if (failed && child.on_dep_fail == DEP_FAIL_HOLD) return;
    queue_load(&queue, apply, child.queue);
    if (failed && child.on_dep_fail == DEP_FAIL_CANCEL)
        task_cancel(&queue, &child, after_reason(apply, parent, state));
    else
        fulfil(&queue, &child, &edge);
    queue_hand_out(&queue);
    queue_save(&queue);
}

/* A parent that was redriven since will tell them again. */
static bool still_so(struct apply *apply, uint64_t parent, uint64_t state)
{
    struct task task;
    return !task_get(apply, parent, &task) || task.state == state;
}

void dependants_pulse(struct apply *apply, struct slice rest)
{
    uint64_t parent, after, id;
    struct slice state, value;
    CHECK(take_u64be(&rest, &parent) && take_bytes(&rest, 1, &state) && take_u64be(&rest, &after));
    struct key prefix = edges_of(parent), from = edge_key(parent, after + 1);
    if (!still_so(apply, parent, state.data[0])) return;
    for (int looked = 0; queue_next_id(apply, key_slice(&prefix), &from, &id); looked++) {
        if (looked == QUEUE_WORK_MAX) {
            want_dependants(apply, parent, state.data[0], id - 1);
            return;
        }
        struct key edge = edge_key(parent, id);
        CHECK(rows_get(apply->rows, key_slice(&edge), &value));
        if (!value.size) tell_child(apply, parent, state.data[0], id);
    }
}

/* --- a child is over --- */

static void let_go(struct apply *apply, struct task *child, uint64_t parent)
{
    struct key key = edge_key(parent, child->id);
    struct slice value;
    struct task task;
    if (!rows_get(apply->rows, key_slice(&key), &value)) return;
    CHECK(child->parents && child->needs >= !value.size);
    child->parents--;
    child->needs -= !value.size;
    rows_delete(apply->rows, key_slice(&key));
    CHECK(task_get(apply, parent, &task) && task.dependants);
    task.dependants--;
    task_put(apply, &task);
}

/* Of those from position `from` on, at most `max`. True: that was all of them. */
static bool let_some_go(struct apply *apply, struct task *child, uint64_t from, uint64_t max)
{
    struct task_body body;
    task_body(apply, child->id, &body);
    const uint64_t *parents = body.after.items;
    uint64_t end = from + max < body.after.count ? from + max : body.after.count;
    for (uint64_t i = from; i < end; i++) let_go(apply, child, parents[i]);
    task_put(apply, child);
    return end == body.after.count;
}

static void want_parents(struct apply *apply, uint64_t child, uint64_t from)
{
    pulse_want(apply, QUEUE_CODE, queue_work_what(apply, WORK_PARENTS, numbers(apply, child, from)));
}

void parents_let_go(struct apply *apply, struct task *task)
{
    if (task->parents > PARENTS_AT_ONCE)
        want_parents(apply, task->id, 0);
    else if (task->parents)
        CHECK(let_some_go(apply, task, 0, UINT32_MAX));
}

/* One that was redriven and is over again is done twice: the second time there is nothing left to do. */
void parents_pulse(struct apply *apply, struct slice rest)
{
    uint64_t id, from;
    struct task child;
    CHECK(take_u64be(&rest, &id) && take_u64be(&rest, &from));
    if (!task_get(apply, id, &child) || !child.parents) return;
    if (!let_some_go(apply, &child, from, QUEUE_WORK_MAX)) want_parents(apply, id, from + QUEUE_WORK_MAX);
}
