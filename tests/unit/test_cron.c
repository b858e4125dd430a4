// links: lib
/* Cron patterns: what is read, what is refused, and when they fire; the table was reckoned by other means. */
#include "base/arena.h"
#include "coord/cron.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/cron_table.h"

static struct zone zone_named(const char *name)
{
    struct zone zone;
    struct slice rule;
    assert_int_equal(zone_by_name(slice_text(name), &rule), ZONE_KNOWN);
    assert_true(zone_parse(rule, &zone));
    return zone;
}

static struct cron parsed(const char *text)
{
    struct cron cron;
    const char *why = "";
    if (!cron_parse(slice_text(text), &cron, &why)) fail_msg("%s: %s", text, why);
    return cron;
}

static void fires_as_reckoned_otherwise(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cron_table / sizeof *cron_table; i++) {
        struct zone zone = zone_named(cron_table[i].zone);
        struct cron cron = parsed(cron_table[i].pattern);
        int64_t at = cron_table[i].after;
        for (size_t k = 0; k < FIRINGS; k++) {
            at = cron_next(&cron, &zone, at);
            if (at != cron_table[i].firings[k])
                fail_msg("%s %s after %lld: firing %zu is %lld, not %lld", cron_table[i].zone,
                         cron_table[i].pattern, (long long)cron_table[i].after, k + 1, (long long)at,
                         (long long)cron_table[i].firings[k]);
        }
    }
}

/* From any second in between the same firing is the next: nothing depends on where one begins. */
static void depends_on_no_beginning(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cron_table / sizeof *cron_table; i++) {
        struct zone zone = zone_named(cron_table[i].zone);
        struct cron cron = parsed(cron_table[i].pattern);
        const int64_t *firings = cron_table[i].firings;
        for (size_t k = 0; k + 1 < FIRINGS; k++) {
            int64_t gap = firings[k + 1] - firings[k], step = gap / 17 + 1;
            for (int64_t at = firings[k]; at < firings[k + 1]; at += step)
                assert_int_equal(cron_next(&cron, &zone, at), firings[k + 1]);
            assert_int_equal(cron_next(&cron, &zone, firings[k + 1] - 1), firings[k + 1]);
        }
    }
}

static void reads_fields(void **state)
{
    (void)state;
    struct cron cron = parsed("0-10/5,59 */20 22/1 1,31 FEB-apr sat-Sun");
    assert_int_equal(cron.seconds, 1 | 1 << 5 | 1 << 10 | (uint64_t)1 << 59);
    assert_int_equal(cron.minutes, 1 | 1 << 20 | (uint64_t)1 << 40);
    assert_int_equal(cron.hours, 1 << 22 | 1 << 23);
    assert_int_equal(cron.days, 1 << 1 | (uint64_t)1 << 31);
    assert_int_equal(cron.months, 1 << 2 | 1 << 3 | 1 << 4);
    assert_int_equal(cron.weekdays, 1 << 6 | 1);
    assert_false(cron.any_day || cron.any_weekday);
    cron = parsed("  5   4 */2 *  7 ");
    assert_int_equal(cron.seconds, 1);
    assert_int_equal(cron.minutes, 1 << 5);
    assert_int_equal(cron.hours, 1 << 4);
    assert_int_equal(cron.months, 0x1ffe);
    assert_int_equal(cron.weekdays, 1);
    assert_true(cron.any_day && !cron.any_weekday);
    cron = parsed("* * * * *");
    assert_int_equal(cron.minutes, ((uint64_t)1 << 60) - 1);
    assert_int_equal(cron.hours, (1 << 24) - 1);
    assert_int_equal(cron.days, 0xfffffffe);
    assert_int_equal(cron.weekdays, 0x7f);
    cron = parsed("@Midnight");
    assert_int_equal(cron.hours, 1);
    assert_int_equal(parsed("@annually").months, 1 << 1);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "must have 5 fields"},
        {"* * * *", "must have 5 fields"},
        {"* * * * * * *", "must have 5 fields"},
        {"@reboot", "must have 5 fields"},
        {"@daily *", "must have 5 fields"},
        {"60 * * * *", "minutes"},
        {"-1 * * * *", "minutes"},
        {"1- * * * *", "minutes"},
        {"5-1 * * * *", "minutes"},
        {"1-2-3 * * * *", "minutes"},
        {"*/0 * * * *", "minutes"},
        {"*/60 * * * *", "minutes"},
        {"*/ * * * *", "minutes"},
        {"/5 * * * *", "minutes"},
        {"*/2/3 * * * *", "minutes"},
        {", * * * *", "minutes"},
        {"1, * * * *", "minutes"},
        {"1,,2 * * * *", "minutes"},
        {",1 * * * *", "minutes"},
        {"x * * * *", "minutes"},
        {"** * * * *", "minutes"},
        {"001 * * * *", "minutes"},
        {"60 * * * * *", "seconds"},
        {"* 24 * * *", "hours"},
        {"* * 0 * *", "days"},
        {"* * 32 * *", "days"},
        {"* * L * *", "days"},
        {"* * * 0 *", "months"},
        {"* * * 13 *", "months"},
        {"* * * mon *", "months"},
        {"* * * january *", "months"},
        {"* * * * 8", "weekdays"},
        {"* * * * jan", "weekdays"},
        {"* * * * 5-0", NULL},
        {"* * * * 5#2", "weekdays"},
        {"0 0 30 2 *", "names a day that never comes"},
        {"0 0 31 2,4,6,9,11 *", "names a day that never comes"},
        {"0 0 30 2 */2", "names a day that never comes"},
        {"0 0 29 2 *", NULL},
        {"0 0 30 2 1", NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cron cron;
        const char *why = "";
        bool good = cron_parse(slice_text(bad[i].text), &cron, &why);
        if (good != !bad[i].why || (bad[i].why && strncmp(why, bad[i].why, strlen(bad[i].why)) != 0))
            fail_msg("\"%s\": %s, %s", bad[i].text, good ? "taken" : "refused", why);
    }
}

static void fires_far_away_and_long_ago(void **state)
{
    (void)state;
    struct zone zone = zone_named("America/New_York");
    struct cron leap = parsed("0 0 29 2 *"), daily = parsed("@daily");
    int64_t before = date_days(200000, 1, 1) * 86400, at = cron_next(&leap, &zone, before);
    assert_true(at == date_days(200000, 2, 29) * 86400 + 5 * 3600);
    assert_true(cron_next(&daily, &zone, 0) == 5 * 3600);
    assert_true(cron_next(&daily, &zone, -86400 * 1000 - 1) > -86400 * 1000 - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_as_reckoned_otherwise),
        cmocka_unit_test(depends_on_no_beginning),
        cmocka_unit_test(reads_fields),
        cmocka_unit_test(refuses),
        cmocka_unit_test(fires_far_away_and_long_ago),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
