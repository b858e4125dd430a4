/* What is shown of queues and of workers. */
#include "base/check.h"
#include "coord/primitive/queue.h"

enum { SCANNED_MAX = 10000, MINUTE_MS = 60000 };

/* --- what happened lately --- */

struct window {
    uint64_t enqueued, claimed, done, failed, lost, wait_ms, wait_max_ms, run_ms, run_max_ms;
};
#define WINDOW(member) .offset = offsetof(struct window, member), .name = #member
static const struct field window_fields[] = {
    {.number = 1, .type = FIELD_UINT, WINDOW(enqueued), .about = "tasks made"},
    {.number = 2, .type = FIELD_UINT, WINDOW(claimed), .about = "tasks handed out"},
    {.number = 3, .type = FIELD_UINT, WINDOW(done), .about = "tasks done"},
    {.number = 4, .type = FIELD_UINT, WINDOW(failed), .about = "claims that failed"},
    {.number = 5, .type = FIELD_UINT, WINDOW(lost), .about = "claims that were lost"},
    {.number = 6, .type = FIELD_UINT, WINDOW(wait_ms), .about = "from ready to claimed, on average"},
    {.number = 7, .type = FIELD_UINT, WINDOW(wait_max_ms), .about = "from ready to claimed, at most"},
    {.number = 8, .type = FIELD_UINT, WINDOW(run_ms), .about = "from claimed to done, on average"},
    {.number = 9, .type = FIELD_UINT, WINDOW(run_max_ms), .about = "from claimed to done, at most"},
};
static const struct record window_record = RECORD("queue_window", window, window_fields);

struct rates {
    const struct window *one, *five, *fifteen;
};
#define RATE(member) .offset = offsetof(struct rates, member), .record = &window_record
static const struct field rate_fields[] = {
    {.number = 1, .type = FIELD_RECORD, RATE(one), .name = "1m", .about = "in the last minute"},
    {.number = 2, .type = FIELD_RECORD, RATE(five), .name = "5m", .about = "in the last 5 minutes"},
    {.number = 3, .type = FIELD_RECORD, RATE(fifteen), .name = "15m", .about = "in the last 15 minutes"},
};
static const struct record rates_record = RECORD("queue_rates", rates, rate_fields);

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* `part` thousandths of that minute. */
static void add_minute(struct window *sum, const struct queue_minute *minute, uint64_t part)
{
    sum->enqueued += minute->enqueued * part / 1000;
    sum->claimed += minute->claimed * part / 1000;
    sum->done += minute->done * part / 1000;
    sum->failed += minute->failed * part / 1000;
    sum->lost += minute->lost * part / 1000;
    sum->wait_ms += minute->wait_ms * part / 1000;
    sum->run_ms += minute->run_ms * part / 1000;
    sum->wait_max_ms = larger(sum->wait_max_ms, minute->wait_max_ms);
    sum->run_max_ms = larger(sum->run_max_ms, minute->run_max_ms);
}

/* Figures are kept by the minute: of the oldest, the part that still lies in the window is taken to be even.
 */
static const struct window *window_of(struct queue *queue, uint64_t minutes)
{
    struct apply *apply = queue->apply;
    struct window *sum = arena_alloc(apply->arena, sizeof *sum);
    uint64_t now = apply->time_ms / MINUTE_MS + 1, left = MINUTE_MS - apply->time_ms % MINUTE_MS;
    for (uint64_t back = 0; back <= minutes && back < now; back++) {
        struct queue_minute minute;
        if (queue_minute_get(apply, queue->name, now - back, &minute))
            add_minute(sum, &minute, back == minutes ? left * 1000 / MINUTE_MS : 1000);
    }
    if (sum->claimed) sum->wait_ms /= sum->claimed;
    if (sum->done) sum->run_ms /= sum->done;
    return sum;
}

static const struct rates *rates_of(struct queue *queue)
{
    struct rates *rates = arena_alloc(queue->apply->arena, sizeof *rates);
    *rates = (struct rates){window_of(queue, 1), window_of(queue, 5), window_of(queue, 15)};
    return rates;
}

/* --- a queue --- */

