/* Schedules: what is shown of them, and events. */
#include "coord/primitive/schedule.h"

#define NAME(member) .offset = offsetof(struct schedule_name_args, member), .name = #member
static const struct field name_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     NAME(schedule),
     .max = 255,
     .about = "the schedule's name"},
};
const struct record schedule_name_record = RECORD("schedule_name", schedule_name_args, name_fields);

/* --- runs --- */

struct run_view {
    uint64_t nominal_ms, at_ms, outcome, count;
    struct slice task, detail;
};
#define SHOWN(member) .offset = offsetof(struct run_view, member)
static const struct field run_fields[] = {
    {.number = 1,
     .type = FIELD_TIME,
     SHOWN(nominal_ms),
     .name = "nominal",
     .about = "the time that the schedule names; null: asked for by run"},
    {.number = 2, .type = FIELD_TIME, SHOWN(at_ms), .name = "fired", .about = "when that was done"},
    {.number = 3,
     .type = FIELD_CHOICE,
     SHOWN(outcome),
     .name = "outcome",
     .choices = run_outcome_choices,
     .about = "what it came to"},
    {.number = 4,
     .type = FIELD_TEXT,
     SHOWN(task),
     .name = "task",
     .flags = FIELD_NULL,
     .about = "its id; null: none was made"},
    {.number = 5,
     .type = FIELD_UINT,
     SHOWN(count),
     .name = "count",
     .about = "how many nominal times were skipped together, else 1"},
    {.number = 6,
     .type = FIELD_TEXT,
     SHOWN(detail),
     .name = "detail",
     .flags = FIELD_NULL,
     .about = "why the queue refused it"},
};
static const struct record run_record = RECORD("schedule_run", run_view, run_fields);

static struct run_view view_run(const struct schedule *schedule, const struct run *run)
{
    struct slice task = {0};
    if (run->task) task = arena_printf(schedule->apply->arena, "%llu", (unsigned long long)run->task);
    return (struct run_view){.nominal_ms = run->nominal_ms,
                             .at_ms = run->at_ms,
                             .outcome = run->outcome,
                             .count = run->count,
                             .task = task,
                             .detail = run->detail};
}

static struct list view_runs(const struct schedule *schedule)
{
    struct list runs = schedule->row.runs, list = {.count = runs.count};
    struct run_view *views = arena_alloc(schedule->apply->arena, runs.count * sizeof *views);
    for (size_t i = 0; i < runs.count; i++)
        views[i] = view_run(schedule, &((const struct run *)runs.items)[i]);
    list.items = views;
    return list;
}

/* --- the whole schedule --- */

struct counts {
    uint64_t fired, manual, skipped_overlap, skipped_misfire, deduplicated, refused;
};
#define COUNT(member) .type = FIELD_UINT, .offset = offsetof(struct counts, member), .name = #member
static const struct field counts_fields[] = {
    {.number = 1, COUNT(fired), .about = "nominal times that made a task"},
    {.number = 2, COUNT(manual), .about = "tasks made by run"},
    {.number = 3, COUNT(skipped_overlap), .about = "because a task of before was not over"},
    {.number = 4,
     COUNT(skipped_misfire),
     .about = "because they were missed; of one outage 1,000 at most are counted"},
    {.number = 5, COUNT(deduplicated), .about = "because a live task had the key"},
    {.number = 6, COUNT(refused), .about = "by the queue"},
};
static const struct record counts_record = RECORD("schedule_counts", counts, counts_fields);

