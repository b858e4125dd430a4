// links: api lib support
/* Figures of single queues, from the events of entries and from the rows. */
#include "api/queue_metrics.h"
#include "coord/primitive/queue.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/coord_world.h"

#include <stdio.h>

static struct coord_world *world;
static struct queue_metrics *metrics;

/* As the next entry. */
static void act(const char *name, const char *json)
{
    void *args;
    const struct operation *operation = read_command(world, name, json, &args);
    struct command command = {world->time_ms, operation, 0, 0, args};
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    queue_metrics_count(metrics, apply.events);
    note_all(world, apply.answers);
    assert_true(outcome_facts(world->outcome)->status < 300);
}

static void look(uint64_t now_ms)
{
    queue_metrics_look(metrics, world->rows, world->index, now_ms);
}

static char *text(void)
{
    static char copy[1 << 20];
    struct buffer out = {0};
    queue_metrics_text(metrics, world->time_ms, &out);
    assert_true(out.size < sizeof copy);
    memcpy(copy, out.data, out.size);
    copy[out.size] = 0;
    buffer_free(&out);
    return copy;
}

static bool shows(const char *line)
{
    char wanted[400];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    return strstr(text(), wanted);
}

static size_t lines_of(const char *begin)
{
    size_t count = 0;
    char wanted[80];
    snprintf(wanted, sizeof wanted, "\n%s", begin);
    for (const char *at = text(); (at = strstr(at, wanted)); at++) count++;
    return count;
}

static void tasks_by_state(void **state)
{
    (void)state;
    act("queue.enqueue", "{\"queue\":\"mail\"}");
    act("queue.enqueue", "{\"queue\":\"mail\"}");
    act("queue.enqueue", "{\"queue\":\"mail\",\"delay\":\"1h\"}");
    act("queue.claim", "{\"queue\":\"mail\",\"worker\":\"w\"}");
    look(0);
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"ready\"} 1"));
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"claimed\"} 1"));
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"scheduled\"} 1"));
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"done\"} 0"));
    assert_true(shows("coordd_queue_events_total{queue=\"mail\",event=\"enqueued\"} 3"));
    assert_true(shows("coordd_queue_events_total{queue=\"mail\",event=\"claimed\"} 1"));
    assert_true(shows("coordd_queue_paused{queue=\"mail\"} 0"));
    assert_true(shows("coordd_queue_claims_waiting{queue=\"mail\"} 0"));
    act("queue.pause", "{\"queue\":\"mail\"}");
    look(1000);
    assert_true(shows("coordd_queue_paused{queue=\"mail\"} 1"));
}

static void the_oldest_ready_task_grows_older(void **state)
{
    (void)state;
    act("queue.enqueue", "{\"queue\":\"mail\"}");
    world->time_ms += 2000;
    act("queue.enqueue", "{\"queue\":\"mail\",\"priority\":0}");
    look(0);
    world->time_ms += 500;
    assert_true(shows("coordd_queue_oldest_ready_seconds{queue=\"mail\"} 2.500"));
    act("queue.claim", "{\"queue\":\"mail\",\"worker\":\"w\",\"max\":2}");
    look(1000);
    assert_true(shows("coordd_queue_oldest_ready_seconds{queue=\"mail\"} 0.000"));
}

