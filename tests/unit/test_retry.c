// links: api lib support
/* Safe retries (Idempotency-Key) and fences (Coord-Fence): the command around a command. */
#include "coord/key.h"
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

#define DO(name, json) coord_world_do(world, name, json)
#define ASK(name, json) coord_world_ask(world, name, json)
#define SAYS(part) assert_true(coord_world_says(world, part))

/* --- safe retries --- */

static enum outcome keyed(struct coord_world *world, const char *key, const char *name, const char *json)
{
    return coord_world_guarded(world, key, NULL, 0, name, json);
}

static void a_repetition_is_given_the_first_answer(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(keyed(world, "k1", "lock.acquire", "{\"name\":\"a\"}"), OUTCOME_CREATED);
    assert_false(world->replayed);
    SAYS("\"token\":8");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(keyed(world, "k1", "lock.acquire", "{\"name\":\"a\"}"), OUTCOME_CREATED);
        assert_true(world->replayed);
        SAYS("\"token\":8");
    }
    assert_int_equal(keyed(world, "k2", "lock.acquire", "{\"name\":\"a\"}"), OUTCOME_LOCK_HELD);
    DO("lock.release", "{\"name\":\"a\",\"token\":8}");
    assert_int_equal(keyed(world, "k2", "lock.acquire", "{\"name\":\"a\"}"),
                     OUTCOME_LOCK_HELD); /* a refusal, too */
    assert_true(world->replayed);
}

/* Also of an operation whose path is another's: an array of tasks. */
static void an_array_of_tasks_is_made_once(void **state)
{
    struct coord_world *world = *state;
    static const char tasks[] = "{\"queue\":\"q\",\"tasks\":[{\"payload\":1},{\"payload\":2}]}";
    assert_int_equal(keyed(world, "k", "queue.enqueue_many", tasks), OUTCOME_CREATED);
    assert_int_equal(keyed(world, "k", "queue.enqueue_many", tasks), OUTCOME_CREATED);
    assert_true(world->replayed);
    SAYS("\"id\":\"2\"");
    ASK("queue.get", "{\"queue\":\"q\"}");
    SAYS("\"ready\":2");
}

static void another_request_with_the_key_is_refused(void **state)
{
    struct coord_world *world = *state;
    keyed(world, "k", "lock.acquire", "{\"name\":\"a\"}");
    assert_int_equal(keyed(world, "k", "lock.acquire", "{\"name\":\"b\"}"), OUTCOME_RETRY_MISMATCH);
    assert_int_equal(keyed(world, "k", "lock.release", "{\"name\":\"a\",\"token\":8}"),
                     OUTCOME_RETRY_MISMATCH);
}

static void a_wait_is_in_flight_until_it_is_answered(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    static const char wait[] = "{\"name\":\"a\",\"wait\":\"1m\"}";
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0);
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), OUTCOME_RETRY_IN_FLIGHT);
    DO("lock.release", "{\"name\":\"a\",\"token\":8}");
    assert_int_equal(world->other_outcome, OUTCOME_CREATED);
    assert_int_equal(world->other_index, 9);
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), OUTCOME_CREATED);
    assert_true(world->replayed);
    SAYS("\"token\":11"); /* of the entry that released */
}

static void a_wait_whose_client_went_away_frees_the_key(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    static const char wait[] = "{\"name\":\"a\",\"wait\":\"1m\"}";
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0);
    DO("wait.cancel", "{\"index\":9,\"reason\":\"client_gone\"}");
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0); /* waits anew */
    DO("wait.cancel", "{\"index\":11,\"reason\":\"timeout\"}");
    assert_int_equal(world->other_outcome, OUTCOME_LOCK_HELD);
    assert_int_equal(keyed(world, "k", "lock.acquire", wait),
                     OUTCOME_LOCK_HELD); /* in vain, once and for all */
    assert_true(world->replayed);
}

static void keys_are_forgotten_after_their_time(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        assert_int_equal(keyed(world, key, "lease.create", "{}"), OUTCOME_CREATED);
    }
    assert_true(coord_due_ms(world->rows) == world->time_ms + RETRY_KEPT_MS);
    world->time_ms += RETRY_KEPT_MS - 1;
    DO("due", "{}");
    keyed(world, "key0", "lease.create", "{}");
    assert_true(world->replayed);
    world->time_ms += 1;
    DO("due", "{}");
    assert_true(coord_due_ms(world->rows) == UINT64_MAX);
    assert_int_equal(keyed(world, "key0", "lease.create", "{}"), OUTCOME_CREATED);
    assert_false(world->replayed);
}

/* Nothing waits longer than ten minutes, but entries that end waits may be late. */
static void a_key_that_still_waits_is_kept(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    static const char wait[] = "{\"name\":\"a\",\"wait\":\"10m\"}";
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0);
    world->time_ms += RETRY_KEPT_MS;
    DO("due", "{}");
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), OUTCOME_RETRY_IN_FLIGHT);
    DO("lock.release", "{\"name\":\"a\",\"token\":8}");
    world->time_ms += RETRY_KEPT_MS;
    DO("due", "{}");
    assert_true(coord_due_ms(world->rows) == UINT64_MAX);
}

