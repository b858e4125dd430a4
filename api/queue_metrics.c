#include "api/queue_metrics.h"

#include "api/busiest.h"
#include "base/memory.h"
#include "coord/key.h"
#include "coord/primitive/queue.h"

#include <pthread.h>

/* Upper bounds in milliseconds; the last bucket is everything above. */
static const uint64_t bounds_ms[] = {10, 100, 1000, 10 * 1000, 60 * 1000, 600 * 1000, 3600 * 1000};
enum { BUCKETS = sizeof bounds_ms / sizeof *bounds_ms + 1 };

struct times {
    uint64_t by_duration[BUCKETS]; /* not cumulative */
    uint64_t sum_ms;
};

/* As the rows have it. */
struct standing {
    bool exists;
    struct queue_row row;
    uint64_t oldest_ready_ms; /* since when the task is ready that is so for longest; 0: none is */
};

struct figures {
    struct busiest_name name; /* its weight: events of its tasks */
    struct times waits, runs;
    uint64_t ended[ATTEMPT_DEADLINE]; /* by enum attempt_end - 1 */
    struct standing standing;
};

struct queue_metrics {
    pthread_mutex_t mutex; /* of `queues` */
    struct busiest *queues;
    /* the node thread's: */
    struct figures looked_at[QUEUE_METRICS_SHOWN];
    uint64_t applied, next_look_ms;
};

struct queue_metrics *queue_metrics_new(void)
{
    struct queue_metrics *metrics = memory_new(sizeof *metrics);
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->queues = busiest_new(sizeof(struct figures), QUEUE_METRICS_MAX);
    return metrics;
}

void queue_metrics_free(struct queue_metrics *metrics)
{
    if (!metrics) return;
    pthread_mutex_destroy(&metrics->mutex);
    busiest_free(metrics->queues);
    free(metrics);
}

/* --- counting --- */

static void add_time(struct times *times, uint64_t ms)
{
    size_t bucket = 0;
    while (bucket < BUCKETS - 1 && ms > bounds_ms[bucket]) bucket++;
    times->by_duration[bucket]++;
    times->sum_ms += ms;
}

/* "/queues/NAME/tasks/ID"; a name may have slashes. */
static struct slice queue_of(struct slice path)
{
    path = slice_skip(path, sizeof "/queues/" - 1);
    size_t id = 0;
    while (path.data[path.size - id - 1] != '/') id++;
    return slice_of(path.data, path.size - id - (sizeof "/tasks/" - 1));
}

static void count_one(struct queue_metrics *metrics, const struct event *event)
{
    if (event->kind->code >= QUEUE_SET) return;
    struct figures *figures = busiest_use(metrics->queues, queue_of(event->path));
    if (!figures) return;
    uint64_t end = record_number(event->shape, event->data, "outcome");
    figures->name.weight++;
    if (event->kind->code == QUEUE_TASK_CLAIMED)
        add_time(&figures->waits, record_number(event->shape, event->data, "wait_ms"));
    if (!end || end > ATTEMPT_DEADLINE) return;
    add_time(&figures->runs, record_number(event->shape, event->data, "run_ms"));
    figures->ended[end - 1]++;
}

void queue_metrics_count(struct queue_metrics *metrics, const struct event *events)
{
    bool any = false;
    for (const struct event *event = events; event && !any; event = event->next)
        any = event->primitive->code == QUEUE_CODE;
    if (!any) return;
    pthread_mutex_lock(&metrics->mutex);
    for (const struct event *event = events; event; event = event->next)
        if (event->primitive->code == QUEUE_CODE) count_one(metrics, event);
    pthread_mutex_unlock(&metrics->mutex);
}

/* --- looking --- */

/* Those that nothing has happened to since this node began are shown too, while there is a place. */
static void get_to_know(struct queue_metrics *metrics, struct rows *rows)
{
    struct key from = key_of(KEY_QUEUE), prefix = from;
    struct slice key, value;
    for (size_t i = 0; i < QUEUE_METRICS_SHOWN; i++) {
        if (!rows_seek(rows, key_slice(&from), &key, &value) || !slice_starts_with(key, key_slice(&prefix)))
            return;
        from = key_after(key);
        pthread_mutex_lock(&metrics->mutex);
        busiest_use(metrics->queues, slice_skip(key, prefix.size));
        pthread_mutex_unlock(&metrics->mutex);
    }
}

