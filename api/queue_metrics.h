/* Figures of single queues, for /metrics: of the busiest ones. What happened is counted from the events of
 * applied entries; how it stands is looked up in the rows, once a second at most. The node thread counts and
 * looks, the api threads read.
 *
 * Invariant: at most QUEUE_METRICS_MAX queues are known at a time (api/busiest.h). */
#ifndef COORDD_API_QUEUE_METRICS_H
#define COORDD_API_QUEUE_METRICS_H

#include "base/buffer.h"
#include "coord/event.h"

enum { QUEUE_METRICS_MAX = 1024, QUEUE_METRICS_SHOWN = 100, QUEUE_METRICS_LOOK_MS = 1000 };

struct queue_metrics;

struct queue_metrics *queue_metrics_new(void);
void queue_metrics_free(struct queue_metrics *metrics); /* NULL: nothing */

/* The events of one entry; those of other primitives do not count. */
void queue_metrics_count(struct queue_metrics *metrics, const struct event *events);
/* How the queues to be shown stand in these rows, at the time of the newest entry; in the first place, which
 * there are. `now_ms`, of any clock, says when it is time for it again. Holds no lock while it reads rows. */
void queue_metrics_look(struct queue_metrics *metrics, struct rows *rows, uint64_t applied, uint64_t now_ms);
/* The busiest QUEUE_METRICS_SHOWN, in Prometheus' text format. `time_ms`: since 1970, for ages. */
void queue_metrics_text(struct queue_metrics *metrics, uint64_t time_ms, struct buffer *out);

#endif
