/* The rows of queues and tasks. */
#include "base/check.h"
#include "coord/primitive/queue.h"

enum { MINUTES_KEPT = 16, MINUTE_MS = 60000 };

const char *const task_state_choices[] = {"scheduled", "blocked",   "ready",   "claimed", "done",
                                          "dead",      "cancelled", "expired", NULL};
const char *const dead_reason_choices[] = {"failures",   "losses",   "permanent", "deadline",
                                           "dependency", "operator", NULL};
const char *const dedup_choices[] = {"live", "waiting", "off", NULL};
const char *const duplicate_choices[] = {"existing", "reject", "replace", NULL};
const char *const dep_fail_choices[] = {"cancel", "run", "hold", NULL};
const char *const group_on_fail_choices[] = {"block", "skip", NULL};
const char *const attempt_end_choices[] = {"done",     "failed",    "lost",     "timeout",
                                           "released", "cancelled", "deadline", NULL};

#define ROW(member) .offset = offsetof(struct queue_row, member), .name = #member
static const struct field queue_fields[] = {
    {.number = 1, .type = FIELD_RECORD, ROW(config), .record = &queue_config_record},
    {.number = 2, .type = FIELD_BOOL, ROW(paused)},
    {.number = 3, .type = FIELD_BOOL, ROW(draining)},
    {.number = 4, .type = FIELD_BOOL, ROW(pulse)},
    {.number = 5, .type = FIELD_UINT, ROW(counts[TASK_SCHEDULED])},
    {.number = 6, .type = FIELD_UINT, ROW(counts[TASK_BLOCKED])},
    {.number = 7, .type = FIELD_UINT, ROW(counts[TASK_READY])},
    {.number = 8, .type = FIELD_UINT, ROW(counts[TASK_CLAIMED])},
    {.number = 9, .type = FIELD_UINT, ROW(counts[TASK_DONE])},
    {.number = 10, .type = FIELD_UINT, ROW(counts[TASK_DEAD])},
    {.number = 11, .type = FIELD_UINT, ROW(counts[TASK_CANCELLED])},
    {.number = 12, .type = FIELD_UINT, ROW(counts[TASK_EXPIRED])},
    {.number = 13, .type = FIELD_UINT, ROW(claimers)},
    {.number = 14, .type = FIELD_UINT, ROW(created_ms)},
    {.number = 15, .type = FIELD_UINT, ROW(revision)},
    {.number = 16, .type = FIELD_UINT, ROW(rate_us)},
    {.number = 17, .type = FIELD_UINT, ROW(rate_due_ms)},
    {.number = 18, .type = FIELD_UINT, ROW(sweep_due_ms)},
    {.number = 19, .type = FIELD_UINT, ROW(deduplicated)},
    {.number = 20, .type = FIELD_UINT, ROW(enqueued)},
    {.number = 21, .type = FIELD_UINT, ROW(claimed)},
    {.number = 22, .type = FIELD_UINT, ROW(done)},
    {.number = 23, .type = FIELD_UINT, ROW(failed)},
    {.number = 24, .type = FIELD_UINT, ROW(lost)},
    {.number = 25, .type = FIELD_UINT, ROW(released)},
    {.number = 26, .type = FIELD_UINT, ROW(dead)},
};
static const struct record queue_record = RECORD("queue_row", queue_row, queue_fields);

#define MINUTE(member) .offset = offsetof(struct queue_minute, member), .name = #member
static const struct field minute_fields[] = {
    {.number = 1, .type = FIELD_UINT, MINUTE(minute)},
    {.number = 2, .type = FIELD_UINT, MINUTE(enqueued)},
    {.number = 3, .type = FIELD_UINT, MINUTE(claimed)},
    {.number = 4, .type = FIELD_UINT, MINUTE(done)},
    {.number = 5, .type = FIELD_UINT, MINUTE(failed)},
    {.number = 6, .type = FIELD_UINT, MINUTE(lost)},
    {.number = 7, .type = FIELD_UINT, MINUTE(wait_ms)},
    {.number = 8, .type = FIELD_UINT, MINUTE(run_ms)},
    {.number = 9, .type = FIELD_UINT, MINUTE(wait_max_ms)},
    {.number = 10, .type = FIELD_UINT, MINUTE(run_max_ms)},
};
static const struct record minute_record = RECORD("queue_minute", queue_minute, minute_fields);

