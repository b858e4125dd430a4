// links: api lib support
/* Tasks that need others: fan-out, fan-in, failures on the way, and who is kept for whose sake. */
#include "tests/unit/queue_world.h"

#define Q "'queue':'q'"

#define N(id) ((unsigned long long)(id))

static void enqueue(struct coord_world *world, const char *more)
{
    assert_int_equal(DO("queue.enqueue", "{" Q "%s}", more), OUTCOME_CREATED);
}

/* Claims the next one, which is that. */
static void take(struct coord_world *world, uint64_t id)
{
    assert_true(claim(world));
    assert_state(world, id, TASK_CLAIMED);
}

static void complete(struct coord_world *world, uint64_t id, const char *result)
{
    assert_int_equal(DO("queue.complete", "{" Q ",'id':'%llu','token':%llu,'result':%s}", N(id),
                        N(task_of(world, id).token), result),
                     OUTCOME_OK);
}

static void die(struct coord_world *world, uint64_t id)
{
    assert_int_equal(DO("queue.fail", "{" Q ",'id':'%llu','token':%llu,'permanent':true}", N(id),
                        N(task_of(world, id).token)),
                     OUTCOME_OK);
}

static void cancel(struct coord_world *world, uint64_t id)
{
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'%llu'}", N(id)), OUTCOME_OK);
}

static size_t edges(struct coord_world *world)
{
    struct key from = key_of(KEY_TASK_AFTER);
    struct slice key, value;
    size_t count = 0;
    while (rows_seek(world->rows, key_slice(&from), &key, &value) && key.data[0] == KEY_TASK_AFTER) {
        count++;
        from = key_after(key);
    }
    return count;
}

static void a_task_waits_for_all_that_it_needs_and_gets_their_results(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    enqueue(world, ",'after':['1','2','1']");
    SAYS("\"state\":\"blocked\"");
    assert_int_equal(task_of(world, 3).needs, 2);
    take(world, 1);
    take(world, 2);
    assert_int_equal(claim(world), 0);
    complete(world, 2, "'two'");
    settle(world);
    assert_state(world, 3, TASK_BLOCKED);
    complete(world, 1, "{'one':1}");
    settle(world);
    assert_state(world, 3, TASK_READY);
    assert_int_equal(task_of(world, 1).dependants, 1);
    assert_true(claim(world));
    SAYS("\"inputs\":[{\"id\":\"1\",\"state\":\"done\",\"result\":{\"one\":1}},"
         "{\"id\":\"2\",\"state\":\"done\",\"result\":\"two\"}]");
    complete(world, 3, "3");
    assert_int_equal(task_of(world, 1).dependants + task_of(world, 2).dependants, 0);
    assert_int_equal(edges(world), 0);
}

static void who_is_done_already_is_not_waited_for(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    take(world, 1);
    complete(world, 1, "1");
    enqueue(world, ",'after':['1','2']");
    assert_int_equal(task_of(world, 3).needs, 1);
    take(world, 2);
    complete(world, 2, "2");
    settle(world);
    assert_state(world, 3, TASK_READY);
    enqueue(world, ",'after':['1','2'],'delay':'10s'");
    SAYS("\"state\":\"scheduled\"");
    pass(world, 10000);
    assert_state(world, 4, TASK_READY);
}

static void one_that_has_its_time_waits_for_that_too(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, ",'after':['1'],'delay':'10s'");
    SAYS("\"state\":\"blocked\"");
    take(world, 1);
    complete(world, 1, "1");
    settle(world);
    assert_state(world, 2, TASK_SCHEDULED);
    pass(world, 9999);
    assert_state(world, 2, TASK_SCHEDULED);
    pass(world, 1);
    assert_state(world, 2, TASK_READY);
}

/* --- one that is needed fails --- */

static void those_that_need_a_task_that_failed_are_cancelled_and_so_on(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, ",'after':['1']");
    enqueue(world, ",'after':['2']");
    take(world, 1);
    die(world, 1);
    settle(world);
    assert_state(world, 2, TASK_CANCELLED);
    assert_text(task_of(world, 2).cancel_reason, "it needs task 1, which is dead");
    assert_state(world, 3, TASK_CANCELLED);
    assert_text(task_of(world, 3).cancel_reason, "it needs task 2, which is cancelled");
    assert_int_equal(edges(world), 0);
}

static void expired_is_failed_too(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'ttl':'1s'");
    enqueue(world, ",'after':['1']");
    pass(world, 1000);
    assert_state(world, 1, TASK_EXPIRED);
    assert_text(task_of(world, 2).cancel_reason, "it needs task 1, which is expired");
}

