// links: api lib support
/* Who leads a group when several things happen in one entry: one leader for each token, and none whose lease
 * is over. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

struct told {
    size_t count;
    char leader[8][16];
    unsigned long long tokens[8];
};

static void note_leaders(const struct apply *apply, struct told *told)
{
    const struct record *shape = group_events[GROUP_LEADER - 1].kept;
    for (const struct event *event = apply->events; event; event = event->next) {
        if (event->primitive != &group_primitive || event->kind->code != GROUP_LEADER) continue;
        const char *data = event->data;
        struct slice leader;
        uint64_t token;
        memcpy(&leader, data + record_field(shape, SLICE("leader"))->offset, sizeof leader);
        memcpy(&token, data + record_field(shape, SLICE("leader_token"))->offset, sizeof token);
        snprintf(told->leader[told->count], sizeof told->leader[0], "%.*s", SLICE_ARGS(leader));
        told->tokens[told->count++] = token;
    }
}

static void apply_one(struct coord_world *world, const struct operation *operation, const void *args,
                      struct told *told)
{
    struct apply apply;
    struct command command = {world->time_ms, operation, 0, 0, args};
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    note_leaders(&apply, told);
    note_all(world, apply.answers);
    coord_check(world->rows, &world->arena);
    arena_reset(&world->arena);
}

static void begin(struct coord_world *world)
{
    GROUP_DO(world, "group.put", "{'group':'g','leader':true,'guard':0}");
    for (const char *id = "a\0b\0c\0d\0"; *id; id += 2)
        assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'%s'}", id), OUTCOME_CREATED);
}

static struct lease_expire_item end_of(struct coord_world *world, const char *id)
{
    struct member member;
    struct apply apply;
    struct lease_row lease;
    assert_true(group_world_member(world, "g", id, &member));
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    assert_true(lease_get(&apply, member.lease, &lease));
    return (struct lease_expire_item){lease.id, lease.generation};
}

/* A machine died with the leader and the next in the line: that one does not lead for the time between. */
static void whose_lease_ends_in_the_same_entry_does_not_lead(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    struct lease_expire_item items[] = {end_of(world, "a"), end_of(world, "b")};
    struct told told = {0};
    apply_one(world, operation_lease_expire, &(struct lease_expire_args){1, {items, 2}}, &told);
    assert_int_equal(told.count, 1);
    assert_string_equal(told.leader[0], "c");
    assert_int_equal(told.tokens[0], world->index);
}

static void the_order_of_the_ends_does_not_matter(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    struct lease_expire_item items[] = {end_of(world, "b"), end_of(world, "a"), end_of(world, "d")};
    struct told told = {0};
    apply_one(world, operation_lease_expire, &(struct lease_expire_args){1, {items, 3}}, &told);
    assert_int_equal(told.count, 1);
    assert_string_equal(told.leader[0], "c");
}

static void all_at_once_leave_nobody(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    struct lease_expire_item items[] = {end_of(world, "a"), end_of(world, "b"), end_of(world, "c"),
                                        end_of(world, "d")};
    struct told told = {0};
    apply_one(world, operation_lease_expire, &(struct lease_expire_args){1, {items, 4}}, &told);
    assert_int_equal(told.count, 1);
    assert_string_equal(told.leader[0], "");
}

/* The leader and the next leave in one transaction: two would have led with the token of that entry. */
static void one_token_is_one_leader(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    struct told told = {0};
    void *args;
    const struct operation *operation = read_command(
        world, "txn",
        group_world_json(world, "{'then':[{'op':'group.leave','group':'g','id':'a','force':true},"
                                "{'op':'group.leave','group':'g','id':'b','force':true}]}"),
        &args);
    apply_one(world, operation, args, &told);
    uint64_t index = world->index;
    assert_int_equal(told.count, 2);
    assert_string_equal(told.leader[0], "b");
    assert_int_equal(told.tokens[0], index);
    assert_string_equal(told.leader[1], ""); /* the next one in an entry of its own */
    world->time_ms++;
    apply_one(world, operation_due, &(struct due_args){0}, &told);
    assert_int_equal(told.count, 3);
    assert_string_equal(told.leader[2], "c");
    assert_true(told.tokens[2] > index);
}

static void a_group_that_is_to_have_another_leader_may_be_deleted(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    assert_int_equal(GROUP_DO(world, "txn",
                              "{'then':[{'op':'group.leave','group':'g','id':'a','force':true},"
                              "{'op':'group.leave','group':'g','id':'b','force':true},"
                              "{'op':'group.delete','group':'g','force':true}]}"),
                     OUTCOME_OK);
    assert_int_equal(coord_due_ms(world->rows), UINT64_MAX);
}

static void nor_does_it_have_one_when_it_wants_none(void **state)
{
    struct coord_world *world = *state;
    begin(world);
    assert_int_equal(GROUP_DO(world, "txn",
                              "{'then':[{'op':'group.leave','group':'g','id':'a','force':true},"
                              "{'op':'group.leave','group':'g','id':'b','force':true},"
                              "{'op':'group.put','group':'g'}]}"),
                     OUTCOME_OK);
    group_world_pass(world, 10);
    GROUP_ASK(world, "group.get", "{'group':'g'}");
    assert_true(coord_world_says(world, "\"leader\":null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(whose_lease_ends_in_the_same_entry_does_not_lead),
        COORD_TEST(the_order_of_the_ends_does_not_matter),
        COORD_TEST(all_at_once_leave_nobody),
        COORD_TEST(one_token_is_one_leader),
        COORD_TEST(a_group_that_is_to_have_another_leader_may_be_deleted),
        COORD_TEST(nor_does_it_have_one_when_it_wants_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
