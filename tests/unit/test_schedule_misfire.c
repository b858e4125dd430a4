// links: lib api support
/* Schedules: times that come late or were missed, each met once. */
#include "tests/unit/schedule_test.h"

static const char *const misfires[] = {
    "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"overlap\":\"allow\",\"misfire\":\"skip\"}",
    "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"overlap\":\"allow\",\"misfire\":\"once\"}",
    "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"overlap\":\"allow\",\"misfire\":\"all\"}",
    "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"overlap\":\"allow\",\"misfire\":\"all\","
    "\"misfire_max\":3}",
};

/* Ten nominal times pass before the leader comes to it; the last half a minute ago. */
static void misfires_by_policy(void **state)
{
    struct coord_world *world = begin(state);
    static const struct {
        unsigned fired, skipped;
        int first;
    } expected[] = {{1, 9, 10}, {1, 9, 10}, {10, 0, 1}, {3, 7, 8}};
    for (size_t i = 0; i < 4; i++) {
        world->time_ms += HOUR - world->time_ms % HOUR;
        uint64_t from = world->time_ms, nominal[12], skipped[2], index = world->index;
        put(world, misfires[i]);
        at(world, from + 10 * MINUTE + 30 * SECOND);
        counts(world, expected[i].fired, 0, expected[i].skipped);
        assert_int_equal(runs_after(world, index, true, nominal, 12), expected[i].fired);
        for (uint64_t k = 0; k < expected[i].fired; k++)
            assert_int_equal(nominal[k], from + ((uint64_t)expected[i].first + k) * MINUTE);
        assert_int_equal(runs_after(world, index, false, skipped, 2), expected[i].skipped ? 1 : 0);
        if (expected[i].skipped) assert_int_equal(skipped[0], from + MINUTE);
        assert_int_equal(next_due(world) % DAY, (from + 11 * MINUTE) % DAY);
        assert_int_equal(coord_world_do(world, "schedule.delete", "{\"schedule\":\"s\"}"), OUTCOME_NOTHING);
    }
}

static void the_grace_is_no_misfire(void **state)
{
    struct coord_world *world = begin(state);
    static const char
        *const sparse = "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"misfire\":\"skip\","
                        "\"overlap\":\"allow\"}",
               *const dense = "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"misfire\":"
                              "\"skip\",\"overlap\":\"allow\"}";
    put(world, sparse);
    at(world, noon + HOUR + MINUTE);
    counts(world, 1, 0, 0);
    at(world, noon + 2 * HOUR + MINUTE + 1);
    counts(world, 1, 0, 1);
    shows(world, "\"next\":\"2023-11-15T15:00:00.000Z\"");
    assert_int_equal(coord_world_do(world, "schedule.delete", "{\"schedule\":\"s\"}"), OUTCOME_NOTHING);
    uint64_t from = world->time_ms;
    put(world, dense);
    at(world, from + 20 * SECOND);
    counts(world, 2, 0, 0);
    at(world, from + 40 * SECOND + 1);
    counts(world, 3, 0, 1);
    at(world, from + 60 * SECOND + 10 * SECOND);
    counts(world, 5, 0, 2); /* 50 s is too late, 60 s is not */
}

/* What is late by just the grace is not missed, so that others are met beside it. */
static void the_grace_is_no_misfire_for_once(void **state)
{
    struct coord_world *world = begin(state);
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"10s\",\"overlap\":\"allow\"}");
    at(world, noon + 20 * SECOND);
    counts(world, 2, 0, 0);
    at(world, noon + 40 * SECOND + 1);
    counts(world, 3, 0, 1);
}

/* The newest that was missed is still put off by its own jitter. */
static void jitter_is_kept_after_a_misfire(void **state)
{
    struct coord_world *world = begin(state);
    put(world,
        "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"@hourly\",\"overlap\":\"allow\",\"jitter\":\"59m\"}");
    for (uint64_t hour = 3; hour < 12; hour += 3) {
        at(world, noon + hour * HOUR);
        uint64_t due = next_due(world);
        assert_true(due > world->time_ms && due < world->time_ms + 59 * MINUTE);
        counts(world, (unsigned)hour / 3 - 1, 0, (unsigned)hour / 3 * 2);
        at(world, due);
        counts(world, (unsigned)hour / 3, 0, (unsigned)hour / 3 * 2);
    }
}

/* A year away: no more is counted than one entry may count, and the newest fire. */
static void a_long_outage_is_passed_at_once(void **state)
{
    struct coord_world *world = begin(state);
    uint64_t nominal[8], index = world->index;
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * * "
               "*\",\"overlap\":\"allow\",\"misfire\":\"all\","
               "\"misfire_max\":5}");
    at(world, noon + 365 * (uint64_t)DAY + 500);
    assert_int_equal(runs_after(world, index, true, nominal, 8), 5);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(nominal[i], noon + 365 * (uint64_t)DAY - (4 - i) * SECOND);
    counts(world, 5, 0, SCHEDULE_SKIPS_COUNTED);
    put(world,
        "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1s\",\"overlap\":\"allow\",\"misfire\":\"skip\"}");
    at(world, world->time_ms + 30 * (uint64_t)DAY);
    counts(world, 6, 0, 2 * SCHEDULE_SKIPS_COUNTED);
    put(world,
        "{\"schedule\":\"s\",\"queue\":\"q\",\"every\":\"1s\",\"overlap\":\"allow\",\"misfire\":\"once\"}");
    at(world, world->time_ms + 30 * (uint64_t)DAY);
    counts(world, 7, 0, 3 * SCHEDULE_SKIPS_COUNTED);
}

static void a_missed_end_is_met(void **state)
{
    struct coord_world *world = begin(state);
    char json[200];
    snprintf(json, sizeof json,
             "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"* * * * *\",\"misfire\":\"%s\",\"end\":%llu}",
             "skip", (unsigned long long)noon + 5 * MINUTE);
    put(world, json);
    at(world, noon + HOUR);
    counts(world, 0, 0, 5);
    shows(world, "\"next\":null");
}

/* However entries fall, every nominal time is fired or skipped, once, in order. */
static void every_time_is_met_once(void **state)
{
    struct coord_world *world = begin(state);
    uint64_t seed = 12345, met[2000];
    put(world, "{\"schedule\":\"s\",\"queue\":\"q\",\"cron\":\"*/7 * * * * "
               "*\",\"jitter\":\"3s\",\"overlap\":\"allow\","
               "\"misfire\":\"all\",\"misfire_max\":1000}");
    for (int i = 0; i < 150; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        at(world, world->time_ms + (seed >> 33) % (30 * SECOND));
    }
    size_t count = runs_after(world, 0, true, met, 2000);
    assert_true(count > 200);
    assert_int_equal(met[0], noon + 7 * SECOND);
    for (size_t i = 1; i < count; i++) {
        uint64_t second = met[i] / SECOND % 60, step = second ? 7 : 4;
        assert_int_equal(met[i], met[i - 1] + step * SECOND);
    }
    assert_int_equal(runs_after(world, 0, false, met, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(misfires_by_policy),
        COORD_TEST(the_grace_is_no_misfire),
        COORD_TEST(the_grace_is_no_misfire_for_once),
        COORD_TEST(jitter_is_kept_after_a_misfire),
        COORD_TEST(a_long_outage_is_passed_at_once),
        COORD_TEST(a_missed_end_is_met),
        COORD_TEST(every_time_is_met_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
