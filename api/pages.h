/* What every node answers by itself: health, version, metrics and the OpenAPI document. GET and HEAD only. */
#ifndef COORDD_API_PAGES_H
#define COORDD_API_PAGES_H

#include "api/metrics.h"
#include "api/reply.h"

/* What pages tell of. */
struct pages {
    const char *node;
    const struct routes *routes;
    struct slice openapi; /* made once */
    struct metrics *const *metrics;
    size_t metrics_count;
};

struct page {
    const char *path;
    bool open; /* health: no Host needed, asked for by probes */
    struct reply (*write)(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                          enum outcome *outcome, struct buffer *body);
};

/* NULL: no page lies there. */
const struct page *page_find(struct slice path);

#endif
