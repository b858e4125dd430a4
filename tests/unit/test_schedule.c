// links: lib api support
/* Schedules: their nominal times, what a firing comes to, what can be set. */
#include "tests/unit/schedule_test.h"

/* --- nominal times --- */

static void every_counts_from_the_making(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"allow\"}");
    shows(world, "\"next\":\"2023-11-15T12:00:10.000Z\"");
    pass(world, 9999);
    counts(world, 0, 0, 0);
    pass(world, 1);
    counts(world, 1, 0, 0);
    shows(world, "\"next\":\"2023-11-15T12:00:20.000Z\"");
    pass(world, 25 * SECOND);
    counts(world, 3, 0, 0);
    shows(world, "\"runs\":[{\"nominal\":\"2023-11-15T12:00:30.000Z\",\"fired\":\"2023-11-15T12:00:30.000Z\","
                 "\"outcome\":\"fired\",\"task\":\"3\",\"count\":1,\"detail\":null},");
    assert_true(has_task(world, 3, "ready"));
}

static void every_counts_from_start(void **state)
{
    struct coord_world *world = begin(state);
    char json[200];
    snprintf(json, sizeof json, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1h\",\"start\":%llu}",
             (unsigned long long)noon + 90 * SECOND);
    put(world, json);
    shows(world, "\"next\":\"2023-11-15T12:01:30.000Z\"");
    snprintf(json, sizeof json, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1h\",\"start\":%llu}",
             (unsigned long long)noon - 50 * (uint64_t)DAY - 10 * MINUTE);
    put(world, json);
    shows(world, "\"next\":\"2023-11-15T12:50:00.000Z\"");
    snprintf(json, sizeof json, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1h\",\"start\":%llu}",
             (unsigned long long)noon);
    put(world, json);
    shows(world, "\"next\":\"2023-11-15T13:00:00.000Z\"");
}

static void cron_follows_its_zone(void **state)
{
    struct coord_world *world = begin(state);
    put(world,
        "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 2 * * *\",\"time_zone\":\"Europe/Berlin\"}");
    shows(world, "\"next\":\"2023-11-16T01:30:00.000Z\"");
    shows(world, "\"time_zone\":\"Europe/Berlin\",\"time_zone_rule\":\"CET-1CEST,M3.5.0,M10.5.0/3\"");
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 2 * * *\"}");
    shows(world, "\"next\":\"2023-11-16T02:30:00.000Z\"");
    shows(world, "\"time_zone\":\"UTC\",\"time_zone_rule\":\"UTC0\"");
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 2 * * *\",\"time_zone\":\"<-03>3\"}");
    shows(world, "\"next\":\"2023-11-16T05:30:00.000Z\"");
    shows(world, "\"time_zone\":\"<-03>3\",\"time_zone_rule\":\"<-03>3\"");
}

/* 2:30 in Berlin on the day without it, and on the day with two of it. */
static void fires_once_on_days_that_change_the_clock(void **state)
{
    struct coord_world *world = begin(state);
    uint64_t nominal[4];
    world->time_ms = 1711756800000; /* 2024-03-30T00:00:00Z */
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 2 * * *\",\"time_zone\":\"Europe/Berlin\","
               "\"overlap\":\"allow\"}");
    pass(world, 3 * (uint64_t)DAY);
    assert_int_equal(runs_after(world, 0, true, nominal, 4), 3);
    assert_int_equal(nominal[0], 1711762200000);
    assert_int_equal(nominal[1], 1711846800000); /* 2024-03-31T01:00:00Z: 3:00 */
    assert_int_equal(nominal[2], 1711931400000);
    at(world, 1729900800000); /* 2024-10-26T00:00:00Z */
    uint64_t index = world->index;
    pass(world, 3 * (uint64_t)DAY);
    assert_int_equal(runs_after(world, index, true, nominal, 4), 3);
    assert_int_equal(nominal[1], 1729989000000); /* 2024-10-27T00:30:00Z: the first 2:30 */
    assert_int_equal(nominal[2], 1730079000000);
}

