// links: api lib support
/* Claims: what they get, what it hangs on, what is shown. The first command of a world is entry 8. */
#include "tests/unit/queue_claim_test.h"

static void one_task_for_one_claim(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(queue_do(world, "enqueue", "{\"queue\":\"q\",\"payload\":{\"a\":[1]},\"priority\":3}"),
                     OUTCOME_CREATED);
    enqueue(world, "");
    assert_int_equal(claim(world, "w", ""), OUTCOME_OK);
    SAYS(
        "{\"queue\":\"q\",\"token\":10,\"lease\":\"La00000\",\"expires_in_ms\":1000,\"tasks\":[{\"id\":\"1\","
        "\"token\":10,\"payload\":{\"a\":[1]},\"attempt\":1,\"attempts\":1,\"failures\":0,\"losses\":0,"
        "\"priority\":3,\"key\":null,\"group\":null,\"lease\":\"La00000\",\"expires_in_ms\":1000,"
        "\"enqueued_at\":\"2023-11-14T22:13:20.000Z\",\"timeout_ms\":0,\"deadline\":null,\"progress\":null,"
        "\"origin\":null,\"inputs\":[]}]}");
    assert_true(is_claimed_by(world, 1, "w"));
    struct task task = task_now(world, 1);
    assert_int_equal(task.token, world->index);
    assert_int_equal(task.claimed_ms, world->time_ms);
    assert_int_equal(task_now(world, 2).state, TASK_READY);
}

/* Nothing is written for the sake of a claim that finds nothing. */
static void nothing_to_claim(void **state)
{
    struct coord_world *world = *state;
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(claim(world, "w", ",\"max\":7"), OUTCOME_OK);
    SAYS("{\"queue\":\"q\",\"token\":null,\"lease\":null,\"expires_in_ms\":null,\"tasks\":[]}");
    assert_true(rows_digest(world->rows) == digest);
}

static void as_many_as_asked_for(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 5; i++) enqueue(world, "");
    claim(world, "w", ",\"max\":3");
    for (uint64_t id = 1; id <= 5; id++)
        assert_int_equal(task_now(world, id).state, id <= 3 ? TASK_CLAIMED : TASK_READY);
    claim(world, "v", ",\"max\":256");
    assert_true(is_claimed_by(world, 3, "w") && is_claimed_by(world, 4, "v") && is_claimed_by(world, 5, "v"));
    assert_int_equal(queue_now_is(world).claimed, 5);
}

static void in_order_of_priority_then_age(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",\"priority\":9");
    enqueue(world, ",\"priority\":8");
    enqueue(world, ",\"priority\":8");
    enqueue(world, ",\"priority\":0");
    claim(world, "w", ",\"max\":4");
    const char *text = (const char *)world->answer.data;
    const char *places[] = {strstr(text, "\"id\":\"4\""), strstr(text, "\"id\":\"2\""),
                            strstr(text, "\"id\":\"3\""), strstr(text, "\"id\":\"1\"")};
    assert_true(places[0] && places[0] < places[1] && places[1] < places[2] && places[2] < places[3]);
}

/* --- leases --- */

static bool lease_now(struct coord_world *world, uint64_t lease, struct lease_row *row)
{
    struct apply apply;
    look(world, &apply);
    return lease_get(&apply, lease, row);
}

/* The tasks of a claim share a lease, which ends with the last of them. */
static void one_lease_for_all_tasks_of_a_claim(void **state)
{
    struct coord_world *world = *state;
    struct lease_row row;
    enqueue(world, "");
    enqueue(world, "");
    claim(world, "w", ",\"max\":2,\"ttl\":\"700ms\"");
    uint64_t token = world->index, lease = task_now(world, 1).lease;
    assert_int_equal(task_now(world, 2).lease, lease);
    assert_true(lease_now(world, lease, &row));
    assert_int_equal(row.ttl_ms, 700);
    assert_true(slice_is(row.owner, "w"));
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}", (unsigned long long)token);
    assert_true(lease_now(world, lease, &row));
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"2\",\"token\":%llu}", (unsigned long long)token);
    assert_false(lease_now(world, lease, &row));
}

