/* Schedules: the commands. Operation codes 170 to 179. */
#include "coord/primitive/schedule.h"

#include "coord/primitive/queue.h"

/* --- what can be set --- */

#define CONFIG(member) .offset = offsetof(struct schedule_config, member)
static const struct field config_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     CONFIG(schedule),
     .name = "schedule",
     .max = 255,
     .about = "the schedule's name"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     CONFIG(queue),
     .name = "queue",
     .max = 255,
     .about = "in which its tasks are made"},
    {.number = 3,
     .type = FIELD_CRON,
     CONFIG(cron),
     .name = "cron",
     .about = "minute hour day month weekday, a second before them if wanted, or @hourly and its like"},
    {.number = 4,
     .type = FIELD_DURATION,
     CONFIG(every_ms),
     .name = "every",
     .min = SCHEDULE_EVERY_MIN_MS,
     .max = SCHEDULE_DURATION_MAX_MS,
     .about = "instead of cron: so often, counted from start or from the making of the schedule"},
    {.number = 5,
     .type = FIELD_ZONE,
     CONFIG(time_zone),
     .name = "time_zone",
     .about = "whose clock cron means: a name such as Europe/Berlin, or a POSIX rule"},
    {.number = 6,
     .type = FIELD_JSON,
     CONFIG(payload),
     .name = "payload",
     .max = SCHEDULE_PAYLOAD_MAX,
     .about = "of its tasks"},
    {.number = 7,
     .type = FIELD_UINT,
     CONFIG(priority),
     .name = "priority",
     .max = QUEUE_PRIORITY_MAX,
     .initial = QUEUE_PRIORITY_DEFAULT,
     .about = "of its tasks; 0 is first"},
    {.number = 8,
     .type = FIELD_TEXT,
     CONFIG(key),
     .name = "key",
     .max = QUEUE_KEY_MAX,
     .about = "of its tasks"},
    {.number = 9,
     .type = FIELD_TEXT,
     CONFIG(group),
     .name = "group",
     .max = QUEUE_KEY_MAX,
     .about = "of its tasks"},
    {.number = 10,
     .type = FIELD_DURATION,
     CONFIG(ttl_ms),
     .name = "ttl",
     .max = SCHEDULE_DURATION_MAX_MS,
     .about = "of its tasks: what nobody has taken by then expires"},
    {.number = 11,
     .type = FIELD_DURATION,
     CONFIG(timeout_ms),
     .name = "timeout",
     .max = SCHEDULE_DURATION_MAX_MS,
     .about = "of its tasks: how long one attempt may run"},
    {.number = 12,
     .type = FIELD_CHOICE,
     CONFIG(overlap),
     .name = "overlap",
     .choices = overlap_choices,
     .initial = OVERLAP_SKIP,
     .about = "what to do while a task of before is not over"},
    {.number = 13,
     .type = FIELD_CHOICE,
     CONFIG(misfire),
     .name = "misfire",
     .choices = misfire_choices,
     .initial = MISFIRE_ONCE,
     .about = "what to do about times that were missed"},
    {.number = 14,
     .type = FIELD_UINT,
     CONFIG(misfire_max),
     .name = "misfire_max",
     .min = 1,
     .max = SCHEDULE_MISFIRES_MAX,
     .initial = 100,
     .about = "with misfire all: the newest so many are made up for"},
    {.number = 15,
     .type = FIELD_DURATION,
     CONFIG(jitter_ms),
     .name = "jitter",
     .max = 24 * 3600 * 1000,
     .about = "puts each firing off by up to that, always by the same"},
    {.number = 16, .type = FIELD_TIME, CONFIG(start_ms), .name = "start", .about = "nothing fires before"},
    {.number = 17, .type = FIELD_TIME, CONFIG(end_ms), .name = "end", .about = "nothing fires after"},
    {.number = 18, .type = FIELD_BOOL, CONFIG(paused), .name = "paused", .about = "nothing fires"},
};
const struct record schedule_config_record = RECORD("schedule_put", schedule_config, config_fields);

/* --- put --- */

