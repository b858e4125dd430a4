#include "api/group_metrics.h"

#include "api/busiest.h"
#include "base/memory.h"
#include "coord/primitive/group.h"

#include <pthread.h>
#include <stdio.h>

struct standing {
    bool exists;
    struct group_row row;
};

struct figures {
    struct busiest_name name; /* its weight: members, and events of members */
    uint64_t happened, size;  /* the two parts of its weight */
    uint64_t events[GROUP_EVENTS];
    struct standing standing;
};

struct group_metrics {
    pthread_mutex_t mutex; /* of all up to the next comment */
    struct busiest *groups;
    struct census census;
    uint64_t events[GROUP_EVENTS];
    /* the node thread's: */
    struct figures looked_at[GROUP_METRICS_SHOWN];
    struct key from; /* where the next look goes on among all groups */
    uint64_t next_look_ms;
};

struct group_metrics *group_metrics_new(void)
{
    struct group_metrics *metrics = memory_new(sizeof *metrics);
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->groups = busiest_new(sizeof(struct figures), GROUP_METRICS_MAX);
    metrics->from = key_of(KEY_GROUP);
    return metrics;
}

void group_metrics_free(struct group_metrics *metrics)
{
    if (!metrics) return;
    pthread_mutex_destroy(&metrics->mutex);
    busiest_free(metrics->groups);
    free(metrics);
}

/* --- counting --- */

/* What happens to members, and to the group's guard; not to its leader, shards, broadcasts and settings. */
static bool counts(const struct event *event)
{
    uint8_t code = event->kind->code;
    return event->primitive->code == GROUP_CODE && (code <= GROUP_UNGUARDED || code == GROUP_HALF_OPEN);
}

/* "/groups/NAME", or of a member "/groups/NAME/members/ID"; both may have slashes. */
static struct slice group_of(const struct event *event)
{
    struct slice name = slice_skip(event->path, sizeof "/groups/" - 1);
    const struct field *field = record_field(event->shape, SLICE("group"));
    if (field) memcpy(&name, (const char *)event->data + field->offset, sizeof name);
    return name;
}

static void count_one(struct group_metrics *metrics, const struct event *event)
{
    metrics->events[event->kind->code - 1]++;
    struct figures *figures = busiest_use(metrics->groups, group_of(event));
    if (!figures) return;
    figures->events[event->kind->code - 1]++;
    figures->happened++;
    figures->name.weight = figures->happened + figures->size;
}

void group_metrics_count(struct group_metrics *metrics, const struct event *events)
{
    bool any = false;
    for (const struct event *event = events; event && !any; event = event->next) any = counts(event);
    if (!any) return;
    pthread_mutex_lock(&metrics->mutex);
    for (const struct event *event = events; event; event = event->next)
        if (counts(event)) count_one(metrics, event);
    pthread_mutex_unlock(&metrics->mutex);
}

/* --- looking --- */

static uint64_t size_of(const struct group_row *row)
{
    uint64_t members = 0;
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) members += row->counts[state];
    return members;
}

/* Slices of the row are gone when the look is over. */
static struct standing look_at(struct rows *rows, struct slice name)
{
    struct arena arena = {0};
    struct apply apply;
    struct group group;
    apply_begin(&apply, rows, &arena, 0, 0, 0);
    group_load(&group, &apply, name);
    struct standing standing = {group.exists, group.row};
    standing.row.config = NULL;
    standing.row.leader = (struct slice){0};
    arena_free(&arena);
    return standing;
}

static void note(struct group_metrics *metrics, struct slice name, const struct standing *standing, bool use)
{
    pthread_mutex_lock(&metrics->mutex);
    struct figures *figures = use ? busiest_use(metrics->groups, name) : busiest_find(metrics->groups, name);
    if (figures) {
        figures->standing = *standing;
        figures->size = size_of(&standing->row);
        figures->name.weight = figures->happened + figures->size;
    }
    pthread_mutex_unlock(&metrics->mutex);
}