static void the_queue_says_how_long_a_lease_is(void **state)
{
    struct coord_world *world = *state;
    struct lease_row row;
    assert_int_equal(queue_do(world, "put", "{\"queue\":\"q\",\"lease\":\"45s\"}") < OUTCOME_LOCK_HELD, 1);
    enqueue(world, "");
    claim(world, "w", "");
    assert_true(lease_now(world, task_now(world, 1).lease, &row));
    assert_int_equal(row.ttl_ms, 45000);
}

static void tasks_on_a_lease_of_the_client(void **state)
{
    struct coord_world *world = *state;
    char with[64];
    uint64_t lease = new_lease(world);
    snprintf(with, sizeof with, ",\"lease\":\"L%llx\"", (unsigned long long)lease);
    enqueue(world, "");
    enqueue(world, "");
    claim(world, "w", with);
    claim(world, "w", with);
    assert_int_equal(task_now(world, 1).lease, lease);
    assert_int_equal(task_now(world, 2).lease, lease);
    assert_int_not_equal(task_now(world, 1).token, task_now(world, 2).token);
    end_lease(world, lease);
    assert_int_equal(task_now(world, 1).losses, 1);
    assert_int_equal(task_now(world, 2).losses, 1);
    assert_int_equal(figures(world, "w").claimed, 0);
    assert_int_equal(figures(world, "w").lost, 2);
    assert_int_equal(claim(world, "w", with), OUTCOME_LEASE_OVER);
}

static void leases_that_cannot_be(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(claim(world, "w", ",\"lease\":\"L99900000\""), OUTCOME_LEASE_NOT_FOUND);
    assert_int_equal(claim(world, "w", ",\"lease\":\"L700000\",\"ttl\":\"1s\""), OUTCOME_SENSELESS);
    assert_true(rows_digest(world->rows) == digest);
    coord_world_do(world, "lease.session", "{\"node\":1,\"nonce\":1,\"ttl\":5000}");
    char with[64];
    snprintf(with, sizeof with, ",\"lease\":\"L%llx\"",
             (unsigned long long)(world->index << LEASE_ENTRY_BITS));
    assert_int_equal(claim(world, "w", with), OUTCOME_LEASE_NOT_FOUND);
    assert_int_equal(task_now(world, 1).state, TASK_READY);
}

/* --- again --- */

/* The next attempt has a higher token, and sees what the one before left. */
static void the_next_attempt(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    claim(world, "w", "");
    uint64_t token = world->index;
    queue_do(world, "progress", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu,\"progress\":{\"at\":7}}",
             (unsigned long long)token);
    queue_do(world, "release", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}", (unsigned long long)token);
    claim(world, "v", "");
    SAYS("\"attempt\":2,\"attempts\":2,\"failures\":0,\"losses\":0");
    SAYS("\"progress\":{\"at\":7}");
    assert_true(task_now(world, 1).token > token && is_claimed_by(world, 1, "v"));
}

/* A retried request is told of the same tasks. */
static void a_repeated_claim(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    static const char *ask = "{\"queue\":\"q\",\"worker\":\"w\"}";
    assert_int_equal(coord_world_guarded(world, "k", NULL, 0, "queue.claim", ask), OUTCOME_OK);
    SAYS("\"token\":10,\"payload\"");
    assert_int_equal(coord_world_guarded(world, "k", NULL, 0, "queue.claim", ask), OUTCOME_OK);
    assert_true(world->replayed);
    SAYS("\"token\":10,\"payload\"");
    assert_int_equal(task_now(world, 2).state, TASK_READY);
}

/* --- limits of a queue --- */

static void a_paused_queue(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    pause_queue(world);
    assert_int_equal(claim(world, "w", ""), OUTCOME_OK);
    SAYS("\"tasks\":[]");
    uint64_t waits = wait_for(world, "w", "");
    queue_do(world, "resume", "{\"queue\":\"q\"}");
    assert_int_equal(world->others, 1);
    assert_int_equal(world->other_index, waits);
    assert_true(is_claimed_by(world, 1, "w"));
}

