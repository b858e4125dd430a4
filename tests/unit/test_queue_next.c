// links: api lib support
/* queue.next, which finishes and claims, and queue.unclaim, which takes back what could not be delivered. The
 * first command of a world is entry 8. */
#include "tests/unit/queue_claim_test.h"

/* As many tasks, all claimed by w in one entry; its token. */
static uint64_t claim_some(struct coord_world *world, int count, const char *more)
{
    char text[128];
    for (int i = 0; i < count; i++) enqueue(world, "");
    snprintf(text, sizeof text, ",\"max\":%d%s", count, more);
    assert_int_equal(claim(world, "w", text), OUTCOME_OK);
    return world->index;
}

static void done_and_more(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 2, "");
    enqueue(world, "");
    assert_int_equal(
        queue_do(world, "next",
                 "{\"queue\":\"q\",\"done\":[{\"id\":\"1\",\"token\":%llu,\"result\":{\"r\":1}}],"
                 "\"failed\":[{\"id\":\"2\",\"token\":%llu,\"error\":\"no\",\"permanent\":true}],"
                 "\"claim\":{\"worker\":\"w\",\"max\":5}}",
                 (unsigned long long)token, (unsigned long long)token),
        OUTCOME_OK);
    SAYS("{\"finished\":[{\"id\":\"1\",\"code\":\"done\",\"state\":\"done\"},"
         "{\"id\":\"2\",\"code\":\"failed\",\"state\":\"dead\"}],\"queue\":\"q\",\"token\":12,");
    SAYS("\"tasks\":[{\"id\":\"3\",\"token\":12,");
    assert_true(is_claimed_by(world, 3, "w"));
    assert_int_equal(task_now(world, 2).dead_reason, DEAD_PERMANENT);
    assert_true(slice_is(task_now(world, 2).error, "no"));
    assert_int_equal(figures(world, "w").claimed, 1);
}

static void only_done(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 1, "");
    enqueue(world, "");
    assert_int_equal(queue_do(world, "next", "{\"queue\":\"q\",\"done\":[{\"id\":\"1\",\"token\":%llu}]}",
                              (unsigned long long)token),
                     OUTCOME_OK);
    SAYS("{\"finished\":[{\"id\":\"1\",\"code\":\"done\",\"state\":\"done\"}],\"queue\":\"q\",\"token\":null,"
         "\"lease\":null,\"expires_in_ms\":null,\"tasks\":[]}");
    assert_int_equal(task_now(world, 2).state, TASK_READY);
}

static void only_a_claim(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    assert_int_equal(queue_do(world, "next", "{\"queue\":\"q\",\"claim\":{}}"), OUTCOME_OK);
    SAYS("{\"finished\":[],\"queue\":\"q\",\"token\":9,");
}

/* Each item by itself: one that is refused stops neither the others nor the claim. */
static void each_has_an_outcome(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 3, "");
    queue_do(world, "enqueue", "{\"queue\":\"other\",\"payload\":1}");
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}", (unsigned long long)token);
    queue_do(world, "release", "{\"queue\":\"q\",\"id\":\"2\",\"token\":%llu}", (unsigned long long)token);
    assert_int_equal(
        queue_do(world, "next",
                 "{\"queue\":\"q\",\"done\":[{\"id\":\"1\",\"token\":%llu},"
                 "{\"id\":\"2\",\"token\":%llu},{\"id\":\"99\",\"token\":3},{\"id\":\"4\",\"token\":3},"
                 "{\"id\":\"3\",\"token\":%llu},{\"id\":\"3\",\"token\":1}],"
                 "\"failed\":[{\"id\":\"1\",\"token\":%llu}]}",
                 (unsigned long long)token, (unsigned long long)token, (unsigned long long)token,
                 (unsigned long long)token),
        OUTCOME_OK);
    SAYS("\"finished\":[{\"id\":\"1\",\"code\":\"done\",\"state\":\"done\"},"
         "{\"id\":\"2\",\"code\":\"claim_lost\",\"state\":\"ready\"},"
         "{\"id\":\"99\",\"code\":\"task_not_found\",\"state\":null},"
         "{\"id\":\"4\",\"code\":\"task_not_found\",\"state\":null},"
         "{\"id\":\"3\",\"code\":\"done\",\"state\":\"done\"},"
         "{\"id\":\"3\",\"code\":\"claim_lost\",\"state\":\"done\"},"
         "{\"id\":\"1\",\"code\":\"claim_lost\",\"state\":\"done\"}]");
    assert_int_equal(task_now(world, 1).failures, 0);
}