/* Of what the edge has let through: why it makes no sense. NULL: it does. */
static const char *nonsense(const struct schedule_config *config)
{
    struct cron cron;
    struct zone zone;
    const char *why;
    if (!config->cron.size == !config->every_ms) return "give either cron or every";
    if (config->cron.size && !cron_parse(config->cron, &cron, &why)) return "cron is malformed";
    if (!zone_of(config->time_zone, &zone)) return "time_zone is malformed";
    if (config->every_ms && config->jitter_ms >= config->every_ms) return "jitter must be less than every";
    if (config->end_ms && config->end_ms < config->start_ms) return "end is before start";
    return NULL;
}

static bool same(const struct schedule_config *a, const struct schedule_config *b)
{
    struct buffer one = {0}, other = {0};
    record_encode(&schedule_config_record, a, &one);
    record_encode(&schedule_config_record, b, &other);
    bool equal = slice_equal(buffer_slice(&one), buffer_slice(&other));
    buffer_free(&one);
    buffer_free(&other);
    return equal;
}

static bool same_times(const struct schedule_config *a, const struct schedule_config *b)
{
    return slice_equal(a->cron, b->cron) && a->every_ms == b->every_ms &&
           slice_equal(zone_rule(a->time_zone), zone_rule(b->time_zone)) && a->start_ms == b->start_ms &&
           a->end_ms == b->end_ms && a->paused == b->paused;
}

/* A time that is due already but put off by jitter is kept, when the times stay the same. */
static void take_config(struct schedule *schedule, const struct schedule_config *config)
{
    const struct schedule_config *before = schedule->row.config;
    uint64_t next_ms = schedule->row.next_ms;
    schedule->row.config = config;
    if (!before || !same_times(before, config)) next_ms = schedule_after(schedule, schedule->apply->time_ms);
    schedule_set_next(schedule, config->paused ? 0 : next_ms);
}

static void put(struct apply *apply, const void *arguments)
{
    const struct schedule_config *config = arguments;
    struct schedule schedule;
    const char *why = nonsense(config);
    if (why) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
        return;
    }
    schedule_load(&schedule, apply, config->schedule);
    if (!schedule.exists && schedule_count(apply->rows) >= SCHEDULES_MAX) {
        apply_answer(apply, OUTCOME_TOO_MANY_SCHEDULES, NULL, NULL);
        return;
    }
    bool made = !schedule.exists;
    if (made) schedule.row.created_ms = apply->time_ms;
    if (made || !same(schedule.row.config, config)) {
        take_config(&schedule, config);
        schedule_tell(&schedule, SCHEDULE_SET);
    }
    const void *view = schedule_view(&schedule);
    schedule_save(&schedule);
    apply_answer(apply, made ? OUTCOME_CREATED : OUTCOME_OK, &schedule_view_record, view);
}

/* --- the others --- */

/* False: there is no such schedule, and the request is answered. */
static bool load(struct schedule *schedule, struct apply *apply, const void *arguments)
{
    const struct schedule_name_args *args = arguments;
    schedule_load(schedule, apply, args->schedule);
    if (!schedule->exists) apply_answer(apply, OUTCOME_SCHEDULE_NOT_FOUND, NULL, NULL);
    return schedule->exists;
}

static void delete_one(struct apply *apply, const void *arguments)
{
    struct schedule schedule;
    if (!load(&schedule, apply, arguments)) return;
    schedule_remove(&schedule);
    schedule_tell(&schedule, SCHEDULE_REMOVED);
    apply_answer(apply, OUTCOME_NOTHING, NULL, NULL);
}

/* What was missed meanwhile is not made up for. */
static void set_paused(struct apply *apply, const void *arguments, bool paused)
{
    struct schedule schedule;
    if (!load(&schedule, apply, arguments)) return;
    if (schedule.row.config->paused != paused) {
        struct schedule_config *config = arena_alloc(apply->arena, sizeof *config);
        *config = *schedule.row.config;
        config->paused = paused;
        take_config(&schedule, config);
        schedule_tell(&schedule, paused ? SCHEDULE_PAUSED : SCHEDULE_RESUMED);
    }
    const void *view = schedule_view(&schedule);
    schedule_save(&schedule);
    apply_answer(apply, OUTCOME_OK, &schedule_view_record, view);
}

static void pause(struct apply *apply, const void *arguments)
{
    set_paused(apply, arguments, true);
}

static void resume(struct apply *apply, const void *arguments)
{
    set_paused(apply, arguments, false);
}

