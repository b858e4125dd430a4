// links: api lib support
/* How claims end: complete, fail, lost, release; what is said of them meanwhile: progress, extend. */
#include "coord/event.h"
#include "tests/unit/queue_finish_test.h"

/* --- complete --- */

static void a_completed_task_is_done_with_its_result(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, ",'payload':{'a':1}");
    pass(world, 1200);
    assert_int_equal(finish(world, "queue.complete", 1, token, ",'result':{'n':42}"), OUTCOME_OK);
    SAYS("{\"id\":\"1\",\"queue\":\"q\",\"state\":\"done\",\"attempts\":1,\"failures\":0,\"losses\":0,"
         "\"releases\":0,\"not_before\":null,\"dead_reason\":null,\"cancel_requested\":false");
    struct task task = task_of(world, 1);
    assert_int_equal(task.lease, 0);
    assert_int_equal(attempt_of(&task, 0)->end, ATTEMPT_DONE);
    assert_int_equal(attempt_of(&task, 0)->token, token);
    assert_int_equal(attempt_of(&task, 0)->ended_ms - attempt_of(&task, 0)->since_ms, 1200);
    assert_text(attempt_of(&task, 0)->worker, "w");
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    assert_text(task_result(&apply, 1), "{\"n\":42}");
    struct worker_row worker = worker_of(world);
    assert_int_equal(worker.claimed, 0);
    assert_int_equal(worker.done, 1);
    assert_int_equal(worker.run_ms, 1200);
    assert_int_equal(queue_of(world, "q").row.done, 1);
}

static void completing_again_says_the_same(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    assert_int_equal(finish(world, "queue.complete", 1, token, ",'result':1"), OUTCOME_OK);
    assert_int_equal(finish(world, "queue.complete", 1, token, ",'result':2"), OUTCOME_OK);
    SAYS("\"state\":\"done\",\"attempts\":1");
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    assert_text(task_result(&apply, 1), "1");
    assert_int_equal(queue_of(world, "q").row.done, 1);
    assert_int_equal(finish(world, "queue.fail", 1, token, ""), OUTCOME_CLAIM_LOST);
    assert_int_equal(finish(world, "queue.complete", 1, token + 1, ""), OUTCOME_CLAIM_LOST);
}

/* The worker was away for too long; another has the task now, and then it is done. */
static void a_late_answer_is_refused_and_changes_nothing(void **state)
{
    static const char *const ways[] = {"queue.complete", "queue.fail", "queue.release"};
    struct coord_world *world = *state;
    uint64_t late = enqueue_and_claim(world, "");
    assert_int_equal(DO("lease.revoke", "{'id':'L%llx'}", (unsigned long long)task_of(world, 1).lease),
                     OUTCOME_NOTHING);
    assert_state(world, 1, TASK_SCHEDULED);
    assert_int_equal(finish(world, "queue.complete", 1, late, ""), OUTCOME_CLAIM_LOST);
    pass(world, 2000);
    uint64_t token = claim(world);
    assert_true(token > late);
    uint64_t digest = rows_digest(world->rows);
    for (size_t i = 0; i < 3; i++) assert_int_equal(finish(world, ways[i], 1, late, ""), OUTCOME_CLAIM_LOST);
    SAYS("{\"queue\":\"q\",\"id\":\"1\",\"state\":\"claimed\",\"attempt\":2,\"worker\":\"w\",\"since\":"
         "\"2023-11-14");
    assert_int_equal(finish(world, "queue.progress", 1, late, ",'progress':1"), OUTCOME_CLAIM_LOST);
    assert_true(rows_digest(world->rows) == digest);
    assert_int_equal(finish(world, "queue.complete", 1, token, ""), OUTCOME_OK);
    assert_int_equal(finish(world, "queue.complete", 1, late, ""), OUTCOME_CLAIM_LOST);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    assert_int_equal(finish(world, "queue.complete", 2, token, ""), OUTCOME_TASK_NOT_FOUND);
    SAYS("\"state\":null,\"attempt\":null,\"worker\":null,\"since\":null");
    assert_int_equal(
        DO("queue.complete", "{'queue':'other','id':'1','token':%llu}", (unsigned long long)token),
        OUTCOME_TASK_NOT_FOUND);
    assert_int_equal(DO("queue.complete", "{" Q ",'id':'01','token':%llu}", (unsigned long long)token),
                     OUTCOME_TASK_NOT_FOUND);
    assert_int_equal(DO("queue.cancel", "{" Q ",'id':'x'}"), OUTCOME_TASK_NOT_FOUND);
    assert_int_equal(DO("queue.cancel", "{'queue':'other','id':'1'}"), OUTCOME_TASK_NOT_FOUND);
    assert_state(world, 1, TASK_CLAIMED);
}