static void look_at(struct rows *rows, struct figures *figures)
{
    struct arena arena = {0};
    struct apply apply;
    struct queue queue;
    struct task task;
    uint64_t id;
    apply_begin(&apply, rows, &arena, 0, 0, 0);
    queue_load(&queue, &apply, slice_of(figures->name.name, figures->name.size));
    figures->standing = (struct standing){.exists = queue.exists, .row = queue.row};
    figures->standing.row.config = NULL;
    struct key prefix = queue_key_of(KEY_TASK_STATE, queue.name);
    key_byte(&prefix, TASK_READY);
    struct key from = prefix;
    if (queue_next_id(&apply, key_slice(&prefix), &from, &id) && task_get(&apply, id, &task))
        figures->standing.oldest_ready_ms = task.since_ms;
    arena_free(&arena);
}

void queue_metrics_look(struct queue_metrics *metrics, struct rows *rows, uint64_t applied, uint64_t now_ms)
{
    if (now_ms < metrics->next_look_ms || applied == metrics->applied) return;
    metrics->next_look_ms = now_ms + QUEUE_METRICS_LOOK_MS;
    metrics->applied = applied;
    if (busiest_known(metrics->queues) < QUEUE_METRICS_SHOWN) get_to_know(metrics, rows);
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest_shown(metrics->queues, metrics->looked_at, QUEUE_METRICS_SHOWN);
    pthread_mutex_unlock(&metrics->mutex);
    for (size_t i = 0; i < count; i++) look_at(rows, &metrics->looked_at[i]);
    pthread_mutex_lock(&metrics->mutex);
    for (size_t i = 0; i < count; i++) {
        const struct busiest_name *name = &metrics->looked_at[i].name;
        struct figures *figures = busiest_find(metrics->queues, slice_of(name->name, name->size));
        if (figures) figures->standing = metrics->looked_at[i].standing;
    }
    pthread_mutex_unlock(&metrics->mutex);
}

/* --- showing --- */

struct shown {
    const struct figures *all;
    size_t count;
    struct buffer *out;
};

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_printf(out, "# HELP coordd_queue_%s %s\n# TYPE coordd_queue_%s %s\n", name, help, name, type);
}

static void line(const struct shown *shown, size_t i, const char *name, const char *label, const char *value,
                 uint64_t number)
{
    buffer_printf(shown->out, "coordd_queue_%s", name);
    busiest_label(&shown->all[i].name, "queue", shown->out);
    if (label) buffer_printf(shown->out, ",%s=\"%s\"", label, value);
    buffer_printf(shown->out, "} %llu\n", (unsigned long long)number);
}

static void tasks(const struct shown *shown)
{
    head(shown->out, "tasks", "gauge", "Tasks of the busiest queues, by state.");
    for (size_t i = 0; i < shown->count; i++)
        for (size_t state = 1; shown->all[i].standing.exists && state <= TASK_STATES; state++)
            line(shown, i, "tasks", "state", task_state_choices[state - 1],
                 shown->all[i].standing.row.counts[state]);
}

static void gauges(const struct shown *shown, const char *name, const char *help, size_t offset)
{
    head(shown->out, name, "gauge", help);
    for (size_t i = 0; i < shown->count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&shown->all[i].standing.row + offset, sizeof value);
        if (shown->all[i].standing.exists) line(shown, i, name, NULL, NULL, value);
    }
}

static void flags(const struct shown *shown)
{
    head(shown->out, "paused", "gauge", "1 while the queue hands nothing out.");
    for (size_t i = 0; i < shown->count; i++)
        if (shown->all[i].standing.exists)
            line(shown, i, "paused", NULL, NULL, shown->all[i].standing.row.paused);
}

