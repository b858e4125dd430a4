// links: api lib support
/* Transactions over locks, keys and leases. Safe retries and fences: test_retry.c. */
#include "coord/event.h"
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <malloc.h>
#include <stdio.h>

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

/* Held by the arena, before it is reset; a sanitizer's allocator says 0. */
static size_t bytes_of(struct coord_world *world, const char *json)
{
    void *args;
    const struct operation *operation = read_command(world, "txn", json, &args);
    struct apply apply;
    struct mallinfo2 before = mallinfo2(), after;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &(struct command){.operation = operation, .args = args});
    after = mallinfo2();
    note_all(world, apply.answers);
    return after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
}

static void large_results_are_not_gathered_first(void **state)
{
    static const char get[] = "{\"op\":\"kv.get\",\"key\":\"k\"}";
    struct coord_world *world = *state;
    struct buffer text = {0};
    buffer_add_text(&text, "{\"key\":\"k\",\"value\":\"");
    for (int i = 0; i < 1000 * 1000; i++) buffer_add_byte(&text, 'x');
    buffer_add(&text, "\"}", 3);
    assert_int_equal(DO("kv.put", (const char *)text.data), OUTCOME_CREATED);
    for (int conditions = 0; conditions < 2; conditions++) {
        text.size = 0;
        buffer_printf(&text, "{\"%s\":[%s", conditions ? "if" : "then", get);
        for (int i = 1; i < 100; i++) buffer_printf(&text, ",%s", get);
        buffer_add(&text, "]}", 3);
        assert_true(bytes_of(world, (const char *)text.data) < 8 << 20);
        assert_int_equal(world->outcome, conditions ? OUTCOME_OK : OUTCOME_SENSELESS);
    }
    buffer_free(&text);
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

static void a_condition_without_sense_refuses(void **state)
{
    struct coord_world *world = *state;
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn",
                        "{\"if\":[{\"op\":\"kv.compare\",\"key\":\"a\",\"version\":1,\"exists\":true}],"
                        "\"else\":[{\"op\":\"lock.acquire\",\"name\":\"no\"}]}"),
                     OUTCOME_TXN_REFUSED);
    SAYS("\"position\":0,\"refused\":[{\"op\":\"kv.compare\",\"status\":422");
    assert_true(rows_digest(world->rows) == digest);
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

static void conditions_on_keys(void **state)
{
    struct coord_world *world = *state;
    static const char text[] =
        "{\"if\":[{\"op\":\"kv.compare\",\"key\":\"k\",\"exists\":false},"
        "{\"op\":\"kv.compare\",\"key\":\"n\",\"value\":\"1\"}],"
        "\"then\":[{\"op\":\"kv.put\",\"key\":\"k\",\"value\":\"made\"},{\"op\":\"kv.get\",\"key\":\"k\"}],"
        "\"else\":[{\"op\":\"kv.get\",\"key\":\"n\"}]}";
    assert_int_equal(DO("txn", text), OUTCOME_OK); /* one of two fails */
    SAYS("{\"succeeded\":false,\"results\":[{\"op\":\"kv.get\",\"status\":404,\"code\":\"key_not_found\"");
    assert_int_equal(DO("txn", "{\"if\":[{\"op\":\"kv.compare\",\"key\":\"n\",\"exists\":true},"
                               "{\"op\":\"kv.compare\",\"key\":\"n\",\"exists\":false}]}"),
                     OUTCOME_OK);
    SAYS("\"succeeded\":false"); /* whichever of them */
    DO("kv.put", "{\"key\":\"n\",\"value\":\"1\"}");
    assert_int_equal(DO("txn", text), OUTCOME_OK);
    SAYS("{\"succeeded\":true,\"results\":[{\"op\":\"kv.put\",\"status\":201");
    SAYS("\"value\":\"made\""); /* an operation sees what those before it wrote */
}

