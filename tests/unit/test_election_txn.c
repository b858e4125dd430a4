// links: api lib support
/* Elections within transactions and under Idempotency-Keys: an entry elects a leader once, nothing waits, and
 * what is refused leaves no trace. The first command of a world is entry 8. */
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#define DO(name, json) coord_world_do(world, name, json)
#define ASK(name, json) coord_world_ask(world, name, json)
#define SAYS(part) assert_true(coord_world_says(world, part))

/* Operations of a transaction. */
#define CAMPAIGN(name, who) "{\"op\":\"election.campaign\",\"name\":\"" name "\",\"candidate\":\"" who "\"}"
#define BREAK(name) "{\"op\":\"election.break\",\"name\":\"" name "\"}"
#define WITH_TOKEN(op, name, token) "{\"op\":\"election." op "\",\"name\":\"" name "\",\"token\":" token
#define THEN(operations) "{\"then\":[" operations "]}"

static void elect(struct coord_world *world, const char *json)
{
    assert_int_equal(DO("election.campaign", json), OUTCOME_CREATED);
}

static void wait_in_queue(struct coord_world *world, const char *json)
{
    assert_int_equal(DO("election.campaign", json), 0);
}

static void refused(struct coord_world *world, const char *json, const char *part)
{
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn", json), OUTCOME_TXN_REFUSED);
    SAYS(part);
    assert_int_equal(world->others, 0);
    assert_true(rows_digest(world->rows) == digest);
}

static void a_leader_is_elected_with_all_that_it_needs(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("txn", THEN(CAMPAIGN("db", "n1") "," CAMPAIGN(
                                   "cache", "n1") ","
                                                  "{\"op\":\"lock.acquire\",\"name\":\"disk\"}")),
                     OUTCOME_OK);
    SAYS("\"op\":\"election.campaign\",\"status\":201,\"code\":\"created\",\"result\":{\"name\":\"db\","
         "\"token\":8");
    ASK("election.get", "{\"name\":\"cache\"}");
    SAYS("\"leader\":{\"candidate\":\"n1\",\"value\":null,\"token\":8");
    refused(world, THEN("{\"op\":\"lock.break\",\"name\":\"disk\"}," CAMPAIGN("db", "n2")),
            "\"position\":1,\"refused\":[{\"op\":\"election.campaign\",\"status\":423,\"code\":\"election_"
            "held\"");
}

/* What a leader does under its token, others cannot any more. */
static void a_token_is_a_condition(void **state)
{
    struct coord_world *world = *state;
    static const char write[] =
        "{\"if\":[" WITH_TOKEN("check", "db", "8}") "],"
                                                    "\"then\":[{\"op\":\"lock.acquire\",\"name\":\"a\"}],"
                                                    "\"else\":[{\"op\":\"election.get\",\"name\":\"db\"}]}";
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}");
    assert_int_equal(DO("txn", write), OUTCOME_OK);
    SAYS("\"succeeded\":true");
    DO("election.break", "{\"name\":\"db\"}");
    elect(world, "{\"name\":\"db\",\"candidate\":\"n2\"}");
    assert_int_equal(DO("txn", write), OUTCOME_OK);
    SAYS("\"succeeded\":false");
    SAYS("\"leader\":{\"candidate\":\"n2\"");
}

static void nothing_waits(void **state)
{
    struct coord_world *world = *state;
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}");
    assert_int_equal(DO("lease.create", "{}"), OUTCOME_CREATED);
    wait_in_queue(world, "{\"name\":\"db\",\"candidate\":\"n2\",\"lease\":\"L900000\",\"wait\":\"1m\"}");
    assert_int_equal(DO("txn", THEN("{\"op\":\"election.campaign\",\"name\":\"db\",\"candidate\":\"n3\","
                                    "\"wait\":5}")),
                     OUTCOME_SENSELESS);
    /* Whose lease waits already is told its place. */
    refused(world,
            THEN("{\"op\":\"election.campaign\",\"name\":\"db\",\"candidate\":\"n2\",\"lease\":\"L900000\"}"),
            "\"position\":1}");
}

static void one_entry_elects_one_leader_of_an_election(void **state)
{
    struct coord_world *world = *state;
    refused(world, THEN(CAMPAIGN("db", "n1") "," BREAK("db") "," CAMPAIGN("db", "n2")),
            "\"position\":2,\"refused\":[{\"op\":\"election.campaign\",\"status\":422");
    SAYS("one transaction elects at most one leader of an election");
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}"); /* 9 */
    wait_in_queue(world, "{\"name\":\"db\",\"candidate\":\"n2\",\"wait\":\"1m\"}");
    wait_in_queue(world, "{\"name\":\"db\",\"candidate\":\"n3\",\"wait\":\"1m\"}");
    refused(world,
            THEN(WITH_TOKEN("transfer", "db", "9,\"to\":\"n3\"}") "," WITH_TOKEN("transfer", "db",
                                                                                 "12,\"to\":\"n2\"}")),
            "\"position\":1,\"refused\":[{\"op\":\"election.transfer\",\"status\":422");
    /* A term that ends where another may begin, and nobody waits. */
    DO("election.break", "{\"name\":\"db\"}");
    DO("election.break", "{\"name\":\"db\"}");
    assert_int_equal(DO("txn", THEN(BREAK("db") "," CAMPAIGN("db", "n4"))), OUTCOME_OK);
    SAYS("\"candidate\":\"n4\"");
}

