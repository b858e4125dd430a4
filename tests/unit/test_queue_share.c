// links: api lib support
/* Sharing out among claims that wait: who is served, and how much one entry does. The first command of a
 * world is entry 8. */
#include "tests/unit/queue_claim_test.h"

/* Enqueues that many in one entry; at most 1,000. */
static void enqueue_many(struct coord_world *world, int count)
{
    char *json = memory_new((size_t)count * 16 + 64);
    size_t size = (size_t)sprintf(json, "{\"queue\":\"q\",\"tasks\":[");
    for (int i = 0; i < count; i++) size += (size_t)sprintf(json + size, "%s{\"payload\":1}", i ? "," : "");
    strcpy(json + size, "]}");
    assert_true(coord_world_do(world, "queue.enqueue_many", json) < OUTCOME_LOCK_HELD);
    free(json);
}

static void the_longest_waiting_of_equals(void **state)
{
    struct coord_world *world = *state;
    uint64_t first = wait_for(world, "b", ""), second = wait_for(world, "a", "");
    enqueue(world, "");
    assert_int_equal(world->other_index, first);
    enqueue(world, "");
    assert_int_equal(world->other_index, second);
}

static void the_fewest_in_flight_before_the_longest_waiting(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    enqueue(world, "");
    claim(world, "busy", ",\"max\":2");
    uint64_t token = world->index;
    uint64_t busy = wait_for(world, "busy", ""), idle = wait_for(world, "idle", "");
    enqueue(world, "");
    assert_int_equal(world->other_index, idle);
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}", (unsigned long long)token);
    idle = wait_for(world, "idle", "");
    enqueue(world, ""); /* both have one in flight now */
    assert_int_equal(world->other_index, busy);
    (void)idle;
}

/* Claims of other queues do not count. */
static void in_flight_in_this_queue(void **state)
{
    struct coord_world *world = *state;
    queue_do(world, "enqueue", "{\"queue\":\"other\",\"payload\":1}");
    assert_int_equal(queue_do(world, "claim", "{\"queue\":\"other\",\"worker\":\"first\"}"), OUTCOME_OK);
    uint64_t first = wait_for(world, "first", "");
    wait_for(world, "second", "");
    enqueue(world, "");
    assert_int_equal(world->other_index, first);
}

/* Two that take ten each get half of ten each. */
static void by_halves(void **state)
{
    struct coord_world *world = *state;
    wait_for(world, "a", ",\"max\":10");
    wait_for(world, "b", ",\"max\":10");
    enqueue_many(world, 10);
    assert_int_equal(world->others, 2);
    assert_int_equal(figures(world, "a").claimed, 5);
    assert_int_equal(figures(world, "b").claimed, 5);
}

/* One that is full gets no more, and the others share the rest. */
static void by_how_many_each_takes(void **state)
{
    struct coord_world *world = *state;
    wait_for(world, "a", ",\"max\":2");
    wait_for(world, "b", ",\"max\":100");
    wait_for(world, "c", ",\"max\":4");
    enqueue_many(world, 14);
    assert_int_equal(figures(world, "a").claimed, 2);
    assert_int_equal(figures(world, "b").claimed, 8);
    assert_int_equal(figures(world, "c").claimed, 4);
    assert_int_equal(world->others, 3);
}

/* Two claims of one worker do not make it two workers. */
static void by_worker_and_not_by_claim(void **state)
{
    struct coord_world *world = *state;
    uint64_t first = wait_for(world, "a", ",\"max\":9"), second = wait_for(world, "a", ",\"max\":9"),
             third = wait_for(world, "b", ",\"max\":9");
    enqueue_many(world, 8);
    assert_int_equal(figures(world, "a").claimed, 4);
    assert_int_equal(figures(world, "b").claimed, 4);
    assert_int_equal(world->others, 2); /* the second claim of a waits on: the first had room */
    assert_int_equal(queue_now_is(world).claimers, 1);
    cancel_wait(world, second, "timeout");
    assert_int_equal(world->others, 1);
    assert_true(first < third);
}

