/* What is shown of tasks. */
#include "base/check.h"
#include "coord/primitive/queue.h"
#include "coord/primitive/watch.h"

enum { SCANNED_MAX = 10000, BYTES_MAX = 1024 * 1024, ITEM_BYTES = 1024, CURSOR_PARTS = 3 };

/* --- by state --- */

struct slice task_cursor(struct apply *apply, const struct task *task)
{
    return arena_printf(apply->arena, "%llu.%llu.%llu", (unsigned long long)task->state,
                        (unsigned long long)task->order, (unsigned long long)task->id);
}

static bool parse_cursor(struct slice text, uint64_t parts[CURSOR_PARTS])
{
    size_t part = 0, digits = 0;
    memset(parts, 0, CURSOR_PARTS * sizeof *parts);
    for (; text.size; text = slice_skip(text, 1)) {
        uint8_t c = text.data[0];
        if (c == '.' && digits) {
            digits = 0;
            if (++part == CURSOR_PARTS) return false;
        } else if (c >= '0' && c <= '9' && digits++ < 16) {
            parts[part] = parts[part] * 10 + (uint64_t)(c - '0');
        } else {
            return false;
        }
    }
    return part == CURSOR_PARTS - 1 && digits && parts[0] && parts[0] <= TASK_STATES;
}

bool task_scan_begin(struct task_scan *scan, struct apply *apply, struct slice queue, uint64_t state,
                     struct slice cursor)
{
    uint64_t at[CURSOR_PARTS];
    *scan = (struct task_scan){.apply = apply, .prefix = queue_key_of(KEY_TASK_STATE, queue)};
    scan->from = scan->prefix;
    if (state) key_byte(&scan->prefix, (uint8_t)state);
    if (!cursor.size) {
        scan->from = scan->prefix;
        return true;
    }
    if (!parse_cursor(cursor, at) || (state && at[0] != state)) return false;
    key_byte(&scan->from, (uint8_t)at[0]);
    key_number(&scan->from, at[1]);
    key_number(&scan->from, at[2]);
    scan->from = key_after(key_slice(&scan->from));
    return true;
}

bool task_scan_next(struct task_scan *scan, struct task *task)
{
    uint64_t id;
    if (!queue_next_id(scan->apply, key_slice(&scan->prefix), &scan->from, &id)) return false;
    CHECK(task_get(scan->apply, id, task));
    scan->looked++;
    return true;
}

/* --- a task --- */

struct task_view {
    struct task task;
    struct slice id, payload, result, origin;
    struct list after; /* struct slice */
    uint64_t max_attempts, max_losses, not_before, token, lease, expires_in_ms, revision;
    bool cancel_requested;
};
#define TASK(member) .offset = offsetof(struct task_view, task.member)
#define VIEW(member) .offset = offsetof(struct task_view, member), .name = #member

#define ATTEMPT(member) .offset = offsetof(struct attempt, member)
static const struct field attempt_fields[] = {
    {.number = 1, .type = FIELD_UINT, ATTEMPT(attempt), .name = "attempt", .about = "1 is the first"},
    {.number = 2, .type = FIELD_TEXT, ATTEMPT(worker), .name = "worker", .about = "who had it"},
    {.number = 3, .type = FIELD_UINT, ATTEMPT(token), .name = "token", .about = "of the claim"},
    {.number = 4, .type = FIELD_TIME, ATTEMPT(since_ms), .name = "since", .about = "of the claim"},
    {.number = 5, .type = FIELD_TIME, ATTEMPT(ended_ms), .name = "ended", .about = "of its end"},
    {.number = 6,
     .type = FIELD_CHOICE,
     ATTEMPT(end),
     .name = "end",
     .choices = attempt_end_choices,
     .about = "how it ended"},
    {.number = 7,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     ATTEMPT(error),
     .name = "error",
     .about = "as the worker said"},
};
static const struct record attempt_record = RECORD("queue_attempt", attempt, attempt_fields);