/* A few more of all groups: those that are larger than the least of those shown are to be known. */
static void look_around(struct group_metrics *metrics, struct rows *rows, uint64_t least)
{
    struct slice key, value;
    for (size_t i = 0; i < GROUP_METRICS_STEP; i++) {
        if (!rows_seek(rows, key_slice(&metrics->from), &key, &value) || key.data[0] != KEY_GROUP) {
            metrics->from = key_of(KEY_GROUP);
            return;
        }
        metrics->from = key_after(key);
        struct slice name = slice_of(metrics->from.bytes + 1, key.size - 1);
        struct standing standing = look_at(rows, name);
        note(metrics, name, &standing, standing.exists && size_of(&standing.row) > least);
    }
}

static uint64_t look_at_shown(struct group_metrics *metrics, struct rows *rows)
{
    struct figures *shown = metrics->looked_at;
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest_shown(metrics->groups, shown, GROUP_METRICS_SHOWN);
    pthread_mutex_unlock(&metrics->mutex);
    for (size_t i = 0; i < count; i++) {
        struct slice name = slice_of(shown[i].name.name, shown[i].name.size);
        struct standing standing = look_at(rows, name);
        note(metrics, name, &standing, false);
    }
    return count == GROUP_METRICS_SHOWN ? shown[count - 1].name.weight : 0;
}

void group_metrics_look(struct group_metrics *metrics, struct rows *rows, uint64_t now_ms)
{
    struct arena arena = {0};
    struct apply apply;
    if (now_ms < metrics->next_look_ms) return;
    metrics->next_look_ms = now_ms + GROUP_METRICS_LOOK_MS;
    apply_begin(&apply, rows, &arena, 0, 0, 0);
    struct census census = group_census(&apply);
    arena_free(&arena);
    pthread_mutex_lock(&metrics->mutex);
    metrics->census = census;
    pthread_mutex_unlock(&metrics->mutex);
    look_around(metrics, rows, look_at_shown(metrics, rows));
}

/* --- showing --- */

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_printf(out, "# HELP coordd_%s %s\n# TYPE coordd_%s %s\n", name, help, name, type);
}

static void one(struct buffer *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    buffer_printf(out, "coordd_%s %llu\n", name, (unsigned long long)value);
}

enum { SHOWN_STATES = 5 };
static const char *const state_names[SHOWN_STATES] = {"alive", "suspect", "failed", "left", "draining"};

/* Those that drain are not counted among those that are alive. */
static void by_state(const uint64_t *counts, uint64_t draining, uint64_t shown[SHOWN_STATES])
{
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) shown[state - 1] = counts[state];
    shown[0] -= draining;
    shown[SHOWN_STATES - 1] = draining;
}

static void of_all(const struct census *census, const uint64_t *events, uint64_t heartbeats,
                   struct buffer *out)
{
    const struct group_sums *sums = &census->sums;
    uint64_t shown[SHOWN_STATES];
    by_state(sums->counts, sums->draining, shown);
    head(out, "members", "gauge", "Members of all groups, by state.");
    for (size_t i = 0; i < SHOWN_STATES; i++)
        buffer_printf(out, "coordd_members{state=\"%s\"} %llu\n", state_names[i],
                      (unsigned long long)shown[i]);
    one(out, "groups", "gauge", "Groups with members.", sums->groups);
    one(out, "groups_guarded", "gauge", "Groups of which too many members were silent at once.",
        sums->guarded_groups);
    one(out, "members_guarded", "gauge", "Members whose time is over and that a guard keeps suspect.",
        sums->guarded);
    one(out, "members_ejected", "gauge", "Members that are not picked because they fail their callers.",
        sums->ejected);
    one(out, "members_half_open", "gauge", "Members on trial after an ejection.", sums->half_open);
    one(out, "heartbeats_total", "counter", "Heartbeats of members that this node, as leader, has taken.",
        heartbeats);
    head(out, "member_events_total", "counter",
         "What happened to members and guards of all groups, as this node applied it.");
    for (size_t i = 0; i < GROUP_EVENTS; i++)
        if (events[i])
            buffer_printf(out, "coordd_member_events_total{event=\"%s\"} %llu\n", group_events[i].name,
                          (unsigned long long)events[i]);
}

