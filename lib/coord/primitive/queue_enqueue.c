/* Making tasks, one or many, and what their keys are unique for. */
#include "base/check.h"
#include "coord/primitive/queue.h"

enum { AFTER_TOGETHER_MAX = 10000 };

/* --- what is answered --- */

#define MADE(member) .offset = offsetof(struct enqueued, member), .name = #member
static const struct field enqueued_fields[] = {
    {.number = 1, .type = FIELD_TEXT, MADE(id), .about = "of the task"},
    {.number = 2, .type = FIELD_TEXT, MADE(queue), .about = "as given"},
    {.number = 3, .type = FIELD_CHOICE, MADE(state), .choices = task_state_choices, .about = "it is in"},
    {.number = 4,
     .type = FIELD_BOOL,
     MADE(deduplicated),
     .about = "true: a live task with that key was there already, this is it"},
};
const struct record queue_enqueued_record = RECORD("task_enqueued", enqueued, enqueued_fields);

struct enqueued_many {
    struct list tasks; /* struct enqueued */
};
static const struct field enqueued_many_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .offset = offsetof(struct enqueued_many, tasks),
     .name = "tasks",
     .record = &queue_enqueued_record,
     .about = "in the order of the request"},
};
const struct record queue_enqueued_many_record =
    RECORD("tasks_enqueued", enqueued_many, enqueued_many_fields);

struct queue_refusal {
    struct slice queue, id;
    bool paused, draining;
    uint64_t len, max_len, state;
};
#define REFUSED(member) .offset = offsetof(struct queue_refusal, member), .name = #member
static const struct field refused_fields[] = {
    {.number = 1, .type = FIELD_TEXT, REFUSED(queue), .about = "as given"},
    {.number = 2, .type = FIELD_BOOL, REFUSED(paused), .about = "it hands out nothing"},
    {.number = 3, .type = FIELD_BOOL, REFUSED(draining), .about = "it takes nothing"},
    {.number = 4, .type = FIELD_UINT, REFUSED(len), .about = "tasks scheduled, blocked and ready"},
    {.number = 5, .type = FIELD_UINT, .flags = FIELD_NULL, REFUSED(max_len), .about = "its limit for them"},
    {.number = 6,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     REFUSED(id),
     .about = "of the live task that has the key"},
    {.number = 7,
     .type = FIELD_CHOICE,
     REFUSED(state),
     .choices = task_state_choices,
     .about = "of that task"},
};
const struct record queue_refused_record = RECORD("queue_refused", queue_refusal, refused_fields);

static uint64_t length(const struct queue_row *row)
{
    return row->counts[TASK_SCHEDULED] + row->counts[TASK_BLOCKED] + row->counts[TASK_READY];
}

/* `other`: of a duplicate, the task that has the key. */
static void refuse(struct queue *queue, enum outcome outcome, const struct enqueued *other,
                   struct slice detail)
{
    struct queue_refusal *refusal = arena_alloc(queue->apply->arena, sizeof *refusal);
    *refusal = (struct queue_refusal){.queue = queue->name,
                                      .id = other->id,
                                      .paused = queue->row.paused,
                                      .draining = queue->row.draining,
                                      .len = length(&queue->row),
                                      .max_len = queue->config.max_len,
                                      .state = other->state};
    apply_answer_detail(queue->apply, outcome, &queue_refused_record, refusal, detail);
}

void queue_refuse(struct queue *queue, enum outcome outcome, struct slice detail)
{
    refuse(queue, outcome, &(struct enqueued){.state = 0}, detail);
}

/* --- keys --- */

static struct key owner_key(const struct queue *queue, struct slice name)
{
    struct key key = queue_key_of(KEY_TASK_KEY, queue->name);
    key_bytes(&key, name);
    return key;
}

static uint64_t dedup_of(const struct queue *queue, const struct task_spec *spec)
{
    if (!spec->key.size) return DEDUP_OFF;
    return spec->dedup ? spec->dedup : queue->config.dedup;
}