#define ATTEMPT(member) .offset = offsetof(struct attempt, member), .name = #member
static const struct field attempt_fields[] = {
    {.number = 1, .type = FIELD_UINT, ATTEMPT(attempt)},
    {.number = 2, .type = FIELD_UINT, ATTEMPT(token)},
    {.number = 3, .type = FIELD_UINT, ATTEMPT(since_ms)},
    {.number = 4, .type = FIELD_UINT, ATTEMPT(ended_ms)},
    {.number = 5, .type = FIELD_CHOICE, ATTEMPT(end), .choices = attempt_end_choices},
    {.number = 6, .type = FIELD_TEXT, ATTEMPT(worker)},
    {.number = 7, .type = FIELD_TEXT, ATTEMPT(error)},
};
static const struct record attempt_record = RECORD("attempt_row", attempt, attempt_fields);

#define TASK(member) .offset = offsetof(struct task, member), .name = #member
static const struct field task_fields[] = {
    {.number = 1, .type = FIELD_UINT, TASK(id)},
    {.number = 2, .type = FIELD_TEXT, TASK(queue)},
    {.number = 3, .type = FIELD_TEXT, TASK(key)},
    {.number = 4, .type = FIELD_TEXT, TASK(group)},
    {.number = 5, .type = FIELD_CHOICE, TASK(state), .choices = task_state_choices},
    {.number = 6, .type = FIELD_UINT, TASK(order)},
    {.number = 7, .type = FIELD_UINT, TASK(priority)},
    {.number = 8, .type = FIELD_UINT, TASK(rank)},
    {.number = 9, .type = FIELD_UINT, TASK(stage)},
    {.number = 10, .type = FIELD_BOOL, TASK(holds_group)},
    {.number = 11, .type = FIELD_BOOL, TASK(holds_key)},
    {.number = 12, .type = FIELD_BOOL, TASK(owns_key)},
    {.number = 13, .type = FIELD_UINT, TASK(enqueued_ms)},
    {.number = 14, .type = FIELD_UINT, TASK(since_ms)},
    {.number = 15, .type = FIELD_UINT, TASK(not_before_ms)},
    {.number = 16, .type = FIELD_UINT, TASK(ttl_ms)},
    {.number = 17, .type = FIELD_UINT, TASK(expires_ms)},
    {.number = 18, .type = FIELD_UINT, TASK(deadline_ms)},
    {.number = 19, .type = FIELD_UINT, TASK(timeout_ms)},
    {.number = 20, .type = FIELD_UINT, TASK(due_ms)},
    {.number = 21, .type = FIELD_UINT, TASK(token)},
    {.number = 22, .type = FIELD_UINT, TASK(lease)},
    {.number = 23, .type = FIELD_UINT, TASK(claimed_ms)},
    {.number = 24, .type = FIELD_UINT, TASK(cancel_ms)},
    {.number = 25, .type = FIELD_UINT, TASK(attempts)},
    {.number = 26, .type = FIELD_UINT, TASK(failures)},
    {.number = 27, .type = FIELD_UINT, TASK(losses)},
    {.number = 28, .type = FIELD_UINT, TASK(releases)},
    {.number = 29, .type = FIELD_UINT, TASK(max_attempts)},
    {.number = 30, .type = FIELD_UINT, TASK(max_losses)},
    {.number = 31, .type = FIELD_UINT, TASK(needs)},
    {.number = 32, .type = FIELD_CHOICE, TASK(on_dep_fail), .choices = dep_fail_choices},
    {.number = 33, .type = FIELD_UINT, TASK(dependants)},
    {.number = 34, .type = FIELD_UINT, TASK(parents)},
    {.number = 35, .type = FIELD_CHOICE, TASK(dead_reason), .choices = dead_reason_choices},
    {.number = 36, .type = FIELD_TEXT, TASK(worker)},
    {.number = 37, .type = FIELD_JSON, TASK(progress)},
    {.number = 38, .type = FIELD_TEXT, TASK(error)},
    {.number = 39, .type = FIELD_TEXT, TASK(cancel_reason)},
    {.number = 40, .type = FIELD_LIST, TASK(history), .record = &attempt_record},
    {.number = 41, .type = FIELD_UINT, TASK(attempt_waited_ms)},
    {.number = 42, .type = FIELD_CHOICE, TASK(dedup), .choices = dedup_choices},
    {.number = 43, .type = FIELD_UINT, TASK(cancel_asked_ms)},
};
static const struct record task_record = RECORD("task_row", task, task_fields);

#define BODY(member) .offset = offsetof(struct task_body, member), .name = #member
static const struct field body_fields[] = {
    {.number = 1, .type = FIELD_JSON, BODY(payload)},
    {.number = 2, .type = FIELD_LEASES, BODY(after)},
    {.number = 3, .type = FIELD_TEXT, BODY(origin)},
    {.number = 4, .type = FIELD_BOOL, BODY(is_letter)},
};
const struct record task_body_record = RECORD("task_body_row", task_body, body_fields);

/* --- keys --- */