/* What is retried later goes by the wait that the worker asks for. */
static void failed_for_now(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 1, "");
    queue_do(world, "next",
             "{\"queue\":\"q\",\"failed\":[{\"id\":\"1\",\"token\":%llu,\"retry_after\":\"77s\"}]}",
             (unsigned long long)token);
    SAYS("{\"id\":\"1\",\"code\":\"failed\",\"state\":\"scheduled\"}");
    assert_int_equal(task_now(world, 1).not_before_ms, world->time_ms + 77000);
}

/* A request that cannot claim finishes nothing. */
static void a_claim_that_cannot_be(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 1, "");
    assert_int_equal(queue_do(world, "next",
                              "{\"queue\":\"q\",\"done\":[{\"id\":\"1\",\"token\":%llu}],"
                              "\"claim\":{\"lease\":\"L99900000\"}}",
                              (unsigned long long)token),
                     OUTCOME_LEASE_NOT_FOUND);
    assert_true(is_claimed_by(world, 1, "w"));
}

static void waits_for_more(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 1, "");
    static const char *ask = "{\"queue\":\"q\",\"done\":[{\"id\":\"1\",\"token\":%llu}],"
                             "\"claim\":{\"worker\":\"w\",\"wait\":\"1m\"}}";
    char text[256];
    snprintf(text, sizeof text, ask, (unsigned long long)token);
    assert_int_equal(coord_world_guarded(world, "k", NULL, 0, "queue.next", text), 0);
    uint64_t waits = world->index;
    assert_int_equal(task_now(world, 1).state, TASK_DONE);
    uint64_t id = enqueue(world, "");
    assert_int_equal(world->other_index, waits);
    assert_true(is_claimed_by(world, id, "w"));
    coord_world_guarded(world, "k", NULL, 0, "queue.next", text);
    assert_true(world->replayed);
    SAYS("{\"finished\":[{\"id\":\"1\",\"code\":\"done\",\"state\":\"done\"}],\"queue\":\"q\",\"token\":11,");
}

/* What it has finished is told in any case: in vain, without its session, from a queue that is deleted. */
static void what_is_finished_is_told(void **state)
{
    struct coord_world *world = *state;
    static const char *ends[] = {"timeout", "session", "delete"};
    static const char *finished = "{\"finished\":[{\"id\":\"%d\",\"code\":\"done\",\"state\":\"done\"}],";
    for (int i = 0; i < 3; i++) {
        char text[256];
        coord_world_do(world, "lease.session", "{\"node\":1,\"nonce\":7,\"ttl\":5000}");
        world->origin = world->index << LEASE_ENTRY_BITS;
        uint64_t token = claim_some(world, 1, "");
        snprintf(text, sizeof text,
                 "{\"queue\":\"q\",\"done\":[{\"id\":\"%d\",\"token\":%llu}],\"claim\":{\"wait\":\"1m\"}}",
                 i + 1, (unsigned long long)token);
        assert_int_equal(coord_world_guarded(world, ends[i], NULL, 0, "queue.next", text), 0);
        uint64_t waits = world->index;
        if (i == 0) cancel_wait(world, waits, "timeout");
        if (i == 1) coord_world_do(world, "lease.session", "{\"node\":1,\"nonce\":8,\"ttl\":5000}");
        if (i == 2) queue_do(world, "delete", "{\"queue\":\"q\"}");
        assert_int_equal(world->others, 1);
        assert_int_equal(world->other_index, waits);
        assert_int_equal(world->other_outcome, OUTCOME_OK);
        coord_world_guarded(world, ends[i], NULL, 0, "queue.next", text);
        assert_true(world->replayed);
        snprintf(text, sizeof text, finished, i + 1);
        SAYS(text);
        SAYS("\"tasks\":[]");
    }
}

/* The lease of the claim before, which ends with its last task: named for the next claim it lives on. */
static void on_the_lease_of_the_claim_before(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    struct lease_row row;
    static const char *ask = "{\"queue\":\"q\",\"done\":[{\"id\":\"%d\",\"token\":%llu}],"
                             "\"claim\":{\"worker\":\"w\",\"lease\":\"L%llx\"%s}}";
    uint64_t token = claim_some(world, 1, ""), lease = task_now(world, 1).lease;
    enqueue(world, "");
    queue_do(world, "next", ask, 1, (unsigned long long)token, (unsigned long long)lease, "");
    assert_int_equal(task_now(world, 2).lease, lease);
    token = world->index;
    assert_int_equal(queue_do(world, "next", ask, 2, (unsigned long long)token, (unsigned long long)lease,
                              ",\"wait\":\"1m\""),
                     0);
    enqueue(world, "");
    assert_int_equal(task_now(world, 3).lease, lease);
    token = world->index;
    assert_int_equal(
        queue_do(world, "next", ask, 3, (unsigned long long)token, (unsigned long long)lease, ""),
        OUTCOME_OK);
    SAYS("\"tasks\":[]");
    look(world, &apply);
    assert_false(lease_get(&apply, lease, &row)); /* nothing hangs on it any more */
}