static bool has_owner(struct queue *queue, const struct task_spec *spec, struct task *owner)
{
    if (dedup_of(queue, spec) == DEDUP_OFF) return false;
    struct key key = owner_key(queue, spec->key);
    uint64_t id = rows_number(queue->apply->rows, key_slice(&key));
    CHECK(!id || task_get(queue->apply, id, owner));
    return id;
}

/* --- times and limits --- */

static uint64_t starts_ms(const struct queue *queue, const struct task_spec *spec)
{
    return spec->delay_ms ? queue->apply->time_ms + spec->delay_ms : spec->not_before_ms;
}

static bool is_to_come(const struct queue *queue, uint64_t at_ms)
{
    return at_ms > queue->apply->time_ms;
}

static void set_limits(const struct queue *queue, const struct task_spec *spec, struct task *task)
{
    task->priority = spec->priority ? spec->priority - 1 : QUEUE_PRIORITY_DEFAULT;
    task->ttl_ms = spec->ttl_ms ? spec->ttl_ms : queue->config.ttl_ms;
    task->timeout_ms = spec->timeout_ms ? spec->timeout_ms : queue->config.timeout_ms;
    task->deadline_ms = spec->deadline_ms ? queue->apply->time_ms + spec->deadline_ms : 0;
    task->max_attempts = spec->max_attempts;
    task->max_losses = spec->max_losses;
}

/* --- duplicates --- */

/* It keeps its id, its place and what it needs. One that waits for its first time may be given another. */
static void replace(struct queue *queue, const struct task_spec *spec, struct task *task)
{
    struct apply *apply = queue->apply;
    struct task_body body;
    task_body(apply, task->id, &body);
    body.payload = spec->payload;
    body.origin = spec->origin;
    task_put_body(apply, task->id, &body);
    set_limits(queue, spec, task);
    if (task->state == TASK_READY || task->expires_ms)
        task->expires_ms = task->ttl_ms ? apply->time_ms + task->ttl_ms : 0;
    bool another_time = starts_ms(queue, spec) && !task->attempts;
    if (another_time && (task->state == TASK_SCHEDULED || task->state == TASK_BLOCKED))
        task->not_before_ms = starts_ms(queue, spec);
    if (task->state == TASK_SCHEDULED && !is_to_come(queue, task->not_before_ms))
        task_enter(queue, task, TASK_READY);
    else
        task_store(queue, task);
}

static enum outcome answer_duplicate(struct queue *queue, const struct task_spec *spec, struct task *owner,
                                     struct enqueued *made)
{
    made->id = task_id_text(queue->apply, owner->id);
    made->state = owner->state;
    if (spec->duplicate == DUPLICATE_REJECT) return OUTCOME_TASK_DUPLICATE;
    if (spec->duplicate == DUPLICATE_REPLACE && owner->state != TASK_CLAIMED) replace(queue, spec, owner);
    queue->row.deduplicated++;
    queue->changed = true;
    made->state = owner->state;
    made->deduplicated = true;
    return OUTCOME_OK;
}

/* --- one task --- */

static bool stands_before(const uint64_t *parents, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (parents[i] == id) return true;
    return false;
}

/* The ids of those it needs, each once. False: one is not known. */
static bool read_parents(struct apply *apply, struct list after, struct list *parents, struct slice *detail)
{
    const struct slice *texts = after.items;
    uint64_t *ids = arena_alloc(apply->arena, after.count * sizeof *ids);
    *parents = (struct list){ids, 0};
    for (size_t i = 0; i < after.count; i++) {
        uint64_t id = task_id_of(texts[i]);
        struct task task;
        if (!task_get(apply, id, &task)) {
            *detail = arena_printf(apply->arena, "after: there is no task \"%.*s\"", SLICE_ARGS(texts[i]));
            return false;
        }
        if (!stands_before(ids, parents->count, id)) ids[parents->count++] = id;
    }
    return true;
}