/* --- fail --- */

static void a_failed_task_is_tried_again_later_each_time_later(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'backoff':'1s','backoff_factor':3,'backoff_jitter':0,'backoff_max':'5s'}");
    uint64_t token = enqueue_and_claim(world, "");
    static const uint64_t waits_ms[] = {1000, 3000, 5000, 5000};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(finish(world, "queue.fail", 1, token, ",'error':'no luck'"), OUTCOME_OK);
        assert_state(world, 1, TASK_SCHEDULED);
        assert_int_equal(task_of(world, 1).not_before_ms, world->time_ms + waits_ms[i]);
        pass(world, waits_ms[i] - 1);
        assert_int_equal(claim(world), 0);
        pass(world, 1);
        token = claim(world);
        assert_true(token);
    }
    struct task task = task_of(world, 1);
    assert_int_equal(task.failures, 4);
    assert_int_equal(task.attempts, 5);
    assert_int_equal(task.losses + task.releases, 0);
    assert_int_equal(attempt_of(&task, 0)->end, ATTEMPT_FAILED);
    assert_text(attempt_of(&task, 0)->error, "no luck");
    assert_int_equal(worker_of(world).failed, 4);
    assert_int_equal(queue_of(world, "q").row.failed, 4);
}

static void the_worker_may_say_when_to_try_again(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    assert_int_equal(finish(world, "queue.fail", 1, token, ",'retry_after':'1h'"), OUTCOME_OK);
    assert_int_equal(task_of(world, 1).not_before_ms, world->time_ms + 3600000);
    assert_int_equal(finish(world, "queue.fail", 1, token, ",'retry_after':'1h','permanent':true"),
                     OUTCOME_SENSELESS);
}

/* What programs say when they fail has several lines. */
static void an_error_may_have_lines(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    assert_int_equal(finish(world, "queue.fail", 1, token, ",'error':'Traceback:\\n\\tline 1\\r\\n'"),
                     OUTCOME_OK);
    assert_text(task_of(world, 1).error, "Traceback:\n\tline 1\r\n");
}

static void the_last_attempt_that_fails_is_the_death_of_a_task(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, ",'max_attempts':2");
    finish(world, "queue.fail", 1, token, "");
    assert_state(world, 1, TASK_SCHEDULED);
    pass(world, 2000);
    finish(world, "queue.fail", 1, claim(world), ",'error':'again'");
    SAYS("\"state\":\"dead\",\"attempts\":2,\"failures\":2");
    SAYS("\"dead_reason\":\"failures\"");
    assert_text(task_of(world, 1).error, "again");
    assert_int_equal(queue_of(world, "q").row.dead, 1);
}

static void a_permanent_failure_is_the_last(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    finish(world, "queue.fail", 1, token, ",'permanent':true");
    SAYS("\"state\":\"dead\"");
    SAYS("\"dead_reason\":\"permanent\"");
}

/* --- lost --- */

static void a_task_that_kills_its_workers_dies_of_it(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'max_losses':3}");
    enqueue_and_claim(world, "");
    for (uint64_t lost = 1; lost <= 2; lost++) {
        lose(world, 1);
        struct task task = task_of(world, 1);
        assert_int_equal(task.state, TASK_SCHEDULED);
        assert_int_equal(task.losses, lost);
        assert_int_equal(task.failures, 0);
        assert_int_equal(attempt_of(&task, 0)->end, ATTEMPT_LOST);
        pass(world, 10000);
        assert_true(claim(world));
    }
    lose(world, 1);
    assert_state(world, 1, TASK_DEAD);
    assert_int_equal(task_of(world, 1).dead_reason, DEAD_LOSSES);
    assert_int_equal(worker_of(world).lost, 3);
    assert_int_equal(worker_of(world).claimed, 0);
    assert_int_equal(queue_of(world, "q").row.lost, 3);
}

