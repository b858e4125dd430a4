/* What operators do to many tasks at once, some of them an entry: purge and redrive. */
#include "base/check.h"
#include "coord/primitive/queue.h"

enum { SCANNED_MAX = 10000 };

struct many_args {
    struct slice queue, id, group, cursor;
    uint64_t state, limit;
    bool dry_run;
};
#define ASKED(member) .offset = offsetof(struct many_args, member), .name = #member
#define QUEUE_FIELD                                                                                          \
    {                                                                                                        \
        .number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ASKED(queue), .max = 255,                  \
        .about = "its name"                                                                                  \
    }
#define COMMON_FIELDS                                                                                        \
    {.number = 3, .type = FIELD_TEXT, ASKED(group), .max = QUEUE_KEY_MAX, .about = "only tasks of it"},      \
        {.number = 4,                                                                                        \
         .type = FIELD_UINT,                                                                                 \
         ASKED(limit),                                                                                       \
         .min = 1,                                                                                           \
         .max = QUEUE_MANY_MAX,                                                                              \
         .initial = QUEUE_MANY_MAX,                                                                          \
         .about = "at most that many tasks"},                                                                \
    {                                                                                                        \
        .number = 5, .type = FIELD_TEXT, ASKED(cursor), .max = 60, .about = "of the answer before"           \
    }

static const struct field purge_fields[] = {
    QUEUE_FIELD,
    {.number = 2,
     .type = FIELD_CHOICE,
     ASKED(state),
     .choices = task_state_choices,
     .about = "only tasks in it; absent: all that nobody has claimed"},
    COMMON_FIELDS,
    {.number = 6, .type = FIELD_BOOL, ASKED(dry_run), .about = "true: they are only counted"},
};
const struct record queue_purge_record = RECORD("queue_purge", many_args, purge_fields);

static const struct field redrive_fields[] = {
    QUEUE_FIELD,
    {.number = 2,
     .type = FIELD_TEXT,
     ASKED(id),
     .max = 20,
     .about = "of one task; absent: all that are dead"},
    COMMON_FIELDS,
};
const struct record queue_redrive_record = RECORD("queue_redrive", many_args, redrive_fields);

struct many_result {
    struct slice queue, cursor;
    uint64_t count, kept;
    bool more;
};
#define RESULT(member) .offset = offsetof(struct many_result, member)
#define RESULT_FIELDS(text, phrase, phrase_kept)                                                             \
    {.number = 1, .type = FIELD_NAME, RESULT(queue), .name = "queue", .about = "its name"},                  \
        {.number = 2, .type = FIELD_UINT, RESULT(count), .name = text, .about = phrase},                     \
        {.number = 3, .type = FIELD_UINT, RESULT(kept), .name = "kept", .about = phrase_kept},               \
        {.number = 4,                                                                                        \
         .type = FIELD_BOOL,                                                                                 \
         RESULT(more),                                                                                       \
         .name = "more",                                                                                     \
         .about = "true: not all were looked at; go on with the cursor"},                                    \
    {                                                                                                        \
        .number = 5, .type = FIELD_TEXT, .flags = FIELD_NULL, RESULT(cursor), .name = "cursor",              \
        .about = "for the next request; null at the end"                                                     \
    }
static const struct field purged_fields[] = {
    RESULT_FIELDS("purged", "tasks that went",
                  "tasks that stay, cancelled or over, since others still need them"),
};
const struct record queue_purged_record = RECORD("queue_purged", many_result, purged_fields);
static const struct field redriven_fields[] = {
    RESULT_FIELDS("redriven", "tasks that are ready again", "tasks that stay dead: a live one has their key"),
};
const struct record queue_redriven_record = RECORD("queue_redriven", many_result, redriven_fields);

static void refuse(struct apply *apply, enum outcome outcome, const char *detail)
{
    apply_answer_detail(apply, outcome, NULL, NULL, slice_text(detail));
}

static struct many_result *result_of(struct apply *apply, const struct many_args *args)
{
    struct many_result *result = arena_alloc(apply->arena, sizeof *result);
    result->queue = args->queue;
    return result;
}

/* True, with the cursor, when so much was done that the task is left for another entry. */
static bool is_enough(const struct many_args *args, struct task_scan *scan, const struct task *before,
                      struct many_result *result)
{
    if (result->count + result->kept < args->limit && scan->looked <= SCANNED_MAX) return false;
    result->more = true;
    result->cursor = task_cursor(scan->apply, before);
    return true;
}

/* --- purge --- */

static bool is_needed(const struct task *task)
{
    return task->dependants || task->parents;
}

static void purge(struct queue *queue, struct task *task, struct many_result *result)
{
    uint64_t id = task->id;
    if (!task_is_over(task->state)) task_cancel(queue, task, SLICE("purged"));
    bool there = task_get(queue->apply, id, task);
    if (there && is_needed(task)) {
        result->kept++;
        return;
    }
    if (there) task_forget(queue, task);
    result->count++;
}

