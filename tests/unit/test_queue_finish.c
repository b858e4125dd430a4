// links: api lib support
/* How claims end: complete, fail, release, lost, cancelled; budgets and dead letters. */
#include "coord/event.h"
#include "tests/unit/queue_world.h"

#define Q "'queue':'q'"

static uint64_t enqueue_and_claim(struct coord_world *world, const char *more)
{
    assert_int_equal(DO("queue.enqueue", "{" Q "%s}", more), OUTCOME_CREATED);
    return claim(world);
}

static enum outcome finish(struct coord_world *world, const char *how, uint64_t id, uint64_t token,
                           const char *more)
{
    return DO(how, "{" Q ",'id':'%llu','token':%llu%s}", (unsigned long long)id, (unsigned long long)token,
              more);
}

static const struct attempt *attempt_of(const struct task *task, size_t position)
{
    assert_true(position < task->history.count);
    return (const struct attempt *)task->history.items + position;
}

static struct worker_row worker_of(struct coord_world *world)
{
    struct apply apply;
    struct worker_row row;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    worker_load(&apply, SLICE("q"), SLICE("w"), &row);
    return row;
}

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

static void lose(struct coord_world *world, uint64_t id)
{
    assert_int_equal(DO("lease.revoke", "{'id':'L%llx'}", (unsigned long long)task_of(world, id).lease),
                     OUTCOME_NOTHING);
}

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
    DO("queue.put", "{'queue':'self','dead_letter':'self'}");
    DO("queue.enqueue", "{" Q "}");
    die(world, "q", 1);
    die(world, "b", 2);
    assert_int_equal(task_of(world, 3).state, 0);
    DO("queue.enqueue", "{'queue':'self'}");
    die(world, "self", 3);
    assert_int_equal(task_of(world, 4).state, 0);
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
        TEST(what_nobody_has_claimed_is_cancelled_at_once),
        TEST(a_running_task_is_asked_to_stop_and_taken_away_after_the_grace),
        TEST(without_grace_a_running_task_is_taken_away_at_once),
        TEST(a_cancelled_task_that_is_given_up_in_any_way_is_cancelled),
        TEST(a_cancelled_task_that_is_completed_nevertheless_is_done),
        TEST(extending_renews_the_lease_and_tells_of_cancellation),
        TEST(a_dead_task_leaves_a_copy_in_the_dead_letter_queue),
        TEST(dead_letters_do_not_go_in_circles),
        TEST(a_dead_letter_queue_that_takes_nothing_loses_nothing),
        TEST(a_queue_that_keeps_no_dead_tasks_sends_them_all_the_same),
        TEST(schedules_may_ask_for_a_state_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