struct key queue_key_of(enum key_kind kind, struct slice queue)
{
    struct key key = key_of(kind);
    key_name(&key, queue);
    return key;
}

static struct key numbered(enum key_kind kind, uint64_t number)
{
    struct key key = key_of(kind);
    key_number(&key, number);
    return key;
}

struct key task_state_key(const struct task *task)
{
    struct key key = queue_key_of(KEY_TASK_STATE, task->queue);
    key_byte(&key, (uint8_t)task->state);
    key_number(&key, task->order);
    key_number(&key, task->id);
    return key;
}

struct key task_ready_key(const struct task *task)
{
    struct key key = queue_key_of(KEY_READY, task->queue);
    key_number(&key, task->rank);
    key_number(&key, task->id);
    return key;
}

bool queue_next_id(struct apply *apply, struct slice prefix, struct key *from, uint64_t *id)
{
    struct slice key, value;
    if (!rows_seek(apply->rows, key_slice(from), &key, &value) || !slice_starts_with(key, prefix))
        return false;
    CHECK(key.size > sizeof *id);
    struct slice last = slice_skip(key, key.size - sizeof *id);
    CHECK(take_u64be(&last, id));
    *from = key_after(key);
    return true;
}

/* --- queues --- */

static struct key queue_key(struct slice name)
{
    struct key key = key_of(KEY_QUEUE);
    key_bytes(&key, name);
    return key;
}

uint64_t queue_live(const struct queue_row *row)
{
    return row->counts[TASK_SCHEDULED] + row->counts[TASK_BLOCKED] + row->counts[TASK_READY] +
           row->counts[TASK_CLAIMED];
}

static bool idle(const struct queue_row *row)
{
    uint64_t over = 0;
    for (size_t state = TASK_DONE; state <= TASK_STATES; state++) over += row->counts[state];
    return !row->config && !row->paused && !row->draining && !row->pulse && !row->claimers &&
           !row->sweep_due_ms && !row->rate_due_ms && !queue_live(row) && !over;
}

static bool is_idle(struct apply *apply, struct slice name)
{
    struct queue queue;
    queue_load(&queue, apply, name);
    CHECK(queue.kept);
    return idle(&queue.row);
}

static const struct object_kind kept = {KEY_QUEUE, KEY_QUEUE_KEPT, QUEUE_KEPT_MAX, is_idle};

void queue_load(struct queue *queue, struct apply *apply, struct slice name)
{
    *queue = (struct queue){.apply = apply, .name = name};
    struct key key = queue_key(name);
    queue->kept = row_get(apply, key_slice(&key), &queue_record, &queue->row);
    queue->exists = queue->row.created_ms > 0;
    queue->config = queue->row.config ? *queue->row.config : queue_config_default;
}

void queue_save(struct queue *queue)
{
    struct apply *apply = queue->apply;
    if (!queue->changed) return;
    struct key key = queue_key(queue->name), minute = queue_key_of(KEY_QUEUE_MINUTE, queue->name);
    if (!queue->exists) queue->row.created_ms = apply->time_ms;
    queue->row.revision = apply->index;
    if (queue->minute.minute) {
        key_number(&minute, queue->minute.minute);
        row_put(apply, key_slice(&minute), &minute_record, &queue->minute);
        queue_want_sweep(queue);
    }
    row_put(apply, key_slice(&key), &queue_record, &queue->row);
    if (!queue->kept)
        object_keep(apply, &kept, queue->name);
    else if (idle(&queue->row))
        object_forget_surplus(apply, &kept);
    queue->kept = queue->exists = true;
    queue->changed = false;
    queue->minute = (struct queue_minute){0};
}

void queue_remove(struct queue *queue)
{
    struct key key = queue_key(queue->name);
    CHECK(queue->exists && !queue_live(&queue->row) && !queue->row.claimers);
    if (queue->row.sweep_due_ms)
        due_clear(queue->apply, queue->row.sweep_due_ms, QUEUE_CODE,
                  queue_work_what(queue->apply, WORK_SWEEP, queue->name));
    if (queue->row.rate_due_ms)
        due_clear(queue->apply, queue->row.rate_due_ms, QUEUE_CODE,
                  queue_work_what(queue->apply, WORK_RATE, queue->name));
    queue->row = (struct queue_row){0};
    row_put(queue->apply, key_slice(&key), &queue_record, &queue->row);
    queue->exists = queue->changed = false;
}

void queue_check_kept(struct rows *rows, struct arena *arena, uint64_t count)
{
    object_check_kept(rows, arena, &kept, count);
}

/* --- minutes --- */

