/* What /metrics shows, in Prometheus' text format. Each api thread counts in its own structure, without
 * locks; any thread may read. */
#ifndef COORDD_API_METRICS_H
#define COORDD_API_METRICS_H

#include "api/mailbox.h"
#include "api/route.h"

#include <stdatomic.h>

enum { METRICS_BUCKETS = 12 };

typedef _Atomic uint64_t metric;

/* Requests of one operation. */
struct operation_metrics {
    metric *by_outcome;                  /* by problem_outcome_position */
    metric by_duration[METRICS_BUCKETS]; /* how many took at most the bucket's bound; not cumulative */
    metric duration_us;                  /* sum */
};

struct metrics {
    size_t operation_count;
    struct operation_metrics
        *operations; /* by route number; then one for pages, one for what met no operation */
    metric connections, connections_max, under_way, waiting, streams; /* gauges */
    metric accepted, body_bytes_in, body_bytes_out, gone, undelivered;
};

struct metrics *metrics_new(const struct routes *routes);
void metrics_free(struct metrics *metrics);

size_t metrics_row_of_pages(const struct metrics *metrics);
size_t metrics_row_of_none(const struct metrics *metrics);

/* The owner thread only. */
static inline void metric_add(metric *counter, uint64_t value)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + value, memory_order_relaxed);
}

static inline void metric_set(metric *gauge, uint64_t value)
{
    atomic_store_explicit(gauge, value, memory_order_relaxed);
}

void metrics_request(struct metrics *metrics, size_t row, enum outcome outcome, uint64_t duration_ns);

/* All threads' counts as one text, with the view of the node and what the kernel says of the process. */
void metrics_text(struct metrics *const *all, size_t count, const struct routes *routes,
                  const struct node_view *view, const char *node, struct buffer *out);

#endif