static void add_seconds(struct buffer *out, uint64_t ms)
{
    buffer_printf(out, "%llu.%03u", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

static void ages(const struct shown *shown, uint64_t time_ms)
{
    head(shown->out, "oldest_ready_seconds", "gauge", "For how long a task has been ready; 0: none is.");
    for (size_t i = 0; i < shown->count; i++) {
        const struct standing *standing = &shown->all[i].standing;
        uint64_t since_ms = standing->oldest_ready_ms;
        if (!standing->exists) continue;
        buffer_add_text(shown->out, "coordd_queue_oldest_ready_seconds");
        busiest_label(&shown->all[i].name, "queue", shown->out);
        buffer_add_text(shown->out, "} ");
        add_seconds(shown->out, since_ms && since_ms < time_ms ? time_ms - since_ms : 0);
        buffer_add_byte(shown->out, '\n');
    }
}

static void events(const struct shown *shown)
{
#define EVER(member)                                                                                         \
    {                                                                                                        \
#member, offsetof(struct queue_row, member)                                                          \
    }
    static const struct {
        const char *event;
        size_t offset;
    } all[] = {EVER(enqueued), EVER(deduplicated), EVER(claimed),  EVER(done),
               EVER(failed),   EVER(lost),         EVER(released), EVER(dead)};
    head(shown->out, "events_total", "counter",
         "What ever happened to tasks of the queue, as it is replicated.");
    for (size_t i = 0; i < shown->count; i++)
        for (size_t k = 0; shown->all[i].standing.exists && k < sizeof all / sizeof *all; k++) {
            uint64_t value;
            memcpy(&value, (const char *)&shown->all[i].standing.row + all[k].offset, sizeof value);
            line(shown, i, "events_total", "event", all[k].event, value);
        }
}

static void ends(const struct shown *shown)
{
    head(shown->out, "attempts_total", "counter", "Claims that ended, by how, as this node applied them.");
    for (size_t i = 0; i < shown->count; i++)
        for (size_t k = 0; k < ATTEMPT_DEADLINE; k++)
            if (shown->all[i].ended[k])
                line(shown, i, "attempts_total", "outcome", attempt_end_choices[k], shown->all[i].ended[k]);
}

static void begin(const struct shown *shown, size_t i, const char *name, const char *part)
{
    buffer_printf(shown->out, "coordd_queue_%s_%s", name, part);
    busiest_label(&shown->all[i].name, "queue", shown->out);
}

static void histogram_of(const struct shown *shown, size_t i, const char *name, const struct times *times)
{
    uint64_t below = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        below += times->by_duration[b];
        begin(shown, i, name, "bucket");
        if (b < BUCKETS - 1)
            buffer_printf(shown->out, ",le=\"%g\"", (double)bounds_ms[b] / 1000);
        else
            buffer_add_text(shown->out, ",le=\"+Inf\"");
        buffer_printf(shown->out, "} %llu\n", (unsigned long long)below);
    }
    begin(shown, i, name, "sum");
    buffer_add_text(shown->out, "} ");
    add_seconds(shown->out, times->sum_ms);
    buffer_add_byte(shown->out, '\n');
    begin(shown, i, name, "count");
    buffer_printf(shown->out, "} %llu\n", (unsigned long long)below);
}

static void histograms(const struct shown *shown, const char *name, const char *help, size_t offset)
{
    head(shown->out, name, "histogram", help);
    for (size_t i = 0; i < shown->count; i++)
        histogram_of(shown, i, name, (const void *)((const char *)&shown->all[i] + offset));
}

void queue_metrics_text(struct queue_metrics *metrics, uint64_t time_ms, struct buffer *out)
{
    struct figures *copies = memory_new(QUEUE_METRICS_SHOWN * sizeof *copies);
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest_shown(metrics->queues, copies, QUEUE_METRICS_SHOWN);
    pthread_mutex_unlock(&metrics->mutex);
    struct shown shown = {copies, count, out};
    tasks(&shown);
    gauges(&shown, "claims_waiting", "Claims that wait for tasks.", offsetof(struct queue_row, claimers));
    flags(&shown);
    ages(&shown, time_ms);
    events(&shown);
    ends(&shown);
    histograms(&shown, "wait_seconds", "From ready to claimed, as this node applied it.",
               offsetof(struct figures, waits));
    histograms(&shown, "run_seconds", "From claimed to its end, as this node applied it.",
               offsetof(struct figures, runs));
    free(copies);
}
