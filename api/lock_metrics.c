#include "api/lock_metrics.h"

#include "base/crc32c.h"
#include "base/map.h"
#include "base/memory.h"
#include "coord/primitive/lock.h"

#include <pthread.h>

enum { REASONS = END_CLIENT_GONE };

struct figures {
    uint32_t hash;
    uint8_t size;
    uint8_t name[255];
    uint64_t acquired, waited, wait_ms, held_ms;
    uint64_t ended[REASONS]; /* by enum end_reason - 1 */
    uint64_t lately;         /* events, halved whenever somebody looks for a place */
};

struct lock_metrics {
    pthread_mutex_t mutex; /* of all below */
    struct map by_hash;
    size_t count, hand; /* hand: where the last place was looked for */
    struct figures locks[LOCK_METRICS_MAX];
};

struct lock_metrics *lock_metrics_new(void)
{
    struct lock_metrics *metrics = memory_new(sizeof *metrics);
    pthread_mutex_init(&metrics->mutex, NULL);
    return metrics;
}

void lock_metrics_free(struct lock_metrics *metrics)
{
    if (!metrics) return;
    pthread_mutex_destroy(&metrics->mutex);
    map_free(&metrics->by_hash);
    free(metrics);
}

/* --- counting --- */

static struct figures *place(struct lock_metrics *metrics)
{
    if (metrics->count < LOCK_METRICS_MAX) return &metrics->locks[metrics->count++];
    for (;; metrics->hand++) {
        struct figures *found = &metrics->locks[metrics->hand % LOCK_METRICS_MAX];
        if (!(found->lately /= 2)) {
            metrics->hand++;
            map_remove(&metrics->by_hash, found->hash);
            return found;
        }
    }
}

/* NULL: another lock has the same hash; this one is left out. */
static struct figures *figures_of(struct lock_metrics *metrics, struct slice name)
{
    uint32_t hash = crc32c(0, name.data, name.size);
    if (!hash) hash = 1;
    struct figures *figures = map_get(&metrics->by_hash, hash);
    if (figures) return slice_equal(name, slice_of(figures->name, figures->size)) ? figures : NULL;
    figures = place(metrics);
    *figures = (struct figures){.hash = hash, .size = (uint8_t)name.size};
    memcpy(figures->name, name.data, name.size);
    map_put(&metrics->by_hash, hash, figures);
    return figures;
}

static void count_one(struct lock_metrics *metrics, const struct event *event)
{
    struct slice name = slice_skip(event->path, sizeof "/locks/" - 1);
    uint8_t kind = event->kind->code;
    struct figures *figures = figures_of(metrics, name);
    if (!figures) return;
    figures->lately++;
    if (kind == LOCK_ACQUIRED) {
        uint64_t waited_ms = record_number(event->shape, event->data, "waited_ms");
        figures->acquired++;
        figures->waited += waited_ms > 0;
        figures->wait_ms += waited_ms;
    } else if (kind > LOCK_ENDED && kind <= LOCK_ENDED + REASONS) {
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

static uint64_t activity(const struct figures *figures)
{
    uint64_t all = figures->acquired;
    for (size_t i = 0; i < REASONS; i++) all += figures->ended[i];
    return all;
}

/* By what they have done since they are known; of equals, the one known longer. */
static size_t busiest(const struct lock_metrics *metrics, struct figures *shown)
{
    size_t count = 0;
    for (size_t i = 0; i < metrics->count; i++) {
        const struct figures *figures = &metrics->locks[i];
        uint64_t rank = activity(figures);
        size_t at = count;
        if (count == LOCK_METRICS_SHOWN && activity(&shown[count - 1]) >= rank) continue;
        if (count == LOCK_METRICS_SHOWN)
            at--;
        else
            count++;
        for (; at && activity(&shown[at - 1]) < rank; at--) shown[at] = shown[at - 1];
        shown[at] = *figures;
    }
    return count;
}

static void label(const struct figures *figures, struct buffer *out)
{
    buffer_add_text(out, "{lock=\"");
    for (size_t i = 0; i < figures->size; i++) {
        uint8_t byte = figures->name[i];
        if (byte == '\\' || byte == '"') buffer_add_byte(out, '\\');
        if (byte == '\n')
            buffer_add_text(out, "\\n");
        else
            buffer_add_byte(out, byte);
    }
    buffer_add_byte(out, '"');
}

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
        label(&shown[i], out);
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
        label(&shown[i], out);
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
            label(&shown[i], out);
            buffer_printf(out, ",reason=\"%s\"} %llu\n", end_reason_choices[k],
                          (unsigned long long)shown[i].ended[k]);
        }
}

void lock_metrics_text(struct lock_metrics *metrics, struct buffer *out)
{
    struct figures shown[LOCK_METRICS_SHOWN] = {{.hash = 0}};
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest(metrics, shown);
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
    size_t count = metrics->count;
    pthread_mutex_unlock(&metrics->mutex);
    return count;
}