static void not_more_in_flight_than_the_queue_allows(void **state)
{
    struct coord_world *world = *state;
    queue_do(world, "put", "{\"queue\":\"q\",\"concurrency\":2}");
    for (int i = 0; i < 4; i++) enqueue(world, "");
    claim(world, "w", ",\"max\":4");
    uint64_t token = world->index;
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], 2);
    uint64_t waits = wait_for(world, "v", ",\"max\":4");
    assert_false(coord_wants_pulse(world->rows));
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"2\",\"token\":%llu}", (unsigned long long)token);
    assert_int_equal(world->other_index, waits);
    assert_true(is_claimed_by(world, 3, "v"));
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], 2);
}

/* Two at once, then one every 100 ms. */
static void not_faster_than_the_queue_allows(void **state)
{
    struct coord_world *world = *state;
    queue_do(world, "put", "{\"queue\":\"q\",\"rate\":10,\"rate_per\":\"1s\",\"rate_burst\":2}");
    for (int i = 0; i < 4; i++) enqueue(world, "");
    claim(world, "w", ",\"max\":4");
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], 2);
    uint64_t before_ms = coord_due_ms(world->rows), waits = wait_for(world, "v", ",\"max\":4");
    assert_int_equal(coord_due_ms(world->rows), world->time_ms + 100);
    assert_true(before_ms > world->time_ms + 100);
    world->time_ms += 100;
    coord_world_do(world, "due", "{}");
    assert_int_equal(world->other_index, waits);
    assert_true(is_claimed_by(world, 3, "v"));
    assert_int_equal(task_now(world, 4).state, TASK_READY);
    assert_int_equal(queue_now_is(world).rate_due_ms, 0);
}

/* --- large answers --- */

static void enqueue_large(struct coord_world *world, size_t size, const char *more)
{
    char *json = memory_new(size + 512);
    size_t head = (size_t)sprintf(json, "{\"queue\":\"q\"%s,\"payload\":\"", more);
    memset(json + head, 'x', size);
    strcpy(json + head + size, "\"}");
    assert_int_equal(coord_world_do(world, "queue.enqueue", json), OUTCOME_CREATED);
    free(json);
}

static void an_answer_has_a_bound(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 5; i++) enqueue_large(world, 300 * 1024, "");
    claim(world, "w", ",\"max\":5");
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], 3);
    assert_true(world->answer.size < QUEUE_ANSWER_BYTES_MAX + 4096);
    claim(world, "w", ",\"max\":5");
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], 5);
    enqueue_large(world, QUEUE_PAYLOAD_MAX - 2, "");
    claim(world, "w", ",\"max\":5"); /* one task always fits */
    assert_true(is_claimed_by(world, 6, "w"));
}

/* --- what a task needed --- */

static void results_are_passed_on(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    enqueue(world, ",\"after\":[\"1\",\"2\"],\"on_dep_fail\":\"run\"");
    claim(world, "w", ",\"max\":3");
    uint64_t token = world->index;
    assert_int_equal(task_now(world, 3).state, TASK_BLOCKED);
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu,\"result\":{\"n\":1}}",
             (unsigned long long)token);
    queue_do(world, "fail", "{\"queue\":\"q\",\"id\":\"2\",\"token\":%llu,\"permanent\":true}",
             (unsigned long long)token);
    while (coord_wants_pulse(world->rows)) pulse(world);
    claim(world, "w", "");
    SAYS("\"id\":\"3\"");
    SAYS("\"inputs\":[{\"id\":\"1\",\"state\":\"done\",\"result\":{\"n\":1}},"
         "{\"id\":\"2\",\"state\":\"dead\",\"result\":null}]");
}