#define FACTS                                                                                                \
    {.number = 1, .type = FIELD_TEXT, VIEW(id), .about = "of the task"},                                     \
        {.number = 2, .type = FIELD_NAME, TASK(queue), .name = "queue", .about = "that it is in"},           \
        {.number = 3,                                                                                        \
         .type = FIELD_CHOICE,                                                                               \
         TASK(state),                                                                                        \
         .name = "state",                                                                                    \
         .choices = task_state_choices,                                                                      \
         .about = "in which it is"},                                                                         \
        {.number = 4, .type = FIELD_JSON, VIEW(payload), .about = "as given"},                               \
        {.number = 5, .type = FIELD_UINT, TASK(priority), .name = "priority", .about = "0 goes first"},      \
        {.number = 6,                                                                                        \
         .type = FIELD_TEXT,                                                                                 \
         .flags = FIELD_NULL,                                                                                \
         TASK(key),                                                                                          \
         .name = "key",                                                                                      \
         .about = "as given"},                                                                               \
        {.number = 7,                                                                                        \
         .type = FIELD_TEXT,                                                                                 \
         .flags = FIELD_NULL,                                                                                \
         TASK(group),                                                                                        \
         .name = "group",                                                                                    \
         .about = "as given"},                                                                               \
        {.number = 8, .type = FIELD_UINT, TASK(attempts), .name = "attempts", .about = "claims so far"},     \
        {.number = 9,                                                                                        \
         .type = FIELD_UINT,                                                                                 \
         TASK(failures),                                                                                     \
         .name = "failures",                                                                                 \
         .about = "of them that failed"},                                                                    \
        {.number = 10,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         TASK(losses),                                                                                       \
         .name = "losses",                                                                                   \
         .about = "of them that were lost"},                                                                 \
        {.number = 11,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         TASK(releases),                                                                                     \
         .name = "releases",                                                                                 \
         .about = "of them that were given back"},                                                           \
        {.number = 12,                                                                                       \
         .type = FIELD_TEXT,                                                                                 \
         .flags = FIELD_NULL,                                                                                \
         TASK(worker),                                                                                       \
         .name = "worker",                                                                                   \
         .about = "who has it, or had it last"},                                                             \
        {.number = 13,                                                                                       \
         .type = FIELD_TEXT,                                                                                 \
         .flags = FIELD_NULL,                                                                                \
         TASK(error),                                                                                        \
         .name = "error",                                                                                    \
         .about = "of the last attempt that failed"},                                                        \
        {.number = 14,                                                                                       \
         .type = FIELD_CHOICE,                                                                               \
         TASK(dead_reason),                                                                                  \
         .name = "dead_reason",                                                                              \
         .choices = dead_reason_choices,                                                                     \
         .about = "why it was given up"},                                                                    \
        {.number = 15,                                                                                       \
         .type = FIELD_BOOL,                                                                                 \
         VIEW(cancel_requested),                                                                             \
         .about = "true: its worker is asked to stop"},                                                      \
        {.number = 16,                                                                                       \
         .type = FIELD_TEXT,                                                                                 \
         .flags = FIELD_NULL,                                                                                \
         TASK(cancel_reason),                                                                                \
         .name = "cancel_reason",                                                                            \
         .about = "as given"},                                                                               \
        {.number = 17,                                                                                       \
         .type = FIELD_TIME,                                                                                 \
         TASK(enqueued_ms),                                                                                  \
         .name = "enqueued_at",                                                                              \
         .about = "when it was made"},                                                                       \
        {.number = 18,                                                                                       \
         .type = FIELD_TIME,                                                                                 \
         TASK(since_ms),                                                                                     \
         .name = "since",                                                                                    \
         .about = "when it entered its state"},                                                              \
        {.number = 19, .type = FIELD_TIME, VIEW(not_before), .about = "until when it is scheduled"},         \
    {                                                                                                        \
        .number = 20, .type = FIELD_UINT, .flags = FIELD_NULL, VIEW(token), .about = "of its present claim"  \
    }

