// links: api lib support
/* How tasks end before they are done: cancelled, dead; what their end makes room for. */
#include "coord/event.h"
#include "tests/unit/queue_finish_test.h"

/* --- cancel --- */

static void what_nobody_has_claimed_is_cancelled_at_once(void **state)
{
    struct coord_world *world = *state;
    DO("queue.enqueue", "{" Q "}");
    DO("queue.enqueue", "{" Q ",'delay':'1h'}");
    DO("queue.enqueue", "{" Q ",'after':['2']}");
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'1','reason':'not wanted'}"), OUTCOME_OK);
    SAYS("\"state\":\"cancelled\"");
    SAYS("\"cancel_requested\":false,\"cancel_reason\":\"not wanted\"");
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'3'}"), OUTCOME_OK);
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'2'}"), OUTCOME_OK);
    for (uint64_t id = 1; id <= 3; id++) assert_state(world, id, TASK_CANCELLED);
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'1'}"), OUTCOME_TASK_OVER);
    SAYS("\"state\":\"cancelled\"");
    assert_int_equal(claim(world), 0);
}

static void a_running_task_is_asked_to_stop_and_taken_away_after_the_grace(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'1','reason':'why not','grace':'10s'}"), OUTCOME_OK);
    SAYS("\"state\":\"claimed\"");
    SAYS("\"cancel_requested\":true,\"cancel_reason\":\"why not\"");
    struct event *event = events_next(world->rows, &world->arena, world->index - 1);
    assert_true(event && event->kind->code == QUEUE_TASK_CANCEL_REQUESTED);
    assert_int_equal(finish(world, "queue.progress", 1, token, ",'progress':1"), OUTCOME_OK);
    SAYS("\"cancel_requested\":true,\"cancel_reason\":\"why not\"");
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    const struct yield_request *yield = queue_yield(&apply, task_what(&apply, 1));
    assert_true(yield != NULL);
    assert_text(yield->owner, "cancel");
    assert_text(yield->reason, "why not");
    assert_int_equal(yield->since_ms, world->time_ms);
    assert_text(queue_what_path(&apply, task_what(&apply, 1)), "/queues/q/tasks/1");
    pass(world, 9999);
    assert_state(world, 1, TASK_CLAIMED);
    pass(world, 1);
    struct task task = task_of(world, 1);
    assert_int_equal(task.state, TASK_CANCELLED);
    assert_text(task.cancel_reason, "why not");
    assert_int_equal(attempt_of(&task, 0)->end, ATTEMPT_CANCELLED);
    assert_int_equal(worker_of(world).claimed, 0);
    assert_int_equal(finish(world, "queue.complete", 1, token, ""), OUTCOME_CLAIM_LOST);
}

static void without_grace_a_running_task_is_taken_away_at_once(void **state)
{
    struct coord_world *world = *state;
    enqueue_and_claim(world, "");
    DO("queue.cancel", "{" Q ",'id':'1','reason':'first'}");
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'1','grace':0}"), OUTCOME_OK);
    SAYS("\"state\":\"cancelled\"");
    SAYS("\"cancel_reason\":\"first\"");
}

static void a_cancelled_task_that_is_given_up_in_any_way_is_cancelled(void **state)
{
    static const char *const ways[] = {"queue.fail", "queue.release"};
    struct coord_world *world = *state;
    for (uint64_t id = 1; id <= 3; id++) {
        uint64_t token = enqueue_and_claim(world, "");
        DO("queue.cancel", "{" Q ",'id':'%llu'}", (unsigned long long)id);
        if (id <= 2)
            assert_int_equal(finish(world, ways[id - 1], id, token, ""), OUTCOME_OK);
        else
            lose(world, id);
        assert_state(world, id, TASK_CANCELLED);
        assert_int_equal(task_of(world, id).due_ms, 0);
    }
}

static void a_cancelled_task_that_is_completed_nevertheless_is_done(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    DO("queue.cancel", "{" Q ",'id':'1'}");
    assert_int_equal(finish(world, "queue.complete", 1, token, ""), OUTCOME_OK);
    pass(world, 60000);
    assert_state(world, 1, TASK_DONE);
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'1'}"), OUTCOME_TASK_OVER);
}

/* --- dead letters --- */

static void die(struct coord_world *world, const char *queue, uint64_t id)
{
    DO("queue.claim", "{'queue':'%s'}", queue);
    assert_int_equal(DO("queue.fail", "{'queue':'%s','id':'%llu','token':%llu,'permanent':true}", queue,
                        (unsigned long long)id, (unsigned long long)world->index),
                     OUTCOME_OK);
    assert_state(world, id, TASK_DEAD);
}

static void a_dead_task_leaves_a_copy_in_the_dead_letter_queue(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dead_letter':'dead'}");
    DO("queue.enqueue", "{" Q ",'payload':{'a':1},'key':'k','group':'g','priority':3}");
    die(world, "q", 1);
    struct task copy = task_of(world, 2);
    assert_int_equal(copy.state, TASK_READY);
    assert_text(copy.queue, "dead");
    assert_text(copy.key, "k");
    assert_text(copy.group, "g");
    assert_int_equal(copy.priority, 3);
    DO("queue.claim", "{'queue':'dead'}");
    SAYS("\"payload\":{\"a\":1}");
    SAYS("\"origin\":\"q/1\"");
    DO("queue.enqueue", "{" Q ",'key':'k'}"); /* dies too, while the first copy lives with the same key */
    die(world, "q", 3);
    assert_text(task_of(world, 4).queue, "dead");
}

