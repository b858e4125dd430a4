// links: api lib support
/* Figures of single locks, from the events of entries. */
#include "api/lock_metrics.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/lock.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

static struct lock_metrics *metrics;
static struct arena arena;

/* As an apply of that lock would tell it. */
static void tell(const char *name, uint8_t kind, uint64_t time_ms, const struct holder_row *holder)
{
    struct apply apply;
    apply_begin(&apply, NULL, &arena, 5, 1, time_ms);
    struct lock lock = {.apply = &apply, .name = slice_text(name)};
    if (kind == LOCK_ACQUIRED)
        lock_tell_acquired(&lock, holder, time_ms - holder->since_ms, 0);
    else if (kind > LOCK_ENDED)
        lock_tell_ended(&lock, holder, (enum end_reason)(kind - LOCK_ENDED), SLICE(""));
    else
        lock_tell(&lock, (enum lock_event)kind, holder);
    lock_metrics_count(metrics, apply.events);
    arena_reset(&arena);
}

static void hold(const char *name, uint64_t wait_ms, uint64_t held_ms, enum end_reason reason)
{
    struct holder_row holder = {.token = 5, .mode = LOCK_EXCLUSIVE, .permits = 1, .since_ms = 1000};
    tell(name, LOCK_ACQUIRED, 1000 + wait_ms, &holder);
    tell(name, (uint8_t)(LOCK_ENDED + reason), 1000 + held_ms, &holder);
}

static bool shows(const char *line)
{
    struct buffer out = {0};
    lock_metrics_text(metrics, &out);
    buffer_add_byte(&out, 0);
    char wanted[400];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    bool found = strstr((const char *)out.data, wanted);
    buffer_free(&out);
    return found;
}

static size_t lines_of(const char *name)
{
    struct buffer out = {0};
    char wanted[80];
    size_t count = 0;
    lock_metrics_text(metrics, &out);
    buffer_add_byte(&out, 0);
    snprintf(wanted, sizeof wanted, "\ncoordd_lock_%s_total{", name);
    for (const char *at = (const char *)out.data; (at = strstr(at, wanted)); at++) count++;
    buffer_free(&out);
    return count;
}

static void each_figure_is_of_its_lock(void **state)
{
    (void)state;
    hold("a", 0, 250, END_RELEASED);
    hold("a", 1500, 2000, END_EXPIRED);
    hold("b", 40, 0, END_BROKEN);
    assert_true(shows("coordd_lock_acquired_total{lock=\"a\"} 2"));
    assert_true(shows("coordd_lock_waits_total{lock=\"a\"} 1"));
    assert_true(shows("coordd_lock_wait_seconds_total{lock=\"a\"} 1.500"));
    assert_true(shows("coordd_lock_held_seconds_total{lock=\"a\"} 2.250"));
    assert_true(shows("coordd_lock_ended_total{lock=\"a\",reason=\"released\"} 1"));
    assert_true(shows("coordd_lock_ended_total{lock=\"a\",reason=\"expired\"} 1"));
    assert_false(shows("coordd_lock_ended_total{lock=\"a\",reason=\"broken\"} 0"));
    assert_true(shows("coordd_lock_ended_total{lock=\"b\",reason=\"broken\"} 1"));
    assert_true(shows("coordd_lock_wait_seconds_total{lock=\"b\"} 0.040"));
}

static void events_that_are_no_grant_and_no_end_change_no_figure(void **state)
{
    (void)state;
    struct holder_row holder = {.token = 5, .mode = LOCK_SHARED, .permits = 1, .count = 2};
    hold("a", 0, 0, END_RELEASED);
    tell("a", LOCK_COUNTED, 1000, &holder);
    tell("a", LOCK_DOWNGRADED, 1000, &holder);
    tell("a", LOCK_DELAY_OVER, 1000, NULL);
    assert_true(shows("coordd_lock_acquired_total{lock=\"a\"} 1"));
    assert_int_equal(lines_of("ended"), 1);
}

static void a_name_is_escaped(void **state)
{
    (void)state;
    hold("a\"b\\c\nd", 0, 0, END_RELEASED);
    assert_true(shows("coordd_lock_acquired_total{lock=\"a\\\"b\\\\c\\nd\"} 1"));
}

static void the_busiest_twenty_are_shown(void **state)
{
    (void)state;
    char name[20];
    for (int i = 1; i <= 50; i++)
        for (int k = 0; k < i; k++) {
            snprintf(name, sizeof name, "lock%d", i);
            hold(name, 0, 0, END_RELEASED);
        }
    assert_int_equal(lines_of("acquired"), LOCK_METRICS_SHOWN);
    assert_true(shows("coordd_lock_acquired_total{lock=\"lock50\"} 50"));
    assert_true(shows("coordd_lock_acquired_total{lock=\"lock31\"} 31"));
    assert_false(shows("coordd_lock_acquired_total{lock=\"lock30\"} 30"));
}

static void a_crowd_of_names_does_not_push_out_the_busy(void **state)
{
    (void)state;
    char name[20];
    for (int i = 0; i < 500; i++) hold("busy", 0, 0, END_RELEASED);
    for (int i = 0; i < 3 * LOCK_METRICS_MAX; i++) {
        snprintf(name, sizeof name, "lock%d", i);
        hold(name, 0, 0, END_RELEASED);
        if (i % 100 == 0) hold("busy", 0, 0, END_RELEASED);
    }
    assert_int_equal(lock_metrics_known(metrics), LOCK_METRICS_MAX);
    assert_true(shows("coordd_lock_acquired_total{lock=\"busy\"} 531"));
}

static void other_primitives_do_not_count(void **state)
{
    (void)state;
    struct event event = {
        .primitive = &lease_primitive, .kind = &lease_events[0], .path = SLICE("/leases/L1")};
    lock_metrics_count(metrics, &event);
    lock_metrics_count(metrics, NULL);
    assert_int_equal(lock_metrics_known(metrics), 0);
}

static int set_up(void **state)
{
    (void)state;
    metrics = lock_metrics_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lock_metrics_free(metrics);
    arena_free(&arena);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_figure_is_of_its_lock),
        TEST(events_that_are_no_grant_and_no_end_change_no_figure),
        TEST(a_name_is_escaped),
        TEST(the_busiest_twenty_are_shown),
        TEST(a_crowd_of_names_does_not_push_out_the_busy),
        TEST(other_primitives_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
