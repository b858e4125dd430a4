// links: api lib support
/* What the history of a group adds up. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

enum { MINUTE_MS = 60 * 1000 };

static void join(struct coord_world *world, const char *id)
{
    assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'%s'}", id), OUTCOME_CREATED);
}

static void flap(struct coord_world *world, const char *id)
{
    group_world_silence(world, "g", id);
    join(world, id);
}

/* The first figure of that name behind `after`. */
static unsigned long long figure(struct coord_world *world, const char *after, const char *name)
{
    char label[64];
    const char *at = strstr((const char *)world->answer.data, after);
    snprintf(label, sizeof label, "\"%s\":", name);
    assert_true(at && (at = strstr(at, label)));
    return strtoull(at + strlen(label), NULL, 10);
}

static void flaps_of_all_are_those_of_each(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':0}");
    join(world, "a");
    join(world, "b");
    flap(world, "a");
    flap(world, "a");
    flap(world, "b");
    assert_int_equal(GROUP_ASK(world, "group.history", "{'group':'g'}"), OUTCOME_OK);
    assert_int_equal(figure(world, "\"all\"", "flaps"), 3);
    assert_int_equal(figure(world, "\"id\":\"a\"", "flaps"), 2);
    assert_int_equal(figure(world, "\"id\":\"b\"", "flaps"), 1);
}

/* Lately: within an hour from the last one. */
static void flaps_are_forgotten(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':0}");
    join(world, "a");
    flap(world, "a");
    group_world_pass(world, 60 * MINUTE_MS);
    GROUP_ASK(world, "group.get_member", "{'group':'g','id':'a'}");
    assert_int_equal(figure(world, "\"id\":\"a\"", "flaps"), 1);
    group_world_pass(world, 1);
    GROUP_ASK(world, "group.get_member", "{'group':'g','id':'a'}");
    assert_int_equal(figure(world, "\"id\":\"a\"", "flaps"), 0);
    GROUP_ASK(world, "group.history", "{'group':'g'}");
    assert_int_equal(figure(world, "\"all\"", "flaps"), 0);
    assert_int_equal(figure(world, "\"id\":\"a\"", "flaps"), 0);
    assert_int_equal(figure(world, "\"id\":\"a\"", "failures"), 1);
}

/* A page of few is a page of few: `all` is of that page, the cursor leads to the next. */
static void pages_add_up(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':0}");
    join(world, "a");
    join(world, "b");
    flap(world, "b");
    GROUP_ASK(world, "group.history", "{'group':'g','limit':1}");
    assert_int_equal(figure(world, "\"all\"", "failures"), 0);
    assert_true(coord_world_says(world, "\"cursor\":\"a\""));
    GROUP_ASK(world, "group.history", "{'group':'g','limit':1,'cursor':'a'}");
    assert_int_equal(figure(world, "\"all\"", "failures"), 1);
    assert_true(coord_world_says(world, "\"cursor\":null"));
}

/* More transitions than are kept, all within one hour of the day: the days say the rest, and no window holds
 * more time than it has. */
static void windows_hold_no_more_than_their_time(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':0}");
    join(world, "a");
    for (int i = 0; i < 60; i++) {
        group_world_pass(world, 10 * MINUTE_MS);
        group_world_silence(world, "g", "a");
        group_world_pass(world, 10 * MINUTE_MS);
        join(world, "a");
    }
    static const struct {
        const char *name;
        unsigned long long ms;
    } windows[] = {{"\"last_1h\"", 60ull * MINUTE_MS},
                   {"\"last_24h\"", 1440ull * MINUTE_MS},
                   {"\"last_7d\"", 10080ull * MINUTE_MS},
                   {"\"ever\"", 1200ull * MINUTE_MS}};
    GROUP_ASK(world, "group.history", "{'group':'g','id':'a'}");
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        unsigned long long up = figure(world, windows[i].name, "up_ms"),
                           down = figure(world, windows[i].name, "down_ms");
        assert_true(up + down <= windows[i].ms);
        assert_true(up + down <= 1200ull * MINUTE_MS); /* it has not been there for longer */
    }
    assert_int_equal(figure(world, "\"last_1h\"", "up_ms"), 30 * MINUTE_MS);
    assert_int_equal(figure(world, "\"ever\"", "up_ms"), 600 * MINUTE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(flaps_of_all_are_those_of_each),
        COORD_TEST(flaps_are_forgotten),
        COORD_TEST(pages_add_up),
        COORD_TEST(windows_hold_no_more_than_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