static void failures_and_losses_have_one_budget_together(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, ",'max_attempts':3");
    finish(world, "queue.fail", 1, token, "");
    pass(world, 10000);
    claim(world);
    lose(world, 1);
    pass(world, 10000);
    token = claim(world);
    assert_true(token);
    finish(world, "queue.release", 1, token, ""); /* costs nothing */
    finish(world, "queue.fail", 1, claim(world), "");
    assert_state(world, 1, TASK_DEAD);
    assert_int_equal(task_of(world, 1).dead_reason, DEAD_FAILURES);
    assert_int_equal(task_of(world, 1).attempts, 4);
}

/* One lease for all tasks of a claim: it ends with the last of them, or all are lost. */
static void all_tasks_of_a_claim_hang_on_its_lease(void **state)
{
    struct coord_world *world = *state;
    DO("queue.enqueue_many", "{" Q ",'tasks':[{},{},{}]}");
    DO("queue.claim", "{" Q ",'worker':'w','max':3}");
    uint64_t token = world->index, lease = task_of(world, 1).lease;
    assert_true(lease);
    assert_int_equal(task_of(world, 3).lease, lease);
    finish(world, "queue.complete", 2, token, "");
    lose(world, 1);
    assert_state(world, 1, TASK_SCHEDULED);
    assert_state(world, 2, TASK_DONE);
    assert_state(world, 3, TASK_SCHEDULED);
    pass(world, 10000);
    DO("queue.claim", "{" Q ",'worker':'w','max':3}");
    lease = task_of(world, 1).lease;
    token = world->index;
    finish(world, "queue.complete", 1, token, "");
    finish(world, "queue.complete", 3, token, "");
    assert_int_equal(DO("lease.revoke", "{'id':'L%llx'}", (unsigned long long)lease), OUTCOME_LEASE_OVER);
}

static void an_attempt_that_takes_too_long_is_lost(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, ",'timeout':'5s'");
    pass(world, 4999);
    assert_state(world, 1, TASK_CLAIMED);
    pass(world, 1);
    struct task task = task_of(world, 1);
    assert_int_equal(task.state, TASK_SCHEDULED);
    assert_int_equal(task.losses, 1);
    assert_int_equal(attempt_of(&task, 0)->end, ATTEMPT_TIMEOUT);
    assert_int_equal(finish(world, "queue.complete", 1, token, ""), OUTCOME_CLAIM_LOST);
}

static void a_deadline_is_the_end_in_any_state(void **state)
{
    struct coord_world *world = *state;
    DO("queue.enqueue", "{" Q ",'deadline':'5s'}");
    DO("queue.enqueue", "{" Q ",'deadline':'5s','delay':'4999ms'}");
    DO("queue.enqueue", "{" Q ",'deadline':'5s','after':['1']}");
    uint64_t token = claim(world);
    pass(world, 4999);
    assert_state(world, 1, TASK_CLAIMED);
    assert_state(world, 2, TASK_READY);
    assert_state(world, 3, TASK_BLOCKED);
    pass(world, 1);
    for (uint64_t id = 1; id <= 2; id++) {
        assert_state(world, id, TASK_DEAD);
        assert_int_equal(task_of(world, id).dead_reason, DEAD_DEADLINE);
    }
    assert_true(task_is_over(task_of(world, 3).state));
    struct task task = task_of(world, 1);
    assert_int_equal(attempt_of(&task, 0)->end, ATTEMPT_DEADLINE);
    assert_int_equal(worker_of(world).claimed, 0);
    assert_int_equal(finish(world, "queue.complete", 1, token, ""), OUTCOME_CLAIM_LOST);
}

static void only_the_last_eight_attempts_are_remembered(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'max_attempts':100}");
    uint64_t token = enqueue_and_claim(world, "");
    for (int i = 0; i < 10; i++) {
        finish(world, "queue.fail", 1, token, ",'retry_after':1");
        pass(world, 1);
        token = claim(world);
    }
    struct task task = task_of(world, 1);
    assert_int_equal(task.history.count, QUEUE_ATTEMPTS_KEPT);
    assert_int_equal(attempt_of(&task, 0)->attempt, 10);
    assert_int_equal(attempt_of(&task, 7)->attempt, 3);
}

/* --- release --- */

