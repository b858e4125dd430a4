/* Figures of single locks, for /metrics: of the busiest ones, by what the events of applied entries tell. The
 * node thread counts, the api threads read.
 *
 * Invariant: at most LOCK_METRICS_MAX locks are known at a time. One that is not known takes the place of one
 * that had little to do lately, and begins at zero. */
#ifndef COORDD_API_LOCK_METRICS_H
#define COORDD_API_LOCK_METRICS_H

#include "base/buffer.h"
#include "coord/event.h"

enum { LOCK_METRICS_MAX = 1024, LOCK_METRICS_SHOWN = 20 };

struct lock_metrics;

struct lock_metrics *lock_metrics_new(void);
void lock_metrics_free(struct lock_metrics *metrics); /* NULL: nothing */

/* The events of one entry; those of other primitives do not count. */
void lock_metrics_count(struct lock_metrics *metrics, const struct event *events);
/* The busiest LOCK_METRICS_SHOWN, in Prometheus' text format. */
void lock_metrics_text(struct lock_metrics *metrics, struct buffer *out);
size_t lock_metrics_known(struct lock_metrics *metrics);

#endif
