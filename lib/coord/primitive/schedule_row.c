#include "coord/primitive/schedule.h"

#include "base/check.h"
#include "base/crc32c.h"

const char *const overlap_choices[] = {"allow", "skip", "queue_one", "cancel_running", NULL};
const char *const misfire_choices[] = {"skip", "once", "all", NULL};
const char *const run_outcome_choices[] = {
    "fired", "manual", "skipped_overlap", "skipped_misfire", "deduplicated", "refused", NULL};

/* --- the row --- */

#define RUN(member) .offset = offsetof(struct run, member)
static const struct field run_fields[] = {
    {.number = 1, .type = FIELD_TIME, RUN(nominal_ms), .name = "nominal", .about = "the time"},
    {.number = 2, .type = FIELD_TIME, RUN(at_ms), .name = "at", .about = "of the entry"},
    {.number = 3,
     .type = FIELD_CHOICE,
     RUN(outcome),
     .name = "outcome",
     .choices = run_outcome_choices,
     .about = "what it came to"},
    {.number = 4, .type = FIELD_UINT, RUN(task), .name = "task", .about = "that was made"},
    {.number = 5, .type = FIELD_UINT, RUN(count), .name = "count", .about = "of nominal times"},
    {.number = 6, .type = FIELD_TEXT, RUN(detail), .name = "detail", .about = "of a refusal"},
};
static const struct record run_record = RECORD("schedule_row_run", run, run_fields);

static const struct field task_fields[] = {
    {.number = 1,
     .type = FIELD_UINT,
     .offset = offsetof(struct schedule_task, id),
     .name = "id",
     .about = "of a task"},
};
static const struct record task_record = RECORD("schedule_row_task", schedule_task, task_fields);

#define ROW(member) .offset = offsetof(struct schedule_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_RECORD, ROW(config), .record = &schedule_config_record},
    {.number = 2, .type = FIELD_TIME, ROW(created_ms)},
    {.number = 3, .type = FIELD_UINT, ROW(revision)},
    {.number = 4, .type = FIELD_TIME, ROW(next_ms)},
    {.number = 5, .type = FIELD_TIME, ROW(due_ms)},
    {.number = 6, .type = FIELD_UINT, ROW(fired)},
    {.number = 7, .type = FIELD_UINT, ROW(manual)},
    {.number = 8, .type = FIELD_UINT, ROW(skipped_overlap)},
    {.number = 9, .type = FIELD_UINT, ROW(skipped_misfire)},
    {.number = 10, .type = FIELD_UINT, ROW(deduplicated)},
    {.number = 11, .type = FIELD_UINT, ROW(refused)},
    {.number = 12, .type = FIELD_LIST, ROW(runs), .record = &run_record},
    {.number = 13, .type = FIELD_LIST, ROW(tasks), .record = &task_record},
};
static const struct record row_record = RECORD("schedule_row", schedule_row, row_fields);

static struct key row_key(struct slice name)
{
    struct key key = key_of(KEY_SCHEDULE);
    key_bytes(&key, name);
    return key;
}

uint64_t schedule_count(struct rows *rows)
{
    struct key key = key_of(KEY_SCHEDULE);
    struct slice value;
    uint64_t count = 0;
    if (rows_get(rows, key_slice(&key), &value)) CHECK(take_u64be(&value, &count));
    return count;
}

static void set_count(struct rows *rows, uint64_t count)
{
    struct key key = key_of(KEY_SCHEDULE), value;
    value.size = 0;
    key_number(&value, count);
    rows_put(rows, key_slice(&key), key_slice(&value));
}

void schedule_load(struct schedule *schedule, struct apply *apply, struct slice name)
{
    struct key key = row_key(name);
    *schedule = (struct schedule){.apply = apply, .name = name};
    schedule->exists = row_get(apply, key_slice(&key), &row_record, &schedule->row);
}

void schedule_save(struct schedule *schedule)
{
    if (!schedule->changed) return;
    struct key key = row_key(schedule->name);
    if (!schedule->exists) set_count(schedule->apply->rows, schedule_count(schedule->apply->rows) + 1);
    schedule->row.revision = schedule->apply->index;
    row_put(schedule->apply, key_slice(&key), &row_record, &schedule->row);
    schedule->exists = true;
    schedule->changed = false;
}

void schedule_remove(struct schedule *schedule)
{
    struct key key = row_key(schedule->name);
    schedule_set_next(schedule, 0);
    set_count(schedule->apply->rows, schedule_count(schedule->apply->rows) - 1);
    CHECK(rows_delete(schedule->apply->rows, key_slice(&key)));
}

/* --- nominal times --- */

static uint64_t cron_after(struct schedule *schedule, uint64_t after_ms)
{
    const struct schedule_config *config = schedule->row.config;
    const char *why;
    if (schedule->timed != config) {
        CHECK(cron_parse(config->cron, &schedule->cron, &why) && zone_of(config->time_zone, &schedule->zone));
        schedule->timed = config;
    }
    int64_t next_s = cron_next(&schedule->cron, &schedule->zone, (int64_t)(after_ms / 1000));
    return next_s > 0 && (uint64_t)next_s < FIELD_TIME_MAX / 1000 ? (uint64_t)next_s * 1000 : 0;
}