struct view {
    struct slice schedule, queue, cron, time_zone, time_zone_rule, payload, key, group;
    uint64_t every_ms, priority, ttl_ms, timeout_ms, overlap, misfire, misfire_max, jitter_ms;
    uint64_t start_ms, end_ms, next_ms, created_ms, revision;
    bool paused;
    const struct counts *counts;
    struct list runs;
};
#define VIEW(member) .offset = offsetof(struct view, member)
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_NAME, VIEW(schedule), .name = "schedule", .about = "its name"},
    {.number = 2, .type = FIELD_NAME, VIEW(queue), .name = "queue", .about = "in which its tasks are made"},
    {.number = 3,
     .type = FIELD_CRON,
     VIEW(cron),
     .name = "cron",
     .flags = FIELD_NULL,
     .about = "null: it has every"},
    {.number = 4,
     .type = FIELD_UINT,
     VIEW(every_ms),
     .name = "every_ms",
     .flags = FIELD_NULL,
     .about = "null: it has cron"},
    {.number = 5, .type = FIELD_ZONE, VIEW(time_zone), .name = "time_zone", .about = "as given"},
    {.number = 6,
     .type = FIELD_TEXT,
     VIEW(time_zone_rule),
     .name = "time_zone_rule",
     .about = "the POSIX rule that it stands for"},
    {.number = 7, .type = FIELD_JSON, VIEW(payload), .name = "payload", .about = "of its tasks"},
    {.number = 8, .type = FIELD_UINT, VIEW(priority), .name = "priority", .about = "of its tasks"},
    {.number = 9, .type = FIELD_TEXT, VIEW(key), .name = "key", .flags = FIELD_NULL, .about = "of its tasks"},
    {.number = 10,
     .type = FIELD_TEXT,
     VIEW(group),
     .name = "group",
     .flags = FIELD_NULL,
     .about = "of its tasks"},
    {.number = 11,
     .type = FIELD_UINT,
     VIEW(ttl_ms),
     .name = "ttl_ms",
     .flags = FIELD_NULL,
     .about = "of its tasks; null: the queue's"},
    {.number = 12,
     .type = FIELD_UINT,
     VIEW(timeout_ms),
     .name = "timeout_ms",
     .flags = FIELD_NULL,
     .about = "of its tasks; null: the queue's"},
    {.number = 13,
     .type = FIELD_CHOICE,
     VIEW(overlap),
     .name = "overlap",
     .choices = overlap_choices,
     .about = "what happens when a task of before is not over"},
    {.number = 14,
     .type = FIELD_CHOICE,
     VIEW(misfire),
     .name = "misfire",
     .choices = misfire_choices,
     .about = "what happens to times that were missed"},
    {.number = 15,
     .type = FIELD_UINT,
     VIEW(misfire_max),
     .name = "misfire_max",
     .about = "of missed times that are made up for, with misfire all"},
    {.number = 16,
     .type = FIELD_UINT,
     VIEW(jitter_ms),
     .name = "jitter_ms",
     .about = "a firing is put off by at most that"},
    {.number = 17,
     .type = FIELD_TIME,
     VIEW(start_ms),
     .name = "start",
     .about = "nothing before; null: at once"},
    {.number = 18, .type = FIELD_TIME, VIEW(end_ms), .name = "end", .about = "nothing after; null: never"},
    {.number = 19, .type = FIELD_BOOL, VIEW(paused), .name = "paused", .about = "nothing fires"},
    {.number = 20,
     .type = FIELD_TIME,
     VIEW(next_ms),
     .name = "next",
     .about = "the next nominal time; null: paused, or there are no more"},
    {.number = 21,
     .type = FIELD_RECORD,
     VIEW(counts),
     .name = "counts",
     .record = &counts_record,
     .about = "ever"},
    {.number = 22,
     .type = FIELD_LIST,
     VIEW(runs),
     .name = "runs",
     .record = &run_record,
     .about = "the last 20, newest first"},
    {.number = 23, .type = FIELD_TIME, VIEW(created_ms), .name = "created", .about = "when it was made"},
    {.number = 24, .type = FIELD_UINT, VIEW(revision), .name = "revision", .about = "of its last change"},
};
const struct record schedule_view_record = RECORD("schedule", view, view_fields);

static const struct counts *view_counts(const struct schedule *schedule)
{
    const struct schedule_row *row = &schedule->row;
    struct counts *counts = arena_alloc(schedule->apply->arena, sizeof *counts);
    *counts = (struct counts){.fired = row->fired,
                              .manual = row->manual,
                              .skipped_overlap = row->skipped_overlap,
                              .skipped_misfire = row->skipped_misfire,
                              .deduplicated = row->deduplicated,
                              .refused = row->refused};
    return counts;
}

