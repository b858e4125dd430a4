// links: api lib support
/* Transactions and safe retries over locks and leases. */
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

static int set_up(void **state)
{
    *state = coord_world_new();
    return 0;
}

static int tear_down(void **state)
{
    coord_world_free(*state);
    return 0;
}

#define DO(name, json) coord_world_do(world, name, json)
#define ASK(name, json) coord_world_ask(world, name, json)
#define SAYS(part) assert_true(coord_world_says(world, part))

/* --- transactions --- */

static void all_is_done_in_one_entry(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("lock.acquire", "{\"name\":\"a\"}"), OUTCOME_CREATED); /* token 8 */
    assert_int_equal(DO("txn",
                        "{\"then\":[{\"op\":\"lock.release\",\"name\":\"a\",\"token\":8},"
                        "{\"op\":\"lock.acquire\",\"name\":\"b\"},{\"op\":\"lock.get\",\"name\":\"a\"}]}"),
                     OUTCOME_OK);
    SAYS("\"succeeded\":true");
    SAYS("{\"op\":\"lock.release\",\"status\":200,\"code\":\"ok\",\"result\":{\"name\":\"a\"");
    SAYS(
        "\"op\":\"lock.acquire\",\"status\":201,\"code\":\"created\",\"result\":{\"name\":\"b\",\"token\":9");
    SAYS("\"op\":\"lock.get\",\"status\":200,\"code\":\"ok\",\"result\":{\"name\":\"a\",\"mode\":null");
    SAYS("\"revision\":9");
}

static void a_refused_command_takes_everything_back(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    DO("lock.acquire", "{\"name\":\"b\"}");
    assert_int_equal(DO("lock.acquire", "{\"name\":\"a\",\"wait\":\"1m\"}"), 0);
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn", "{\"then\":[{\"op\":\"lease.create\",\"ttl\":\"5s\"},"
                               "{\"op\":\"lock.release\",\"name\":\"a\",\"token\":8},"
                               "{\"op\":\"lock.release\",\"name\":\"b\",\"token\":8}]}"),
                     OUTCOME_TXN_REFUSED);
    SAYS("\"position\":2,\"refused\":[{\"op\":\"lock.release\",\"status\":409,\"code\":\"stale_token\"");
    assert_int_equal(world->others, 0); /* the waiter of `a` was not answered */
    assert_true(rows_digest(world->rows) == digest);
    assert_int_equal(DO("lock.release", "{\"name\":\"a\",\"token\":8}"), OUTCOME_OK);
    assert_int_equal(world->others, 1);
    assert_int_equal(world->other_outcome, OUTCOME_CREATED);
}

static void conditions_choose_the_branch(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    static const char text[] = "{\"if\":[{\"op\":\"lock.check\",\"name\":\"a\",\"token\":8}],"
                               "\"then\":[{\"op\":\"lock.acquire\",\"name\":\"yes\"}],"
                               "\"else\":[{\"op\":\"lock.acquire\",\"name\":\"no\"}]}";
    assert_int_equal(DO("txn", text), OUTCOME_OK);
    SAYS("\"succeeded\":true");
    SAYS("\"name\":\"yes\"");
    DO("lock.release", "{\"name\":\"a\",\"token\":8}");
    assert_int_equal(DO("txn", text), OUTCOME_OK);
    SAYS("\"succeeded\":false");
    SAYS("\"name\":\"no\"");
}

/* Both look at the state before the transaction. */
static void nested_conditions_see_the_state_before(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    assert_int_equal(
        DO("txn",
           "{\"if\":[{\"op\":\"lock.check\",\"name\":\"a\",\"token\":8}],"
           "\"then\":[{\"op\":\"lock.release\",\"name\":\"a\",\"token\":8},"
           "{\"op\":\"txn\",\"if\":[{\"op\":\"lock.check\",\"name\":\"a\",\"token\":8}],"
           "\"then\":[{\"op\":\"lease.create\",\"owner\":\"seen\"}],\"else\":[{\"op\":\"lease.create\"}]}]}"),
        OUTCOME_OK);
    SAYS("\"op\":\"txn\",\"status\":200,\"code\":\"ok\",\"result\":{\"succeeded\":true");
    SAYS("\"owner\":\"seen\"");
}