static void waits_and_runs(void **state)
{
    (void)state;
    act("queue.enqueue", "{\"queue\":\"a/tasks/b\\\"\"}");
    world->time_ms += 50;
    act("queue.claim", "{\"queue\":\"a/tasks/b\\\"\",\"worker\":\"w\"}");
    char body[200];
    snprintf(body, sizeof body, "{\"queue\":\"a/tasks/b\\\"\",\"id\":\"1\",\"token\":%llu}",
             (unsigned long long)world->index);
    world->time_ms += 20000;
    act("queue.complete", body);
    assert_true(shows("coordd_queue_wait_seconds_bucket{queue=\"a/tasks/b\\\"\",le=\"0.01\"} 0"));
    assert_true(shows("coordd_queue_wait_seconds_bucket{queue=\"a/tasks/b\\\"\",le=\"0.1\"} 1"));
    assert_true(shows("coordd_queue_wait_seconds_bucket{queue=\"a/tasks/b\\\"\",le=\"+Inf\"} 1"));
    assert_true(shows("coordd_queue_wait_seconds_sum{queue=\"a/tasks/b\\\"\"} 0.050"));
    assert_true(shows("coordd_queue_run_seconds_bucket{queue=\"a/tasks/b\\\"\",le=\"10\"} 0"));
    assert_true(shows("coordd_queue_run_seconds_bucket{queue=\"a/tasks/b\\\"\",le=\"60\"} 1"));
    assert_true(shows("coordd_queue_run_seconds_sum{queue=\"a/tasks/b\\\"\"} 20.000"));
    assert_true(shows("coordd_queue_run_seconds_count{queue=\"a/tasks/b\\\"\"} 1"));
    assert_true(shows("coordd_queue_attempts_total{queue=\"a/tasks/b\\\"\",outcome=\"done\"} 1"));
    assert_int_equal(lines_of("coordd_queue_tasks{"), 0); /* not looked at yet */
}

static void a_look_is_taken_once_a_second_and_only_at_changes(void **state)
{
    (void)state;
    act("queue.enqueue", "{\"queue\":\"mail\"}");
    look(5000);
    act("queue.enqueue", "{\"queue\":\"mail\"}");
    look(5999);
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"ready\"} 1"));
    look(6000);
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"ready\"} 2"));
}

static void queues_at_rest_are_known_from_the_rows(void **state)
{
    (void)state;
    act("queue.enqueue", "{\"queue\":\"mail\"}");
    queue_metrics_free(metrics);
    metrics = queue_metrics_new();
    assert_int_equal(lines_of("coordd_queue_"), 0);
    look(0);
    assert_true(shows("coordd_queue_tasks{queue=\"mail\",state=\"ready\"} 1"));
    assert_true(shows("coordd_queue_wait_seconds_count{queue=\"mail\"} 0"));
}

static void a_queue_that_is_gone_is_not_shown(void **state)
{
    (void)state;
    act("queue.put", "{\"queue\":\"mail\"}");
    look(0);
    assert_int_equal(lines_of("coordd_queue_tasks{queue=\"mail\""), TASK_STATES);
    act("queue.delete", "{\"queue\":\"mail\"}");
    look(1000);
    assert_int_equal(lines_of("coordd_queue_tasks{queue=\"mail\""), 0);
}

static void only_the_busiest_are_shown(void **state)
{
    char body[64];
    (void)state;
    for (size_t i = 0; i < QUEUE_METRICS_SHOWN + 20; i++) {
        snprintf(body, sizeof body, "{\"queue\":\"q%03zu\"}", i);
        act("queue.enqueue", body);
        if (i >= 20) act("queue.enqueue", body);
    }
    look(0);
    assert_int_equal(lines_of("coordd_queue_paused{"), QUEUE_METRICS_SHOWN);
    assert_int_equal(lines_of("coordd_queue_paused{queue=\"q019\""), 0);
    assert_int_equal(lines_of("coordd_queue_paused{queue=\"q020\""), 1);
}

static int begin(void **state)
{
    (void)state;
    world = coord_world_new();
    metrics = queue_metrics_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    queue_metrics_free(metrics);
    coord_world_free(world);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tasks_by_state),
        TEST(the_oldest_ready_task_grows_older),
        TEST(waits_and_runs),
        TEST(a_look_is_taken_once_a_second_and_only_at_changes),
        TEST(queues_at_rest_are_known_from_the_rows),
        TEST(a_queue_that_is_gone_is_not_shown),
        TEST(only_the_busiest_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