bool queue_minute_get(struct apply *apply, struct slice queue, uint64_t minute, struct queue_minute *figures)
{
    struct key key = queue_key_of(KEY_QUEUE_MINUTE, queue);
    key_number(&key, minute);
    return row_get(apply, key_slice(&key), &minute_record, figures);
}

struct queue_minute *queue_now(struct queue *queue)
{
    uint64_t minute = queue->apply->time_ms / MINUTE_MS + 1;
    queue->changed = true;
    if (!queue->minute.minute && !queue_minute_get(queue->apply, queue->name, minute, &queue->minute))
        queue->minute.minute = minute;
    return &queue->minute;
}

uint64_t queue_minutes_forget(struct queue *queue)
{
    struct apply *apply = queue->apply;
    struct key from = queue_key_of(KEY_QUEUE_MINUTE, queue->name), prefix = from;
    uint64_t minute, now = apply->time_ms / MINUTE_MS + 1;
    while (queue_next_id(apply, key_slice(&prefix), &from, &minute)) {
        if (minute + MINUTES_KEPT > now) return (minute + MINUTES_KEPT - 1) * MINUTE_MS;
        struct key key = prefix;
        key_number(&key, minute);
        rows_delete(apply->rows, key_slice(&key));
    }
    return 0;
}

/* --- tasks --- */

uint64_t task_new_id(struct apply *apply)
{
    struct key key = key_of(KEY_TASK_ID);
    uint64_t id = rows_number(apply->rows, key_slice(&key)) + 1;
    rows_set_number(apply->rows, key_slice(&key), id);
    return id;
}

bool task_get(struct apply *apply, uint64_t id, struct task *task)
{
    struct key key = numbered(KEY_TASK, id);
    return id && row_get(apply, key_slice(&key), &task_record, task);
}

void task_put(struct apply *apply, const struct task *task)
{
    struct key key = numbered(KEY_TASK, task->id);
    row_put(apply, key_slice(&key), &task_record, task);
}

void task_body(struct apply *apply, uint64_t id, struct task_body *body)
{
    struct key key = numbered(KEY_TASK_BODY, id);
    CHECK(row_get(apply, key_slice(&key), &task_body_record, body));
}

void task_put_body(struct apply *apply, uint64_t id, const struct task_body *body)
{
    struct key key = numbered(KEY_TASK_BODY, id);
    row_put(apply, key_slice(&key), &task_body_record, body);
}

struct slice task_result(struct apply *apply, uint64_t id)
{
    struct key key = numbered(KEY_TASK_RESULT, id);
    struct slice value;
    return rows_get(apply->rows, key_slice(&key), &value) ? arena_copy(apply->arena, value)
                                                          : slice_of(NULL, 0);
}

void task_put_result(struct apply *apply, uint64_t id, struct slice result)
{
    struct key key = numbered(KEY_TASK_RESULT, id);
    if (result.size) rows_put(apply->rows, key_slice(&key), result);
}

void task_delete(struct apply *apply, uint64_t id)
{
    static const enum key_kind kinds[] = {KEY_TASK, KEY_TASK_BODY, KEY_TASK_RESULT};
    for (size_t i = 0; i < 3; i++) {
        struct key key = numbered(kinds[i], id);
        bool there = rows_delete(apply->rows, key_slice(&key));
        CHECK(there || kinds[i] == KEY_TASK_RESULT);
    }
}

struct slice task_what(struct apply *apply, uint64_t id)
{
    struct key what;
    what.size = 0;
    key_number(&what, id);
    return arena_copy(apply->arena, key_slice(&what));
}

/* Not by printf: an entry of many tasks has thousands of them. */
static struct slice text_of(struct apply *apply, struct slice before, struct slice queue,
                            struct slice between, uint64_t id)
{
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + id % 10);
    while (id /= 10);
    struct slice parts[] = {before, queue, between, slice_of(digits + at, sizeof digits - at)};
    size_t size = 0;
    for (size_t i = 0; i < 4; i++) size += parts[i].size;
    uint8_t *text = arena_alloc(apply->arena, size), *end = text;
    for (size_t i = 0; i < 4; end += parts[i++].size)
        if (parts[i].size) memcpy(end, parts[i].data, parts[i].size);
    return slice_of(text, size);
}

struct slice task_id_text(struct apply *apply, uint64_t id)
{
    return text_of(apply, SLICE(""), SLICE(""), SLICE(""), id);
}

uint64_t task_id_of(struct slice text)
{
    uint64_t id = 0;
    if (!text.size || text.size > 16 || text.data[0] == '0') return 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return 0;
        id = id * 10 + (uint64_t)(text.data[i] - '0');
    }
    return id;
}

struct slice task_path(struct apply *apply, const struct task *task)
{
    return text_of(apply, SLICE("/queues/"), task->queue, SLICE("/tasks/"), task->id);
}