#define TOTAL(member) .offset = offsetof(struct queue_row, member), .name = #member
static const struct field total_fields[] = {
    {.number = 1, .type = FIELD_UINT, TOTAL(enqueued), .about = "tasks made"},
    {.number = 2,
     .type = FIELD_UINT,
     TOTAL(deduplicated),
     .about = "tasks not made: a live one had their key"},
    {.number = 3, .type = FIELD_UINT, TOTAL(claimed), .about = "tasks handed out"},
    {.number = 4, .type = FIELD_UINT, TOTAL(done), .about = "tasks done"},
    {.number = 5, .type = FIELD_UINT, TOTAL(failed), .about = "claims that failed"},
    {.number = 6, .type = FIELD_UINT, TOTAL(lost), .about = "claims that were lost"},
    {.number = 7, .type = FIELD_UINT, TOTAL(released), .about = "claims that were given back"},
    {.number = 8, .type = FIELD_UINT, TOTAL(dead), .about = "tasks that died"},
};
static const struct record totals_record = RECORD("queue_totals", queue_row, total_fields);

struct queue_view {
    struct slice name;
    struct queue_row row;
    struct queue_config config;
    uint64_t length, oldest_ready_ms, oldest_claimed_ms;
    const struct queue_row *totals;
    const struct rates *rates;
    const struct queue_config *shown_config;
};
#define VIEW(member) .offset = offsetof(struct queue_view, member)
#define COUNT(position, state, text, phrase)                                                                 \
    {                                                                                                        \
        .number = position, .type = FIELD_UINT, .offset = offsetof(struct queue_view, row.counts[state]),    \
        .name = text, .about = phrase                                                                        \
    }
#define FIGURES                                                                                              \
    {.number = 1, .type = FIELD_NAME, VIEW(name), .name = "queue", .about = "its name"},                     \
        COUNT(2, TASK_SCHEDULED, "scheduled", "tasks that wait for their time"),                             \
        COUNT(3, TASK_BLOCKED, "blocked", "tasks that wait for others to be done"),                          \
        COUNT(4, TASK_READY, "ready", "tasks that wait for a worker, or for room in their group"),           \
        COUNT(5, TASK_CLAIMED, "claimed", "tasks that a worker has"),                                        \
        COUNT(6, TASK_DONE, "done", "tasks done and kept"), COUNT(7, TASK_DEAD, "dead", "tasks given up"),   \
        COUNT(8, TASK_CANCELLED, "cancelled", "tasks cancelled and kept"),                                   \
        COUNT(9, TASK_EXPIRED, "expired", "tasks that nobody began in time"),                                \
        {.number = 10,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         VIEW(oldest_ready_ms),                                                                              \
         .name = "oldest_ready_ms",                                                                          \
         .about = "how long the first of the ready tasks has been ready"},                                   \
        {.number = 11,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         VIEW(oldest_claimed_ms),                                                                            \
         .name = "oldest_claimed_ms",                                                                        \
         .about = "how long ago the first of the claims was made"},                                          \
        {.number = 12,                                                                                       \
         .type = FIELD_BOOL,                                                                                 \
         VIEW(row.paused),                                                                                   \
         .name = "paused",                                                                                   \
         .about = "true: it hands nothing out"},                                                             \
        {.number = 13,                                                                                       \
         .type = FIELD_BOOL,                                                                                 \
         VIEW(row.draining),                                                                                 \
         .name = "draining",                                                                                 \
         .about = "true: it takes no more tasks"},                                                           \
        {.number = 14,                                                                                       \
         .type = FIELD_UINT,                                                                                 \
         VIEW(row.claimers),                                                                                 \
         .name = "waiting_claims",                                                                           \
         .about = "that wait for a task"},                                                                   \
    {                                                                                                        \
        .number = 15, .type = FIELD_UINT, VIEW(length), .name = "length",                                    \
        .about = "scheduled, blocked and ready tasks: what max_len is a limit of"                            \
    }

#define CREATED                                                                                              \
    {.number = 19,                                                                                           \
     .type = FIELD_TIME,                                                                                     \
     VIEW(row.created_ms),                                                                                   \
     .name = "created",                                                                                      \
     .about = "of its first use"},                                                                           \
    {                                                                                                        \
        .number = 20, .type = FIELD_UINT, VIEW(row.revision), .name = "revision",                            \
        .about = "of its last change"                                                                        \
    }