/* Why it is over at once, if one that it needs has failed already; empty: it is not. */
static struct slice add_parents(struct apply *apply, struct task *task, struct list parents)
{
    const uint64_t *ids = parents.items;
    struct slice reason = {0};
    for (size_t i = 0; i < parents.count; i++) {
        uint64_t state;
        after_add(apply, task, ids[i], &state);
        if (task->on_dep_fail == DEP_FAIL_CANCEL && task_has_failed(state) && !reason.size)
            reason = after_reason(apply, ids[i], state);
    }
    return reason;
}

static void make(struct queue *queue, const struct task_spec *spec, struct list parents,
                 struct enqueued *made)
{
    struct apply *apply = queue->apply;
    uint64_t dedup = dedup_of(queue, spec);
    struct task task = {.id = task_new_id(apply),
                        .key = spec->key,
                        .group = spec->group,
                        .owns_key = dedup != DEDUP_OFF,
                        .dedup = spec->key.size ? dedup : 0,
                        .not_before_ms = starts_ms(queue, spec),
                        .on_dep_fail = spec->on_dep_fail ? spec->on_dep_fail : DEP_FAIL_CANCEL};
    struct task_body body = {spec->payload, parents, spec->origin, spec->is_letter};
    set_limits(queue, spec, &task);
    struct slice over = add_parents(apply, &task, parents);
    enum task_state state = task.needs                              ? TASK_BLOCKED
                            : is_to_come(queue, task.not_before_ms) ? TASK_SCHEDULED
                                                                    : TASK_READY;
    if (task.owns_key) {
        struct key key = owner_key(queue, spec->key);
        rows_set_number(apply->rows, key_slice(&key), task.id);
    }
    task_begin(queue, &task, &body, state);
    if (over.size) task_cancel(queue, &task, over);
    made->id = task_id_text(apply, task.id);
    made->state = task.state;
}

enum outcome queue_add(struct queue *queue, const struct task_spec *spec, struct enqueued *made,
                       struct slice *detail)
{
    struct list parents;
    struct task owner;
    *made = (struct enqueued){.queue = queue->name};
    *detail = slice_of(NULL, 0);
    if (queue->row.draining) return OUTCOME_QUEUE_DRAINING;
    if (!read_parents(queue->apply, spec->after, &parents, detail)) return OUTCOME_TASK_NOT_FOUND;
    if (has_owner(queue, spec, &owner)) return answer_duplicate(queue, spec, &owner, made);
    if (queue->config.max_len && length(&queue->row) >= queue->config.max_len) return OUTCOME_QUEUE_FULL;
    make(queue, spec, parents, made);
    return OUTCOME_CREATED;
}

static bool is_made(enum outcome outcome)
{
    return outcome == OUTCOME_CREATED || outcome == OUTCOME_OK;
}

enum outcome queue_enqueue(struct apply *apply, struct slice name, const struct task_spec *spec,
                           struct enqueued *made, struct slice *detail)
{
    struct queue queue;
    queue_load(&queue, apply, name);
    enum outcome outcome = queue_add(&queue, spec, made, detail);
    if (!is_made(outcome)) return outcome;
    queue_hand_out(&queue);
    queue_save(&queue);
    return outcome;
}

/* --- the operations --- */

