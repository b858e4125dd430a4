// links: api lib support
/* What one entry does at most, and what a queue that nobody uses costs. */
#include "tests/unit/queue_finish_test.h"

static uint64_t over(struct coord_world *world)
{
    struct queue queue = queue_of(world, "q");
    uint64_t count = 0;
    for (size_t state = TASK_DONE; state <= TASK_STATES; state++) count += queue.row.counts[state];
    return count;
}

/* --- retention --- */

static void a_sweep_forgets_some_an_entry_whatever_their_states(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'retain_cancelled':'10s'}");
    DO("queue.enqueue", "{" Q "}");
    enqueue_alike(world, 260, "'after':['1']");
    DO("queue.cancel", "{" Q ",'id':'1'}");
    enqueue_alike(world, 260, "'ttl':'1s'");
    pass(world, 5000);
    assert_int_equal(over(world), 521);
    world->time_ms += 20000;
    for (uint64_t before = 521; before; before = over(world)) {
        assert_true(coord_due_ms(world->rows) <= ++world->time_ms);
        DO("due", "{}");
        assert_in_range(before - over(world), 1, QUEUE_WORK_MAX);
    }
    coord_check(world->rows, &world->arena);
}

static void a_shorter_retention_counts_at_once(void **state)
{
    struct coord_world *world = *state;
    DO("queue.enqueue", "{" Q "}");
    DO("queue.cancel", "{" Q ",'id':'1'}");
    pass(world, 3600 * 1000);
    assert_state(world, 1, TASK_CANCELLED);
    DO("queue.put", "{" Q ",'retain_cancelled':'60s'}");
    pass(world, 60000);
    assert_state(world, 1, 0);
    coord_check(world->rows, &world->arena);
}

static void what_is_still_needed_is_not_looked_at_all_the_time(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'retain_done':0}");
    finish(world, "queue.complete", 1, enqueue_and_claim(world, ""), "");
    DO("queue.enqueue", "{" Q "}");
    assert_state(world, 1, TASK_DONE);
    DO("queue.enqueue", "{" Q ",'after':['1','2']}");
    pass(world, 3600 * 1000);
    uint64_t before = world->index;
    pass(world, 24 * 3600 * 1000);
    assert_state(world, 1, TASK_DONE);
    assert_in_range(world->index - before, 1, 24 * 60 + 10);
    DO("queue.cancel", "{" Q ",'id':'3'}");
    pass(world, 61000);
    assert_state(world, 1, 0);
    coord_check(world->rows, &world->arena);
}

/* --- purge --- */

static void a_purge_cancels_no_more_than_its_limit(void **state)
{
    struct coord_world *world = *state;
    enqueue_alike(world, 20, "");
    for (unsigned id = 1; id <= 20; id++) DO("queue.enqueue", "{'queue':'other','after':['%u']}", id);
    assert_int_equal(DO("queue.purge", "{" Q ",'limit':5}"), OUTCOME_OK);
    SAYS("\"more\":true");
    assert_int_equal(over(world), 5);
}

/* --- sharing out --- */

static void the_end_of_a_lease_with_many_tasks_shares_out_bounded_answers(void **state)
{
    struct coord_world *world = *state;
    static char large[100001];
    memset(large, 'x', sizeof large - 1);
    DO("queue.put", "{" Q ",'concurrency':90,'backoff':'1h','backoff_max':'1h'}");
    enqueue_alike(world, 90, "");
    DO("queue.claim", "{" Q ",'max':90}");
    for (int i = 0; i < 90; i++) {
        DO("queue.enqueue", "{" Q ",'payload':'%s'}", large);
        DO("queue.claim", "{" Q ",'wait':'60s'}");
    }
    lose(world, 1);
    assert_in_range(world->others, 80, 84);
    settle(world);
    assert_int_equal(queue_of(world, "q").row.claimers, 0);
    assert_int_equal(queue_of(world, "q").row.counts[TASK_CLAIMED], 90);
    coord_check(world->rows, &world->arena);
}

/* --- dead letters --- */

static void tasks_of_a_schedule_with_a_slash_leave_dead_letters(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dead_letter':'@dead'}");
    DO("queue.put", "{'queue':'@dead','dead_letter':'q'}");
    assert_int_equal(DO("schedule.put", "{'schedule':'team/5','queue':'q','every':'1h'}"), OUTCOME_CREATED);
    assert_int_equal(DO("schedule.run", "{'schedule':'team/5'}"), OUTCOME_CREATED);
    finish(world, "queue.fail", 1, claim(world), ",'permanent':true");
    assert_text(task_of(world, 2).queue, "@dead");
    DO("queue.claim", "{'queue':'@dead'}");
    DO("queue.fail", "{'queue':'@dead','id':'2','token':%llu,'permanent':true}",
       (unsigned long long)world->index);
    assert_state(world, 2, TASK_DEAD);
    assert_state(world, 3, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sweep_forgets_some_an_entry_whatever_their_states),
        TEST(a_shorter_retention_counts_at_once),
        TEST(what_is_still_needed_is_not_looked_at_all_the_time),
        TEST(a_purge_cancels_no_more_than_its_limit),
        TEST(the_end_of_a_lease_with_many_tasks_shares_out_bounded_answers),
        TEST(tasks_of_a_schedule_with_a_slash_leave_dead_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