static const struct field view_fields[] = {
    FIGURES,
    {.number = 16,
     .type = FIELD_RECORD,
     VIEW(totals),
     .name = "totals",
     .record = &totals_record,
     .about = "since it was made"},
    {.number = 17,
     .type = FIELD_RECORD,
     VIEW(rates),
     .name = "rates",
     .record = &rates_record,
     .about = "what happened lately"},
    {.number = 18,
     .type = FIELD_RECORD,
     VIEW(shown_config),
     .name = "config",
     .record = &queue_config_record,
     .about = "its settings; 0 of a limit: none"},
    CREATED,
};
const struct record queue_view_record = RECORD("queue", queue_view, view_fields);

static uint64_t oldest_ms(struct queue *queue, enum task_state state)
{
    struct task_scan scan;
    struct task task;
    if (!queue->row.counts[state]) return 0;
    CHECK(task_scan_begin(&scan, queue->apply, queue->name, state, (struct slice){0}));
    CHECK(task_scan_next(&scan, &task));
    return queue->apply->time_ms > task.since_ms ? queue->apply->time_ms - task.since_ms : 0;
}

static struct queue_view figures_of(struct queue *queue)
{
    const uint64_t *counts = queue->row.counts;
    return (struct queue_view){.name = queue->name,
                               .row = queue->row,
                               .config = queue->config,
                               .length = counts[TASK_SCHEDULED] + counts[TASK_BLOCKED] + counts[TASK_READY],
                               .oldest_ready_ms = oldest_ms(queue, TASK_READY),
                               .oldest_claimed_ms = oldest_ms(queue, TASK_CLAIMED)};
}

const void *queue_shown(struct queue *queue)
{
    struct queue_view *view = arena_alloc(queue->apply->arena, sizeof *view);
    *view = figures_of(queue);
    view->totals = &view->row;
    view->shown_config = &view->config;
    view->rates = rates_of(queue);
    return view;
}

static bool find(struct queue *queue, struct apply *apply, struct slice name)
{
    queue_load(queue, apply, name);
    if (!queue->exists) apply_answer(apply, OUTCOME_QUEUE_NOT_FOUND, NULL, NULL);
    return queue->exists;
}

void queue_get(struct apply *apply, const void *arguments)
{
    const struct queue_name_args *args = arguments;
    struct queue queue;
    if (find(&queue, apply, args->queue))
        apply_answer(apply, OUTCOME_OK, &queue_view_record, queue_shown(&queue));
}

/* --- all queues --- */

#define LIST_FIELDS(structure)                                                                               \
    {.number = 2,                                                                                            \
     .type = FIELD_TEXT,                                                                                     \
     .offset = offsetof(struct structure, prefix),                                                           \
     .name = "prefix",                                                                                       \
     .max = 255,                                                                                             \
     .about = "of the name"},                                                                                \
        {.number = 3,                                                                                        \
         .type = FIELD_UINT,                                                                                 \
         .offset = offsetof(struct structure, limit),                                                        \
         .name = "limit",                                                                                    \
         .min = 1,                                                                                           \
         .max = 1000,                                                                                        \
         .initial = 100,                                                                                     \
         .about = "at most that many"},                                                                      \
    {                                                                                                        \
        .number = 4, .type = FIELD_TEXT, .offset = offsetof(struct structure, cursor), .name = "cursor",     \
        .max = 255, .about = "of the page before"                                                            \
    }

struct list_args {
    struct slice queue, prefix, cursor;
    uint64_t limit;
};
static const struct field list_args_fields[] = {LIST_FIELDS(list_args)};
const struct record queue_list_args_record = RECORD("queue_list_args", list_args, list_args_fields);

static const struct field item_fields[] = {FIGURES, CREATED};
static const struct record item_record = RECORD("queue_item", queue_view, item_fields);

struct page {
    struct list items;
    struct slice cursor;
    uint64_t revision;
};
#define PAGE(member) .offset = offsetof(struct page, member)
#define PAGE_ENDS                                                                                            \
    {.number = 2,                                                                                            \
     .type = FIELD_TEXT,                                                                                     \
     .flags = FIELD_NULL,                                                                                    \
     PAGE(cursor),                                                                                           \
     .name = "cursor",                                                                                       \
     .about = "for the next page; null at the end"},                                                         \
    {                                                                                                        \
        .number = 3, .type = FIELD_UINT, PAGE(revision), .name = "revision",                                 \
        .about = "of the state that was read"                                                                \
    }
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(items),
     .name = "queues",
     .record = &item_record,
     .about = "in the order of their names"},
    PAGE_ENDS,
};
const struct record queue_list_record = RECORD("queues", page, list_fields);

