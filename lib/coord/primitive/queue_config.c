/* Queues as operators see to them: their settings; pause, resume, drain, delete. */
#include "base/check.h"
#include "coord/primitive/queue.h"

enum {
    SECOND = 1000,
    MINUTE = 60 * SECOND,
    HOUR = 60 * MINUTE,
    AGAIN_MAX = 1000 /* ready tasks given a new rank */
};
#define DAY (24ull * HOUR)

/* X(number, type, member, name of the argument, min, max, initial, about): one list for the row, for what GET
 * shows, for PUT and for the defaults. */
#define SETTINGS(X)                                                                                          \
    X(2, DURATION, lease_ms, "lease", LEASE_TTL_MIN_MS, LEASE_TTL_MAX_MS, LEASE_TTL_DEFAULT_MS,              \
      "of a claim that names neither ttl nor lease")                                                         \
    X(3, UINT, max_attempts, "max_attempts", 1, 1000, 10, "failures and losses after which a task is dead")  \
    X(4, UINT, max_losses, "max_losses", 1, 1000, 3,                                                         \
      "lost claims after which a task is dead: it may be what kills its workers")                            \
    X(5, DURATION, backoff_ms, "backoff", 0, QUEUE_DURATION_MAX_MS, SECOND,                                  \
      "after the first failure or loss")                                                                     \
    X(6, DURATION, backoff_max_ms, "backoff_max", 0, QUEUE_DURATION_MAX_MS, 10 * MINUTE, "and never longer") \
    X(7, UINT, backoff_factor, "backoff_factor", 1, 10, 2, "times as long after each one more")              \
    X(8, UINT, backoff_jitter, "backoff_jitter", 0, 100, 20, "percent that may be added to it")              \
    X(9, DURATION, retain_done_ms, "retain_done", 0, QUEUE_DURATION_MAX_MS, HOUR,                            \
      "how long done tasks are kept")                                                                        \
    X(10, DURATION, retain_cancelled_ms, "retain_cancelled", 0, QUEUE_DURATION_MAX_MS, DAY,                  \
      "how long cancelled and expired tasks are kept")                                                       \
    X(11, DURATION, retain_dead_ms, "retain_dead", 0, QUEUE_DURATION_MAX_MS, 14 * DAY,                       \
      "how long dead tasks are kept")                                                                        \
    X(12, UINT, retain_max, "retain_max", 1, 10000000, 10000, "how many are kept of each of those states")   \
    X(13, UINT, concurrency, "concurrency", 0, 10000000, 0, "tasks claimed at once; 0: any number")          \
    X(14, UINT, group_concurrency, "group_concurrency", 0, 1000000, 1,                                       \
      "of one group; 1: in the order in which they were enqueued; 0: any number")                            \
    X(15, UINT, key_concurrency, "key_concurrency", 0, 1000000, 0, "of one key; 0: any number")              \
    X(16, UINT, rate, "rate", 0, 1000000, 0, "tasks handed out in a rate_per; 0: any number")                \
    X(17, UINT, group_rate, "group_rate", 0, 1000000, 0, "of one group; 0: any number")                      \
    X(18, UINT, key_rate, "key_rate", 0, 1000000, 0, "of one key; 0: any number")                            \
    X(19, DURATION, rate_per_ms, "rate_per", SECOND, DAY, SECOND, "the time that rates are of")              \
    X(20, UINT, rate_burst, "rate_burst", 1, 10000, 1, "tasks that may go at once, within the rates")        \
    X(21, UINT, max_len, "max_len", 1, 100000000, 10000000,                                                  \
      "scheduled, blocked and ready tasks; more are refused")                                                \
    X(22, DURATION, aging_ms, "aging", 0, DAY, 30 * SECOND,                                                  \
      "a task that has waited so long goes before newer ones of the priority above; 0: never")               \
    X(23, DURATION, ttl_ms, "ttl", 0, QUEUE_DURATION_MAX_MS, 0,                                              \
      "of tasks that give none: not begun so long after they were ready, they expire; 0: never")             \
    X(24, DURATION, timeout_ms, "timeout", 0, QUEUE_DURATION_MAX_MS, 0,                                      \
      "of tasks that give none: claimed so long, they are taken away even if their lease lives; 0: never")