/* Claims without a name are workers of their own. */
static void without_a_name(void **state)
{
    struct coord_world *world = *state;
    wait_for(world, "", ",\"max\":4");
    wait_for(world, "", ",\"max\":4");
    enqueue_many(world, 6);
    assert_int_equal(world->others, 2);
    struct task first = task_now(world, 1), second = task_now(world, 2);
    assert_int_not_equal(first.lease, second.lease);
    assert_int_equal(first.lease, task_now(world, 3).lease);
    assert_int_equal(second.lease, task_now(world, 6).lease);
}

/* A new claim comes behind those that wait already, unless its worker has less to do. */
static void a_new_claim_shares_with_those_that_wait(void **state)
{
    struct coord_world *world = *state;
    queue_do(world, "put", "{\"queue\":\"q\",\"concurrency\":1}");
    enqueue(world, "");
    enqueue(world, "");
    claim(world, "busy", "");
    uint64_t token = world->index;
    wait_for(world, "a", "");
    assert_int_equal(claim(world, "b", ""), OUTCOME_OK);
    SAYS("\"tasks\":[]");
    queue_do(world, "put", "{\"queue\":\"q\",\"concurrency\":2}");
    assert_true(is_claimed_by(world, 2, "a"));
    queue_do(world, "complete", "{\"queue\":\"q\",\"id\":\"1\",\"token\":%llu}", (unsigned long long)token);
    enqueue(world, "");
    assert_int_equal(claim(world, "b", ""), OUTCOME_OK);
    assert_true(is_claimed_by(world, 3, "b"));
}

/* --- how much one entry does --- */

/* The worlds of the next tests are large: they are checked once, at the end. */
static void do_unchecked(struct coord_world *world, const char *name, const char *json)
{
    void *args;
    const struct operation *operation = read_command(world, name, json, &args);
    struct command command = {world->time_ms, operation, world->origin, 0, args};
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    note_all(world, apply.answers);
}

static void wait_many(struct coord_world *world, int count, const char *more)
{
    char text[128];
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "{\"queue\":\"q\",\"worker\":\"w%d\",\"wait\":\"1m\"%s}", i, more);
        do_unchecked(world, "queue.claim", text);
        assert_int_equal(world->outcome, 0);
    }
}

/* More than one look among those that wait takes in. */
static void among_more_than_a_batch(void **state)
{
    struct coord_world *world = *state;
    wait_many(world, 200, "");
    enqueue_many(world, 150);
    assert_int_equal(world->others, 150);
    assert_int_equal(queue_now_is(world).claimers, 50);
    assert_false(coord_wants_pulse(world->rows));
    uint64_t last = world->index - 1;
    enqueue_many(world, 60);
    assert_int_equal(world->others, 50);
    assert_int_equal(world->other_index, last);
    assert_int_equal(queue_now_is(world).counts[TASK_READY], 10);
}

/* An entry starts at most 1,000 leases; a pulse goes on. */
static void more_leases_than_one_entry_starts(void **state)
{
    struct coord_world *world = *state;
    pause_queue(world);
    wait_many(world, 1200, "");
    enqueue_many(world, 1000);
    enqueue_many(world, 500);
    assert_int_equal(world->others, 0);
    queue_do(world, "resume", "{\"queue\":\"q\"}");
    assert_int_equal(world->others, 1000);
    pulse(world);
    assert_int_equal(world->others, 200);
    assert_false(coord_wants_pulse(world->rows));
    assert_int_equal(queue_now_is(world).counts[TASK_READY], 300);
    assert_int_equal(queue_now_is(world).claimers, 0);
}