static void some_run_nevertheless(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    enqueue(world, ",'after':['1','2'],'on_dep_fail':'run'");
    cancel(world, 1);
    settle(world);
    assert_state(world, 3, TASK_BLOCKED);
    take(world, 2);
    die(world, 2);
    settle(world);
    assert_state(world, 3, TASK_READY);
    assert_true(claim(world));
    SAYS("\"inputs\":[{\"id\":\"1\",\"state\":\"cancelled\",\"result\":null},"
         "{\"id\":\"2\",\"state\":\"dead\",\"result\":null}]");
}

static void some_are_held_until_it_is_redriven_and_done(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, ",'after':['1'],'on_dep_fail':'hold'");
    take(world, 1);
    die(world, 1);
    pass(world, 60000);
    assert_state(world, 2, TASK_BLOCKED);
    assert_int_equal(DO("queue.redrive", "{" Q ",'id':'1'}"), OUTCOME_OK);
    take(world, 1);
    complete(world, 1, "1");
    settle(world);
    assert_state(world, 2, TASK_READY);
}

/* What counted once as failed does not count again when that one is redriven and done. */
static void nothing_counts_twice(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    enqueue(world, ",'after':['1','2'],'on_dep_fail':'run'");
    take(world, 1);
    die(world, 1);
    settle(world);
    assert_int_equal(task_of(world, 3).needs, 1);
    pass(world, 1);
    DO("queue.redrive", "{" Q ",'id':'1'}");
    take(world, 2); /* it has waited longer */
    take(world, 1);
    complete(world, 1, "1");
    settle(world);
    assert_int_equal(task_of(world, 3).needs, 1);
    assert_state(world, 3, TASK_BLOCKED);
    complete(world, 2, "2");
    settle(world);
    assert_state(world, 3, TASK_READY);
}

/* The news of its death are still under way when it is redriven: they are no longer true. */
static void who_is_redriven_before_the_others_are_told_has_not_failed(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, ",'after':['1']");
    take(world, 1);
    die(world, 1);
    DO("queue.redrive", "{" Q ",'id':'1'}");
    settle(world);
    assert_state(world, 2, TASK_BLOCKED);
    take(world, 1);
    complete(world, 1, "1");
    settle(world);
    assert_state(world, 2, TASK_READY);
}

static void one_that_failed_already_counts_at_once(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    cancel(world, 1);
    enqueue(world, ",'after':['1'],'key':'k'");
    SAYS("\"state\":\"cancelled\"");
    assert_text(task_of(world, 2).cancel_reason, "it needs task 1, which is cancelled");
    enqueue(world, ",'after':['1'],'on_dep_fail':'run'");
    SAYS("\"state\":\"ready\"");
    enqueue(world, ",'after':['1'],'on_dep_fail':'hold'");
    SAYS("\"state\":\"blocked\"");
    settle(world);
    assert_state(world, 4, TASK_BLOCKED);
    enqueue(world, ",'key':'k'"); /* the one that was cancelled did not keep its key */
    SAYS("\"id\":\"5\"");
}

/* --- what is kept, and bounds --- */

static void a_task_is_kept_as_long_as_another_needs_it(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'retain_done':0,'retain_cancelled':0,'retain_max':1}");
    enqueue(world, "");
    enqueue(world, ",'delay':'1h','after':['1']");
    take(world, 1);
    complete(world, 1, "'kept'");
    pass(world, 3500000);
    assert_state(world, 1, TASK_DONE);
    pass(world, 100000);
    assert_true(claim(world));
    SAYS("\"result\":\"kept\"");
    complete(world, 2, "2");
    pass(world, 2000);
    assert_state(world, 1, (enum task_state)0);
    assert_state(world, 2, (enum task_state)0);
}

static void dependencies_go_across_queues(void **state)
{
    struct coord_world *world = *state;
    DO("queue.enqueue", "{'queue':'first'}");
    enqueue(world, ",'after':['1']");
    assert_int_equal(DO("queue.claim", "{" Q ",'wait':'1m'}"), 0);
    uint64_t waiting = world->index;
    DO("queue.claim", "{'queue':'first'}");
    DO("queue.complete", "{'queue':'first','id':'1','token':%llu}", N(world->index));
    assert_int_equal(world->others, 0);
    DO("pulse", "{}");
    assert_int_equal(world->others, 1); /* handed to the claim that waited, in the entry that told it */
    assert_int_equal(world->other_index, waiting);
    assert_state(world, 2, TASK_CLAIMED);
    assert_int_equal(task_of(world, 2).token, world->index);
}

enum { CHILDREN = 600 };

static void enqueue_many(struct coord_world *world, const char *item)
{
    static char items[1 << 14];
    size_t size = 0;
    for (int i = 0; i < CHILDREN; i++)
        size += (size_t)snprintf(items + size, sizeof items - size, "%s%s", i ? "," : "", item);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[%s]}", items), OUTCOME_CREATED);
}

