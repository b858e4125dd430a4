/* Figures of schedules, for /metrics: how many there are, and what their times came to, counted from the
 * events of applied entries. The node thread counts and looks, the api threads read. */
#ifndef COORDD_API_SCHEDULE_METRICS_H
#define COORDD_API_SCHEDULE_METRICS_H

#include "base/buffer.h"
#include "coord/event.h"

struct schedule_metrics;

struct schedule_metrics *schedule_metrics_new(void);
void schedule_metrics_free(struct schedule_metrics *metrics); /* NULL: nothing */

/* The events of one entry; those of other primitives do not count. */
void schedule_metrics_count(struct schedule_metrics *metrics, const struct event *events);
/* How many there are in these rows: one row is read. `now_ms`, of any clock, says when it is time for it
 * again, after a second. */
void schedule_metrics_look(struct schedule_metrics *metrics, struct rows *rows, uint64_t now_ms);
/* In Prometheus' text format. */
void schedule_metrics_text(const struct schedule_metrics *metrics, struct buffer *out);

#endif