static const struct field task_fields[] = {
    FACTS,
    {.number = 21, .type = FIELD_LEASE, VIEW(lease), .about = "on which its claim hangs"},
    {.number = 22,
     .type = FIELD_REMAINING,
     .flags = FIELD_NULL,
     VIEW(expires_in_ms),
     .about = "of its claim, without a renewal"},
    {.number = 23, .type = FIELD_JSON, VIEW(result), .about = "as its worker gave it"},
    {.number = 24,
     .type = FIELD_JSON,
     TASK(progress),
     .name = "progress",
     .about = "as the last worker said"},
    {.number = 25,
     .type = FIELD_UINT,
     VIEW(max_attempts),
     .about = "failures and losses after which it is dead"},
    {.number = 26, .type = FIELD_UINT, VIEW(max_losses), .about = "losses after which it is dead"},
    {.number = 27, .type = FIELD_TEXTS, VIEW(after), .about = "tasks that it needs done, as given"},
    {.number = 28, .type = FIELD_UINT, TASK(needs), .name = "needs", .about = "of them that are not over"},
    {.number = 29,
     .type = FIELD_CHOICE,
     TASK(on_dep_fail),
     .name = "on_dep_fail",
     .choices = dep_fail_choices,
     .about = "what happens to it when one of them is not done"},
    {.number = 30,
     .type = FIELD_UINT,
     TASK(dependants),
     .name = "dependants",
     .about = "tasks not over that need it"},
    {.number = 31,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     VIEW(origin),
     .about = "where it comes from: a dead letter's queue and id, or @ and a schedule"},
    {.number = 32,
     .type = FIELD_TIME,
     TASK(expires_ms),
     .name = "expires",
     .about = "when it expires unless it was claimed once"},
    {.number = 33, .type = FIELD_TIME, TASK(deadline_ms), .name = "deadline", .about = "when it is given up"},
    {.number = 34,
     .type = FIELD_UINT,
     TASK(timeout_ms),
     .name = "timeout_ms",
     .about = "after which a claim is taken away; 0: never"},
    {.number = 35,
     .type = FIELD_LIST,
     TASK(history),
     .name = "history",
     .record = &attempt_record,
     .about = "the last 8 claims that are over, newest first"},
    {.number = 36, .type = FIELD_UINT, VIEW(revision), .about = "of the state that was read"},
};
const struct record task_view_record = RECORD("task", task_view, task_fields);

static void add_facts(struct apply *apply, struct task_view *view)
{
    const struct task *task = &view->task;
    bool claimed = task->state == TASK_CLAIMED;
    view->id = task_id_text(apply, task->id);
    view->token = claimed ? task->token : 0;
    view->cancel_requested = claimed && task->cancel_ms;
    view->not_before = task->state == TASK_SCHEDULED ? task->not_before_ms : 0;
}

static struct list texts_of(struct apply *apply, struct list ids)
{
    struct slice *texts = arena_alloc(apply->arena, ids.count * sizeof *texts);
    for (size_t i = 0; i < ids.count; i++) texts[i] = task_id_text(apply, ((const uint64_t *)ids.items)[i]);
    return (struct list){texts, ids.count};
}

static void add_rest(struct apply *apply, struct task_view *view)
{
    const struct task *task = &view->task;
    struct task_body body;
    struct queue queue;
    queue_load(&queue, apply, task->queue);
    task_body(apply, task->id, &body);
    view->payload = body.payload;
    view->origin = body.origin;
    view->after = texts_of(apply, body.after);
    view->result = task_result(apply, task->id);
    view->max_attempts = task->max_attempts ? task->max_attempts : queue.config.max_attempts;
    view->max_losses = task->max_losses ? task->max_losses : queue.config.max_losses;
    view->lease = view->expires_in_ms = task->lease;
    view->revision = apply->index;
}

struct get_args {
    struct slice queue, id;
    uint64_t wait_ms;
};
static const struct field get_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct get_args, queue),
     .name = "queue",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct get_args, id),
     .name = "id",
     .max = 20,
     .about = "of the task"},
    {.number = 3,
     .type = FIELD_DURATION,
     .offset = offsetof(struct get_args, wait_ms),
     .name = "wait",
     .max = 10 * 60 * 1000,
     .about = "for it to be over, so long; then the answer is 304"},
};
const struct record task_get_record = RECORD("task_get", get_args, get_fields);

void queue_get_task(struct apply *apply, const void *arguments)
{
    const struct get_args *args = arguments;
    struct task_view *view = arena_alloc(apply->arena, sizeof *view);
    bool found =
        task_get(apply, task_id_of(args->id), &view->task) && slice_equal(view->task.queue, args->queue);
    if (!found) {
        apply_answer(apply, OUTCOME_TASK_NOT_FOUND, NULL, NULL);
        return;
    }
    add_facts(apply, view);
    add_rest(apply, view);
    bool waits = args->wait_ms && !task_is_over(view->task.state);
    apply_answer(apply, waits ? OUTCOME_UNCHANGED : OUTCOME_OK, &task_view_record, view);
}