struct enqueue_args {
    struct slice queue; /* of one */
    uint64_t priority;
    struct task_spec spec;
};
#define TASK(member) .offset = offsetof(struct enqueue_args, member)
#define TASK_FIELDS                                                                                          \
    {.number = 2,                                                                                            \
     .type = FIELD_JSON,                                                                                     \
     TASK(spec.payload),                                                                                     \
     .name = "payload",                                                                                      \
     .max = QUEUE_PAYLOAD_MAX,                                                                               \
     .about = "what is to be done, for the worker"},                                                         \
        {.number = 3,                                                                                        \
         .type = FIELD_UINT,                                                                                 \
         TASK(priority),                                                                                     \
         .name = "priority",                                                                                 \
         .max = QUEUE_PRIORITY_MAX,                                                                          \
         .initial = QUEUE_PRIORITY_DEFAULT,                                                                  \
         .about = "0 first; the longer a task waits, the earlier it comes"},                                 \
        {.number = 4,                                                                                        \
         .type = FIELD_DURATION,                                                                             \
         TASK(spec.delay_ms),                                                                                \
         .name = "delay",                                                                                    \
         .max = QUEUE_DURATION_MAX_MS,                                                                       \
         .about = "before it may be claimed; not with not_before"},                                          \
        {.number = 5,                                                                                        \
         .type = FIELD_TIME,                                                                                 \
         TASK(spec.not_before_ms),                                                                           \
         .name = "not_before",                                                                               \
         .about = "when it may be claimed at the earliest; not with delay"},                                 \
        {.number = 6,                                                                                        \
         .type = FIELD_TEXT,                                                                                 \
         TASK(spec.key),                                                                                     \
         .name = "key",                                                                                      \
         .max = QUEUE_KEY_MAX,                                                                               \
         .about = "what it is about: of the tasks with the same key, only one lives, see dedup"},            \
        {.number = 7,                                                                                        \
         .type = FIELD_TEXT,                                                                                 \
         TASK(spec.group),                                                                                   \
         .name = "group",                                                                                    \
         .max = QUEUE_KEY_MAX,                                                                               \
         .about = "tasks of a group run in order, one at a time, unless the queue says otherwise"},          \
        {.number = 8,                                                                                        \
         .type = FIELD_TEXTS,                                                                                \
         TASK(spec.after),                                                                                   \
         .name = "after",                                                                                    \
         .max = QUEUE_AFTER_MAX,                                                                             \
         .about = "ids of tasks, of any queue, that must be done before; in an array of tasks \"#1\" is "    \
                  "its first one, for those behind it"},                                                     \
        {.number = 9,                                                                                        \
         .type = FIELD_CHOICE,                                                                               \
         TASK(spec.on_dep_fail),                                                                             \
         .name = "on_dep_fail",                                                                              \
         .choices = dep_fail_choices,                                                                        \
         .about = "when one of those is dead, cancelled or expired: cancel (unless given), run "             \
                  "nevertheless, or hold it until that one is redriven and done"},                           \
        {.number = 10,                                                                                       \
         .type = FIELD_DURATION,                                                                             \
         TASK(spec.ttl_ms),                                                                                  \
         .name = "ttl",                                                                                      \
         .max = QUEUE_DURATION_MAX_MS,                                                                       \
         .about = "it expires when it is not claimed that long after it is ready; 0: as the queue says"},    \
        {.number = 11,                                                                                       \
         .type = FIELD_DURATION,                                                                             \
         TASK(spec.timeout_ms),                                                                              \
         .name = "timeout",                                                                                  \
         .max = QUEUE_DURATION_MAX_MS,                                                                       \
         .about = "an attempt that takes longer is lost, its lease renewed or not; 0: as the queue says"},   \
        {.number = 12,                                                                                       \
         .type = FIELD_DURATION,                                                                             \
         TASK(spec.deadline_ms),                                                                             \
         .name = "deadline",                                                                                 \
         .max = QUEUE_DURATION_MAX_MS,                                                                       \
         .about = "it is dead when it is not over by then, counted from now; 0: none"},                      \
        {.number = 13,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         TASK(spec.max_attempts),                                                                            \
         .name = "max_attempts",                                                                             \
         .max = 1000000,                                                                                     \
         .about = "failed and lost ones before it is dead; 0: as the queue says"},                           \
        {.number = 14,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         TASK(spec.max_losses),                                                                              \
         .name = "max_losses",                                                                               \
         .max = 1000000,                                                                                     \
         .about = "lost attempts before it is dead; 0: as the queue says"},                                  \
        {.number = 15,                                                                                       \
         .type = FIELD_CHOICE,                                                                               \
         TASK(spec.dedup),                                                                                   \
         .name = "dedup",                                                                                    \
         .choices = dedup_choices,                                                                           \
         .about = "until when it has its key for itself: live, until it is over; waiting, until it is "      \
                  "claimed; as the queue says unless given"},                                                \
        {.number = 16,                                                                                       \
         .type = FIELD_CHOICE,                                                                               \
         TASK(spec.duplicate),                                                                               \
         .name = "duplicate",                                                                                \
         .choices = duplicate_choices,                                                                       \
         .about = "when another has the key: answer that one (unless given), reject this one, or replace "   \
                  "what that one is to do if it is not claimed yet"},