/* Every change of an entry is told in its row, and has its revision. */
static void one_entry_tells_it_all(void **state)
{
    struct coord_world *world = *state;
    DO("lock.acquire", "{\"name\":\"a\"}");
    assert_int_equal(DO("txn",
                        "{\"then\":[{\"op\":\"lock.release\",\"name\":\"a\",\"token\":8},"
                        "{\"op\":\"kv.put\",\"key\":\"x\"},{\"op\":\"txn\",\"then\":[{\"op\":\"kv.put\","
                        "\"key\":\"y\"}]}]}"),
                     OUTCOME_OK);
    const struct event *event = events_next(world->rows, &world->arena, 8);
    assert_non_null(event);
    static const char *const paths[] = {"/locks/a", "/kv/x", "/kv/y"};
    for (size_t i = 0; i < 3; event = event->next)
        if (slice_is(event->path, paths[i])) i++, assert_int_equal(event->revision, 9);
}

static void what_was_refused_is_not_told(void **state)
{
    struct coord_world *world = *state;
    static const char text[] =
        "{\"then\":[{\"op\":\"kv.put\",\"key\":\"x\"},{\"op\":\"lock.acquire\",\"name\":\"a\"},"
        "{\"op\":\"lock.release\",\"name\":\"b\",\"token\":1}]}";
    assert_int_equal(DO("txn", text), OUTCOME_TXN_REFUSED);
    assert_null(events_next(world->rows, &world->arena, 0));
    assert_int_equal(rows_memory_count(world->rows), 0);
    DO("lock.acquire", "{\"name\":\"b\"}"); /* 9: and leases count on from where they were */
    assert_int_equal(DO("txn", "{\"then\":[{\"op\":\"kv.put\",\"key\":\"x\"}]}"), OUTCOME_OK);
    SAYS("\"version\":1");
}

/* A query that finds nothing refuses nothing; a condition that finds nothing does not hold. */
static void queries_refuse_nothing(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(
        DO("txn", "{\"if\":[{\"op\":\"kv.get\",\"key\":\"x\"}],\"then\":[],\"else\":[{\"op\":\"kv.get\","
                  "\"key\":\"x\"},{\"op\":\"lock.check\",\"name\":\"a\",\"token\":1},"
                  "{\"op\":\"kv.put\",\"key\":\"x\"}]}"),
        OUTCOME_OK);
    SAYS("\"succeeded\":false");
    SAYS("\"status\":404,\"code\":\"key_not_found\"");
    SAYS("\"status\":412,\"code\":\"fenced\"");
    SAYS("\"status\":201");
}

static void an_election_is_in_it(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("txn",
                        "{\"then\":[{\"op\":\"election.campaign\",\"name\":\"db\",\"candidate\":\"n1\"},"
                        "{\"op\":\"kv.put\",\"key\":\"leader\",\"value\":\"n1\"}]}"),
                     OUTCOME_OK);
    SAYS("\"candidate\":\"n1\"");
    assert_int_equal(DO("txn",
                        "{\"then\":[{\"op\":\"kv.delete\",\"key\":\"leader\"},{\"op\":\"election.campaign\","
                        "\"name\":\"db\",\"candidate\":\"n2\"}]}"),
                     OUTCOME_TXN_REFUSED);
    SAYS("\"position\":1,\"refused\":[{\"op\":\"election.campaign\",\"status\":423,\"code\":\"election_"
         "held\"");
    assert_int_equal(ASK("kv.get", "{\"key\":\"leader\"}"), OUTCOME_OK);
}

static void several_leases_of_one_entry(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(
        DO("txn", "{\"then\":[{\"op\":\"lease.create\"},{\"op\":\"lease.create\"},"
                  "{\"op\":\"lock.acquire\",\"name\":\"a\"},{\"op\":\"lock.acquire\",\"name\":\"b\"}]}"),
        OUTCOME_OK);
    char leases[4][32];
    const char *at = (const char *)world->answer.data;
    for (int i = 0; i < 4; i++) {
        at = strstr(at, "\"lease\":\"L");
        assert_non_null(at);
        at += 9;
        snprintf(leases[i], sizeof leases[i], "%.*s", (int)strcspn(at, "\""), at);
        for (int k = 0; k < i; k++) assert_string_not_equal(leases[i], leases[k]);
    }
}

