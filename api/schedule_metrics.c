#include "api/schedule_metrics.h"

#include "base/memory.h"
#include "coord/primitive/schedule.h"

#include <stdatomic.h>

enum { LOOK_MS = 1000 };

struct schedule_metrics {
    _Atomic uint64_t schedules, runs[RUN_OUTCOMES]; /* by enum run_outcome - 1 */
    uint64_t next_look_ms;
};

struct schedule_metrics *schedule_metrics_new(void)
{
    return memory_new(sizeof(struct schedule_metrics));
}

void schedule_metrics_free(struct schedule_metrics *metrics)
{
    free(metrics);
}

void schedule_metrics_count(struct schedule_metrics *metrics, const struct event *events)
{
    for (const struct event *event = events; event; event = event->next) {
        if (event->primitive->code != SCHEDULE_CODE) continue;
        uint64_t outcome = record_number(event->shape, event->data, "outcome");
        uint64_t times = record_number(event->shape, event->data, "count");
        if (outcome && outcome <= RUN_OUTCOMES) metrics->runs[outcome - 1] += times ? times : 1;
    }
}

void schedule_metrics_look(struct schedule_metrics *metrics, struct rows *rows, uint64_t now_ms)
{
    if (now_ms < metrics->next_look_ms) return;
    metrics->next_look_ms = now_ms + LOOK_MS;
    metrics->schedules = schedule_count(rows);
}

void schedule_metrics_text(const struct schedule_metrics *metrics, struct buffer *out)
{
    buffer_printf(out,
                  "# HELP coordd_schedules Schedules that there are.\n# TYPE coordd_schedules gauge\n"
                  "coordd_schedules %llu\n"
                  "# HELP coordd_schedule_runs_total Times of schedules by what they came to, as this node "
                  "applied them.\n# TYPE coordd_schedule_runs_total counter\n",
                  (unsigned long long)metrics->schedules);
    for (size_t i = 0; i < RUN_OUTCOMES; i++)
        buffer_printf(out, "coordd_schedule_runs_total{outcome=\"%s\"} %llu\n", run_outcome_choices[i],
                      (unsigned long long)metrics->runs[i]);
}
