// links: daemon support
/* Requests that wait for a change: kept, looked at when something touched what they read, answered once. */
#include "tests/unit/watches_test.h"

/* --- requests that wait --- */

static struct call *ask(struct world *world, const char *name, uint64_t since, uint64_t wait_ms)
{
    struct call *call = call_new();
    struct thing *args = arena_alloc(&call->arena, sizeof *args);
    args->name = slice_text(name);
    call->operation = &operations[0];
    call->args = args;
    call->arrived_ms = world->view.now_ms;
    call->wait_ms = wait_ms;
    call->since_given = true;
    call->since = since;
    return call;
}

static bool run(struct world *world, struct call *call)
{
    struct apply apply;
    struct answer answer;
    apply_begin(&apply, world->rows, &world->arena, world->view.applied, 1, 5000);
    coord_query(&apply, call->operation, call->args);
    bool kept = watches_keep(world->watches, call, &apply, &answer);
    if (!kept) pending_reply(world->pending, call, &answer, world->view.applied);
    arena_reset(&world->arena);
    return kept;
}

static void a_request_waits_for_a_change(void **state)
{
    struct world *world = *state;
    uint64_t revision = one(world, "a", 1);
    struct call *call = ask(world, "a", revision, 60000), *absent = ask(world, "b", revision, 60000);
    assert_true(run(world, call) && run(world, absent));
    one(world, "c", 2);
    turn(world);
    assert_int_equal(delivered_count, 0);
    assert_int_equal(watches_counts(world->watches).kept, 2);
    one(world, "a", 3);
    turn(world);
    assert_int_equal(delivered_count, 1);
    assert_ptr_equal(delivered[0], call);
    assert_int_equal(call->outcome, OUTCOME_OK);
    assert_int_equal(((const struct thing *)call->result)->number, 3);
    one(world, "b", 4);
    turn(world);
    assert_int_equal(absent->outcome, OUTCOME_OK);
    assert_int_equal(watches_counts(world->watches).kept, 0);
}

static void a_request_that_is_late_does_not_wait(void **state)
{
    struct world *world = *state;
    one(world, "a", 1);
    one(world, "b", 1);
    struct call *call = ask(world, "a", 0, 60000), *absent = ask(world, "x", 0, 60000);
    assert_false(run(world, call));
    assert_true(run(world, absent)); /* the history tells that nothing of it changed */
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
}

static void what_the_history_cannot_tell_is_answered(void **state)
{
    struct world *world = *state;
    for (unsigned i = 0; i < 1000; i++) one(world, "b", i);
    assert_false(run(world, ask(world, "x", 1, 60000)));
    assert_true(run(world, ask(world, "x", 900, 60000)));
}

static void without_a_wait_or_a_change_nothing_is_new(void **state)
{
    struct world *world = *state;
    uint64_t revision = one(world, "a", 1);
    struct call *call = ask(world, "a", revision, 0);
    assert_false(run(world, call));
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_UNCHANGED);
    assert_int_equal(call->revision, revision);
}

static void at_the_end_of_the_wait_the_newest_state_is_looked_at(void **state)
{
    struct world *world = *state;
    uint64_t revision = one(world, "a", 1);
    struct call *call = ask(world, "a", revision, 500);
    assert_true(run(world, call));
    assert_int_equal(watches_next_ms(world->watches), world->view.now_ms + 500);
    turn(world);
    assert_null(watches_due(world->watches));
    world->view.now_ms += 500;
    turn(world);
    assert_ptr_equal(watches_due(world->watches), call);
    assert_null(call->next);
    assert_true(call->last_look);
    assert_false(run(world, call));
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_UNCHANGED);
}

static struct call *wait_until(struct world *world, const char *name, uint64_t number, uint64_t revision)
{
    struct call *call = ask(world, name, 0, 60000);
    struct thing *args = call->args;
    args->number = number;
    args->revision = revision;
    call->operation = &operations[3];
    call->since_given = false;
    return call;
}

static void a_condition_is_looked_at_whenever_its_object_changes(void **state)
{
    struct world *world = *state;
    struct call *call = wait_until(world, "a", 3, 0), *held = wait_until(world, "a", 1, 0);
    assert_true(run(world, call));
    one(world, "a", 1);
    assert_false(run(world, held));
    for (unsigned i = 0; i < 300; i++) {
        one(world, "a", 2);
        turn(world);
        assert_int_equal(watches_counts(world->watches).kept, 1);
    }
    assert_true(watches_next_ms(world->watches) > world->view.now_ms);
    one(world, "a", 3);
    turn(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
    assert_int_equal(watches_counts(world->watches).kept, 0);
    assert_int_equal(delivered_count, 2);
}

static void a_condition_is_looked_at_when_its_revision_is_reached(void **state)
{
    struct world *world = *state;
    one(world, "a", 5);
    struct call *call = wait_until(world, "a", 9, 4);
    assert_true(run(world, call));
    one(world, "b", 1);
    turn(world);
    struct rows *rows = world->rows; /* the thing changes, and nothing tells */
    struct thing thing = {SLICE("a"), 9, 0};
    apply_begin(&world->apply, rows, &world->arena, 2, 1, 1);
    row_put(&world->apply, thing_key(&world->arena, thing.name), &thing_record, &thing);
    one(world, "b", 1);
    turn(world);
    assert_int_equal(delivered_count, 0);
    one(world, "b", 1);
    turn(world);
    assert_int_equal(delivered_count, 1);
    assert_int_equal(call->outcome, OUTCOME_OK);
}

static void many_that_wait_are_answered_in_bounded_turns(void **state)
{
    struct world *world = *state;
    enum { COUNT = 1000 };
    uint64_t revision = one(world, "a", 1);
    for (unsigned i = 0; i < COUNT; i++) assert_true(run(world, ask(world, "a", revision, 60000)));
    one(world, "a", 2);
    turn(world);
    assert_in_range(delivered_count, 1, COUNT / 2);
    for (unsigned i = 0; i < 10; i++) turn(world);
    assert_int_equal(delivered_count, COUNT);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_waits_for_a_change),
        TEST(a_request_that_is_late_does_not_wait),
        TEST(what_the_history_cannot_tell_is_answered),
        TEST(without_a_wait_or_a_change_nothing_is_new),
        TEST(at_the_end_of_the_wait_the_newest_state_is_looked_at),
        TEST(a_condition_is_looked_at_whenever_its_object_changes),
        TEST(a_condition_is_looked_at_when_its_revision_is_reached),
        TEST(many_that_wait_are_answered_in_bounded_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