/* And hands out at most 1,000 tasks. */
static void more_tasks_than_one_entry_hands_out(void **state)
{
    struct coord_world *world = *state;
    pause_queue(world);
    wait_many(world, 10, ",\"max\":256");
    enqueue_many(world, 1000);
    enqueue_many(world, 1000);
    queue_do(world, "resume", "{\"queue\":\"q\"}");
    assert_int_equal(world->others, 10);
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], 1000);
    assert_int_equal(queue_now_is(world).claimers, 0);
    assert_false(coord_wants_pulse(world->rows)); /* nobody waits for the rest */
}

static void too_many_wait(void **state)
{
    struct coord_world *world = *state;
    wait_many(world, QUEUE_CLAIMERS_MAX, "");
    do_unchecked(world, "queue.claim", "{\"queue\":\"q\",\"worker\":\"late\",\"wait\":\"1m\"}");
    assert_int_equal(world->outcome, OUTCOME_TOO_MANY_WAITERS);
    do_unchecked(world, "queue.claim", "{\"queue\":\"q\",\"worker\":\"late\"}");
    assert_int_equal(world->outcome, OUTCOME_OK);
    do_unchecked(world, "queue.delete", "{\"queue\":\"q\"}");
    assert_int_equal(world->others, QUEUE_CLAIMERS_MAX);
    coord_check(world->rows, &world->arena);
}

/* The claims of a session that ended, in the entry in which a task is lost and ready again. */
static void more_about_to_leave_than_are_looked_at(void **state)
{
    struct coord_world *world = *state;
    char with[64], text[128];
    queue_do(world, "put", "{\"queue\":\"q\",\"backoff\":0}");
    uint64_t lease = new_lease(world);
    snprintf(with, sizeof with, ",\"lease\":\"L%llx\"", (unsigned long long)lease);
    uint64_t id = enqueue(world, "");
    claim(world, "w", with);
    wait_many(world, 300, with);
    uint64_t other = wait_for(world, "other", "");
    snprintf(text, sizeof text, "{\"id\":\"L%llx\"}", (unsigned long long)lease);
    coord_world_do(world, "lease.revoke", text);
    assert_int_equal(world->others, 300);
    assert_int_equal(task_now(world, id).state, TASK_READY);
    pulse(world);
    assert_int_equal(world->other_index, other);
    assert_true(is_claimed_by(world, id, "other"));
}

/* Tasks given back in the entry that handed them out are not looked through without end. */
static void more_given_back_than_are_looked_at(void **state)
{
    struct coord_world *world = *state;
    char text[512];
    static const char *claim_all = "{\"op\":\"queue.claim\",\"queue\":\"q\",\"max\":256,\"lease\":\"L%llx\"}";
    queue_do(world, "put", "{\"queue\":\"q\",\"backoff\":0}");
    unsigned long long lease = new_lease(world);
    enqueue_many(world, 300);
    int size = snprintf(text, sizeof text, "{\"then\":[");
    size += snprintf(text + size, sizeof text - (size_t)size, claim_all, lease);
    snprintf(text + size, sizeof text - (size_t)size,
             ",{\"op\":\"lease.revoke\",\"id\":\"L%llx\"},{\"op\":\"queue.claim\",\"queue\":\"q\"}]}", lease);
    assert_int_equal(coord_world_do(world, "txn", text), OUTCOME_OK);
    assert_int_equal(queue_now_is(world).counts[TASK_READY], 300);
    assert_int_equal(queue_now_is(world).lost, 256);
    claim(world, "w", ",\"max\":256");
    assert_int_equal(figures(world, "w").claimed, 256);
}