void queue_watch_task(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct get_args *args = arguments;
    struct slice name = arena_printf(arena, "%.*s/tasks/%.*s", SLICE_ARGS(args->queue), SLICE_ARGS(args->id));
    watch_scope_add(request, arena, "/queues/", name, false);
}

/* --- tasks --- */

struct list_args {
    struct slice queue, group, key, cursor;
    uint64_t state, limit;
    bool payload;
};
#define ASKED(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ASKED(queue), .max = 255, .about = "its name"},
    {.number = 2,
     .type = FIELD_CHOICE,
     ASKED(state),
     .choices = task_state_choices,
     .about = "only those in it; absent: all, by state"},
    {.number = 3, .type = FIELD_TEXT, ASKED(group), .max = QUEUE_KEY_MAX, .about = "only those of it"},
    {.number = 4, .type = FIELD_TEXT, ASKED(key), .max = QUEUE_KEY_MAX, .about = "only those of it"},
    {.number = 5, .type = FIELD_BOOL, ASKED(payload), .about = "true: with their payloads"},
    {.number = 6,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = 1000,
     .initial = 100,
     .about = "at most that many; fewer when they are large"},
    {.number = 7, .type = FIELD_TEXT, ASKED(cursor), .max = 60, .about = "of the page before"},
};
const struct record task_list_args_record = RECORD("task_list_args", list_args, list_args_fields);

static const struct field item_fields[] = {FACTS};
static const struct record item_record = RECORD("task_item", task_view, item_fields);

struct page {
    struct list tasks;
    struct slice cursor;
    uint64_t revision;
};
#define PAGE(member) .offset = offsetof(struct page, member), .name = #member
static const struct field page_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(tasks),
     .record = &item_record,
     .about = "of each state in the order in which they entered it; payload null unless asked for"},
    {.number = 2,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     PAGE(cursor),
     .about = "for the next page; null at the end"},
    {.number = 3, .type = FIELD_UINT, PAGE(revision), .about = "of the state that was read"},
};
const struct record task_list_record = RECORD("tasks", page, page_fields);

static bool wanted(const struct list_args *args, const struct task *task)
{
    return (!args->group.size || slice_equal(args->group, task->group)) &&
           (!args->key.size || slice_equal(args->key, task->key));
}

/* How much of an answer it takes. */
static size_t add_item(struct apply *apply, const struct list_args *args, struct task_view *item)
{
    struct task_body body;
    add_facts(apply, item);
    if (args->payload) {
        task_body(apply, item->task.id, &body);
        item->payload = body.payload;
    }
    return ITEM_BYTES + item->payload.size + item->task.error.size;
}

static void fill(struct page *page, struct task_scan *scan, const struct list_args *args)
{
    struct task_view *items = arena_alloc(scan->apply->arena, args->limit * sizeof *items);
    struct task task, before = {0};
    size_t bytes = 0;
    page->tasks.items = items;
    while (task_scan_next(scan, &task)) {
        bool full = page->tasks.count == args->limit || bytes >= BYTES_MAX || scan->looked > SCANNED_MAX;
        if (full) {
            page->cursor = task_cursor(scan->apply, &before);
            return;
        }
        before = task;
        if (!wanted(args, &task)) continue;
        items[page->tasks.count].task = task;
        bytes += add_item(scan->apply, args, &items[page->tasks.count++]);
    }
}

void queue_list_tasks(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct queue queue;
    struct task_scan scan;
    struct page *page = arena_alloc(apply->arena, sizeof *page);
    queue_load(&queue, apply, args->queue);
    page->revision = apply->index;
    if (!queue.exists) {
        apply_answer(apply, OUTCOME_QUEUE_NOT_FOUND, NULL, NULL);
    } else if (!task_scan_begin(&scan, apply, args->queue, args->state, args->cursor)) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, SLICE("the cursor is not of such a list"));
    } else {
        fill(page, &scan, args);
        apply_answer(apply, OUTCOME_OK, &task_list_record, page);
    }
}