static void start_and_end_belong_to_it(void **state)
{
    struct coord_world *world = begin(state);
    char json[200];
    snprintf(
        json, sizeof json,
        "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"start\":%llu,\"end\":%llu,\"overlap\":"
        "\"allow\"}",
        (unsigned long long)noon + 5 * MINUTE, (unsigned long long)noon + 7 * MINUTE);
    put(world, json);
    shows(world, "\"next\":\"2023-11-15T12:05:00.000Z\"");
    shows(world, "\"start\":\"2023-11-15T12:05:00.000Z\",\"end\":\"2023-11-15T12:07:00.000Z\"");
    pass(world, HOUR);
    counts(world, 3, 0, 0);
    shows(world, "\"next\":null");
    assert_true(next_due(world) == 0);
}

/* Nominal times stay; each is put off by its own share, less than the time to the following. */
static void jitter_puts_off(void **state)
{
    struct coord_world *world = begin(state);
    uint64_t nominal[200], last = 0, sum = 0;
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * "
               "*\",\"jitter\":\"30s\",\"overlap\":\"allow\"}");
    size_t differ = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t due = next_due(world), put_off = due - (noon + (uint64_t)(i + 1) * MINUTE);
        assert_true(put_off <= 30 * SECOND);
        differ += put_off != last;
        last = put_off;
        sum += put_off;
        at(world, due);
    }
    assert_true(differ > 90 && sum > 100 * 10 * (uint64_t)SECOND && sum < 100 * 20 * (uint64_t)SECOND);
    assert_int_equal(runs_after(world, 0, true, nominal, 200), 100);
    for (uint64_t i = 0; i < 100; i++) assert_int_equal(nominal[i], noon + (i + 1) * MINUTE);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"jitter\":\"24h\"}");
    for (int i = 0; i < 50; i++) {
        uint64_t due = next_due(world);
        assert_true(due < noon + (uint64_t)(i + 102) * MINUTE);
        at(world, due);
    }
    shows(world, "\"skipped_misfire\":0,");
}

/* --- overlap --- */

static void overlap_skip_waits_for_the_end(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\"}");
    shows(world, "\"overlap\":\"skip\",\"misfire\":\"once\",\"misfire_max\":100,");
    pass(world, 30 * SECOND);
    counts(world, 1, 2, 0);
    shows(world, "\"outcome\":\"skipped_overlap\",\"task\":null");
    work(world);
    pass(world, 10 * SECOND);
    counts(world, 2, 2, 0);
    assert_true(has_task(world, 1, "done") && has_task(world, 2, "ready"));
}

static void overlap_queue_one_runs_after_it(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"queue_one\"}");
    pass(world, 50 * SECOND);
    counts(world, 2, 3, 0);
    assert_true(has_task(world, 1, "ready") && has_task(world, 2, "blocked"));
    work(world);
    assert_true(has_task(world, 1, "done") && has_task(world, 2, "done"));
    pass(world, 10 * SECOND);
    assert_true(has_task(world, 3, "ready"));
}

/* However the one before ends, the one that was queued runs. */
static void overlap_queue_one_runs_after_a_failure(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"queue_one\"}");
    pass(world, 20 * SECOND);
    assert_int_equal(coord_world_do(world, "queue.cancel", "{\"queue\":\"q\",\"id\":\"1\"}"), OUTCOME_OK);
    settle(world);
    assert_true(has_task(world, 1, "cancelled") && has_task(world, 2, "ready"));
}

static void overlap_cancel_running_ends_it_first(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"cancel_running\"}");
    pass(world, 20 * SECOND);
    assert_true(has_task(world, 1, "cancelled") && has_task(world, 2, "ready"));
    assert_int_equal(
        coord_world_do(world, "queue.claim", "{\"queue\":\"q\",\"worker\":\"w\",\"ttl\":\"10m\"}"),
        OUTCOME_OK);
    pass(world, 10 * SECOND);
    assert_true(has_task(world, 2, "claimed") && coord_world_says(world, "\"cancel_requested\":true"));
    assert_true(has_task(world, 3, "blocked"));
    pass(world, 10 * SECOND);
    assert_true(has_task(world, 3, "cancelled") && has_task(world, 4, "blocked"));
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"cancel_running\","
               "\"paused\":true}");
    pass(world, 30 * SECOND);
    assert_true(has_task(world, 2, "cancelled") && has_task(world, 4, "ready"));
}