/* The queue comes before what the transaction itself asks for. */
static void who_waits_leads_when_a_transaction_ends_the_term(void **state)
{
    struct coord_world *world = *state;
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}");
    wait_in_queue(world, "{\"name\":\"db\",\"candidate\":\"n2\",\"wait\":\"1m\"}");
    refused(world, THEN(WITH_TOKEN("resign", "db", "8}") "," CAMPAIGN("db", "n3")), "\"candidate\":\"n2\"");
    assert_int_equal(DO("txn", THEN(WITH_TOKEN("resign", "db", "8}"))), OUTCOME_OK);
    assert_int_equal(world->others, 1);
    assert_int_equal(world->other_index, 9);
    assert_int_equal(world->other_outcome, OUTCOME_CREATED);
}

/* Two terms end in one entry: the second successor is elected by a pulse, with a token of its own. */
static void a_second_successor_goes_by_pulse(void **state)
{
    struct coord_world *world = *state;
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}");
    wait_in_queue(world, "{\"name\":\"db\",\"candidate\":\"n2\",\"wait\":\"1m\"}");
    wait_in_queue(world, "{\"name\":\"db\",\"candidate\":\"n3\",\"wait\":\"1m\"}");
    assert_int_equal(DO("txn", THEN(BREAK("db") "," BREAK("db"))), OUTCOME_OK); /* 11 */
    assert_int_equal(world->others, 1);
    assert_int_equal(world->other_index, 9);
    ASK("election.get", "{\"name\":\"db\"}");
    SAYS("\"leader\":null,\"token\":11,\"candidates\":[{\"candidate\":\"n3\",\"position\":1");
    assert_true(coord_wants_pulse(world->rows));
    /* Who comes before the pulse: a higher priority is next, others queue or are told that it is not free. */
    assert_int_equal(DO("election.campaign", "{\"name\":\"db\",\"candidate\":\"n4\"}"),
                     OUTCOME_ELECTION_HELD);
    assert_int_equal(DO("pulse", "{}"), OUTCOME_OK); /* 13 */
    assert_int_equal(world->other_index, 10);
    assert_int_equal(world->other_outcome, OUTCOME_CREATED);
    assert_false(coord_wants_pulse(world->rows));
    ASK("election.get", "{\"name\":\"db\"}");
    SAYS("\"leader\":{\"candidate\":\"n3\",\"value\":null,\"token\":13");
    SAYS("\"history\":[{\"candidate\":\"n2\",\"token\":11");
}

/* The first answer is kept and given again; that of a wait as soon as it is there. */
static void a_campaign_may_be_repeated_under_its_key(void **state)
{
    struct coord_world *world = *state;
    static const char n1[] = "{\"name\":\"db\",\"candidate\":\"n1\"}",
                      n2[] = "{\"name\":\"db\",\"candidate\":\"n2\",\"wait\":\"1m\"}";
#define AGAIN(key, json) coord_world_guarded(world, key, NULL, 0, "election.campaign", json)
    assert_int_equal(AGAIN("k1", n1), OUTCOME_CREATED);
    assert_int_equal(AGAIN("k1", n1), OUTCOME_CREATED);
    assert_true(world->replayed);
    SAYS("\"token\":8");
    assert_int_equal(AGAIN("k1", n2), OUTCOME_RETRY_MISMATCH);
    assert_int_equal(AGAIN("k2", n2), 0); /* 11 */
    assert_int_equal(DO("election.resign", "{\"name\":\"db\",\"token\":8}"), OUTCOME_OK);
    assert_int_equal(world->other_index, 11);
    assert_int_equal(AGAIN("k2", n2), OUTCOME_CREATED);
    assert_true(world->replayed);
    SAYS("\"token\":12");
}

/* Whoever runs a command within a transaction, however deep: what would wait is refused. */
static void what_would_wait_is_refused(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    void *args;
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}");
    const struct operation *operation = read_command(
        world, "election.campaign", "{\"name\":\"db\",\"candidate\":\"n2\",\"wait\":\"1m\"}", &args);
    uint64_t digest = rows_digest(world->rows);
    apply_begin(&apply, world->rows, &world->arena, world->index + 1, 1, world->time_ms);
    apply.in_txn = true;
    operation->apply(&apply, args);
    assert_int_equal(apply.answers->outcome, OUTCOME_SENSELESS);
    assert_true(rows_digest(world->rows) == digest);
}

/* The lease ended while the round that was to confirm its renewal was under way. */
static void a_renewal_that_came_too_late(void **state)
{
    struct coord_world *world = *state;
    struct apply apply;
    void *args;
    elect(world, "{\"name\":\"db\",\"candidate\":\"n1\"}");
    const struct operation *operation =
        read_command(world, "election.renew", "{\"name\":\"db\",\"token\":8}", &args);
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    operation->renews(&apply, args);
    assert_int_equal(apply.renewal_count, 1);
    assert_null(apply.answers);
    struct apply later;
    apply_begin(&later, world->rows, &world->arena, world->index, 1, world->time_ms);
    operation->renewed(&later, args, apply.renewals, 1);
    assert_int_equal(later.answers->outcome, OUTCOME_LEASE_OVER);
    apply.renewals[0].renewed = true;
    apply_begin(&later, world->rows, &world->arena, world->index, 1, world->time_ms);
    operation->renewed(&later, args, apply.renewals, 1);
    assert_int_equal(later.answers->outcome, OUTCOME_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(a_leader_is_elected_with_all_that_it_needs),
        COORD_TEST(a_token_is_a_condition),
        COORD_TEST(nothing_waits),
        COORD_TEST(one_entry_elects_one_leader_of_an_election),
        COORD_TEST(who_waits_leads_when_a_transaction_ends_the_term),
        COORD_TEST(a_second_successor_goes_by_pulse),
        COORD_TEST(a_campaign_may_be_repeated_under_its_key),
        COORD_TEST(what_would_wait_is_refused),
        COORD_TEST(a_renewal_that_came_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
