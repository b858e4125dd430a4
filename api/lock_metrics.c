#include "api/lock_metrics.h"

#include "api/busiest.h"
#include "base/memory.h"
#include "coord/primitive/lock.h"

#include <pthread.h>

enum { REASONS = END_CLIENT_GONE };

struct figures {
    struct busiest_name name; /* its weight: grants and ends */
    uint64_t acquired, waited, wait_ms, held_ms;
    uint64_t ended[REASONS]; /* by enum end_reason - 1 */
};

struct lock_metrics {
    pthread_mutex_t mutex; /* of all below */
    struct busiest *locks;
};

struct lock_metrics *lock_metrics_new(void)
{
    struct lock_metrics *metrics = memory_new(sizeof *metrics);
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->locks = busiest_new(sizeof(struct figures), LOCK_METRICS_MAX);
    return metrics;
}

void lock_metrics_free(struct lock_metrics *metrics)
{
    if (!metrics) return;
    pthread_mutex_destroy(&metrics->mutex);
    busiest_free(metrics->locks);
    free(metrics);
}

/* --- counting --- */

static void count_one(struct lock_metrics *metrics, const struct event *event)
{
    struct slice name = slice_skip(event->path, sizeof "/locks/" - 1);
    uint8_t kind = event->kind->code;
    struct figures *figures = busiest_use(metrics->locks, name);
    if (!figures) return;
    if (kind == LOCK_ACQUIRED) {
        uint64_t waited_ms = record_number(event->shape, event->data, "waited_ms");
        figures->name.weight++;
        figures->acquired++;
        figures->waited += waited_ms > 0;
        figures->wait_ms += waited_ms;
    } else if (kind > LOCK_ENDED && kind <= LOCK_ENDED + REASONS) {
        figures->name.weight++;
        figures->held_ms += record_number(event->shape, event->data, "held_ms");
        figures->ended[kind - LOCK_ENDED - 1]++;
    }
}

void lock_metrics_count(struct lock_metrics *metrics, const struct event *events)
{
    bool any = false;
    for (const struct event *event = events; event && !any; event = event->next)
        any = event->primitive->code == LOCK_CODE;
    if (!any) return;
    pthread_mutex_lock(&metrics->mutex);
    for (const struct event *event = events; event; event = event->next)
        if (event->primitive->code == LOCK_CODE) count_one(metrics, event);
    pthread_mutex_unlock(&metrics->mutex);
}

/* --- showing --- */

static void head(struct buffer *out, const char *name, const char *help)
{
    buffer_printf(out, "# HELP coordd_lock_%s_total %s\n# TYPE coordd_lock_%s_total counter\n", name, help,
                  name);
}

static void counts(struct buffer *out, const struct figures *shown, size_t count, const char *name,
                   const char *help, size_t offset)
{
    head(out, name, help);
    for (size_t i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&shown[i] + offset, sizeof value);
        buffer_printf(out, "coordd_lock_%s_total", name);
        busiest_label(&shown[i].name, "lock", out);
        buffer_printf(out, "} %llu\n", (unsigned long long)value);
    }
}

static void seconds(struct buffer *out, const struct figures *shown, size_t count, const char *name,
                    const char *help, size_t offset)
{
    head(out, name, help);
    for (size_t i = 0; i < count; i++) {
        uint64_t ms;
        memcpy(&ms, (const char *)&shown[i] + offset, sizeof ms);
        buffer_printf(out, "coordd_lock_%s_total", name);
        busiest_label(&shown[i].name, "lock", out);
        buffer_printf(out, "} %llu.%03u\n", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
    }
}

static void ends(struct buffer *out, const struct figures *shown, size_t count)
{
    head(out, "ended", "Holds that ended, by reason.");
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < REASONS; k++) {
            if (!shown[i].ended[k]) continue;
            buffer_add_text(out, "coordd_lock_ended_total");
            busiest_label(&shown[i].name, "lock", out);
            buffer_printf(out, ",reason=\"%s\"} %llu\n", end_reason_choices[k],
                          (unsigned long long)shown[i].ended[k]);
        }
}

void lock_metrics_text(struct lock_metrics *metrics, struct buffer *out)
{
    struct figures shown[LOCK_METRICS_SHOWN];
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest_shown(metrics->locks, shown, LOCK_METRICS_SHOWN);
    pthread_mutex_unlock(&metrics->mutex);
    counts(out, shown, count, "acquired", "Grants of the busiest locks, as this node applied them.",
           offsetof(struct figures, acquired));
    counts(out, shown, count, "waits", "Grants after a wait in the queue.", offsetof(struct figures, waited));
    seconds(out, shown, count, "wait_seconds", "Time that granted requests had waited.",
            offsetof(struct figures, wait_ms));
    seconds(out, shown, count, "held_seconds", "Time that ended holds had lasted.",
            offsetof(struct figures, held_ms));
    ends(out, shown, count);
}

size_t lock_metrics_known(struct lock_metrics *metrics)
{
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest_known(metrics->locks);
    pthread_mutex_unlock(&metrics->mutex);
    return count;
}