static const struct field one_fields[] = {{.number = 1,
                                           .type = FIELD_NAME,
                                           .flags = FIELD_REQUIRED,
                                           TASK(queue),
                                           .name = "queue",
                                           .max = 255,
                                           .about = "its name; it makes itself"},
                                          TASK_FIELDS};
static const struct field item_fields[] = {TASK_FIELDS};
const struct record queue_enqueue_record = RECORD("queue_enqueue", enqueue_args, one_fields);
static const struct record item_record = RECORD("task_new", enqueue_args, item_fields);

struct enqueue_many_args {
    struct slice queue;
    struct list tasks; /* struct enqueue_args */
};
static const struct field many_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct enqueue_many_args, queue),
     .name = "queue",
     .max = 255,
     .about = "its name; it makes itself"},
    {.number = 2,
     .type = FIELD_LIST,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct enqueue_many_args, tasks),
     .name = "tasks",
     .max = QUEUE_MANY_MAX,
     .record = &item_record,
     .about = "all of them are made, or none"},
};
const struct record queue_enqueue_many_record = RECORD("queue_enqueue_many", enqueue_many_args, many_fields);

static const char *senseless(const struct apply *apply, const struct task_spec *spec)
{
    uint64_t wait_ms = spec->delay_ms;
    if (spec->not_before_ms > apply->time_ms) wait_ms = spec->not_before_ms - apply->time_ms;
    if (spec->delay_ms && spec->not_before_ms) return "give either delay or not_before";
    if (wait_ms > QUEUE_DURATION_MAX_MS) return "not_before is more than 366 days away";
    if (spec->deadline_ms && wait_ms >= spec->deadline_ms)
        return "its deadline is over before it may be claimed";
    if (!spec->key.size && (spec->dedup || spec->duplicate))
        return "dedup and duplicate are about a key: give one";
    if (spec->dedup == DEDUP_OFF && spec->duplicate) return "with dedup off there are no duplicates";
    return NULL;
}

static void refuse_senseless(struct apply *apply, struct slice why)
{
    apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, why);
}

static struct task_spec spec_of(const struct enqueue_args *args)
{
    struct task_spec spec = args->spec;
    spec.priority = args->priority + 1;
    return spec;
}

void queue_enqueue_one(struct apply *apply, const void *arguments)
{
    const struct enqueue_args *args = arguments;
    const char *why = senseless(apply, &args->spec);
    struct task_spec spec = spec_of(args);
    struct enqueued *made = arena_alloc(apply->arena, sizeof *made);
    struct slice detail;
    struct queue queue;
    if (why) {
        refuse_senseless(apply, slice_text(why));
        return;
    }
    queue_load(&queue, apply, args->queue);
    enum outcome outcome = queue_add(&queue, &spec, made, &detail);
    if (!is_made(outcome)) {
        refuse(&queue, outcome, made, detail);
        return;
    }
    apply_answer(apply, outcome, &queue_enqueued_record, made);
    queue_hand_out(&queue);
    queue_save(&queue);
}

/* "#3" in `after`, of the tasks before it: that one's id. What names no such task stays, and is not found. */
static void name_earlier(struct apply *apply, struct task_spec *spec, const struct enqueued *made,
                         size_t count)
{
    const struct slice *texts = spec->after.items;
    struct slice *named = arena_alloc(apply->arena, spec->after.count * sizeof *named);
    for (size_t i = 0; i < spec->after.count; i++) {
        bool earlier = texts[i].size && texts[i].data[0] == '#';
        uint64_t position = earlier ? task_id_of(slice_skip(texts[i], 1)) : 0;
        named[i] = position && position <= count ? made[position - 1].id : texts[i];
    }
    spec->after.items = named;
}