/* What run made counts for the next firing, too; run itself asks nobody. */
static void run_makes_one_whatever_runs(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"paused\":true}");
    for (int i = 0; i < 2; i++)
        assert_int_equal(coord_world_do(world, "schedule.run", "{\"schedule\":\"s\"}"), OUTCOME_CREATED);
    assert_true(coord_world_says(
        world,
        "{\"schedule\":\"s\",\"id\":\"2\",\"queue\":\"q\",\"state\":\"ready\",\"deduplicated\":false}"));
    shows(world, "\"counts\":{\"fired\":0,\"manual\":2,");
    shows(
        world,
        "\"runs\":[{\"nominal\":null,\"fired\":\"2023-11-15T12:00:00.000Z\",\"outcome\":\"manual\",\"task\":"
        "\"2\"");
    assert_int_equal(coord_world_do(world, "schedule.resume", "{\"schedule\":\"s\"}"), OUTCOME_OK);
    pass(world, 10 * SECOND);
    shows(world, "\"skipped_overlap\":1,");
    work(world);
    pass(world, 10 * SECOND);
    shows(world, "\"fired\":1,\"manual\":2,");
}

static void tasks_have_what_was_set(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"payload\":{\"a\":[1]},\"priority\":3,"
               "\"key\":\"k\",\"group\":\"g\",\"ttl\":\"1m\",\"timeout\":\"2m\",\"overlap\":\"allow\"}");
    pass(world, 10 * SECOND);
    assert_true(has_task(world, 1, "ready"));
    assert_true(coord_world_says(world, "\"payload\":{\"a\":[1]}") &&
                coord_world_says(world, "\"priority\":3"));
    assert_true(coord_world_says(world, "\"key\":\"k\"") && coord_world_says(world, "\"group\":\"g\""));
    pass(world, 20 * SECOND);
    shows(world, "\"deduplicated\":2,");
    shows(world, "\"outcome\":\"deduplicated\",\"task\":\"1\"");
    pass(world, 40 * SECOND);
    assert_true(has_task(world, 1, "expired"));
}

static void a_refusal_of_the_queue_is_shown(void **state)
{
    struct coord_world *world = begin(state);
    assert_int_equal(coord_world_do(world, "queue.put", "{\"queue\":\"q\",\"max_len\":1}"), OUTCOME_CREATED);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"allow\"}");
    pass(world, 20 * SECOND);
    shows(world, "\"refused\":1}");
    shows(world, "\"outcome\":\"refused\",\"task\":null,\"count\":1,\"detail\":\"");
    shows(world, "\"next\":\"2023-11-15T12:00:30.000Z\"");
    assert_int_equal(coord_world_do(world, "schedule.run", "{\"schedule\":\"s\"}"), OUTCOME_QUEUE_FULL);
    shows(world, "\"manual\":0,");
}

/* --- settings --- */

static void the_same_again_changes_nothing(void **state)
{
    struct coord_world *world = begin(state);
    static const char *const json = "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\"}";
    put(world, json);
    assert_int_equal(world->outcome, OUTCOME_CREATED);
    uint64_t index = world->index, digest = rows_digest(world->rows);
    world->time_ms += MINUTE;
    assert_int_equal(coord_world_do(world, "schedule.put", json), OUTCOME_OK);
    assert_int_equal(rows_digest(world->rows), digest);
    assert_null(events_next(world->rows, &world->arena, index));
}