static void dead_letters_do_not_go_in_circles(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dead_letter':'b'}");
    DO("queue.put", "{'queue':'b','dead_letter':'q'}");
    assert_int_equal(DO("queue.put", "{'queue':'self','dead_letter':'self'}"), OUTCOME_SENSELESS);
    DO("queue.enqueue", "{" Q "}");
    die(world, "q", 1);
    die(world, "b", 2);
    assert_int_equal(task_of(world, 3).state, 0);
}

static void a_dead_letter_queue_that_takes_nothing_loses_nothing(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dead_letter':'dead'}");
    DO("queue.put", "{'queue':'dead','max_len':1}");
    DO("queue.enqueue", "{'queue':'dead'}");
    DO("queue.enqueue", "{" Q "}");
    die(world, "q", 2);
    assert_int_equal(task_of(world, 3).state, 0);
    assert_state(world, 2, TASK_DEAD);
}

/* Both die in one entry, the younger first, and the queue keeps one dead task. */
static void a_queue_that_keeps_no_dead_tasks_sends_them_all_the_same(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dead_letter':'dead','retain_max':1}");
    DO("queue.enqueue", "{" Q ",'payload':1}");
    DO("queue.enqueue", "{" Q ",'payload':2}");
    uint64_t first = claim(world), second = claim(world);
    assert_int_equal(DO("txn",
                        "{'then':[{'op':'queue.fail'," Q ",'id':'2','token':%llu,'permanent':true},"
                        "{'op':'queue.fail'," Q ",'id':'1','token':%llu,'permanent':true}]}",
                        (unsigned long long)second, (unsigned long long)first),
                     OUTCOME_OK);
    assert_text(task_of(world, 3).queue, "dead");
    assert_text(task_of(world, 4).queue, "dead");
}

static void whoever_waits_for_dead_letters_gets_them(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dead_letter':'dead'}");
    assert_int_equal(DO("queue.claim", "{'queue':'dead','wait':'1m'}"), 0);
    DO("queue.enqueue", "{" Q "}");
    die(world, "q", 1);
    assert_int_equal(world->others, 1);
    assert_state(world, 2, TASK_CLAIMED);
}

/* --- what an end makes room for --- */

/* Two tasks of a group: the first is claimed, a claim waits for the second. */
static uint64_t wait_behind(struct coord_world *world)
{
    DO("queue.enqueue", "{" Q ",'group':'g','max_losses':1}");
    DO("queue.enqueue", "{" Q ",'group':'g'}");
    uint64_t token = claim(world);
    assert_int_equal(DO("queue.claim", "{" Q ",'wait':'1m'}"), 0);
    assert_state(world, 2, TASK_READY);
    return token;
}

static void assert_handed_out(struct coord_world *world)
{
    assert_int_equal(world->others, 1);
    assert_state(world, 2, TASK_CLAIMED);
    assert_int_equal(task_of(world, 2).token, world->index);
}

static void the_next_is_handed_out_when_one_is_done(void **state)
{
    struct coord_world *world = *state;
    finish(world, "queue.complete", 1, wait_behind(world), "");
    assert_handed_out(world);
}

static void the_next_is_handed_out_when_one_is_lost_for_good(void **state)
{
    struct coord_world *world = *state;
    wait_behind(world);
    lose(world, 1);
    assert_state(world, 1, TASK_DEAD);
    assert_handed_out(world);
}

static void a_head_that_is_lost_is_waited_for(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'backoff':'5s','backoff_jitter':0}");
    DO("queue.enqueue", "{" Q ",'group':'g'}");
    DO("queue.enqueue", "{" Q ",'group':'g','priority':0}");
    claim(world);
    lose(world, 1);
    assert_int_equal(claim(world), 0);
    pass(world, 5000);
    assert_true(claim(world));
    assert_state(world, 1, TASK_CLAIMED);
}

/* --- for schedules --- */

static void schedules_may_ask_for_a_state_and_cancel(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    enqueue_and_claim(world, "");
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    assert_int_equal(queue_task_state(&apply, 1), TASK_CLAIMED);
    assert_int_equal(queue_task_state(&apply, 9), 0);
    queue_cancel_task(&apply, 1, SLICE("over"));
    queue_cancel_task(&apply, 9, SLICE("over"));
    assert_int_equal(task_of(world, 1).cancel_ms, world->time_ms + QUEUE_GRACE_MS);
    coord_check(world->rows, &world->arena);
}

static void schedules_make_room_too(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    finish(world, "queue.release", 1, wait_behind(world), ",'delay':'1h'"); /* goes on blocking its group */
    assert_int_equal(world->others, 0);
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    queue_cancel_task(&apply, 1, SLICE("over"));
    assert_state(world, 1, TASK_CANCELLED);
    assert_state(world, 2, TASK_CLAIMED);
    coord_check(world->rows, &world->arena);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_has_claimed_is_cancelled_at_once),
        TEST(a_running_task_is_asked_to_stop_and_taken_away_after_the_grace),
        TEST(without_grace_a_running_task_is_taken_away_at_once),
        TEST(a_cancelled_task_that_is_given_up_in_any_way_is_cancelled),
        TEST(a_cancelled_task_that_is_completed_nevertheless_is_done),
        TEST(a_dead_task_leaves_a_copy_in_the_dead_letter_queue),
        TEST(dead_letters_do_not_go_in_circles),
        TEST(a_dead_letter_queue_that_takes_nothing_loses_nothing),
        TEST(a_queue_that_keeps_no_dead_tasks_sends_them_all_the_same),
        TEST(whoever_waits_for_dead_letters_gets_them),
        TEST(the_next_is_handed_out_when_one_is_done),
        TEST(the_next_is_handed_out_when_one_is_lost_for_good),
        TEST(a_head_that_is_lost_is_waited_for),
        TEST(schedules_may_ask_for_a_state_and_cancel),
        TEST(schedules_make_room_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