/* Of workers without claims 10,000 are remembered, of all queues. */
static void workers_are_forgotten(void **state)
{
    struct coord_world *world = *state;
    struct key counter = key_of(KEY_WORKER_KEPT);
    char text[256], done[64] = "";
    queue_do(world, "put", "{\"queue\":\"q\",\"retain_max\":1}"); /* the world stays small */
    for (int i = 0; i < QUEUE_WORKERS_MAX + 50; i++) {
        do_unchecked(world, "queue.enqueue", "{\"queue\":\"q\",\"payload\":1}");
        snprintf(text, sizeof text, "{\"queue\":\"q\",\"done\":[%s],\"claim\":{\"worker\":\"w%d\"}}", done,
                 i);
        do_unchecked(world, "queue.next", text);
        assert_int_equal(world->outcome, OUTCOME_OK);
        if (i > 0) /* the first one goes on */
            snprintf(done, sizeof done, "{\"id\":\"%d\",\"token\":%llu}", i + 1,
                     (unsigned long long)world->index);
    }
    assert_int_equal(rows_number(world->rows, key_slice(&counter)), QUEUE_WORKERS_MAX);
    assert_int_equal(figures(world, "w0").claimed, 1);
    assert_int_equal(figures(world, "w1").attempts, 0);
    assert_int_equal(figures(world, "w10000").done, 1);
    coord_check(world->rows, &world->arena);
}

/* All that hangs on a lease is lost in one entry: there is a bound. */
static void a_lease_that_is_full(void **state)
{
    struct coord_world *world = *state;
    uint64_t lease = new_lease(world), token = 0;
    char text[256];
    for (int i = 0; i < 5; i++) enqueue_many(world, 1000);
    snprintf(text, sizeof text, "{\"queue\":\"q\",\"max\":250,\"lease\":\"L%llx\"}",
             (unsigned long long)lease);
    for (int i = 0; i < 17; i++) {
        do_unchecked(world, "queue.claim", text);
        assert_int_equal(world->outcome, OUTCOME_OK);
        token = world->index;
    }
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], QUEUE_LEASE_TASKS_MAX);
    do_unchecked(world, "queue.claim", text);
    assert_int_equal(world->outcome, OUTCOME_LEASE_FULL);
    do_unchecked(world, "queue.claim", "{\"queue\":\"q\",\"max\":2}"); /* on its own it goes on */
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], QUEUE_LEASE_TASKS_MAX + 2);
    static const char *next = "{\"queue\":\"q\",\"done\":[{\"id\":\"%d\",\"token\":%llu}],"
                              "\"claim\":{\"max\":9,\"wait\":1000,\"lease\":\"L%llx\"}}";
    for (int i = 0; i < 2; i++) { /* the first finishes nothing, and is answered at once */
        snprintf(text, sizeof text, next, QUEUE_LEASE_TASKS_MAX, (unsigned long long)(i ? token : 1),
                 (unsigned long long)lease);
        do_unchecked(world, "queue.next", text);
        assert_int_equal(world->outcome, OUTCOME_OK);
        assert_int_equal(task_now(world, QUEUE_LEASE_TASKS_MAX + 3).state, i ? TASK_CLAIMED : TASK_READY);
        assert_int_equal(queue_now_is(world).claimers, 0);
    }
    assert_int_equal(queue_now_is(world).counts[TASK_CLAIMED], QUEUE_LEASE_TASKS_MAX + 2);
    end_lease(world, lease);
    assert_int_equal(queue_now_is(world).lost, QUEUE_LEASE_TASKS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM_TEST(the_longest_waiting_of_equals),
        CLAIM_TEST(the_fewest_in_flight_before_the_longest_waiting),
        CLAIM_TEST(in_flight_in_this_queue),
        CLAIM_TEST(by_halves),
        CLAIM_TEST(by_how_many_each_takes),
        CLAIM_TEST(by_worker_and_not_by_claim),
        CLAIM_TEST(without_a_name),
        CLAIM_TEST(a_new_claim_shares_with_those_that_wait),
        CLAIM_TEST(among_more_than_a_batch),
        CLAIM_TEST(more_leases_than_one_entry_starts),
        CLAIM_TEST(more_tasks_than_one_entry_hands_out),
        CLAIM_TEST(too_many_wait),
        CLAIM_TEST(more_about_to_leave_than_are_looked_at),
        CLAIM_TEST(more_given_back_than_are_looked_at),
        CLAIM_TEST(workers_are_forgotten),
        CLAIM_TEST(a_lease_that_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