/* Counted from the answer, which is what is kept: a wait may take as long as that. */
static void an_answer_that_came_late_is_kept_as_long(void **state)
{
    struct coord_world *world = *state;
    static const char wait[] = "{\"name\":\"a\",\"wait\":\"10m\"}";
    DO("lock.acquire", "{\"name\":\"a\"}");
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0);
    world->time_ms += RETRY_KEPT_MS - 1000;
    keyed(world, "younger", "lease.create", "{}");
    DO("lock.release", "{\"name\":\"a\",\"token\":8}");
    assert_int_equal(world->other_outcome, OUTCOME_CREATED);
    world->time_ms += RETRY_KEPT_MS - 1;
    DO("due", "{}");
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), OUTCOME_CREATED);
    assert_true(world->replayed);
    world->time_ms += 1;
    DO("due", "{}");
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0); /* forgotten: it waits anew */
    assert_int_equal(keyed(world, "younger", "lease.create", "{}"), OUTCOME_CREATED);
    assert_false(world->replayed);
}

/* What invites a retry is not kept: the next request with the key is done. */
static void what_may_be_retried_is_not_kept(void **state)
{
    struct coord_world *world = *state;
    static const char wait[] = "{\"name\":\"a\",\"wait\":\"1m\"}";
    DO("lock.acquire", "{\"name\":\"a\"}");
    size_t rows = rows_memory_count(world->rows);
    world->origin = 5; /* a session that is over */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(keyed(world, "k", "lock.acquire", wait), OUTCOME_SESSION_OVER);
        assert_false(world->replayed);
        assert_int_equal(rows_memory_count(world->rows), rows);
    }
    world->origin = 0;
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0);
}

static void a_refused_transaction_is_replayed(void **state)
{
    struct coord_world *world = *state;
    static const char text[] = "{\"then\":[{\"op\":\"kv.put\",\"key\":\"x\",\"if_match\":5}]}";
    assert_int_equal(keyed(world, "k", "txn", text), OUTCOME_TXN_REFUSED);
    assert_int_equal(keyed(world, "k", "txn", text), OUTCOME_TXN_REFUSED);
    assert_true(world->replayed);
    SAYS("\"position\":0,\"refused\":[{\"op\":\"kv.put\",\"status\":412,\"code\":\"precondition_failed\"");
}

/* Its wait ends with the lease it waits on: that is an answer, and it stands. */
static void a_wait_whose_lease_ended(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    DO("lease.create", "{}");
    char wait[80], id[32];
    const char *at = strstr((const char *)world->answer.data, "\"lease\":\"") + 9;
    snprintf(id, sizeof id, "%.*s", (int)strcspn(at, "\""), at);
    snprintf(wait, sizeof wait, "{\"name\":\"a\",\"wait\":\"1m\",\"lease\":\"%s\"}", id);
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), 0);
    char revoke[64];
    snprintf(revoke, sizeof revoke, "{\"id\":\"%s\"}", id);
    DO("lease.revoke", revoke);
    assert_int_equal(world->other_outcome, OUTCOME_LEASE_OVER);
    assert_int_equal(keyed(world, "k", "lock.acquire", wait), OUTCOME_LEASE_OVER);
    assert_true(world->replayed);
}

static void transactions_are_replayed_whole(void **state)
{
    struct coord_world *world = *state;
    static const char text[] =
        "{\"then\":[{\"op\":\"lock.acquire\",\"name\":\"a\"},{\"op\":\"lock.get\",\"name\":\"a\"}]}";
    struct buffer first = {0};
    assert_int_equal(keyed(world, "k", "txn", text), OUTCOME_OK);
    buffer_add_slice(&first, buffer_slice(&world->answer));
    DO("lock.release", "{\"name\":\"a\",\"token\":8}");
    assert_int_equal(keyed(world, "k", "txn", text), OUTCOME_OK);
    assert_true(world->replayed);
    assert_true(slice_equal(buffer_slice(&first), buffer_slice(&world->answer)));
    buffer_free(&first);
}

/* Not through coord_world: its check would find that there are fewer than the row says. */
static void there_is_room_for_so_many(void **state)
{
    struct coord_world *world = *state;
    struct key key = key_of(KEY_RETRY);
    rows_set_number(world->rows, key_slice(&key), RETRY_KEPT_MAX);
    uint64_t digest = rows_digest(world->rows);
    void *args;
    const struct operation *operation = read_command(world, "lease.create", "{}", &args);
    struct operation_item item = {operation, args};
    struct guarded_args guarded = {.retry_key = SLICE("k"), .operation = {&item, 1}};
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, 8, 1, world->time_ms);
    coord_apply(&apply, &(struct command){.operation = operation_guarded, .args = &guarded});
    assert_int_equal(apply.answers->outcome, OUTCOME_RETRY_FULL);
    assert_null(apply.answers->next);
    assert_true(rows_digest(world->rows) == digest);
}

