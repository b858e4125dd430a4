// links: api lib support
/* Claims that wait: how a wait ends. The first command of a world is entry 8. */
#include "tests/unit/queue_claim_test.h"

#define NONE_ANSWERED() assert_int_equal(world->others, 0)
#define ANSWERED(index, outcome)                                                                             \
    do {                                                                                                     \
        assert_int_equal(world->others, 1);                                                                  \
        assert_int_equal(world->other_index, index);                                                         \
        assert_int_equal(world->other_outcome, outcome);                                                     \
    } while (0)

static void handed_out_as_it_comes(void **state)
{
    struct coord_world *world = *state;
    uint64_t waits = wait_for(world, "w", ""), rows = queue_now_is(world).claimers;
    assert_int_equal(rows, 1);
    uint64_t id = enqueue(world, "");
    ANSWERED(waits, OUTCOME_OK);
    assert_true(is_claimed_by(world, id, "w"));
    assert_int_equal(task_now(world, id).token, world->index);
    assert_int_equal(queue_now_is(world).claimers, 0);
    cancel_wait(world, waits, "timeout"); /* too late: it was answered */
    NONE_ANSWERED();
}

/* What becomes ready by itself is handed out in the entry in which it does. */
static void handed_out_as_it_becomes_ready(void **state)
{
    struct coord_world *world = *state;
    uint64_t id = enqueue(world, ",\"delay\":\"5s\"");
    uint64_t waits = wait_for(world, "w", "");
    world->time_ms += 5000;
    coord_world_do(world, "due", "{}");
    ANSWERED(waits, OUTCOME_OK);
    assert_true(is_claimed_by(world, id, "w"));
}

static void in_vain(void **state)
{
    struct coord_world *world = *state;
    uint64_t waits = wait_for(world, "w", "");
    cancel_wait(world, waits, "timeout");
    ANSWERED(waits, OUTCOME_OK); /* with no tasks */
    assert_int_equal(queue_now_is(world).claimers, 0);
    enqueue(world, "");
    NONE_ANSWERED();
}

/* Whose client has gone gets nothing, on a lease of its own neither. */
static void whose_client_has_gone(void **state)
{
    struct coord_world *world = *state;
    char with[64];
    uint64_t lease = new_lease(world);
    snprintf(with, sizeof with, ",\"lease\":\"L%llx\"", (unsigned long long)lease);
    uint64_t first = wait_for(world, "v", ""), second = wait_for(world, "w", with);
    cancel_wait(world, first, "client_gone");
    NONE_ANSWERED();
    cancel_wait(world, second, "client_gone");
    NONE_ANSWERED();
    uint64_t id = enqueue(world, "");
    assert_int_equal(task_now(world, id).state, TASK_READY);
    end_lease(world, lease); /* nothing hangs on it any more */
    NONE_ANSWERED();
}

static void on_a_lease_of_the_client(void **state)
{
    struct coord_world *world = *state;
    char with[64];
    uint64_t lease = new_lease(world);
    snprintf(with, sizeof with, ",\"lease\":\"L%llx\"", (unsigned long long)lease);
    uint64_t waits = wait_for(world, "w", with);
    uint64_t id = enqueue(world, "");
    ANSWERED(waits, OUTCOME_OK);
    assert_int_equal(task_now(world, id).lease, lease);
    waits = wait_for(world, "w", with);
    end_lease(world, lease); /* takes the task of the first back, too */
    ANSWERED(waits, OUTCOME_LEASE_OVER);
    assert_int_equal(task_now(world, id).losses, 1);
}

/* A session of a node: the claims that wait through it end with it, and its late ones are not taken. */
static void with_the_session(void **state)
{
    struct coord_world *world = *state;
    coord_world_do(world, "lease.session", "{\"node\":1,\"nonce\":1,\"ttl\":5000}");
    world->origin = world->index << LEASE_ENTRY_BITS;
    uint64_t waits = wait_for(world, "w", "");
    uint64_t before = world->origin;
    world->origin = 0;
    coord_world_do(world, "lease.session", "{\"node\":1,\"nonce\":2,\"ttl\":5000}");
    ANSWERED(waits, OUTCOME_SESSION_OVER);
    assert_int_equal(queue_now_is(world).claimers, 0);
    world->origin = before;
    assert_int_equal(claim(world, "w", ",\"wait\":\"1m\""), OUTCOME_SESSION_OVER);
    assert_int_equal(claim(world, "w", ""), OUTCOME_OK); /* one that does not wait needs none */
}

/* The lease is over, and what it had gives a task back in the same entry: it is not handed to a claim that
 * waits on that lease. */
static void about_to_leave(void **state)
{
    struct coord_world *world = *state;
    char with[64];
    queue_do(world, "put", "{\"queue\":\"q\",\"backoff\":0}");
    uint64_t lease = new_lease(world);
    snprintf(with, sizeof with, ",\"lease\":\"L%llx\"", (unsigned long long)lease);
    uint64_t id = enqueue(world, "");
    claim(world, "w", with);
    uint64_t first = wait_for(world, "w", with), other = wait_for(world, "v", "");
    end_lease(world, lease);
    assert_int_equal(world->others, 2);
    assert_true(world->other_index == first || world->other_index == other);
    assert_true(is_claimed_by(world, id, "v"));
    assert_int_equal(queue_now_is(world).claimers, 0);
}

static void a_queue_that_is_deleted(void **state)
{
    struct coord_world *world = *state;
    uint64_t waits = wait_for(world, "w", "");
    assert_true(queue_do(world, "delete", "{\"queue\":\"q\"}") < OUTCOME_LOCK_HELD);
    ANSWERED(waits, OUTCOME_QUEUE_NOT_FOUND);
}