static void an_entry_tells_a_bounded_number(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue_many(world, "{'after':['1']}");
    assert_int_equal(task_of(world, 1).dependants, CHILDREN);
    take(world, 1);
    complete(world, 1, "1");
    DO("pulse", "{}");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_READY], QUEUE_WORK_MAX);
    DO("pulse", "{}");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_READY], 2 * QUEUE_WORK_MAX);
    DO("pulse", "{}");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_READY], CHILDREN);
    assert_false(coord_wants_pulse(world->rows));
}

static void enqueue_after_all(struct coord_world *world, uint64_t count, const char *more)
{
    static char ids[1 << 14];
    size_t size = 0;
    for (uint64_t id = 1; id <= count; id++)
        size += (size_t)snprintf(ids + size, sizeof ids - size, "%s\"%llu\"", id > 1 ? "," : "", N(id));
    assert_int_equal(DO("queue.enqueue", "{" Q ",'after':[%s]%s}", ids, more), OUTCOME_CREATED);
}

static void a_task_that_needed_many_lets_them_go_by_and_by(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'retain_cancelled':0,'retain_max':1}");
    enqueue_many(world, "{}");
    enqueue_after_all(world, CHILDREN, "");
    assert_int_equal(edges(world), CHILDREN);
    cancel(world, CHILDREN + 1);
    assert_int_equal(edges(world), CHILDREN);
    DO("pulse", "{}");
    assert_int_equal(edges(world), CHILDREN - QUEUE_WORK_MAX);
    world->time_ms += 2000;
    DO("due", "{}");
    assert_state(world, CHILDREN + 1, TASK_CANCELLED); /* its row is needed until the last is let go of */
    DO("pulse", "{}");
    settle(world);
    assert_int_equal(edges(world), 0);
    assert_int_equal(task_of(world, 1).dependants, 0);
    assert_int_equal(task_of(world, CHILDREN).dependants, 0);
    pass(world, 3000);
    assert_state(world, CHILDREN + 1, (enum task_state)0);
}

static void one_that_is_let_go_of_is_not_redriven_meanwhile(void **state)
{
    struct coord_world *world = *state;
    enqueue_many(world, "{}");
    enqueue_after_all(world, CHILDREN, ",'deadline':'1s'");
    world->time_ms += 1000;
    DO("due", "{}");
    assert_state(world, CHILDREN + 1, TASK_DEAD);
    DO("queue.redrive", "{" Q ",'id':'%d'}", CHILDREN + 1);
    assert_state(world, CHILDREN + 1, TASK_DEAD);
    settle(world);
    DO("queue.redrive", "{" Q ",'id':'%d'}", CHILDREN + 1);
    assert_state(world, CHILDREN + 1, TASK_READY);
    assert_int_equal(task_of(world, CHILDREN + 1).parents, 0);
}

/* Fan-out to twenty maps, fan-in to one reduce, in one request. */
static void a_whole_graph_is_made_in_one_request(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("queue.enqueue_many",
                        "{" Q
                        ",'tasks':[{'payload':'split'},{'after':['#1']},{'after':['#1']},{'after':['#1']},"
                        "{'payload':'reduce','after':['#2','#3','#4']}]}"),
                     OUTCOME_CREATED);
    SAYS("{\"id\":\"5\",\"queue\":\"q\",\"state\":\"blocked\",\"deduplicated\":false}]");
    take(world, 1);
    complete(world, 1, "1");
    settle(world);
    for (uint64_t id = 2; id <= 4; id++) take(world, id);
    for (uint64_t id = 2; id <= 4; id++) complete(world, id, "1");
    settle(world);
    take(world, 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_waits_for_all_that_it_needs_and_gets_their_results),
        TEST(who_is_done_already_is_not_waited_for),
        TEST(one_that_has_its_time_waits_for_that_too),
        TEST(those_that_need_a_task_that_failed_are_cancelled_and_so_on),
        TEST(expired_is_failed_too),
        TEST(some_run_nevertheless),
        TEST(some_are_held_until_it_is_redriven_and_done),
        TEST(nothing_counts_twice),
        TEST(who_is_redriven_before_the_others_are_told_has_not_failed),
        TEST(one_that_failed_already_counts_at_once),
        TEST(a_task_is_kept_as_long_as_another_needs_it),
        TEST(dependencies_go_across_queues),
        TEST(an_entry_tells_a_bounded_number),
        TEST(a_task_that_needed_many_lets_them_go_by_and_by),
        TEST(one_that_is_let_go_of_is_not_redriven_meanwhile),
        TEST(a_whole_graph_is_made_in_one_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