/* A firing that jitter has put off comes, unless the times themselves are set anew. */
static void settings_keep_the_next_time(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"jitter\":\"59m\"}");
    uint64_t due = next_due(world);
    assert_true(due > noon + HOUR);
    at(world, noon + HOUR);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"jitter\":\"59m\",\"payload\":1}");
    shows(world, "\"next\":\"2023-11-15T13:00:00.000Z\"");
    assert_int_equal(next_due(world), due);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"payload\":1}");
    assert_int_equal(next_due(world), noon + HOUR);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 * * * *\",\"payload\":1}");
    shows(world, "\"next\":\"2023-11-15T13:30:00.000Z\"");
    shows(world, "\"created\":\"2023-11-15T12:00:00.000Z\"");
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 * * * *\",\"end\":1700053200000}");
    shows(world, "\"next\":null");
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"30 * * * *\",\"end\":1700060400000}");
    shows(world, "\"next\":\"2023-11-15T13:30:00.000Z\"");
}

static void a_pause_is_not_made_up_for(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"misfire\":\"all\"}");
    assert_int_equal(coord_world_do(world, "schedule.pause", "{\"schedule\":\"s\"}"), OUTCOME_OK);
    assert_true(coord_world_says(world, "\"paused\":true,\"next\":null"));
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(coord_world_do(world, "schedule.pause", "{\"schedule\":\"s\"}"), OUTCOME_OK);
    assert_int_equal(rows_digest(world->rows), digest);
    assert_true(next_due(world) == 0);
    pass(world, 5 * HOUR);
    assert_int_equal(coord_world_do(world, "schedule.resume", "{\"schedule\":\"s\"}"), OUTCOME_OK);
    assert_true(coord_world_says(world, "\"paused\":false,\"next\":\"2023-11-15T18:00:00.000Z\""));
    counts(world, 0, 0, 0);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"paused\":true}");
    shows(world, "\"next\":null");
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\"}");
    shows(world, "\"next\":\"2023-11-15T18:00:00.000Z\"");
}

