// links: api lib support
/* Figures of groups and schedules, from the events of entries and from the rows. */
#include "api/group_metrics.h"
#include "api/schedule_metrics.h"
#include "coord/primitive/schedule.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

#include <stdio.h>

static struct coord_world *world;
static struct group_metrics *metrics;
static struct schedule_metrics *schedules;

/* As the next entry; not every invariant after each. */
static void apply_one(const struct operation *operation, const void *args)
{
    struct command command = {world->time_ms, operation, 0, 0, args};
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    group_metrics_count(metrics, apply.events);
    schedule_metrics_count(schedules, apply.events);
    note_all(world, apply.answers);
}

static void act(const char *name, const char *json)
{
    void *args;
    const struct operation *operation = read_command(world, name, group_world_json(world, "%s", json), &args);
    apply_one(operation, args);
    assert_true(outcome_facts(world->outcome)->status < 300);
}

static void join(const char *group, const char *id)
{
    char json[600];
    snprintf(json, sizeof json, "{'group':'%s','id':'%s'}", group, id);
    act("group.join", json);
}

static void expire(const char *group, const char *id)
{
    struct member member;
    assert_true(group_world_member(world, group, id, &member));
    struct apply apply;
    struct lease_row row;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    assert_true(lease_get(&apply, member.lease, &row));
    struct lease_expire_item item = {row.id, row.generation};
    struct lease_expire_args args = {1, {&item, 1}};
    apply_one(operation_lease_expire, &args);
}

static char *text(void)
{
    static char copy[1 << 20];
    struct buffer out = {0};
    group_metrics_text(metrics, 12345, &out);
    schedule_metrics_text(schedules, &out);
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

static void look(uint64_t now_ms)
{
    group_metrics_look(metrics, world->rows, now_ms);
    schedule_metrics_look(schedules, world->rows, now_ms);
}

static void members_by_state(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) join(i < 3 ? "web" : "db", (const char *[]){"a", "b", "c", "d", "e"}[i]);
    act("group.drain", "{'group':'web','id':'b'}");
    act("group.leave", "{'group':'web','id':'c','force':true}");
    act("group.fail", "{'group':'db','id':'e'}");
    look(0);
    assert_true(shows("coordd_members{state=\"alive\"} 2") && shows("coordd_members{state=\"draining\"} 1"));
    assert_true(shows("coordd_members{state=\"left\"} 1") && shows("coordd_members{state=\"failed\"} 1"));
    assert_true(shows("coordd_members{state=\"suspect\"} 0") && shows("coordd_groups 2"));
    assert_true(shows("coordd_heartbeats_total 12345"));
    assert_true(shows("coordd_group_members{group=\"web\",state=\"alive\"} 1"));
    assert_true(shows("coordd_group_members{group=\"web\",state=\"draining\"} 1"));
    assert_true(shows("coordd_group_members{group=\"db\",state=\"failed\"} 1"));
    assert_true(shows("coordd_group_events_total{group=\"web\",event=\"joined\"} 3"));
    assert_true(shows("coordd_group_events_total{group=\"web\",event=\"draining\"} 1"));
    assert_true(shows("coordd_member_events_total{event=\"joined\"} 5"));
    assert_true(shows("coordd_member_events_total{event=\"failed\"} 1"));
    act("group.drain", "{'group':'web','id':'b','undo':true}");
    look(1000);
    assert_true(shows("coordd_members{state=\"alive\"} 3") && shows("coordd_members{state=\"draining\"} 0"));
}

static void guards_and_breakers(void **state)
{
    (void)state;
    act("group.put", "{'group':'web','guard':1,'guard_min':1,'eject':50,'shards':8}");
    join("web", "a");
    join("web", "b");
    join("web", "c");
    expire("web", "a");
    expire("web", "b");
    look(0);
    assert_true(shows("coordd_groups_guarded 1") && shows("coordd_members_guarded 1"));
    assert_true(shows("coordd_group_guarded{group=\"web\"} 1"));
    assert_true(shows("coordd_group_members_guarded{group=\"web\"} 1"));
    assert_true(shows("coordd_group_events_total{group=\"web\",event=\"guarded\"} 1"));
    assert_true(shows("coordd_group_shards_free{group=\"web\"} 8"));
    assert_true(shows("coordd_members_ejected 0") && shows("coordd_members_half_open 0"));
    struct member member;
    assert_true(group_world_member(world, "web", "c", &member));
    struct observe_item item = {member.lease, member.token, OBSERVED_BAD, 0};
    act("group.put", "{'group':'web','guard':1,'guard_min':1,'eject':50,'eject_max':100,'shards':8}");
    apply_one(operation_group_observe, &(struct group_observe_args){1, {&item, 1}});
    act("group.force", "{'group':'web'}");
    look(1000);
    assert_true(shows("coordd_members_ejected 1"));
    assert_true(shows("coordd_group_members_ejected{group=\"web\"} 1"));
    assert_true(shows("coordd_groups_guarded 0") && shows("coordd_group_guarded{group=\"web\"} 0"));
    assert_true(shows("coordd_member_events_total{event=\"unguarded\"} 1"));
    assert_true(shows("coordd_member_events_total{event=\"ejected\"} 1"));
}