/* What is finished makes room for others that wait, by the way. */
static void others_are_served_too(void **state)
{
    struct coord_world *world = *state;
    queue_do(world, "put", "{\"queue\":\"q\",\"concurrency\":2}");
    uint64_t token = claim_some(world, 2, "");
    for (int i = 0; i < 3; i++) enqueue(world, "");
    wait_for(world, "v", "");
    queue_do(world, "next",
             "{\"queue\":\"q\",\"done\":[{\"id\":\"1\",\"token\":%llu},{\"id\":\"2\",\"token\":%llu}],"
             "\"claim\":{\"worker\":\"w\",\"max\":3}}",
             (unsigned long long)token, (unsigned long long)token);
    assert_true(is_claimed_by(world, 3, "v") && is_claimed_by(world, 4, "w"));
    assert_int_equal(world->others, 1);
}

/* --- unclaim --- */

static void what_could_not_be_delivered(void **state)
{
    struct coord_world *world = *state;
    uint64_t token = claim_some(world, 3, ""), lease = task_now(world, 1).lease;
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"2\",\"token\":%llu}", (unsigned long long)token);
    assert_int_equal(queue_do(world, "unclaim", "{\"queue\":\"q\",\"token\":%llu,\"lease\":\"L%llx\"}",
                              (unsigned long long)token, (unsigned long long)lease),
                     OUTCOME_OK);
    assert_int_equal(task_now(world, 1).state, TASK_READY);
    assert_int_equal(task_now(world, 2).state, TASK_DONE);
    assert_int_equal(task_now(world, 3).state, TASK_READY);
    assert_true(task_now(world, 1).failures == 0 && task_now(world, 1).losses == 0);
    assert_int_equal(figures(world, "w").claimed, 0);
    claim(world, "v", ",\"max\":3");
    assert_true(is_claimed_by(world, 1, "v") && is_claimed_by(world, 3, "v"));
    queue_do(world, "unclaim", "{\"queue\":\"q\",\"token\":%llu,\"lease\":\"L%llx\"}",
             (unsigned long long)token, (unsigned long long)lease); /* twice: they are somebody else's now */
    assert_true(is_claimed_by(world, 1, "v"));
}

/* One entry may have answered several claims: the lease tells them apart. What goes back is handed on. */
static void of_that_claim_only(void **state)
{
    struct coord_world *world = *state;
    pause_queue(world);
    wait_for(world, "a", "");
    wait_for(world, "b", "");
    enqueue(world, "");
    enqueue(world, "");
    queue_do(world, "resume", "{\"queue\":\"q\"}");
    struct task task = task_now(world, 1);
    assert_int_equal(task_now(world, 2).token, task.token);
    uint64_t waits = wait_for(world, "c", "");
    queue_do(world, "unclaim", "{\"queue\":\"q\",\"token\":%llu,\"lease\":\"L%llx\"}",
             (unsigned long long)task.token, (unsigned long long)task.lease);
    assert_true(is_claimed_by(world, 1, "c") && is_claimed_by(world, 2, "b"));
    assert_int_equal(world->other_index, waits);
}

/* A claim that got nothing. */
static void nothing_to_take_back(void **state)
{
    struct coord_world *world = *state;
    claim_some(world, 1, "");
    assert_int_equal(queue_do(world, "unclaim", "{\"queue\":\"q\"}"), OUTCOME_OK);
    assert_int_equal(queue_do(world, "unclaim", "{\"queue\":\"none\",\"token\":3}"), OUTCOME_OK);
    assert_true(is_claimed_by(world, 1, "w"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM_TEST(done_and_more),
        CLAIM_TEST(only_done),
        CLAIM_TEST(only_a_claim),
        CLAIM_TEST(each_has_an_outcome),
        CLAIM_TEST(failed_for_now),
        CLAIM_TEST(a_claim_that_cannot_be),
        CLAIM_TEST(waits_for_more),
        CLAIM_TEST(what_is_finished_is_told),
        CLAIM_TEST(on_the_lease_of_the_claim_before),
        CLAIM_TEST(others_are_served_too),
        CLAIM_TEST(what_could_not_be_delivered),
        CLAIM_TEST(of_that_claim_only),
        CLAIM_TEST(nothing_to_take_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