static void add_value(struct buffer *text, const char *key, size_t size)
{
    buffer_printf(text, "{\"op\":\"kv.put\",\"key\":\"%s\",\"value\":\"", key);
    memset(buffer_reserve(text, size), 'x', size);
    text->size += size;
    buffer_add_text(text, "\"}");
}

static void results_larger_than_may_be(void **state)
{
    struct coord_world *world = *state;
    struct buffer text = {0};
    buffer_add_text(&text, "{\"then\":[");
    add_value(&text, "big", 1024 * 1024);
    buffer_add(&text, "]}", 3);
    assert_int_equal(DO("txn", (const char *)text.data), OUTCOME_OK);
    buffer_free(&text);
    assert_int_equal(
        DO("txn", "{\"then\":[{\"op\":\"kv.put\",\"key\":\"a\"},{\"op\":\"kv.get\",\"key\":\"big\"}]}"),
        OUTCOME_OK);
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn",
                        "{\"then\":[{\"op\":\"kv.put\",\"key\":\"b\"},{\"op\":\"kv.get\",\"key\":\"big\"},"
                        "{\"op\":\"kv.get\",\"key\":\"big\"}]}"),
                     OUTCOME_SENSELESS);
    SAYS("read less");
    assert_true(rows_digest(world->rows) == digest);
}

/* 128 in all, conditions and both branches, nested ones too; and 4 deep. */
static void at_the_limits(void **state)
{
    struct coord_world *world = *state;
    struct buffer text = {0};
    buffer_add_text(&text, "{\"if\":[");
    for (int i = 0; i < 42; i++)
        buffer_printf(&text, "%s{\"op\":\"kv.compare\",\"key\":\"a\",\"exists\":false}", i ? "," : "");
    buffer_add_text(&text, "],\"then\":[");
    for (int i = 0; i < 43; i++)
        buffer_printf(&text, "%s{\"op\":\"kv.put\",\"key\":\"k%d\"}", i ? "," : "", i);
    buffer_add_text(&text, "],\"else\":[");
    for (int i = 0; i < 43; i++) buffer_printf(&text, "%s{\"op\":\"kv.get\",\"key\":\"a\"}", i ? "," : "");
    size_t size = text.size;
    buffer_add(&text, "]}", 3);
    assert_int_equal(DO("txn", (const char *)text.data), OUTCOME_OK);
    text.size = size;
    buffer_add_text(&text, ",{\"op\":\"kv.get\",\"key\":\"a\"}]}");
    buffer_add_byte(&text, 0);
    assert_int_equal(DO("txn", (const char *)text.data), OUTCOME_SENSELESS);
    SAYS("at most 128");
    buffer_free(&text);
    assert_int_equal(
        DO("txn", "{\"then\":[{\"op\":\"txn\",\"then\":[{\"op\":\"txn\",\"then\":[{\"op\":\"txn\",\"then\":"
                  "[{\"op\":\"kv.put\",\"key\":\"deep\"}]}]}]}]}"),
        OUTCOME_OK); /* four */
    assert_int_equal(ASK("kv.get", "{\"key\":\"deep\"}"), OUTCOME_OK);
}

static void nothing_to_do_is_done(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("txn", "{}"), OUTCOME_OK);
    SAYS("{\"succeeded\":true,\"results\":[],\"revision\":8}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(all_is_done_in_one_entry),
        COORD_TEST(a_refused_command_takes_everything_back),
        COORD_TEST(conditions_choose_the_branch),
        COORD_TEST(nested_conditions_see_the_state_before),
        COORD_TEST(a_nested_refusal_takes_the_outer_back),
        COORD_TEST(large_results_are_not_gathered_first),
        COORD_TEST(what_is_senseless),
        COORD_TEST(a_condition_without_sense_refuses),
        COORD_TEST(nothing_to_do_is_done),
        COORD_TEST(one_lock_is_granted_once),
        COORD_TEST(conditions_on_keys),
        COORD_TEST(one_entry_tells_it_all),
        COORD_TEST(what_was_refused_is_not_told),
        COORD_TEST(queries_refuse_nothing),
        COORD_TEST(an_election_is_in_it),
        COORD_TEST(several_leases_of_one_entry),
        COORD_TEST(results_larger_than_may_be),
        COORD_TEST(at_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