/* --- fences --- */

static void a_fence_must_be_current(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"guard\"}");
    assert_int_equal(coord_world_guarded(world, NULL, "guard", 8, "lease.create", "{}"), OUTCOME_CREATED);
    assert_int_equal(coord_world_guarded(world, NULL, "guard", 7, "lease.create", "{}"), OUTCOME_FENCED);
    SAYS("token 7 is not current on the lock guard");
    DO("lock.release", "{\"name\":\"guard\",\"token\":8}");
    assert_int_equal(coord_world_guarded(world, NULL, "guard", 8, "lease.create", "{}"), OUTCOME_FENCED);
    assert_int_equal(coord_world_guarded(world, NULL, "never", 8, "lease.create", "{}"), OUTCOME_FENCED);
}

/* The first answer stands, even when the fence has fallen since. */
static void a_replay_comes_before_the_fence(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"guard\"}");
    assert_int_equal(coord_world_guarded(world, "k", "guard", 8, "lease.create", "{}"), OUTCOME_CREATED);
    DO("lock.release", "{\"name\":\"guard\",\"token\":8}");
    assert_int_equal(coord_world_guarded(world, "k", "guard", 8, "lease.create", "{}"), OUTCOME_CREATED);
    assert_true(world->replayed);
    assert_int_equal(coord_world_guarded(world, "new", "guard", 8, "lease.create", "{}"), OUTCOME_FENCED);
}

/* The lock of the fence is what guards of keys look at, within a transaction too. */
static void a_fence_opens_a_guard(void **state)
{
    struct coord_world *world = *state;
    static const char text[] = "{\"then\":[{\"op\":\"kv.put\",\"key\":\"app/x\",\"value\":\"1\"}]}";
    DO("lock.acquire", "{\"name\":\"l\"}");
    DO("guard.put", "{\"prefix\":\"app/\",\"lock\":\"l\"}");
    assert_int_equal(DO("txn", text), OUTCOME_TXN_REFUSED);
    SAYS("\"status\":428,\"code\":\"guarded\"");
    assert_int_equal(coord_world_guarded(world, NULL, "l", 8, "txn", text), OUTCOME_OK);
    assert_int_equal(coord_world_guarded(world, "k", "l", 8, "kv.put", "{\"key\":\"app/x\"}"), OUTCOME_OK);
    DO("lock.acquire", "{\"name\":\"other\"}");
    assert_int_equal(coord_world_guarded(world, NULL, "other", world->index, "txn", text),
                     OUTCOME_TXN_REFUSED);
}

/* It is looked at before the transaction, which may give the lock back. */
static void the_last_act_under_a_fence(void **state)
{
    struct coord_world *world = *state;
    static const char text[] = "{\"then\":[{\"op\":\"lock.release\",\"name\":\"l\",\"token\":8},"
                               "{\"op\":\"kv.put\",\"key\":\"app/done\"}]}";
    DO("lock.acquire", "{\"name\":\"l\"}");
    DO("guard.put", "{\"prefix\":\"app/\",\"lock\":\"l\"}");
    assert_int_equal(coord_world_guarded(world, "k", "l", 8, "txn", text), OUTCOME_OK);
    assert_int_equal(coord_world_guarded(world, "k", "l", 8, "txn", text), OUTCOME_OK);
    assert_true(world->replayed);
    assert_int_equal(coord_world_guarded(world, NULL, "l", 8, "kv.put", "{\"key\":\"app/late\"}"),
                     OUTCOME_FENCED);
}

/* A refusal by the fence is an answer like any other. */
static void a_fenced_request_is_not_kept(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(coord_world_guarded(world, "k", "l", 9, "lease.create", "{}"), OUTCOME_FENCED);
    DO("lock.acquire", "{\"name\":\"l\"}"); /* token 9 */
    assert_int_equal(coord_world_guarded(world, "k", "l", 9, "lease.create", "{}"), OUTCOME_CREATED);
    assert_false(world->replayed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(a_repetition_is_given_the_first_answer),
        COORD_TEST(an_array_of_tasks_is_made_once),
        COORD_TEST(another_request_with_the_key_is_refused),
        COORD_TEST(a_wait_is_in_flight_until_it_is_answered),
        COORD_TEST(a_wait_whose_client_went_away_frees_the_key),
        COORD_TEST(keys_are_forgotten_after_their_time),
        COORD_TEST(a_key_that_still_waits_is_kept),
        COORD_TEST(transactions_are_replayed_whole),
        COORD_TEST(a_fence_must_be_current),
        COORD_TEST(a_replay_comes_before_the_fence),
        COORD_TEST(an_answer_that_came_late_is_kept_as_long),
        COORD_TEST(what_may_be_retried_is_not_kept),
        COORD_TEST(a_refused_transaction_is_replayed),
        COORD_TEST(a_wait_whose_lease_ended),
        COORD_TEST(a_fence_opens_a_guard),
        COORD_TEST(the_last_act_under_a_fence),
        COORD_TEST(there_is_room_for_so_many),
        COORD_TEST(a_fenced_request_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