/* 20 results of 64 KiB: those that fit come along, the others are null. */
static void results_that_do_not_fit(void **state)
{
    struct coord_world *world = *state;
    char after[512], *json = memory_new(QUEUE_RESULT_MAX + 512);
    size_t size = 0;
    for (int i = 1; i <= 20; i++) {
        enqueue(world, "");
        size += (size_t)sprintf(after + size, "%s\"%d\"", i > 1 ? "," : "", i);
    }
    char text[600];
    snprintf(text, sizeof text, ",\"after\":[%s]", after);
    enqueue(world, text);
    claim(world, "w", ",\"max\":20");
    uint64_t token = world->index;
    for (int i = 1; i <= 20; i++) {
        size_t head = (size_t)sprintf(json, "{\"queue\":\"q\",\"id\":\"%d\",\"token\":%llu,\"result\":\"", i,
                                      (unsigned long long)token);
        memset(json + head, 'r', QUEUE_RESULT_MAX - 2);
        strcpy(json + head + QUEUE_RESULT_MAX - 2, "\"}");
        assert_int_equal(coord_world_do(world, "queue.complete", json), OUTCOME_OK);
    }
    free(json);
    while (coord_wants_pulse(world->rows)) pulse(world);
    claim(world, "w", "");
    SAYS("\"inputs\":[{\"id\":\"1\",\"state\":\"done\",\"result\":\"rrr");
    SAYS("{\"id\":\"15\",\"state\":\"done\",\"result\":\"rrr");
    SAYS("{\"id\":\"16\",\"state\":\"done\",\"result\":null}");
    SAYS("{\"id\":\"20\",\"state\":\"done\",\"result\":null}");
    assert_true(world->answer.size < QUEUE_ANSWER_BYTES_MAX + 4096);
}

/* --- workers --- */

static void figures_of_a_worker(void **state)
{
    struct coord_world *world = *state;
    struct key counter = key_of(KEY_WORKER_KEPT);
    for (int i = 0; i < 4; i++) enqueue(world, "");
    claim(world, "w", ",\"max\":2");
    uint64_t token = world->index;
    world->time_ms += 500;
    claim(world, "", "");
    assert_int_equal(rows_number(world->rows, key_slice(&counter)), 1);
    assert_int_equal(figures(world, "w").claimed, 2);
    assert_int_equal(figures(world, "w").attempts, 2);
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}", (unsigned long long)token);
    queue_do(world, "fail", "{\"queue\":\"q\",\"id\":\"2\",\"token\":%llu}", (unsigned long long)token);
    struct worker_row row = figures(world, "w");
    assert_true(row.claimed == 0 && row.done == 1 && row.failed == 1 && row.attempts == 2);
    assert_int_equal(row.run_ms, 1000);
    assert_int_equal(row.last_ms, world->time_ms);
}

/* A queue and a worker with the longest names stand in one key. */
static void the_longest_names(void **state)
{
    struct coord_world *world = *state;
    char queue[256] = "", worker[QUEUE_WORKER_MAX + 1] = "";
    memset(queue, 'q', 255);
    memset(worker, 'w', QUEUE_WORKER_MAX);
    queue_do(world, "enqueue", "{\"queue\":\"%s\",\"payload\":1}", queue);
    assert_int_equal(
        queue_do(world, "claim", "{\"queue\":\"%s\",\"worker\":\"%s\",\"max\":2}", queue, worker),
        OUTCOME_OK);
    assert_true(is_claimed_by(world, 1, worker));
    assert_int_equal(
        queue_do(world, "claim", "{\"queue\":\"%s\",\"worker\":\"%s\",\"wait\":\"1s\"}", queue, worker), 0);
    cancel_wait(world, world->index, "timeout");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM_TEST(one_task_for_one_claim),
        CLAIM_TEST(nothing_to_claim),
        CLAIM_TEST(as_many_as_asked_for),
        CLAIM_TEST(in_order_of_priority_then_age),
        CLAIM_TEST(one_lease_for_all_tasks_of_a_claim),
        CLAIM_TEST(the_queue_says_how_long_a_lease_is),
        CLAIM_TEST(tasks_on_a_lease_of_the_client),
        CLAIM_TEST(leases_that_cannot_be),
        CLAIM_TEST(the_next_attempt),
        CLAIM_TEST(a_repeated_claim),
        CLAIM_TEST(a_paused_queue),
        CLAIM_TEST(not_more_in_flight_than_the_queue_allows),
        CLAIM_TEST(not_faster_than_the_queue_allows),
        CLAIM_TEST(an_answer_has_a_bound),
        CLAIM_TEST(results_are_passed_on),
        CLAIM_TEST(results_that_do_not_fit),
        CLAIM_TEST(figures_of_a_worker),
        CLAIM_TEST(the_longest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