static void count(const struct task *task, struct many_result *result)
{
    if (task_is_over(task->state) && is_needed(task))
        result->kept++;
    else
        result->count++;
}

static bool is_to_go(const struct many_args *args, const struct apply *apply, const struct task *task)
{
    bool seen = task_is_over(task->state) && task->order == apply->index && is_needed(task);
    return !seen && (args->state || task->state != TASK_CLAIMED) &&
           (!args->group.size || slice_equal(args->group, task->group));
}

static void purge_all(struct queue *queue, const struct many_args *args, struct task_scan *scan,
                      struct many_result *result)
{
    struct task task, before = {0};
    while (task_scan_next(scan, &task)) {
        if (is_enough(args, scan, &before, result)) return;
        before = task;
        if (!is_to_go(args, queue->apply, &task)) continue;
        if (args->dry_run)
            count(&task, result);
        else
            purge(queue, &task, result);
    }
}

void queue_purge(struct apply *apply, const void *arguments)
{
    const struct many_args *args = arguments;
    struct queue queue;
    struct task_scan scan;
    queue_load(&queue, apply, args->queue);
    if (!queue.exists) {
        apply_answer(apply, OUTCOME_QUEUE_NOT_FOUND, NULL, NULL);
        return;
    }
    if (!task_scan_begin(&scan, apply, args->queue, args->state, args->cursor)) {
        refuse(apply, OUTCOME_SENSELESS, "the cursor is not of such a purge");
        return;
    }
    struct many_result *result = result_of(apply, args);
    purge_all(&queue, args, &scan, result);
    if (!args->dry_run) {
        queue_hand_out(&queue);
        queue_save(&queue);
    }
    apply_answer(apply, OUTCOME_OK, &queue_purged_record, result);
}

/* --- redrive --- */

/* A task that is live has its key for itself, if any is to. */
static bool take_key(struct queue *queue, struct task *task)
{
    struct rows *rows = queue->apply->rows;
    if (!task->key.size || task->dedup == DEDUP_OFF) return true;
    struct key key = queue_key_of(KEY_TASK_KEY, queue->name);
    key_bytes(&key, task->key);
    if (rows_number(rows, key_slice(&key))) return false;
    rows_set_number(rows, key_slice(&key), task->id);
    task->owns_key = true;
    return true;
}

static void redrive(struct queue *queue, struct task *task, struct many_result *result)
{
    if (task->parents || !take_key(queue, task)) {
        result->kept++;
        return;
    }
    if (task->deadline_ms <= queue->apply->time_ms) task->deadline_ms = 0;
    task->failures = task->losses = task->dead_reason = task->expires_ms = task->needs = 0;
    task_enter(queue, task, TASK_READY);
    result->count++;
}

static void redrive_all(struct queue *queue, const struct many_args *args, struct task_scan *scan,
                        struct many_result *result)
{
    struct task task, before = {0};
    while (task_scan_next(scan, &task)) {
        if (is_enough(args, scan, &before, result)) return;
        before = task;
        if (!args->group.size || slice_equal(args->group, task.group)) redrive(queue, &task, result);
    }
}

/* One that is not dead any more was redriven already, as far as anybody can tell: a repeated request. */
static bool redrive_one(struct queue *queue, const struct many_args *args, struct many_result *result)
{
    struct task task;
    if (!task_get(queue->apply, task_id_of(args->id), &task) || !slice_equal(task.queue, queue->name)) {
        apply_answer(queue->apply, OUTCOME_TASK_NOT_FOUND, NULL, NULL);
        return false;
    }
    if (task.state == TASK_DEAD) {
        redrive(queue, &task, result);
    } else if (task_is_over(task.state)) {
        refuse(queue->apply, OUTCOME_TASK_OVER, "only tasks that are dead can be redriven");
        return false;
    }
    return true;
}

void queue_redrive(struct apply *apply, const void *arguments)
{
    const struct many_args *args = arguments;
    struct queue queue;
    struct task_scan scan;
    struct many_result *result = result_of(apply, args);
    queue_load(&queue, apply, args->queue);
    if (!queue.exists) {
        apply_answer(apply, OUTCOME_QUEUE_NOT_FOUND, NULL, NULL);
        return;
    }
    if (!task_scan_begin(&scan, apply, args->queue, TASK_DEAD, args->cursor)) {
        refuse(apply, OUTCOME_SENSELESS, "the cursor is not of such a redrive");
        return;
    }
    if (args->id.size) {
        if (!redrive_one(&queue, args, result)) return;
    } else {
        redrive_all(&queue, args, &scan, result);
    }
    queue_hand_out(&queue);
    queue_save(&queue);
    apply_answer(apply, OUTCOME_OK, &queue_redriven_record, result);
}