uint64_t schedule_after(struct schedule *schedule, uint64_t after_ms)
{
    const struct schedule_config *config = schedule->row.config;
    uint64_t start_ms = config->start_ms, next_ms;
    if (start_ms && after_ms < start_ms) after_ms = start_ms - 1;
    if (config->every_ms) {
        uint64_t from_ms = start_ms ? start_ms : schedule->row.created_ms;
        next_ms = from_ms > after_ms
                      ? from_ms
                      : from_ms + ((after_ms - from_ms) / config->every_ms + 1) * config->every_ms;
    } else {
        next_ms = cron_after(schedule, after_ms);
    }
    bool over = next_ms > FIELD_TIME_MAX || (config->end_ms && next_ms > config->end_ms);
    return over ? 0 : next_ms;
}

uint64_t schedule_due_ms(struct schedule *schedule, uint64_t nominal_ms)
{
    uint64_t jitter_ms = schedule->row.config->jitter_ms;
    struct key seed;
    if (!jitter_ms) return nominal_ms;
    uint64_t following_ms = schedule_after(schedule, nominal_ms);
    if (following_ms && following_ms - nominal_ms <= jitter_ms) jitter_ms = following_ms - nominal_ms - 1;
    seed.size = 0;
    key_name(&seed, schedule->name);
    key_number(&seed, nominal_ms);
    return nominal_ms + ((uint64_t)crc32c(0, seed.bytes, seed.size) * (jitter_ms + 1) >> 32);
}

static struct slice due_what(const struct schedule *schedule, uint64_t nominal_ms)
{
    struct key key;
    key.size = 0;
    key_name(&key, schedule->name);
    key_number(&key, nominal_ms);
    return arena_copy(schedule->apply->arena, key_slice(&key));
}

bool schedule_parse_what(struct slice what, struct slice *name, uint64_t *nominal_ms)
{
    const uint8_t *zero = what.size ? memchr(what.data, 0, what.size) : NULL;
    if (!zero) return false;
    *name = slice_of(what.data, (size_t)(zero - what.data));
    what = slice_skip(what, name->size + 1);
    return take_u64be(&what, nominal_ms) && !what.size;
}

void schedule_set_next(struct schedule *schedule, uint64_t nominal_ms)
{
    struct schedule_row *row = &schedule->row;
    if (row->next_ms)
        due_clear(schedule->apply, row->due_ms, SCHEDULE_CODE, due_what(schedule, row->next_ms));
    row->next_ms = nominal_ms;
    row->due_ms = nominal_ms ? schedule_due_ms(schedule, nominal_ms) : 0;
    if (nominal_ms) due_set(schedule->apply, row->due_ms, SCHEDULE_CODE, due_what(schedule, nominal_ms));
    schedule->changed = true;
}

/* --- invariants --- */

static bool due_is_set(struct apply *apply, const struct schedule *schedule)
{
    struct key key = key_of(KEY_DUE);
    struct slice value;
    key_number(&key, schedule->row.due_ms);
    key_byte(&key, SCHEDULE_CODE);
    key_bytes(&key, due_what(schedule, schedule->row.next_ms));
    return rows_get(apply->rows, key_slice(&key), &value);
}

static uint64_t count_dues(struct rows *rows)
{
    struct key from = key_of(KEY_DUE);
    struct slice key, value;
    uint64_t count = 0;
    while (rows_seek(rows, key_slice(&from), &key, &value) && key.data[0] == KEY_DUE) {
        CHECK(key.size > 9);
        count += key.data[9] == SCHEDULE_CODE;
        from.size = 0;
        key_bytes(&from, key);
        key_byte(&from, 0);
    }
    return count;
}

/* Newest first: each is of an earlier time than the one before it, all of earlier ones than the next. */
static void check_runs(const struct schedule_row *row)
{
    const struct run *runs = row->runs.items;
    uint64_t after_ms = row->next_ms ? row->next_ms : UINT64_MAX;
    for (size_t i = 0; i < row->runs.count; i++) {
        CHECK(runs[i].nominal_ms < after_ms && runs[i].nominal_ms <= runs[i].at_ms);
        if (runs[i].nominal_ms) after_ms = runs[i].nominal_ms;
    }
}

static void check_one(struct schedule *schedule)
{
    const struct schedule_row *row = &schedule->row;
    check_runs(row);
    CHECK(row->config && slice_equal(row->config->schedule, schedule->name));
    CHECK(!row->config->cron.size == (row->config->every_ms > 0));
    CHECK(row->runs.count <= SCHEDULE_RUNS && row->tasks.count <= SCHEDULE_TASKS);
    if (!row->next_ms) {
        CHECK(!row->due_ms);
        return;
    }
    CHECK(!row->config->paused && row->next_ms == schedule_after(schedule, row->next_ms - 1));
    CHECK(row->due_ms == schedule_due_ms(schedule, row->next_ms) && due_is_set(schedule->apply, schedule));
}

void schedule_check(struct rows *rows, struct arena *arena)
{
    struct apply apply;
    struct schedule schedule;
    struct slice name, none = {0};
    uint64_t count = 0, timed = 0;
    apply_begin(&apply, rows, arena, 0, 0, 0);
    struct key from = object_first(KEY_SCHEDULE, none, none);
    while (object_next(&apply, &from, none, &name)) {
        if (!name.size) continue;
        schedule_load(&schedule, &apply, name);
        check_one(&schedule);
        count++;
        timed += schedule.row.next_ms > 0;
    }
    CHECK(count == schedule_count(rows) && timed == count_dues(rows));
}