const void *schedule_view(const struct schedule *schedule)
{
    const struct schedule_config *config = schedule->row.config;
    struct view *view = arena_alloc(schedule->apply->arena, sizeof *view);
    *view = (struct view){.schedule = schedule->name,
                          .queue = config->queue,
                          .cron = config->cron,
                          .every_ms = config->every_ms,
                          .time_zone = config->time_zone,
                          .time_zone_rule = zone_rule(config->time_zone),
                          .payload = config->payload,
                          .priority = config->priority,
                          .key = config->key,
                          .group = config->group,
                          .ttl_ms = config->ttl_ms,
                          .timeout_ms = config->timeout_ms,
                          .overlap = config->overlap,
                          .misfire = config->misfire,
                          .misfire_max = config->misfire_max,
                          .jitter_ms = config->jitter_ms,
                          .start_ms = config->start_ms,
                          .end_ms = config->end_ms,
                          .paused = config->paused,
                          .next_ms = schedule->row.next_ms,
                          .counts = view_counts(schedule),
                          .runs = view_runs(schedule),
                          .created_ms = schedule->row.created_ms,
                          .revision = schedule->changed ? schedule->apply->index : schedule->row.revision};
    return view;
}

void schedule_get(struct apply *apply, const void *arguments)
{
    const struct schedule_name_args *args = arguments;
    struct schedule schedule;
    schedule_load(&schedule, apply, args->schedule);
    if (schedule.exists)
        apply_answer(apply, OUTCOME_OK, &schedule_view_record, schedule_view(&schedule));
    else
        apply_answer(apply, OUTCOME_SCHEDULE_NOT_FOUND, NULL, NULL);
}

/* --- lists --- */

struct list_args {
    struct slice prefix, cursor;
    uint64_t limit;
};
#define ASKED(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ASKED(prefix), .max = 255, .about = "of the name"},
    {.number = 2,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = 1000,
     .initial = 100,
     .about = "at most that many"},
    {.number = 3, .type = FIELD_TEXT, ASKED(cursor), .max = 255, .about = "of the page before"},
};
const struct record schedule_list_args_record = RECORD("schedule_list_args", list_args, list_args_fields);

struct item {
    struct slice schedule, queue, cron, time_zone;
    uint64_t every_ms, next_ms, last_ms, last_outcome, revision;
    bool paused;
};
#define ITEM(member) .offset = offsetof(struct item, member)
static const struct field item_fields[] = {
    {.number = 1, .type = FIELD_NAME, ITEM(schedule), .name = "schedule", .about = "its name"},
    {.number = 2, .type = FIELD_NAME, ITEM(queue), .name = "queue", .about = "in which its tasks are made"},
    {.number = 3,
     .type = FIELD_CRON,
     ITEM(cron),
     .name = "cron",
     .flags = FIELD_NULL,
     .about = "null: it has every"},
    {.number = 4,
     .type = FIELD_UINT,
     ITEM(every_ms),
     .name = "every_ms",
     .flags = FIELD_NULL,
     .about = "null: it has cron"},
    {.number = 5, .type = FIELD_ZONE, ITEM(time_zone), .name = "time_zone", .about = "as given"},
    {.number = 6, .type = FIELD_BOOL, ITEM(paused), .name = "paused", .about = "nothing fires"},
    {.number = 7,
     .type = FIELD_TIME,
     ITEM(next_ms),
     .name = "next",
     .about = "nominal time; null: paused, or there are no more"},
    {.number = 8,
     .type = FIELD_TIME,
     ITEM(last_ms),
     .name = "last",
     .about = "time of the last run; null: none yet"},
    {.number = 9,
     .type = FIELD_CHOICE,
     ITEM(last_outcome),
     .name = "last_outcome",
     .choices = run_outcome_choices,
     .about = "of the last run"},
    {.number = 10, .type = FIELD_UINT, ITEM(revision), .name = "revision", .about = "of its last change"},
};
static const struct record item_record = RECORD("schedule_item", item, item_fields);

struct list_result {
    struct list schedules;
    struct slice cursor;
    uint64_t revision;
};
#define PAGE(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(schedules),
     .record = &item_record,
     .about = "in the order of their names"},
    {.number = 2,
     .type = FIELD_TEXT,
     PAGE(cursor),
     .flags = FIELD_NULL,
     .about = "for the next page; null at the end"},
    {.number = 3, .type = FIELD_UINT, PAGE(revision), .about = "of the state that was read"},
};
const struct record schedule_list_record = RECORD("schedules", list_result, list_fields);