struct put_args {
    struct slice queue;
    struct queue_config config;
};

#define OF_ROW(position, kind, member, argument, least, most, first, phrase)                                 \
    {.number = position,                                                                                     \
     .type = FIELD_##kind,                                                                                   \
     .offset = offsetof(struct queue_config, member),                                                        \
     .name = #member,                                                                                        \
     .about = phrase},
#define OF_PUT(position, kind, member, argument, least, most, first, phrase)                                 \
    {.number = position,                                                                                     \
     .type = FIELD_##kind,                                                                                   \
     .offset = offsetof(struct put_args, config.member),                                                     \
     .name = argument,                                                                                       \
     .min = least,                                                                                           \
     .max = most,                                                                                            \
     .initial = first,                                                                                       \
     .about = phrase},
#define OF_DEFAULT(position, kind, member, argument, least, most, first, phrase) .member = first,

#define ON_FAIL "block: a failing head holds its group up until it is done or dead; skip: others go on"
#define DEDUP                                                                                                \
    "until when a key is taken: live: until its task is over; waiting: until it is claimed; off: never"
#define DEAD_LETTER "a queue that gets a copy of each dead task"

static const struct field config_fields[] = {
    SETTINGS(OF_ROW){.number = 25,
                     .type = FIELD_CHOICE,
                     .offset = offsetof(struct queue_config, group_on_fail),
                     .name = "group_on_fail",
                     .choices = group_on_fail_choices,
                     .about = ON_FAIL},
    {.number = 26,
     .type = FIELD_CHOICE,
     .offset = offsetof(struct queue_config, dedup),
     .name = "dedup",
     .choices = dedup_choices,
     .about = DEDUP},
    {.number = 27,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     .offset = offsetof(struct queue_config, dead_letter),
     .name = "dead_letter",
     .about = DEAD_LETTER},
};
const struct record queue_config_record = RECORD("queue_config", queue_config, config_fields);

const struct queue_config queue_config_default = {
    SETTINGS(OF_DEFAULT).group_on_fail = GROUP_BLOCK,
    .dedup = DEDUP_LIVE,
};

#define NAME_FIELD(structure)                                                                                \
    {                                                                                                        \
        .number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED,                                            \
        .offset = offsetof(struct structure, queue), .name = "queue", .max = 255, .about = "its name"        \
    }

static const struct field put_fields[] = {
    NAME_FIELD(put_args),
    SETTINGS(OF_PUT){.number = 25,
                     .type = FIELD_CHOICE,
                     .offset = offsetof(struct put_args, config.group_on_fail),
                     .name = "group_on_fail",
                     .initial = GROUP_BLOCK,
                     .choices = group_on_fail_choices,
                     .about = ON_FAIL},
    {.number = 26,
     .type = FIELD_CHOICE,
     .offset = offsetof(struct put_args, config.dedup),
     .name = "dedup",
     .initial = DEDUP_LIVE,
     .choices = dedup_choices,
     .about = DEDUP},
    {.number = 27,
     .type = FIELD_TEXT,
     .offset = offsetof(struct put_args, config.dead_letter),
     .name = "dead_letter",
     .max = 255,
     .about = DEAD_LETTER},
};
const struct record queue_put_record = RECORD("queue_put", put_args, put_fields);

static const struct field name_fields[] = {NAME_FIELD(queue_name_args)};
const struct record queue_name_record = RECORD("queue_name", queue_name_args, name_fields);

static const struct field task_args_fields[] = {
    NAME_FIELD(queue_task_args),
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct queue_task_args, id),
     .name = "id",
     .max = 20,
     .about = "of the task"},
};
const struct record queue_task_args_record = RECORD("queue_task", queue_task_args, task_args_fields);

/* --- put --- */

static void refuse(struct apply *apply, enum outcome outcome, struct slice detail)
{
    apply_answer_detail(apply, outcome, NULL, NULL, detail);
}

