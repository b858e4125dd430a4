// links: api lib support
/* How often members are asked to beat: less often when there are many. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

#include <stdio.h>
#include <stdlib.h>

static struct member member_of(const char *id, uint64_t ttl_ms)
{
    return (struct member){.id = slice_text(id), .ttl_ms = ttl_ms, .token = 8};
}

static void three_times_in_a_ttl_while_they_are_few(void **state)
{
    struct member member = member_of("a", 15000);
    (void)state;
    assert_int_equal(group_heartbeat_ms(&member, 0), 5000);
    assert_int_equal(group_heartbeat_ms(&member, 100000), 5000);
    member.ttl_ms = 1000;
    assert_int_equal(group_heartbeat_ms(&member, 6660), 333);
}

/* 240,000 members: every twelve seconds, or 20 % sooner or later; each always at its own time. */
static void twenty_thousand_a_second_when_they_are_many(void **state)
{
    uint64_t sum_ms = 0, least_ms = UINT64_MAX, most_ms = 0;
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%u", i);
        struct member member = member_of(id, 33000);
        uint64_t each_ms = group_heartbeat_ms(&member, 240000);
        assert_int_equal(each_ms, group_heartbeat_ms(&member, 240000));
        sum_ms += each_ms;
        if (each_ms < least_ms) least_ms = each_ms;
        if (each_ms > most_ms) most_ms = each_ms;
    }
    assert_int_equal(least_ms, 11000); /* a third of the ttl: no sooner than that */
    assert_int_equal(most_ms, 13200);  /* two fifths of it: no later */
    assert_true(sum_ms > 1000 * 11000 && sum_ms < 1000 * 13200);
}

static void the_jitter_goes_both_ways(void **state)
{
    uint64_t sooner = 0, later = 0;
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%u", i);
        struct member member = member_of(id, 90 * 1000);
        uint64_t each_ms = group_heartbeat_ms(&member, 33000 * 20); /* 33 s, not 30 */
        assert_true(each_ms >= 30000 && each_ms <= 36000);
        sooner += each_ms < 32500;
        later += each_ms > 33500;
    }
    assert_true(sooner > 350 && later > 250);
}

static void a_new_membership_draws_anew(void **state)
{
    struct member member = member_of("a", 90 * 1000);
    uint64_t first_ms = group_heartbeat_ms(&member, 33000 * 20), others = 0;
    (void)state;
    for (member.token = 9; member.token < 29; member.token++)
        others += group_heartbeat_ms(&member, 33000 * 20) != first_ms;
    assert_true(others > 10);
}

static void two_heartbeats_always_fit_into_the_ttl(void **state)
{
    (void)state;
    for (uint64_t up = 0; up < 10000000; up = up * 2 + 1)
        for (uint64_t ttl_ms = 1000; ttl_ms < 24 * 3600 * 1000; ttl_ms = ttl_ms * 2 + 1) {
            struct member member = member_of("a", ttl_ms);
            uint64_t each_ms = group_heartbeat_ms(&member, up);
            assert_true(each_ms >= ttl_ms / 3 && each_ms * 5 <= ttl_ms * 2);
        }
}

/* The members of all groups count, those that failed do not. */
static void join_and_heartbeats_say_so(void **state)
{
    enum { MANY = 7500 };
    struct coord_world *world = *state;
    unsigned long long heartbeat_ms = 0;
    for (unsigned i = 0; i < MANY; i++) { /* without the check of all invariants after each */
        void *args;
        const struct operation *operation = read_command(
            world, "group.join", group_world_json(world, "{'group':'g%u','id':'m%u'}", i % 7, i), &args);
        struct command command = {world->time_ms, operation, 0, 0, args};
        struct apply apply;
        apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
        coord_apply(&apply, &command);
        arena_reset(&world->arena);
    }
    GROUP_DO(world, "group.join", "{'group':'other','id':'a','ttl':'1s'}");
    const char *said = strstr((const char *)world->answer.data, "\"heartbeat_in_ms\":");
    assert_true(said && sscanf(said, "\"heartbeat_in_ms\":%llu", &heartbeat_ms) == 1);
    struct member member = member_of("a", 1000);
    member.token = world->index;
    assert_int_equal(heartbeat_ms, group_heartbeat_ms(&member, MANY + 1));
    assert_true(heartbeat_ms > 333 || group_heartbeat_ms(&member, MANY * 2) > 333);
    GROUP_DO(world, "group.leave", "{'group':'other','id':'a','force':true}");
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    struct census census = group_census(&apply);
    assert_int_equal(census_up(&census), MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_times_in_a_ttl_while_they_are_few),
        cmocka_unit_test(twenty_thousand_a_second_when_they_are_many),
        cmocka_unit_test(the_jitter_goes_both_ways),
        cmocka_unit_test(a_new_membership_draws_anew),
        cmocka_unit_test(two_heartbeats_always_fit_into_the_ttl),
        COORD_TEST(join_and_heartbeats_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
