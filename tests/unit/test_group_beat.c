// links: api lib support
/* Heartbeats and reports as operations: what they answer, alone and in batches. */
#include "tests/unit/beats_test.h"

static void a_heartbeat_says_how_it_stands(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", ",\"ttl\":\"6s\"");
    leader->now_ms += 5000;
    assert_int_equal(beat(leader, "a", token, ""), OUTCOME_OK);
    char expected[300];
    snprintf(expected, sizeof expected,
             "{\"group\":\"web\",\"id\":\"a\",\"token\":%llu,\"state\":\"alive\",\"expires_in_ms\":6000,"
             "\"heartbeat_in_ms\":2000,\"version\":%llu,\"draining\":false,\"leads\":false,\"broadcasts\":0}",
             (unsigned long long)token, (unsigned long long)leader->index);
    assert_string_equal((const char *)leader->answer.data, expected);
}

static void it_hears_that_it_drains(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\"}");
    beat(leader, "a", token, "");
    assert_true(says(leader, "\"draining\":true") && says(leader, "\"state\":\"draining\""));
}

static void it_hears_that_it_leads(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"leader\":true");
    uint64_t a = join(leader, "a", ""), b = join(leader, "b", "");
    beat(leader, "a", a, "");
    assert_true(says(leader, "\"leads\":true"));
    beat(leader, "b", b, "");
    assert_true(says(leader, "\"leads\":false"));
}

static void heartbeats_are_refused(void **state)
{
    struct leader *leader = *state;
    assert_int_equal(beat(leader, "a", 1, ""), OUTCOME_GROUP_NOT_FOUND);
    uint64_t token = join(leader, "a", "");
    assert_int_equal(beat(leader, "b", token, ""), OUTCOME_MEMBER_UNKNOWN);
    assert_int_equal(beat(leader, "a", token - 1, ""), OUTCOME_MEMBER_FENCED);
    uint64_t later = join(leader, "a", "");
    assert_int_equal(beat(leader, "a", token, ""), OUTCOME_MEMBER_FENCED);
    assert_int_equal(beat(leader, "a", later, ""), OUTCOME_OK);
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"a\",\"force\":true}");
    assert_int_equal(beat(leader, "a", later, ""), OUTCOME_MEMBER_GONE);
}

/* An expiry is in the log: whoever beats now must join again (leases.md 2a, 3). */
static void a_lease_that_is_over_is_not_renewed(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    struct lease_expire_item items[1];
    leader->now_ms += 60000;
    assert_int_equal(lease_clock_due(leader->leases, leader->now_ms, items, 1), 1);
    assert_int_equal(beat(leader, "a", token, ""), OUTCOME_MEMBER_GONE);
    char json[100];
    snprintf(json, sizeof json, "{\"members\":[{\"group\":\"web\",\"id\":\"a\",\"token\":%llu}]}",
             (unsigned long long)token);
    renew(leader, "group.heartbeats", json);
    assert_true(says(leader, "\"ok\":[]") && says(leader, "\"code\":\"member_gone\""));
    struct lease_expire_args args = {TERM, {items, 1}};
    run(leader, operation_lease_expire, &args, TERM);
    assert_int_equal(state_of(leader, "a"), 0);
    assert_int_equal(beat(leader, "a", token, ""), OUTCOME_MEMBER_GONE);
}

/* The guard keeps it suspect, but its lease is over: it joins again. */
static void who_is_guarded_must_join_again(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"guard\":1,\"guard_min\":1");
    uint64_t token[4];
    for (int i = 0; i < 4; i++) token[i] = join(leader, (char[]){(char)('a' + i), 0}, "");
    struct lease_expire_item items[4];
    leader->now_ms += 60000;
    assert_int_equal(lease_clock_due(leader->leases, leader->now_ms, items, 4), 4);
    struct lease_expire_args args = {TERM, {items, 4}};
    run(leader, operation_lease_expire, &args, TERM);
    int suspects = 0;
    for (int i = 0; i < 4; i++) {
        const char id[] = {(char)('a' + i), 0};
        suspects += state_of(leader, id) == MEMBER_SUSPECT;
        assert_int_equal(beat(leader, id, token[i], ""), OUTCOME_MEMBER_GONE);
    }
    assert_int_equal(suspects, 3);
    join(leader, "d", "");
    assert_int_equal(beat(leader, "d", leader->index, ""), OUTCOME_OK);
}