static void names_may_look_like_paths(void **state)
{
    (void)state;
    join("a/members/b\\\"", "c/members/d");
    look(0);
    assert_true(shows("coordd_group_events_total{group=\"a/members/b\\\"\",event=\"joined\"} 1"));
    assert_int_equal(lines_of("coordd_group_guarded{"), 1);
}

static void a_look_is_taken_once_a_second(void **state)
{
    (void)state;
    join("web", "a");
    look(5000);
    join("web", "b");
    look(5999);
    assert_true(shows("coordd_members{state=\"alive\"} 1"));
    look(6000);
    assert_true(shows("coordd_members{state=\"alive\"} 2"));
}

static void a_group_that_is_gone_is_not_shown(void **state)
{
    (void)state;
    join("web", "a");
    look(0);
    assert_int_equal(lines_of("coordd_group_members{group=\"web\""), 5);
    act("group.delete", "{'group':'web','force':true}");
    look(1000);
    assert_int_equal(lines_of("coordd_group_members{group=\"web\""), 0);
    assert_true(shows("coordd_groups 0"));
}

/* A node that has begun anew knows nothing of what happened: it finds the large ones in a few looks. */
static void the_largest_are_found_among_many(void **state)
{
    enum { GROUPS = 1000 };
    char name[16], id[16];
    (void)state;
    for (int i = 0; i < GROUPS; i++) {
        snprintf(name, sizeof name, "g%04d", i);
        for (int k = 0; k < 1 + (i % 15 == 14) * 3; k++) {
            snprintf(id, sizeof id, "m%d", k);
            join(name, id);
        }
    }
    group_metrics_free(metrics);
    metrics = group_metrics_new();
    for (uint64_t now_ms = 0; now_ms <= 1000 * GROUPS / GROUP_METRICS_STEP + 1000; now_ms += 1000)
        look(now_ms);
    assert_int_equal(lines_of("coordd_group_guarded{"), GROUP_METRICS_SHOWN);
    assert_int_equal(lines_of("coordd_group_members{"), 5 * GROUP_METRICS_SHOWN);
    for (int i = 14; i < 15 * GROUP_METRICS_SHOWN; i += 15) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "coordd_group_members{group=\"g%04d\",state=\"alive\"} 4", i);
        assert_true(shows(wanted));
    }
    assert_true(shows("coordd_groups 1000"));
}

static void many_groups_make_no_longer_text(void **state)
{
    char name[256];
    (void)state;
    for (int i = 0; i < GROUP_METRICS_MAX + 100; i++) {
        snprintf(name, sizeof name, "%04d-a-rather-long-name-of-a-group-as-orchestrators-make-them-up", i);
        join(name, "a");
    }
    for (uint64_t now_ms = 0; now_ms < 20000; now_ms += 1000) look(now_ms);
    assert_int_equal(lines_of("coordd_group_guarded{"), GROUP_METRICS_SHOWN);
    assert_true(strlen(text()) < 100 * 1000);
}

static void schedules_and_their_times(void **state)
{
    (void)state;
    act("schedule.put", "{'schedule':'s','queue':'q','every':'10s'}");
    act("schedule.put", "{'schedule':'t','queue':'q','every':'10s'}");
    look(0);
    assert_true(shows("coordd_schedules 2"));
    assert_true(shows("coordd_schedule_runs_total{outcome=\"fired\"} 0"));
    act("schedule.run", "{'schedule':'s'}");
    world->time_ms += 10000;
    while (coord_due_ms(world->rows) <= world->time_ms) apply_one(operation_due, &(struct due_args){0});
    assert_true(shows("coordd_schedule_runs_total{outcome=\"manual\"} 1"));
    assert_true(shows("coordd_schedule_runs_total{outcome=\"fired\"} 1"));
    assert_true(shows("coordd_schedule_runs_total{outcome=\"skipped_overlap\"} 1"));
    world->time_ms += 3600 * 1000; /* nobody was there for an hour */
    while (coord_due_ms(world->rows) <= world->time_ms) apply_one(operation_due, &(struct due_args){0});
    assert_int_equal(lines_of("coordd_schedule_runs_total{outcome=\"skipped_misfire\"} 0"), 0);
    act("schedule.delete", "{'schedule':'t'}");
    look(999);
    assert_true(shows("coordd_schedules 2"));
    look(1000);
    assert_true(shows("coordd_schedules 1"));
}

static int begin(void **state)
{
    (void)state;
    world = coord_world_new();
    metrics = group_metrics_new();
    schedules = schedule_metrics_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    group_metrics_free(metrics);
    schedule_metrics_free(schedules);
    coord_world_free(world);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_by_state),
        TEST(guards_and_breakers),
        TEST(names_may_look_like_paths),
        TEST(a_look_is_taken_once_a_second),
        TEST(a_group_that_is_gone_is_not_shown),
        TEST(the_largest_are_found_among_many),
        TEST(many_groups_make_no_longer_text),
        TEST(schedules_and_their_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
