#include "api/pages.h"

#include "api/openapi.h"

#include <stdio.h>

enum { TURN_FRESH_MS = 5000 }; /* a node shows itself once a second at least */

static const char *const phases[] = {"starting", "running", "stopping"};

static uint64_t turn_age_ms(const struct node_view *view, uint64_t now_ms)
{
    return now_ms > view->turn_ms ? now_ms - view->turn_ms : 0;
}

static void add_health(struct json *json, const struct node_view *view, uint64_t now_ms)
{
    json_key(json, "phase");
    json_text(json, slice_text(phases[view->phase]));
    json_key(json, "role");
    json_text(json, slice_text(view->role ? view->role : "follower"));
    json_key(json, "leader");
    if (view->leader[0])
        json_text(json, slice_text(view->leader));
    else
        json_null(json);
    json_key(json, "ready");
    json_bool(json, view->ready);
    json_key(json, "storage_full");
    json_bool(json, view->storage_full);
    json_key(json, "turn_age_ms");
    json_uint(json, turn_age_ms(view, now_ms));
}

static struct reply healthy(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                            struct buffer *body)
{
    struct json json = {body, false};
    json_open(&json, '{');
    json_key(&json, "status");
    json_text(&json, SLICE("ok"));
    json_key(&json, "node");
    json_text(&json, slice_text(pages->node));
    add_health(&json, view, now_ms);
    json_close(&json, '}');
    buffer_add_byte(body, '\n');
    return (struct reply){.status = 200, .type = "application/json"};
}

static struct reply unhealthy(const char *detail, enum outcome outcome, struct buffer *body)
{
    struct problem problem = {.outcome = outcome, .detail = slice_text(detail)};
    return reply_to_problem(&problem, body);
}

static struct reply write_ready(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                                enum outcome *outcome, struct buffer *body)
{
    if (view->phase == NODE_STOPPING)
        return unhealthy("the node is shutting down", *outcome = OUTCOME_SHUTTING_DOWN, body);
    if (view->phase == NODE_STARTING)
        return unhealthy("the node is starting", *outcome = OUTCOME_STARTING, body);
    if (turn_age_ms(view, now_ms) >= TURN_FRESH_MS)
        return unhealthy("the node's thread does not turn", *outcome = OUTCOME_OVERLOADED, body);
    if (view->storage_full && !view->ready)
        return unhealthy("the disk has no room", *outcome = OUTCOME_OVERLOADED, body);
    if (!view->ready)
        return unhealthy("the node cannot serve linearizable requests", *outcome = OUTCOME_NO_LEADER, body);
    return healthy(pages, view, now_ms, body);
}

static struct reply write_live(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                               enum outcome *outcome, struct buffer *body)
{
    if (turn_age_ms(view, now_ms) >= TURN_FRESH_MS)
        return unhealthy("the node's thread does not turn", *outcome = OUTCOME_OVERLOADED, body);
    return healthy(pages, view, now_ms, body);
}

static struct reply write_version(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                                  enum outcome *outcome, struct buffer *body)
{
    char cluster[17] = "";
    (void)now_ms, (void)outcome;
    if (view->cluster) snprintf(cluster, sizeof cluster, "%016llx", (unsigned long long)view->cluster);
    struct json json = {body, false};
    json_open(&json, '{');
    json_key(&json, "name");
    json_text(&json, SLICE("coordd"));
    json_key(&json, "version");
    json_text(&json, SLICE(COORDD_VERSION));
    json_key(&json, "node");
    json_text(&json, slice_text(pages->node));
    json_key(&json, "cluster_id");
    if (view->cluster)
        json_text(&json, slice_text(cluster));
    else
        json_null(&json);
    json_close(&json, '}');
    buffer_add_byte(body, '\n');
    return (struct reply){.status = 200, .type = "application/json"};
}

static struct reply write_metrics(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                                  enum outcome *outcome, struct buffer *body)
{
    (void)now_ms, (void)outcome;
    metrics_text(pages->metrics, pages->metrics_count, pages->routes, view, pages->node, body);
    return (struct reply){.status = 200, .type = "text/plain; version=0.0.4; charset=utf-8"};
}

static struct reply write_openapi(const struct pages *pages, const struct node_view *view, uint64_t now_ms,
                                  enum outcome *outcome, struct buffer *body)
{
    char cluster[17] = "";
    (void)now_ms, (void)outcome;
    if (view->cluster) snprintf(cluster, sizeof cluster, "%016llx", (unsigned long long)view->cluster);
    buffer_add_slice(body, pages->openapi);
    return (struct reply){.status = 200, .type = "application/json"};
}

static const struct page all[] = {
    {"/healthz", true, write_ready},    {"/readyz", true, write_ready},
    {"/livez", true, write_live},       {"/version", false, write_version},
    {"/metrics", false, write_metrics}, {"/v1/openapi.json", false, write_openapi},
};

const struct page *page_find(struct slice path)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (slice_is(path, all[i].path)) return &all[i];
    return NULL;
}