static struct page *new_page(struct apply *apply, const struct list_args *args, size_t size)
{
    struct page *page = arena_alloc(apply->arena, sizeof *page);
    page->items.items = arena_alloc(apply->arena, args->limit * size);
    page->revision = apply->index;
    return page;
}

void queue_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct page *page = new_page(apply, args, sizeof(struct queue_view));
    struct queue_view *items = page->items.items;
    struct key from = object_first(KEY_QUEUE, args->prefix, args->cursor);
    struct slice name, before = {0};
    size_t scanned = 0;
    while (object_next(apply, &from, args->prefix, &name)) {
        struct queue queue;
        if (page->items.count == args->limit || scanned++ == SCANNED_MAX) {
            page->cursor = before;
            break;
        }
        before = name;
        queue_load(&queue, apply, name);
        if (queue.exists) items[page->items.count++] = figures_of(&queue);
    }
    apply_answer(apply, OUTCOME_OK, &queue_list_record, page);
}

/* --- workers --- */

static const struct field worker_args_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct list_args, queue),
     .name = "queue",
     .max = 255,
     .about = "its name"},
    LIST_FIELDS(list_args),
};
const struct record worker_list_args_record = RECORD("worker_list_args", list_args, worker_args_fields);

struct worker_view {
    struct slice worker;
    struct worker_row row;
};
#define WORKER(member) .offset = offsetof(struct worker_view, row.member)
static const struct field worker_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .offset = offsetof(struct worker_view, worker),
     .name = "worker",
     .about = "as it calls itself"},
    {.number = 2, .type = FIELD_UINT, WORKER(claimed), .name = "claimed", .about = "tasks that it has now"},
    {.number = 3,
     .type = FIELD_UINT,
     WORKER(attempts),
     .name = "attempts",
     .about = "tasks handed out to it"},
    {.number = 4, .type = FIELD_UINT, WORKER(done), .name = "done", .about = "of them done"},
    {.number = 5, .type = FIELD_UINT, WORKER(failed), .name = "failed", .about = "of them failed"},
    {.number = 6, .type = FIELD_UINT, WORKER(lost), .name = "lost", .about = "of them lost"},
    {.number = 7, .type = FIELD_UINT, WORKER(released), .name = "released", .about = "of them given back"},
    {.number = 8,
     .type = FIELD_UINT,
     WORKER(run_ms),
     .name = "run_ms",
     .about = "of all its claims that ended"},
    {.number = 9, .type = FIELD_TIME, WORKER(last_ms), .name = "last", .about = "when it was last heard of"},
};
static const struct record worker_record = RECORD("queue_worker", worker_view, worker_fields);
static const struct field workers_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(items),
     .name = "workers",
     .record = &worker_record,
     .about = "in the order of their names"},
    PAGE_ENDS,
};
const struct record worker_list_record = RECORD("queue_workers", page, workers_fields);

void queue_list_workers(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct queue queue;
    if (!find(&queue, apply, args->queue)) return;
    struct page *page = new_page(apply, args, sizeof(struct worker_view));
    struct worker_view *items = page->items.items;
    struct key of_queue = queue_key_of(KEY_WORKER, args->queue), prefix = of_queue;
    struct slice key, value, before = {0};
    key_bytes(&prefix, args->prefix);
    struct key from = prefix;
    if (args->cursor.size && slice_compare(args->cursor, args->prefix) >= 0) {
        from = of_queue;
        key_bytes(&from, args->cursor);
        key_byte(&from, 0);
    }
    while (rows_seek(apply->rows, key_slice(&from), &key, &value) &&
           slice_starts_with(key, key_slice(&prefix))) {
        if (page->items.count == args->limit) {
            page->cursor = before;
            break;
        }
        from = key_after(key);
        before = arena_copy(apply->arena, slice_skip(key, of_queue.size));
        struct worker_view *item = &items[page->items.count++];
        item->worker = before;
        worker_load(apply, args->queue, before, &item->row);
    }
    apply_answer(apply, OUTCOME_OK, &worker_list_record, page);
}