static void a_nested_refusal_takes_the_outer_back(void **state)
{
    struct coord_world *world = *state;
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn", "{\"then\":[{\"op\":\"lock.acquire\",\"name\":\"a\"},{\"op\":\"txn\",\"then\":"
                               "[{\"op\":\"lock.release\",\"name\":\"b\",\"token\":1}]}]}"),
                     OUTCOME_TXN_REFUSED);
    SAYS("\"position\":1,\"refused\":[{\"op\":\"txn\"");
    SAYS("\"refused\":[{\"op\":\"lock.release\",\"status\":409");
    assert_true(rows_digest(world->rows) == digest);
}

static void what_is_senseless(void **state)
{
    struct coord_world *world = *state;
    static const char *const bad[][2] = {
        {"{\"if\":[{\"op\":\"lock.acquire\",\"name\":\"a\"}]}", "a condition must be a query"},
        {"{\"then\":[{\"op\":\"lock.acquire\",\"name\":\"a\",\"wait\":5}]}", "a transaction does not wait"},
        {"{\"then\":[{\"op\":\"txn\",\"else\":[{\"op\":\"txn\",\"then\":[{\"op\":\"txn\",\"then\":[{\"op\":"
         "\"txn\"}]}]}]}]}",
         "more than 4 deep"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(DO("txn", bad[i][0]), OUTCOME_SENSELESS);
        SAYS(bad[i][1]);
    }
    struct buffer text = {0};
    buffer_add_text(&text, "{\"then\":[{\"op\":\"txn\",\"then\":[");
    for (int i = 0; i < 128; i++)
        buffer_printf(&text, "%s{\"op\":\"lock.get\",\"name\":\"a\"}", i ? "," : "");
    buffer_add(&text, "]}]}", 5);
    assert_int_equal(DO("txn", (const char *)text.data), OUTCOME_SENSELESS);
    SAYS("at most 128");
    buffer_free(&text);
}

/* A token is the index of the entry: it cannot be granted twice. */
static void one_lock_is_granted_once(void **state)
{
    struct coord_world *world = *state;
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn", "{\"then\":[{\"op\":\"lock.acquire\",\"name\":\"a\",\"mode\":\"shared\"},"
                               "{\"op\":\"lock.acquire\",\"name\":\"a\",\"mode\":\"shared\"}]}"),
                     OUTCOME_TXN_REFUSED);
    SAYS("\"status\":422");
    assert_true(rows_digest(world->rows) == digest);
}

static void nothing_to_do_is_done(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("txn", "{}"), OUTCOME_OK);
    SAYS("{\"succeeded\":true,\"results\":[],\"revision\":8}");
}

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
    world->time_ms += 60 * 1000;
    DO("due", "{}");
    assert_true(coord_due_ms(world->rows) == UINT64_MAX);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_is_done_in_one_entry),
        TEST(a_refused_command_takes_everything_back),
        TEST(conditions_choose_the_branch),
        TEST(nested_conditions_see_the_state_before),
        TEST(a_nested_refusal_takes_the_outer_back),
        TEST(what_is_senseless),
        TEST(nothing_to_do_is_done),
        TEST(a_repetition_is_given_the_first_answer),
        TEST(another_request_with_the_key_is_refused),
        TEST(a_wait_is_in_flight_until_it_is_answered),
        TEST(a_wait_whose_client_went_away_frees_the_key),
        TEST(keys_are_forgotten_after_their_time),
        TEST(a_key_that_still_waits_is_kept),
        TEST(transactions_are_replayed_whole),
        TEST(a_fence_must_be_current),
        TEST(a_replay_comes_before_the_fence),
        TEST(one_lock_is_granted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