static void a_released_task_is_there_again_at_once_or_later(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    assert_int_equal(finish(world, "queue.release", 1, token, ""), OUTCOME_OK);
    SAYS("\"state\":\"ready\",\"attempts\":1,\"failures\":0,\"losses\":0,\"releases\":1,\"not_before\":null");
    token = claim(world);
    assert_true(token);
    assert_int_equal(finish(world, "queue.release", 1, token, ",'delay':'3s'"), OUTCOME_OK);
    SAYS("\"state\":\"scheduled\"");
    assert_int_equal(task_of(world, 1).not_before_ms, world->time_ms + 3000);
    assert_int_equal(claim(world), 0);
    pass(world, 3000);
    assert_true(claim(world));
    assert_int_equal(worker_of(world).released, 2);
    assert_int_equal(queue_of(world, "q").row.released, 2);
}

/* --- progress --- */

static void progress_stays_for_the_next_attempt_and_keeps_the_lease_alive(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    struct apply apply;
    struct lease_row lease;
    assert_int_equal(finish(world, "queue.progress", 1, token, ",'progress':{'line':7}"), OUTCOME_OK);
    SAYS("\"state\":\"claimed\"");
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    assert_true(lease_get(&apply, task_of(world, 1).lease, &lease));
    assert_int_equal(lease.generation, world->index);
    struct event *event = events_next(world->rows, &world->arena, world->index - 1);
    assert_true(event && event->kind->code == QUEUE_TASK_PROGRESS);
    lose(world, 1);
    pass(world, 10000);
    assert_true(claim(world));
    SAYS("\"progress\":{\"line\":7}");
}

/* --- extend --- */

static void extend(struct coord_world *world, uint64_t id, uint64_t token, bool renewed)
{
    const struct operation *operation = operation_by_name(SLICE("queue.extend"));
    void *args;
    struct apply apply;
    CHECK(read_command(
              world, "queue.extend",
              json_of("{" Q ",'id':'%llu','token':%llu}", (unsigned long long)id, (unsigned long long)token),
              &args) == operation);
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    operation->renews(&apply, args);
    if (apply.renewal_count) {
        assert_int_equal(apply.renewal_count, 1);
        assert_int_equal(apply.renewals[0].lease, task_of(world, id).lease);
        apply.renewals[0].renewed = renewed;
        operation->renewed(&apply, args, apply.renewals, 1);
    }
    note_all(world, apply.answers);
}

static void extending_renews_the_lease_and_tells_of_cancellation(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = enqueue_and_claim(world, "");
    extend(world, 1, token, true);
    assert_int_equal(world->outcome, OUTCOME_OK);
    SAYS("\"ttl_ms\":30000,\"expires_in_ms\":30000,\"cancel_requested\":false,\"cancel_reason\":null");
    DO("queue.cancel", "{" Q ",'id':'1','reason':'why not'}");
    extend(world, 1, token, true);
    SAYS("\"cancel_requested\":true,\"cancel_reason\":\"why not\"");
    extend(world, 1, token, false);
    assert_int_equal(world->outcome, OUTCOME_CLAIM_LOST);
    SAYS("the lease of the claim is over");
    extend(world, 1, token + 1, true);
    assert_int_equal(world->outcome, OUTCOME_CLAIM_LOST);
    extend(world, 2, token, true);
    assert_int_equal(world->outcome, OUTCOME_TASK_NOT_FOUND);
    finish(world, "queue.complete", 1, token, "");
    extend(world, 1, token, true);
    assert_int_equal(world->outcome, OUTCOME_CLAIM_LOST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_completed_task_is_done_with_its_result),
        TEST(completing_again_says_the_same),
        TEST(a_late_answer_is_refused_and_changes_nothing),
        TEST(what_is_not_there_is_not_found),
        TEST(a_failed_task_is_tried_again_later_each_time_later),
        TEST(the_worker_may_say_when_to_try_again),
        TEST(an_error_may_have_lines),
        TEST(the_last_attempt_that_fails_is_the_death_of_a_task),
        TEST(a_permanent_failure_is_the_last),
        TEST(a_task_that_kills_its_workers_dies_of_it),
        TEST(failures_and_losses_have_one_budget_together),
        TEST(all_tasks_of_a_claim_hang_on_its_lease),
        TEST(an_attempt_that_takes_too_long_is_lost),
        TEST(a_deadline_is_the_end_in_any_state),
        TEST(only_the_last_eight_attempts_are_remembered),
        TEST(a_released_task_is_there_again_at_once_or_later),
        TEST(progress_stays_for_the_next_attempt_and_keeps_the_lease_alive),
        TEST(extending_renews_the_lease_and_tells_of_cancellation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