struct run_result {
    struct slice schedule, id, queue;
    uint64_t state;
    bool deduplicated;
};
#define RESULT(member) .offset = offsetof(struct run_result, member), .name = #member
static const struct field run_fields[] = {
    {.number = 1, .type = FIELD_NAME, RESULT(schedule), .about = "the schedule's name"},
    {.number = 2, .type = FIELD_TEXT, RESULT(id), .about = "of the task"},
    {.number = 3, .type = FIELD_NAME, RESULT(queue), .about = "in which it was made"},
    {.number = 4, .type = FIELD_CHOICE, RESULT(state), .choices = task_state_choices, .about = "of the task"},
    {.number = 5,
     .type = FIELD_BOOL,
     RESULT(deduplicated),
     .about = "a live task had the key already: this is it"},
};
static const struct record run_record = RECORD("schedule_ran", run_result, run_fields);

static void run(struct apply *apply, const void *arguments)
{
    struct schedule schedule;
    struct enqueued made = {0};
    struct slice detail = {0};
    if (!load(&schedule, apply, arguments)) return;
    enum outcome outcome = schedule_run_now(&schedule, &made, &detail);
    schedule_save(&schedule);
    if (outcome != OUTCOME_CREATED && outcome != OUTCOME_OK) {
        apply_answer_detail(apply, outcome, NULL, NULL, detail);
        return;
    }
    struct run_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct run_result){schedule.name, made.id, made.queue, made.state, made.deduplicated};
    apply_answer(apply, outcome, &run_record, result);
}

/* --- the table --- */

static const struct operation operations[] = {
    {.code = 170,
     .name = "schedule.put",
     .method = "PUT",
     .path = "/v1/schedules/{schedule}",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &schedule_config_record,
     .result = &schedule_view_record,
     .apply = put,
     .plain = "next",
     .about = "Makes a schedule, or sets all of it anew: what is not given gets its default."},
    {.code = 171,
     .name = "schedule.get",
     .method = "GET",
     .path = "/v1/schedules/{schedule}",
     .kind = OPERATION_QUERY,
     .args = &schedule_name_record,
     .result = &schedule_view_record,
     .apply = schedule_get,
     .object = "/schedules/{schedule}",
     .plain = "next",
     .about = "A schedule: its settings, its next time, its last runs."},
    {.code = 172,
     .name = "schedule.delete",
     .method = "DELETE",
     .path = "/v1/schedules/{schedule}",
     .kind = OPERATION_COMMAND,
     .args = &schedule_name_record,
     .apply = delete_one,
     .about = "Takes a schedule away; tasks that it has made stay."},
    {.code = 173,
     .name = "schedule.list",
     .method = "GET",
     .path = "/v1/schedules",
     .kind = OPERATION_QUERY,
     .args = &schedule_list_args_record,
     .result = &schedule_list_record,
     .apply = schedule_list,
     .object = "/schedules/{prefix}*",
     .plain = "schedules: schedule next",
     .about = "Schedules by the prefix of their names, with their next times."},
    {.code = 174,
     .name = "schedule.run",
     .method = "POST",
     .path = "/v1/schedules/{schedule}/run",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &schedule_name_record,
     .result = &run_record,
     .apply = run,
     .plain = "id",
     .about =
         "Makes a task of the schedule now, paused or not, whatever of it runs; its times stay as they are."},
    {.code = 175,
     .name = "schedule.pause",
     .method = "POST",
     .path = "/v1/schedules/{schedule}/pause",
     .kind = OPERATION_COMMAND,
     .args = &schedule_name_record,
     .result = &schedule_view_record,
     .apply = pause,
     .plain = "next",
     .about = "Nothing fires until it is resumed."},
    {.code = 176,
     .name = "schedule.resume",
     .method = "POST",
     .path = "/v1/schedules/{schedule}/resume",
     .kind = OPERATION_COMMAND,
     .args = &schedule_name_record,
     .result = &schedule_view_record,
     .apply = resume,
     .plain = "next",
     .about = "Goes on with the first time after now: what a pause has left out is not made up for."},
};

const struct primitive schedule_primitive = {
    .name = "schedule",
    .code = SCHEDULE_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .events = schedule_events,
    .event_count = SCHEDULE_EVENTS,
    .due = schedule_due,
    .check = schedule_check,
};