/* False: one is refused, and *which says it; what was written before it is still there. */
static bool add_all(struct queue *queue, const struct enqueue_many_args *args, struct enqueued *made,
                    enum outcome *outcome, struct slice *detail, size_t *which)
{
    const struct enqueue_args *items = args->tasks.items;
    bool any = false;
    for (size_t i = 0; i < args->tasks.count; i++) {
        struct task_spec spec = spec_of(&items[i]);
        name_earlier(queue->apply, &spec, made, i);
        *which = i;
        *outcome = queue_add(queue, &spec, &made[i], detail);
        if (!is_made(*outcome)) return false;
        any = any || *outcome == OUTCOME_CREATED;
    }
    *outcome = any ? OUTCOME_CREATED : OUTCOME_OK;
    return true;
}

static struct slice naming(struct apply *apply, size_t which, struct slice detail)
{
    return arena_printf(apply->arena, "#%zu of the tasks: %.*s", which + 1, SLICE_ARGS(detail));
}

static void refuse_all(struct apply *apply, const struct enqueue_many_args *args, enum outcome outcome,
                       const struct enqueued *other, struct slice detail)
{
    struct queue queue;
    struct task task;
    bool known = task_get(apply, task_id_of(other->id), &task); /* not, if it was one of them */
    queue_load(&queue, apply, args->queue);
    refuse(&queue, outcome, known ? other : &(struct enqueued){.state = 0}, detail);
}

static bool makes_sense(struct apply *apply, const struct enqueue_many_args *args)
{
    const struct enqueue_args *items = args->tasks.items;
    size_t needed = 0;
    if (!args->tasks.count) refuse_senseless(apply, SLICE("tasks is empty"));
    for (size_t i = 0; i < args->tasks.count; i++) {
        const char *why = senseless(apply, &items[i].spec);
        needed += items[i].spec.after.count;
        if (needed > AFTER_TOGETHER_MAX) why = "after has more than 10,000 ids, of all tasks together";
        if (!why) continue;
        refuse_senseless(apply, naming(apply, i, slice_text(why)));
        return false;
    }
    return args->tasks.count;
}

/* Back to how the entry stood before. Within a transaction a refusal takes back all that was done anyway. */
static void take_back(struct apply *apply, const struct apply *before)
{
    if (apply->in_txn) return;
    rows_decide(apply->rows, false);
    *apply = *before;
    *apply->answers_end = NULL;
    *apply->lease_changes_end = NULL;
    *apply->events_end = NULL;
}

void queue_enqueue_many(struct apply *apply, const void *arguments)
{
    const struct enqueue_many_args *args = arguments;
    struct enqueued_many *result = arena_alloc(apply->arena, sizeof *result);
    struct enqueued *made = arena_alloc(apply->arena, args->tasks.count * sizeof *made);
    struct slice detail;
    struct queue queue;
    enum outcome outcome;
    size_t which;
    if (!makes_sense(apply, args)) return;
    struct apply before = *apply;
    if (!apply->in_txn) rows_try(apply->rows);
    queue_load(&queue, apply, args->queue);
    if (!add_all(&queue, args, made, &outcome, &detail, &which)) {
        take_back(apply, &before);
        if (!detail.size) detail = slice_text(outcome_facts(outcome)->title);
        refuse_all(apply, args, outcome, &made[which], naming(apply, which, detail));
        return;
    }
    if (!apply->in_txn) rows_decide(apply->rows, true);
    *result = (struct enqueued_many){{made, args->tasks.count}};
    apply_answer(apply, outcome, &queue_enqueued_many_record, result);
    queue_hand_out(&queue);
    queue_save(&queue);
}