static void a_batch_tells_of_each(void **state)
{
    struct leader *leader = *state;
    uint64_t a = join(leader, "a", ",\"ttl\":\"6s\""), b = join(leader, "b", ",\"ttl\":\"9s\"");
    uint64_t c = join(leader, "c", "");
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"c\",\"force\":true}");
    char json[600];
    snprintf(
        json, sizeof json,
        "{\"members\":[{\"group\":\"web\",\"id\":\"a\",\"token\":%llu,\"load\":3,\"health\":\"warn\"},"
        "{\"group\":\"web\",\"id\":\"b\",\"token\":%llu},{\"group\":\"web\",\"id\":\"c\",\"token\":%llu},"
        "{\"group\":\"web\",\"id\":\"a\",\"token\":%llu},{\"group\":\"none\",\"id\":\"a\",\"token\":1}]}",
        (unsigned long long)a, (unsigned long long)b, (unsigned long long)c, (unsigned long long)b);
    leader->now_ms += 5000;
    assert_int_equal(renew(leader, "group.heartbeats", json), OUTCOME_OK);
    assert_string_equal((const char *)leader->answer.data,
                        "{\"ok\":[{\"group\":\"web\",\"id\":\"a\",\"expires_in_ms\":6000},"
                        "{\"group\":\"web\",\"id\":\"b\",\"expires_in_ms\":9000}],"
                        "\"gone\":[{\"group\":\"web\",\"id\":\"c\",\"code\":\"member_gone\"},"
                        "{\"group\":\"web\",\"id\":\"a\",\"code\":\"member_fenced\"},"
                        "{\"group\":\"none\",\"id\":\"a\",\"code\":\"member_unknown\"}],"
                        "\"heartbeat_in_ms\":2000}");
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), SLICE("a"));
    assert_int_equal(seat->load, 3);
    assert_int_equal(seat->health, HEALTH_WARN);
}

static void a_batch_of_which_nobody_is_left(void **state)
{
    struct leader *leader = *state;
    const char *json = "{\"members\":[{\"group\":\"web\",\"id\":\"a\",\"token\":1}]}";
    assert_int_equal(renew(leader, "group.heartbeats", json), OUTCOME_OK);
    assert_string_equal((const char *)leader->answer.data,
                        "{\"ok\":[],\"gone\":[{\"group\":\"web\",\"id\":\"a\",\"code\":\"member_unknown\"}],"
                        "\"heartbeat_in_ms\":60000}");
}

static void a_report_says_whom_nobody_knows(void **state)
{
    struct leader *leader = *state;
    const char *json = "{\"group\":\"web\",\"reporter\":\"x\",\"results\":[{\"id\":\"a\",\"ok\":1},"
                       "{\"id\":\"b\",\"slow\":2}]}";
    assert_int_equal(ask(leader, "group.report", json, false), OUTCOME_GROUP_NOT_FOUND);
    join(leader, "a", "");
    assert_int_equal(ask(leader, "group.report", json, false), OUTCOME_OK);
    assert_string_equal((const char *)leader->answer.data,
                        "{\"group\":\"web\",\"taken\":1,\"unknown\":[\"b\"]}");
    assert_int_equal(ask(leader, "group.report", json, true), OUTCOME_SENSELESS);
}

static void slow_calls_count_as_failed(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_requests\":10,\"eject_reporters\":1");
    join(leader, "a", "");
    const char *json = "{\"group\":\"web\",\"reporter\":\"x\",\"results\":[{\"id\":\"a\",\"ok\":5,\"failed\":"
                       "1,\"slow\":4}]}";
    assert_int_equal(ask(leader, "group.report", json, false), OUTCOME_OK);
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_BAD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER_TEST(a_heartbeat_says_how_it_stands),
        LEADER_TEST(it_hears_that_it_drains),
        LEADER_TEST(it_hears_that_it_leads),
        LEADER_TEST(heartbeats_are_refused),
        LEADER_TEST(a_lease_that_is_over_is_not_renewed),
        LEADER_TEST(who_is_guarded_must_join_again),
        LEADER_TEST(a_batch_tells_of_each),
        LEADER_TEST(a_batch_of_which_nobody_is_left),
        LEADER_TEST(a_report_says_whom_nobody_knows),
        LEADER_TEST(slow_calls_count_as_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
