// links: api lib support
/* Broadcasts: of whom it is still expected that they acknowledge one, the bounds of what is kept, and that
 * who waits for the end of one hears of it. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

enum { TARGETS_KEPT_MAX = 30000 };

static void join(struct coord_world *world, const char *id)
{
    assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'%s'}", id), OUTCOME_CREATED);
}

/* As GROUP_DO; the invariants of thousands of members are not looked at after each entry. Returns how many
 * events of that kind it tells. */
static size_t do_telling(struct coord_world *world, enum group_event kind, const char *name, const char *json)
{
    struct apply apply;
    void *args;
    const struct operation *operation = read_command(world, name, json, &args);
    struct command command = {world->time_ms, operation, 0, 0, args};
    size_t count = 0;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    for (const struct event *event = apply.events; event; event = event->next)
        count += event->primitive == &group_primitive && event->kind->code == kind;
    note_all(world, apply.answers);
    arena_reset(&world->arena);
    return count;
}

static uint64_t open_for(struct coord_world *world, const char *id)
{
    struct apply apply;
    struct group group;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    group_load(&group, &apply, SLICE("g"));
    return group_broadcasts_open(&group, slice_text(id));
}

static void acknowledge(struct coord_world *world, const char *id, uint64_t number)
{
    struct member member;
    assert_true(group_world_member(world, "g", id, &member));
    assert_int_equal(GROUP_DO(world, "group.broadcast_ack",
                              "{'group':'g','number':%llu,'member':'%s','token':%llu}",
                              (unsigned long long)number, id, (unsigned long long)member.token),
                     OUTCOME_OK);
}

/* Enough others were quick: who was not still hears of it by its heartbeat. */
static void who_is_late_hears_of_what_is_satisfied(void **state)
{
    struct coord_world *world = *state;
    join(world, "a");
    join(world, "b");
    GROUP_DO(world, "group.broadcast", "{'group':'g','name':'n','percent':50,'timeout':'30s'}");
    uint64_t number = world->index;
    assert_int_equal(open_for(world, "a"), 1);
    acknowledge(world, "a", number);
    assert_true(coord_world_says(world, "\"state\":\"satisfied\""));
    assert_int_equal(open_for(world, "a"), 0);
    assert_int_equal(open_for(world, "b"), 1);
    group_world_pass(world, 29999);
    assert_int_equal(open_for(world, "b"), 1);
    group_world_pass(world, 1);
    assert_int_equal(open_for(world, "b"), 0);
    GROUP_ASK(world, "group.broadcasts", "{'group':'g','member':'b'}"); /* it may still ask */
    assert_false(coord_world_says(world, "\"broadcasts\":[]"));
}

static void each_counts_for_its_own_time(void **state)
{
    struct coord_world *world = *state;
    join(world, "a");
    GROUP_DO(world, "group.broadcast", "{'group':'g','name':'n','timeout':'60s'}");
    GROUP_DO(world, "group.broadcast", "{'group':'g','name':'n','timeout':'10s'}");
    assert_int_equal(open_for(world, "a"), 2);
    group_world_pass(world, 10000);
    assert_int_equal(open_for(world, "a"), 1);
    group_world_pass(world, 50000);
    assert_int_equal(open_for(world, "a"), 0);
}

/* It makes room for a newer one while somebody may be waiting for its end. */
static void what_is_forgotten_is_over(void **state)
{
    struct coord_world *world = *state;
    join(world, "a");
    for (int i = 0; i < GROUP_BROADCASTS_KEPT; i++)
        assert_int_equal(do_telling(world, GROUP_BROADCAST_DONE, "group.broadcast",
                                    "{\"group\":\"g\",\"name\":\"n\",\"timeout\":\"1h\"}"),
                         0);
    assert_int_equal(
        do_telling(world, GROUP_BROADCAST_DONE, "group.broadcast", "{\"group\":\"g\",\"name\":\"n\"}"), 1);
    assert_int_equal(
        do_telling(world, GROUP_BROADCAST_DONE, "group.delete", "{\"group\":\"g\",\"force\":true}"),
        GROUP_BROADCASTS_KEPT);
    coord_check(world->rows, &world->arena);
}

/* With 7,000 members: four broadcasts have 28,000 rows of acknowledgements; a fifth makes room. */
static void acknowledgements_of_many_are_bounded(void **state)
{
    struct coord_world *world = *state;
    enum { MEMBERS = 7000 };
    for (unsigned i = 0; i < MEMBERS; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"group\":\"g\",\"id\":\"m%u\"}", i);
        do_telling(world, GROUP_JOINED, "group.join", json);
    }
    for (int i = 0; i < 6; i++) {
        do_telling(world, GROUP_BROADCAST_SENT, "group.broadcast", "{\"group\":\"g\",\"name\":\"n\"}");
        assert_int_equal(world->outcome, OUTCOME_CREATED);
        struct apply apply;
        struct group group;
        apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
        group_load(&group, &apply, SLICE("g"));
        assert_int_equal(group.row.broadcasts, i < 4 ? i + 1 : 4);
        assert_int_equal(group.row.targets, group.row.broadcasts * MEMBERS);
        assert_true(group.row.targets <= TARGETS_KEPT_MAX);
        arena_reset(&world->arena);
    }
    coord_check(world->rows, &world->arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(who_is_late_hears_of_what_is_satisfied),
        COORD_TEST(each_counts_for_its_own_time),
        COORD_TEST(what_is_forgotten_is_over),
        COORD_TEST(acknowledgements_of_many_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