/* Empty: it makes sense. */
static struct slice senseless(const struct put_args *args)
{
    const struct queue_config *config = &args->config;
    if (config->backoff_ms > config->backoff_max_ms) return SLICE("backoff is longer than backoff_max");
    if (slice_equal(config->dead_letter, args->queue)) return SLICE("a queue cannot be its own dead_letter");
    return (struct slice){0};
}

/* As if it had become ready under the present settings. */
static void rank_again(struct queue *queue, struct task *task)
{
    struct apply then = *queue->apply;
    struct queue at = *queue;
    struct key key = task_ready_key(task);
    bool listed = task->stage == STAGE_READY && rows_delete(queue->apply->rows, key_slice(&key));
    then.time_ms = task->since_ms;
    at.apply = &then;
    task->rank = task_rank(&at, task);
    key = task_ready_key(task);
    if (listed) rows_put(queue->apply->rows, key_slice(&key), slice_of(NULL, 0));
    task_put(queue->apply, task);
}

static void rank_all_again(struct queue *queue)
{
    struct task_scan scan;
    struct task task;
    CHECK(task_scan_begin(&scan, queue->apply, queue->name, TASK_READY, (struct slice){0}));
    while (task_scan_next(&scan, &task)) rank_again(queue, &task);
}

/* The time that was waited for under the old rate. */
static void forget_rate_timer(struct queue *queue)
{
    struct apply *apply = queue->apply;
    if (!queue->row.rate_due_ms) return;
    due_clear(apply, queue->row.rate_due_ms, QUEUE_CODE, queue_work_what(apply, WORK_RATE, queue->name));
    queue->row.rate_due_ms = 0;
}

static void set(struct queue *queue, const struct queue_config *wanted)
{
    struct queue_config *config = arena_alloc(queue->apply->arena, sizeof *config);
    bool ages = wanted->aging_ms != queue->config.aging_ms;
    *config = *wanted;
    queue->config = *wanted;
    queue->row.config = config;
    queue->changed = true;
    queue_tell(queue, QUEUE_SET);
    forget_rate_timer(queue);
    queue_want_sweep(queue); /* what is kept may be kept for less */
    if (ages) rank_all_again(queue);
    queue_look_at_lanes(queue, (struct slice){0});
    queue_hand_out(queue);
    queue_save(queue);
}

void queue_put(struct apply *apply, const void *arguments)
{
    const struct put_args *args = arguments;
    struct slice wrong = senseless(args);
    struct queue queue;
    queue_load(&queue, apply, args->queue);
    bool is_new = !queue.exists, ages = args->config.aging_ms != queue.config.aging_ms;
    if (wrong.size) {
        refuse(apply, OUTCOME_SENSELESS, wrong);
    } else if (ages && queue.row.counts[TASK_READY] > AGAIN_MAX) {
        refuse(
            apply, OUTCOME_QUEUE_NOT_EMPTY,
            arena_printf(apply->arena, "aging can be changed while at most %d tasks are ready", AGAIN_MAX));
    } else {
        set(&queue, &args->config);
        apply_answer(apply, is_new ? OUTCOME_CREATED : OUTCOME_OK, &queue_view_record, queue_shown(&queue));
    }
}

/* --- pause, resume, drain --- */

static bool load(struct queue *queue, struct apply *apply, struct slice name)
{
    queue_load(queue, apply, name);
    if (!queue->exists) apply_answer(apply, OUTCOME_QUEUE_NOT_FOUND, NULL, NULL);
    return queue->exists;
}

static void turn(struct apply *apply, const struct queue_name_args *args, bool pause, bool drain)
{
    struct queue queue;
    if (!load(&queue, apply, args->queue)) return;
    if (queue.row.paused != pause || queue.row.draining != drain) {
        queue.row.paused = pause;
        queue.row.draining = drain;
        queue.changed = true;
        queue_tell(&queue, QUEUE_SET);
        queue_hand_out(&queue);
        queue_save(&queue);
    }
    apply_answer(apply, OUTCOME_OK, &queue_view_record, queue_shown(&queue));
}

void queue_pause(struct apply *apply, const void *arguments)
{
    const struct queue_name_args *args = arguments;
    struct queue queue;
    queue_load(&queue, apply, args->queue);
    turn(apply, args, true, queue.row.draining);
}