static void refuses_what_makes_no_sense(void **state)
{
    struct coord_world *world = begin(state);
    refused(world, "{\"schedule\":\"s\",\"queue\":\"q\"}", OUTCOME_SENSELESS, "give either cron or every");
    refused(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@daily\",\"every\":\"5s\"}",
            OUTCOME_SENSELESS, "give either cron or every");
    refused(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"5s\",\"jitter\":\"5s\"}",
            OUTCOME_SENSELESS, "jitter must be less than every");
    refused(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"5s\",\"start\":9,\"end\":8}",
            OUTCOME_SENSELESS, "end is before start");
    static const char *const operations[] = {"schedule.delete", "schedule.run", "schedule.pause",
                                             "schedule.resume"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(coord_world_do(world, operations[i], "{\"schedule\":\"s\"}"),
                         OUTCOME_SCHEDULE_NOT_FOUND);
}

/* The log may hold what no edge of this version lets through: it is refused alike everywhere. */
static void malformed_entries_are_refused(void **state)
{
    struct coord_world *world = begin(state);
    const struct operation *operation = operation_by_name(SLICE("schedule.put"));
    struct schedule_config config = {
        .schedule = SLICE("s"), .queue = SLICE("q"), .cron = SLICE("x"), .overlap = 1};
    for (int i = 0; i < 2; i++) {
        struct apply apply;
        apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
        coord_apply(&apply, &(struct command){world->time_ms, operation, 0, 0, &config});
        assert_int_equal(apply.answers->outcome, OUTCOME_SENSELESS);
        config.cron = SLICE("@daily");
        config.time_zone = SLICE("Mars/Olympus nonsense");
    }
    coord_check(world->rows, &world->arena);
}

static void there_are_not_too_many(void **state)
{
    struct coord_world *world = begin(state);
    const struct operation *operation = operation_by_name(SLICE("schedule.put"));
    struct schedule_config config = {
        .queue = SLICE("q"), .every_ms = HOUR, .overlap = 2, .misfire = 2, .paused = true};
    for (int i = 0; i <= SCHEDULES_MAX; i++) {
        struct apply apply;
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        config.schedule = slice_text(name);
        apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
        coord_apply(&apply, &(struct command){world->time_ms, operation, 0, 0, &config});
        assert_int_equal(apply.answers->outcome,
                         i < SCHEDULES_MAX ? OUTCOME_CREATED : OUTCOME_TOO_MANY_SCHEDULES);
        arena_reset(&world->arena);
    }
    put(world, "{\"schedule\":\"n7\",\"queue\":\"q\",\"cron\":\"@daily\"}");
    assert_int_equal(coord_world_do(world, "schedule.delete", "{\"schedule\":\"n7\"}"), OUTCOME_NOTHING);
    assert_int_equal(
        coord_world_do(world, "schedule.put", "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@daily\"}"),
        OUTCOME_CREATED);
    assert_int_equal(
        coord_world_do(world, "schedule.put", "{\"schedule\":\"t\",\"queue\":\"q\",\"cron\":\"@daily\"}"),
        OUTCOME_TOO_MANY_SCHEDULES);
    assert_int_equal(coord_world_ask(world, "schedule.list", "{\"prefix\":\"n99\",\"limit\":2}"), OUTCOME_OK);
    assert_true(coord_world_says(world, "\"schedule\":\"n99\"") &&
                coord_world_says(world, "\"cursor\":\"n990\""));
}

static void a_transaction_takes_all_back(void **state)
{
    struct coord_world *world = begin(state);
    uint64_t digest = rows_digest(world->rows);
    static const char *const refused_txn =
        "{\"then\":[{\"op\":\"schedule.put\",\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\"},"
        "{\"op\":\"schedule.run\",\"schedule\":\"s\"},{\"op\":\"schedule.delete\",\"schedule\":\"t\"}]}";
    assert_int_equal(coord_world_do(world, "txn", refused_txn), OUTCOME_TXN_REFUSED);
    assert_int_equal(rows_digest(world->rows), digest);
    static const char *const txn =
        "{\"then\":[{\"op\":\"schedule.put\",\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\"},"
        "{\"op\":\"schedule.run\",\"schedule\":\"s\"},{\"op\":\"schedule.get\",\"schedule\":\"s\"}]}";
    assert_int_equal(coord_world_do(world, "txn", txn), OUTCOME_OK);
    shows(world, "\"manual\":1,");
    shows(world, "\"next\":\"2023-11-15T12:00:10.000Z\"");
    assert_true(has_task(world, 1, "ready"));
}

static void only_the_last_runs_are_kept(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1s\",\"overlap\":\"allow\"}");
    pass(world, 25 * SECOND);
    counts(world, 25, 0, 0);
    assert_true(coord_world_says(world, "\"runs\":[{\"nominal\":\"2023-11-15T12:00:25.000Z\""));
    assert_true(coord_world_says(world, "{\"nominal\":\"2023-11-15T12:00:06.000Z\""));
    assert_false(coord_world_says(world, "{\"nominal\":\"2023-11-15T12:00:05.000Z\""));
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1s\",\"overlap\":\"skip\"}");
    pass(world, SECOND);
    counts(world, 25, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(every_counts_from_the_making),
        COORD_TEST(every_counts_from_start),
        COORD_TEST(cron_follows_its_zone),
        COORD_TEST(fires_once_on_days_that_change_the_clock),
        COORD_TEST(start_and_end_belong_to_it),
        COORD_TEST(jitter_puts_off),
        COORD_TEST(overlap_skip_waits_for_the_end),
        COORD_TEST(overlap_queue_one_runs_after_it),
        COORD_TEST(overlap_queue_one_runs_after_a_failure),
        COORD_TEST(overlap_cancel_running_ends_it_first),
        COORD_TEST(run_makes_one_whatever_runs),
        COORD_TEST(tasks_have_what_was_set),
        COORD_TEST(a_refusal_of_the_queue_is_shown),
        COORD_TEST(the_same_again_changes_nothing),
        COORD_TEST(settings_keep_the_next_time),
        COORD_TEST(a_pause_is_not_made_up_for),
        COORD_TEST(refuses_what_makes_no_sense),
        COORD_TEST(malformed_entries_are_refused),
        COORD_TEST(there_are_not_too_many),
        COORD_TEST(a_transaction_takes_all_back),
        COORD_TEST(only_the_last_runs_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