static struct item item_of(struct apply *apply, struct slice name)
{
    struct schedule schedule;
    schedule_load(&schedule, apply, name);
    const struct schedule_config *config = schedule.row.config;
    const struct run *last = schedule.row.runs.count ? schedule.row.runs.items : NULL;
    return (struct item){.schedule = name,
                         .queue = config->queue,
                         .cron = config->cron,
                         .every_ms = config->every_ms,
                         .time_zone = config->time_zone,
                         .paused = config->paused,
                         .next_ms = schedule.row.next_ms,
                         .last_ms = last ? last->at_ms : 0,
                         .last_outcome = last ? last->outcome : 0,
                         .revision = schedule.row.revision};
}

void schedule_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct item *items = arena_alloc(apply->arena, args->limit * sizeof *items);
    struct key from = object_first(KEY_SCHEDULE, args->prefix, args->cursor);
    struct slice name, last = {0};
    result->schedules.items = items;
    result->revision = apply->index;
    while (object_next(apply, &from, args->prefix, &name)) {
        if (!name.size) continue;
        if (result->schedules.count == args->limit) {
            result->cursor = last;
            break;
        }
        items[result->schedules.count++] = item_of(apply, name);
        last = name;
    }
    apply_answer(apply, OUTCOME_OK, &schedule_list_record, result);
}

/* --- events; codes are for ever --- */

struct changed {
    struct slice queue, cron, time_zone;
    uint64_t every_ms, next_ms;
    bool paused;
};
#define CHANGED(member) .offset = offsetof(struct changed, member)
static const struct field changed_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     CHANGED(queue),
     .name = "queue",
     .about = "in which its tasks are made"},
    {.number = 2,
     .type = FIELD_CRON,
     CHANGED(cron),
     .name = "cron",
     .flags = FIELD_NULL,
     .about = "null: it has every"},
    {.number = 3,
     .type = FIELD_UINT,
     CHANGED(every_ms),
     .name = "every_ms",
     .flags = FIELD_NULL,
     .about = "null: it has cron"},
    {.number = 4, .type = FIELD_ZONE, CHANGED(time_zone), .name = "time_zone", .about = "as given"},
    {.number = 5, .type = FIELD_BOOL, CHANGED(paused), .name = "paused", .about = "nothing fires"},
    {.number = 6,
     .type = FIELD_TIME,
     CHANGED(next_ms),
     .name = "next",
     .about = "nominal time; null: paused, removed, or there are no more"},
};
static const struct record changed_record = RECORD("schedule_changed", changed, changed_fields);

const struct event_kind schedule_events[SCHEDULE_EVENTS] = {
    {.code = SCHEDULE_SET, .name = "set", .kept = &changed_record},
    {.code = SCHEDULE_FIRED, .name = "fired", .kept = &run_record},
    {.code = SCHEDULE_SKIPPED, .name = "skipped", .kept = &run_record},
    {.code = SCHEDULE_PAUSED, .name = "paused", .kept = &changed_record},
    {.code = SCHEDULE_RESUMED, .name = "resumed", .kept = &changed_record},
    {.code = SCHEDULE_REMOVED, .name = "removed", .kept = &changed_record},
};

static void tell(const struct schedule *schedule, enum schedule_event event, const void *data)
{
    struct slice path = arena_printf(schedule->apply->arena, "/schedules/%.*s", SLICE_ARGS(schedule->name));
    event_add(schedule->apply, &schedule_primitive, (uint8_t)event, path, data, 0);
}

void schedule_tell(const struct schedule *schedule, enum schedule_event event)
{
    const struct schedule_config *config = schedule->row.config;
    struct changed *data = arena_alloc(schedule->apply->arena, sizeof *data);
    *data = (struct changed){.queue = config->queue,
                             .cron = config->cron,
                             .time_zone = config->time_zone,
                             .every_ms = config->every_ms,
                             .next_ms = schedule->row.next_ms,
                             .paused = config->paused};
    tell(schedule, event, data);
}

void schedule_tell_run(const struct schedule *schedule, const struct run *run)
{
    struct run_view *data = arena_alloc(schedule->apply->arena, sizeof *data);
    *data = view_run(schedule, run);
    tell(schedule, run->task ? SCHEDULE_FIRED : SCHEDULE_SKIPPED, data);
}