struct shown {
    const struct figures *all;
    size_t count;
    struct buffer *out;
};

static void line(const struct shown *shown, size_t i, const char *name, const char *label, const char *value,
                 uint64_t number)
{
    buffer_printf(shown->out, "coordd_group_%s", name);
    busiest_label(&shown->all[i].name, "group", shown->out);
    if (label) buffer_printf(shown->out, ",%s=\"%s\"", label, value);
    buffer_printf(shown->out, "} %llu\n", (unsigned long long)number);
}

static void members(const struct shown *shown)
{
    head(shown->out, "group_members", "gauge", "Members of the largest and busiest groups, by state.");
    for (size_t i = 0; i < shown->count; i++) {
        const struct standing *standing = &shown->all[i].standing;
        uint64_t by[SHOWN_STATES];
        if (!standing->exists) continue;
        by_state(standing->row.counts, standing->row.draining, by);
        for (size_t k = 0; k < SHOWN_STATES; k++) line(shown, i, "members", "state", state_names[k], by[k]);
    }
}

static void gauges(const struct shown *shown, const char *name, const char *help, size_t offset)
{
    char full[64];
    snprintf(full, sizeof full, "group_%s", name);
    head(shown->out, full, "gauge", help);
    for (size_t i = 0; i < shown->count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&shown->all[i].standing.row + offset, sizeof value);
        if (shown->all[i].standing.exists) line(shown, i, name, NULL, NULL, value);
    }
}

static void guards(const struct shown *shown)
{
    head(shown->out, "group_guarded", "gauge", "1 while the group is guarded.");
    for (size_t i = 0; i < shown->count; i++)
        if (shown->all[i].standing.exists)
            line(shown, i, "guarded", NULL, NULL, shown->all[i].standing.row.guarded_ms > 0);
}

static void events(const struct shown *shown)
{
    head(shown->out, "group_events_total", "counter",
         "What happened to the group's members and guard, as this node applied it.");
    for (size_t i = 0; i < shown->count; i++)
        for (size_t k = 0; k < GROUP_EVENTS; k++)
            if (shown->all[i].events[k])
                line(shown, i, "events_total", "event", group_events[k].name, shown->all[i].events[k]);
}

void group_metrics_text(struct group_metrics *metrics, uint64_t heartbeats, struct buffer *out)
{
    struct figures *copies = memory_new(GROUP_METRICS_SHOWN * sizeof *copies);
    uint64_t all_events[GROUP_EVENTS];
    pthread_mutex_lock(&metrics->mutex);
    size_t count = busiest_shown(metrics->groups, copies, GROUP_METRICS_SHOWN);
    struct census census = metrics->census;
    memcpy(all_events, metrics->events, sizeof all_events);
    pthread_mutex_unlock(&metrics->mutex);
    of_all(&census, all_events, heartbeats, out);
    struct shown shown = {copies, count, out};
    members(&shown);
    guards(&shown);
    gauges(&shown, "members_guarded", "Members that the group's guard keeps suspect.",
           offsetof(struct group_row, guarded));
    gauges(&shown, "members_ejected", "Members that fail their callers.",
           offsetof(struct group_row, ejected));
    gauges(&shown, "shards_free", "Shards without an owner.", offsetof(struct group_row, shards_free));
    gauges(&shown, "shards_moving", "Shards that their owners are to let go of.",
           offsetof(struct group_row, shards_moving));
    events(&shown);
    free(copies);
}