/* Under an Idempotency-Key: the second request finds the first under way, then what it got. */
static void under_a_key(void **state)
{
    struct coord_world *world = *state;
    static const char *ask = "{\"queue\":\"q\",\"worker\":\"w\",\"wait\":\"1m\"}";
    assert_int_equal(coord_world_guarded(world, "k", NULL, 0, "queue.claim", ask), 0);
    assert_int_equal(coord_world_guarded(world, "k", NULL, 0, "queue.claim", ask), OUTCOME_RETRY_IN_FLIGHT);
    enqueue(world, "");
    uint64_t token = world->index;
    assert_int_equal(coord_world_guarded(world, "k", NULL, 0, "queue.claim", ask), OUTCOME_OK);
    assert_true(world->replayed);
    char text[64];
    snprintf(text, sizeof text, "\"token\":%llu,\"payload\":1", (unsigned long long)token);
    SAYS(text);
}

/* --- within transactions --- */

static void a_transaction_does_not_wait(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(
        coord_world_do(world, "txn", "{\"then\":[{\"op\":\"queue.claim\",\"queue\":\"q\",\"wait\":\"1s\"}]}"),
        OUTCOME_SENSELESS);
    assert_int_equal(coord_world_do(world, "txn", "{\"then\":[{\"op\":\"queue.claim\",\"queue\":\"q\"}]}"),
                     OUTCOME_OK);
    SAYS("\"tasks\":[]");
}

static void who_waits_is_served_by_a_transaction(void **state)
{
    struct coord_world *world = *state;
    uint64_t waits = wait_for(world, "w", "");
    assert_int_equal(coord_world_do(world, "txn",
                                    "{\"then\":[{\"op\":\"queue.enqueue\",\"queue\":\"q\",\"payload\":1},"
                                    "{\"op\":\"queue.enqueue\",\"queue\":\"q\",\"payload\":2},"
                                    "{\"op\":\"queue.claim\",\"queue\":\"q\",\"worker\":\"v\"}]}"),
                     OUTCOME_OK);
    ANSWERED(waits, OUTCOME_OK);
    assert_true(is_claimed_by(world, 1, "w") && is_claimed_by(world, 2, "v"));
}

/* A transaction that is refused takes what it handed out back, and who waited goes on waiting. */
static void a_transaction_that_is_refused(void **state)
{
    struct coord_world *world = *state;
    wait_for(world, "w", "");
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(coord_world_do(world, "txn",
                                    "{\"then\":[{\"op\":\"queue.enqueue\",\"queue\":\"q\",\"payload\":1},"
                                    "{\"op\":\"lock.release\",\"name\":\"x\",\"token\":1}]}"),
                     OUTCOME_TXN_REFUSED);
    NONE_ANSWERED();
    assert_true(rows_digest(world->rows) == digest);
}

/* A token is an entry: what was handed out and given back in one entry is handed out again in the next. */
static void not_twice_in_one_entry(void **state)
{
    struct coord_world *world = *state;
    char text[512];
    uint64_t id = enqueue(world, ""), token = world->index + 1;
    snprintf(text, sizeof text,
             "{\"then\":[{\"op\":\"queue.claim\",\"queue\":\"q\",\"worker\":\"w\"},"
             "{\"op\":\"queue.release\",\"queue\":\"q\",\"id\":\"1\",\"token\":%llu},"
             "{\"op\":\"queue.claim\",\"queue\":\"q\",\"worker\":\"v\"}]}",
             (unsigned long long)token);
    assert_int_equal(coord_world_do(world, "txn", text), OUTCOME_OK);
    SAYS("\"tasks\":[]");
    assert_int_equal(task_now(world, id).state, TASK_READY);
    assert_int_equal(task_now(world, id).token, token);
    claim(world, "v", "");
    assert_true(is_claimed_by(world, id, "v"));
    assert_int_equal(task_now(world, id).token, token + 1);
}

/* Nor to one that waits: a pulse does it. */
static void by_pulse_to_one_that_waits(void **state)
{
    struct coord_world *world = *state;
    char text[512];
    uint64_t id = enqueue(world, "");
    pause_queue(world);
    uint64_t waits = wait_for(world, "w", ""), second = wait_for(world, "v", "");
    snprintf(text, sizeof text,
             "{\"then\":[{\"op\":\"queue.resume\",\"queue\":\"q\"},"
             "{\"op\":\"queue.release\",\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}]}",
             (unsigned long long)second + 1);
    assert_int_equal(coord_world_do(world, "txn", text), OUTCOME_OK);
    ANSWERED(waits, OUTCOME_OK);
    assert_int_equal(task_now(world, id).state, TASK_READY);
    pulse(world);
    ANSWERED(second, OUTCOME_OK);
    assert_true(is_claimed_by(world, id, "v"));
    assert_false(coord_wants_pulse(world->rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM_TEST(handed_out_as_it_comes),
        CLAIM_TEST(handed_out_as_it_becomes_ready),
        CLAIM_TEST(in_vain),
        CLAIM_TEST(whose_client_has_gone),
        CLAIM_TEST(on_a_lease_of_the_client),
        CLAIM_TEST(with_the_session),
        CLAIM_TEST(about_to_leave),
        CLAIM_TEST(a_queue_that_is_deleted),
        CLAIM_TEST(under_a_key),
        CLAIM_TEST(a_transaction_does_not_wait),
        CLAIM_TEST(who_waits_is_served_by_a_transaction),
        CLAIM_TEST(a_transaction_that_is_refused),
        CLAIM_TEST(not_twice_in_one_entry),
        CLAIM_TEST(by_pulse_to_one_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
