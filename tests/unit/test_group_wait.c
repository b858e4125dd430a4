// links: api lib support
/* How many members are fit to be picked, after all that makes one fit or unfit. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

enum { SECOND_MS = 1000 };

/* What a wait counts is what is listed; and as many as should be. */
static bool are_eligible(struct coord_world *world, uint64_t count)
{
    uint64_t listed = 0;
    char part[32];
    GROUP_ASK(world, "group.members", "{'group':'g','limit':1000}");
    for (const char *at = (const char *)world->answer.data; (at = strstr(at, "\"eligible\":true")); at++)
        listed++;
    enum outcome outcome = GROUP_ASK(world, "group.wait", "{'group':'g','state':'eligible','count':%llu}",
                                     (unsigned long long)(count ? count : 1));
    snprintf(part, sizeof part, "\"count\":%llu,", (unsigned long long)listed);
    return listed == count && coord_world_says(world, part) &&
           outcome == (count ? OUTCOME_OK : OUTCOME_UNCHANGED);
}

static void begin(struct coord_world *world)
{
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g','guard':0,'eject':50,'eject_max':100}"),
                     OUTCOME_CREATED);
    assert_true(are_eligible(world, 0));
    for (const char *id = "a\0b\0c\0"; *id; id += 2)
        assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'%s'}", id), OUTCOME_CREATED);
    assert_true(are_eligible(world, 3));
}

static void who_is_silent_is_not(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    group_world_observe(world, 1, "g", "a", OBSERVED_SILENT, 0);
    assert_true(are_eligible(world, 2));
    group_world_observe(world, 1, "g", "a", OBSERVED_HEARD, 0);
    assert_true(are_eligible(world, 3));
    group_world_silence(world, "g", "a");
    assert_true(are_eligible(world, 2));
    GROUP_DO(world, "group.join", "{'group':'g','id':'a'}");
    assert_true(are_eligible(world, 2)); /* on probation */
    group_world_pass(world, 60 * SECOND_MS);
    assert_true(are_eligible(world, 3));
}

static void who_drains_leaves_or_is_ill_is_not(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    GROUP_DO(world, "group.drain", "{'group':'g','id':'a'}");
    assert_true(are_eligible(world, 2));
    GROUP_DO(world, "group.drain", "{'group':'g','id':'a','undo':true}");
    assert_true(are_eligible(world, 3));
    group_world_observe(world, 1, "g", "b", OBSERVED_HEALTH, HEALTH_FAIL);
    assert_true(are_eligible(world, 2));
    group_world_observe(world, 1, "g", "b", OBSERVED_HEALTH, HEALTH_WARN);
    assert_true(are_eligible(world, 3));
    GROUP_DO(world, "group.leave", "{'group':'g','id':'c','force':true}");
    assert_true(are_eligible(world, 2));
    GROUP_DO(world, "group.join", "{'group':'g','id':'a'}"); /* taken over */
    assert_true(are_eligible(world, 2));
    GROUP_DO(world, "group.fail", "{'group':'g','id':'a'}");
    assert_true(are_eligible(world, 1));
    group_world_pass(world, 100ull * 3600 * SECOND_MS); /* both are forgotten */
    assert_true(are_eligible(world, 1));
}

static void who_is_ejected_is_not(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    group_world_observe(world, 1, "g", "a", OBSERVED_BAD, 0);
    assert_true(are_eligible(world, 2));
}

/* Probation that ended while it was away: it has no timer for that. */
static void who_left_on_probation_comes_back_without_it(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    group_world_silence(world, "g", "a");
    GROUP_DO(world, "group.join", "{'group':'g','id':'a'}");
    GROUP_DO(world, "group.leave", "{'group':'g','id':'a','force':true}");
    group_world_pass(world, 10 * SECOND_MS);
    GROUP_DO(world, "group.join", "{'group':'g','id':'a'}");
    assert_true(are_eligible(world, 2));
    GROUP_DO(world, "group.leave", "{'group':'g','id':'a','force':true}");
    group_world_pass(world, 60 * SECOND_MS);
    GROUP_DO(world, "group.join", "{'group':'g','id':'a'}");
    assert_true(are_eligible(world, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(who_is_silent_is_not),
        COORD_TEST(who_drains_leaves_or_is_ill_is_not),
        COORD_TEST(who_is_ejected_is_not),
        COORD_TEST(who_left_on_probation_comes_back_without_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