void queue_resume(struct apply *apply, const void *arguments)
{
    turn(apply, arguments, false, false);
}

void queue_drain(struct apply *apply, const void *arguments)
{
    const struct queue_name_args *args = arguments;
    struct queue queue;
    queue_load(&queue, apply, args->queue);
    turn(apply, args, queue.row.paused, true);
}

/* --- delete --- */

struct delete_args {
    struct slice queue;
    bool force;
};
static const struct field delete_fields[] = {
    NAME_FIELD(delete_args),
    {.number = 2,
     .type = FIELD_BOOL,
     .offset = offsetof(struct delete_args, force),
     .name = "force",
     .about = "true: its tasks that are not over are cancelled"},
};
const struct record queue_delete_record = RECORD("queue_delete", delete_args, delete_fields);

struct deleted {
    struct slice queue;
    uint64_t tasks;
};
static const struct field deleted_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .offset = offsetof(struct deleted, queue),
     .name = "queue",
     .about = "its name"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct deleted, tasks),
     .name = "tasks",
     .about = "that went with it"},
};
const struct record queue_deleted_record = RECORD("queue_deleted", deleted, deleted_fields);

static uint64_t task_count(const struct queue_row *row)
{
    uint64_t count = 0;
    for (size_t state = 1; state <= TASK_STATES; state++) count += row->counts[state];
    return count;
}

/* Empty: none of its tasks has to wait for others before it can go. */
static struct slice tied(struct queue *queue)
{
    struct task_scan scan;
    struct task task;
    CHECK(task_scan_begin(&scan, queue->apply, queue->name, 0, (struct slice){0}));
    while (task_scan_next(&scan, &task))
        if (task.dependants || task.parents)
            return arena_printf(queue->apply->arena,
                                "task %llu depends on others, or they on it: purge the queue first",
                                (unsigned long long)task.id);
    return (struct slice){0};
}

static void forget_all(struct queue *queue)
{
    struct task_scan scan;
    struct task task;
    CHECK(task_scan_begin(&scan, queue->apply, queue->name, 0, (struct slice){0}));
    while (task_scan_next(&scan, &task)) {
        if (!task_is_over(task.state)) task_cancel(queue, &task, SLICE("the queue was deleted"));
        /* those over that it kept too many of may have gone with it */
        if (task_get(queue->apply, task.id, &task)) task_forget(queue, &task);
    }
}

static void forget_minutes(struct queue *queue)
{
    struct apply *apply = queue->apply;
    struct key prefix = queue_key_of(KEY_QUEUE_MINUTE, queue->name);
    struct slice key, value;
    queue->minute = (struct queue_minute){0};
    while (rows_seek(apply->rows, key_slice(&prefix), &key, &value) &&
           slice_starts_with(key, key_slice(&prefix)))
        rows_delete(apply->rows, arena_copy(apply->arena, key));
}

void queue_delete(struct apply *apply, const void *arguments)
{
    const struct delete_args *args = arguments;
    struct queue queue;
    if (!load(&queue, apply, args->queue)) return;
    uint64_t count = task_count(&queue.row);
    if (queue_live(&queue.row) && !args->force) {
        refuse(apply, OUTCOME_QUEUE_NOT_EMPTY, (struct slice){0});
        return;
    }
    struct slice why =
        count > QUEUE_MANY_MAX
            ? arena_printf(apply->arena, "it has %llu tasks, and at most %d can go with it: purge it first",
                           (unsigned long long)count, QUEUE_MANY_MAX)
            : tied(&queue);
    if (why.size) {
        refuse(apply, OUTCOME_QUEUE_NOT_EMPTY, why);
        return;
    }
    queue_claimers_end(&queue, OUTCOME_QUEUE_NOT_FOUND);
    forget_all(&queue);
    forget_minutes(&queue);
    queue_tell(&queue, QUEUE_REMOVED);
    queue_remove(&queue);
    struct deleted *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct deleted){args->queue, count};
    apply_answer(apply, OUTCOME_OK, &queue_deleted_record, result);
}
