/* Figures of groups, for /metrics: of all members together, and of the largest and busiest groups. What
 * happened is counted from the events of applied entries; how it stands is looked up in the rows, once a
 * second at most. The node thread counts and looks, the api threads read.
 *
 * A look reads the census, the groups that are shown, and a few others in turn, so that the large ones among
 * those where nothing happens are found too: never more than GROUP_METRICS_SHOWN + GROUP_METRICS_STEP rows.
 *
 * Invariant: at most GROUP_METRICS_MAX groups are known at a time (api/busiest.h). */
#ifndef COORDD_API_GROUP_METRICS_H
#define COORDD_API_GROUP_METRICS_H

#include "base/buffer.h"
#include "coord/event.h"

enum {
    GROUP_METRICS_MAX = 1024,
    GROUP_METRICS_SHOWN = 50,
    GROUP_METRICS_STEP = 100,
    GROUP_METRICS_LOOK_MS = 1000
};

struct group_metrics;

struct group_metrics *group_metrics_new(void);
void group_metrics_free(struct group_metrics *metrics); /* NULL: nothing */

/* The events of one entry; those of other primitives do not count. */
void group_metrics_count(struct group_metrics *metrics, const struct event *events);
/* How groups stand in these rows. `now_ms`, of any clock, says when it is time for it again. Holds no lock
 * while it reads rows. */
void group_metrics_look(struct group_metrics *metrics, struct rows *rows, uint64_t now_ms);
/* In Prometheus' text format. `heartbeats`: how many this node has answered. */
void group_metrics_text(struct group_metrics *metrics, uint64_t heartbeats, struct buffer *out);

#endif
