// links: api lib support
/* The leader's memory of heartbeats: reports of calls, rosters, taking and losing office. The group's ttl is
 * 15 s unless a test sets another: silence for 10.5 s makes suspect. */
#include "tests/unit/beats_test.h"

enum { SUSPECT_MS = 10500 };

/* --- reports of calls --- */

static void report(struct leader *leader, const char *reporter, unsigned ok, unsigned failed)
{
    char json[200];
    snprintf(json, sizeof json,
             "{\"group\":\"web\",\"reporter\":\"%s\",\"results\":[{\"id\":\"a\",\"ok\":%u,\"failed\":%u}]}",
             reporter, ok, failed);
    assert_int_equal(ask(leader, "group.report", json, false), OUTCOME_OK);
}

static void many_reports_of_failures_eject(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_requests\":20,\"eject_reporters\":2,\"eject_max\":100");
    join(leader, "a", "");
    report(leader, "x", 0, 15);
    assert_int_equal(due(leader), 0);
    report(leader, "y", 5, 4); /* enough calls, but y sees it well enough */
    assert_int_equal(due(leader), 0);
    report(leader, "y", 0, 1);
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_BAD));
    observe(leader, TERM);
    assert_false(beats_seat(leader->beats, SLICE("web"), SLICE("a"))->eligible);
    assert_int_equal(due(leader), 0);
}

static void one_reporter_ejects_nobody(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_requests\":20,\"eject_reporters\":2");
    join(leader, "a", "");
    for (int i = 0; i < 10; i++) report(leader, "x", 0, 100);
    report(leader, "y", 100, 0);
    assert_int_equal(due(leader), 0);
}

static void few_calls_or_few_failures_eject_nobody(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_requests\":20,\"eject_reporters\":2");
    join(leader, "a", "");
    report(leader, "x", 0, 9);
    report(leader, "y", 0, 10);
    assert_int_equal(due(leader), 0);
    report(leader, "z", 100, 0);
    assert_int_equal(due(leader), 0);
}

static void reports_of_long_ago_do_not_count(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_requests\":20,\"eject_reporters\":2");
    uint64_t token = join(leader, "a", "");
    report(leader, "x", 0, 100);
    leader->now_ms += 10000;
    beat(leader, "a", token, "");
    report(leader, "y", 0, 100);
    assert_int_equal(due(leader), 0);
    leader->now_ms += 9999;
    beat(leader, "a", token, "");
    report(leader, "x", 0, 1);
    assert_int_equal(due(leader), 1);
}

static void without_the_setting_reports_do_nothing(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    report(leader, "x", 0, 100000);
    report(leader, "y", 0, 100000);
    assert_int_equal(due(leader), 0);
}

static void many_reporters(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_requests\":20,\"eject_reporters\":1000");
    join(leader, "a", "");
    for (int i = 0; i < 999; i++) {
        char name[20];
        snprintf(name, sizeof name, "x%d", i);
        report(leader, name, 0, 1);
        report(leader, name, 0, 1);
    }
    assert_int_equal(due(leader), 0);
    report(leader, "x999", 0, 1);
    assert_int_equal(due(leader), 1);
}

/* --- rosters --- */

static void rosters_hold_who_is_up(void **state)
{
    struct leader *leader = *state;
    assert_null(beats_roster(leader->beats, SLICE("web")));
    join(leader, "a", ",\"zone\":\"z1\",\"weight\":7,\"address\":\"h:1\"");
    join(leader, "b", "");
    const struct roster *roster = beats_roster(leader->beats, SLICE("web"));
    assert_int_equal(roster->count, 2);
    assert_int_equal(roster->eligible, 2);
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), SLICE("a"));
    assert_true(slice_is(seat->id, "a") && slice_is(seat->zone, "z1") && slice_is(seat->address, "h:1"));
    assert_int_equal(seat->weight, 7);
    assert_null(beats_seat(leader->beats, SLICE("web"), SLICE("c")));
    assert_null(beats_seat(leader->beats, SLICE("wob"), SLICE("a")));
    command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\"}");
    roster = beats_roster(leader->beats, SLICE("web"));
    assert_int_equal(roster->eligible, 1);
    assert_true(slice_is(roster->seats[0]->id, "b"));
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"b\",\"force\":true}");
    assert_int_equal(beats_roster(leader->beats, SLICE("web"))->count, 1);
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"a\",\"force\":true}");
    assert_null(beats_roster(leader->beats, SLICE("web")));
}

static void what_a_member_says_is_kept(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    assert_int_equal(beats_seat(leader->beats, SLICE("web"), SLICE("a"))->said_ms, 0);
    leader->now_ms += 1234;
    beat(leader, "a", token, ",\"load\":5,\"inflight\":6,\"capacity\":7,\"metrics\":{\"q\":[1,2]}");
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), SLICE("a"));
    assert_int_equal(seat->said_ms, WALL_MS + 1234);
    assert_int_equal(seat->load, 5);
    assert_int_equal(seat->inflight, 6);
    assert_int_equal(seat->capacity, 7);
    assert_true(slice_is(seat->metrics, "{\"q\":[1,2]}"));
    beat(leader, "a", token, ""); /* a heartbeat says all of it */
    assert_int_equal(seat->load, 0);
    assert_int_equal(seat->metrics.size, 0);
}

/* A renewal of the lease by whatever means is a heartbeat that says nothing. */
static void a_renewal_of_the_lease_is_a_heartbeat(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    beat(leader, "a", token, ",\"load\":5");
    leader->now_ms += SUSPECT_MS - 1;
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), SLICE("a"));
    char json[60];
    snprintf(json, sizeof json, "{\"id\":\"L%llx\"}", (unsigned long long)seat->lease);
    assert_int_equal(renew(leader, "lease.renew", json), OUTCOME_OK);
    leader->now_ms++;
    assert_int_equal(due(leader), 0);
    assert_int_equal(seat->load, 5);
}

static void who_joins_again_begins_anew(void **state)
{
    struct leader *leader = *state;
    uint64_t before = join(leader, "a", "");
    uint64_t lease = beats_seat(leader->beats, SLICE("web"), SLICE("a"))->lease;
    beat(leader, "a", before, ",\"load\":5,\"health\":\"fail\",\"metrics\":1");
    leader->now_ms += SUSPECT_MS;
    join(leader, "a", "");
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), SLICE("a"));
    assert_int_equal(seat->load, 0);
    assert_int_equal(seat->said_ms, 0);
    assert_int_equal(seat->metrics.size, 0);
    assert_int_equal(due(leader), 0);
    leader->now_ms += SUSPECT_MS;
    beats_hear(leader->beats, lease, leader->now_ms, slice_of(NULL, 0)); /* of the one before */
    assert_int_equal(due(leader), 1);
}

static void who_joins_again_may_have_a_shorter_ttl(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", ",\"ttl\":\"1m\"");
    join(leader, "a", ",\"ttl\":\"3s\"");
    leader->now_ms += 2500;
    assert_int_equal(due(leader), 1);
    join(leader, "a", ",\"ttl\":\"3s\""); /* while it is told */
    leader->now_ms += 2500;
    assert_int_equal(due(leader), 1);
}

static void names_with_slashes(void **state)
{
    struct leader *leader = *state;
    command(leader, "group.join", "{\"group\":\"a/members/b\",\"id\":\"c/members/d\"}");
    command(leader, "group.join", "{\"group\":\"a\",\"id\":\"b/members/c/members/d\"}");
    assert_int_equal(beats_count(leader->beats), 2);
    assert_non_null(beats_seat(leader->beats, SLICE("a/members/b"), SLICE("c/members/d")));
    assert_non_null(beats_seat(leader->beats, SLICE("a"), SLICE("b/members/c/members/d")));
    command(leader, "group.leave", "{\"group\":\"a\",\"id\":\"b/members/c/members/d\",\"force\":true}");
    assert_int_equal(beats_count(leader->beats), 1);
}

static void turns_count_up(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    assert_int_equal(beats_next_turn(leader->beats, SLICE("web")), 0);
    assert_int_equal(beats_next_turn(leader->beats, SLICE("web")), 1);
    assert_int_equal(beats_next_turn(leader->beats, SLICE("none")), 0);
}

/* --- office --- */

static void a_new_leader_has_heard_everybody(void **state)
{
    struct leader *leader = *state;
    for (int i = 0; i < 9; i++) join(leader, (char[]){(char)('a' + i), 0}, ",\"ttl\":\"30s\"");
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"i\",\"force\":true}");
    uint64_t token = leader->index - 9;
    beat(leader, "a", token, ",\"load\":5");
    leader->now_ms += 20000;
    beats_lose_office(leader->beats);
    lease_clock_lose_office(leader->leases);
    assert_int_equal(beats_count(leader->beats), 0);
    assert_false(beats_ready(leader->beats));
    assert_int_equal(beats_next_ms(leader->beats), UINT64_MAX);
    beats_check(leader->beats);
    take_office(leader);
    assert_true(beats_ready(leader->beats));
    assert_int_equal(beats_roster(leader->beats, SLICE("web"))->count, 8);
    assert_int_equal(beats_seat(leader->beats, SLICE("web"), SLICE("a"))->said_ms, 0);
    leader->now_ms += 20499;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 8);
}

static void gaps_of_another_office_do_not_count(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    beats_gap(leader->beats, 5000, leader->now_ms);
    beats_lose_office(leader->beats);
    lease_clock_lose_office(leader->leases);
    take_office(leader);
    leader->now_ms += SUSPECT_MS;
    assert_int_equal(due(leader), 1);
}

/* It was suspect before, and nothing was heard of it in this office: it is not cleared. */
static void a_new_leader_clears_nobody_unheard(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", ",\"ttl\":\"30s\"");
    leader->now_ms += 20500;
    due(leader);
    observe(leader, TERM);
    beats_lose_office(leader->beats);
    lease_clock_lose_office(leader->leases);
    take_office(leader);
    assert_int_equal(due(leader), 0);
    beat(leader, "a", token, "");
    assert_int_equal(due(leader), 1);
}

static void entries_are_followed_while_members_are_loaded(void **state)
{
    struct leader *leader = *state;
    for (int i = 0; i < 6; i++) join(leader, (char[]){(char)('a' + i), 0}, "");
    beats_lose_office(leader->beats);
    beats_take_office(leader->beats);
    assert_false(beats_load(leader->beats, leader->rows, &leader->arena, leader->now_ms, 2));
    assert_false(beats_ready(leader->beats));
    join(leader, "aa", "");
    join(leader, "z", "");
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"a\",\"force\":true}");
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"f\",\"force\":true}");
    load(leader);
    assert_true(beats_ready(leader->beats));
    assert_int_equal(beats_roster(leader->beats, SLICE("web"))->count, 6);
}

static void a_note_that_cannot_be_read_is_a_heartbeat_still(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    leader->now_ms += SUSPECT_MS;
    uint64_t lease = beats_seat(leader->beats, SLICE("web"), SLICE("a"))->lease;
    beats_hear(leader->beats, lease, leader->now_ms, SLICE("\xff\xff\xff"));
    assert_int_equal(due(leader), 0);
    beats_hear(leader->beats, lease + 1, leader->now_ms, slice_of(NULL, 0));
    beats_hear(leader->beats, 0, leader->now_ms, slice_of(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER_TEST(many_reports_of_failures_eject),
        LEADER_TEST(one_reporter_ejects_nobody),
        LEADER_TEST(few_calls_or_few_failures_eject_nobody),
        LEADER_TEST(reports_of_long_ago_do_not_count),
        LEADER_TEST(without_the_setting_reports_do_nothing),
        LEADER_TEST(many_reporters),
        LEADER_TEST(rosters_hold_who_is_up),
        LEADER_TEST(what_a_member_says_is_kept),
        LEADER_TEST(a_renewal_of_the_lease_is_a_heartbeat),
        LEADER_TEST(who_joins_again_begins_anew),
        LEADER_TEST(who_joins_again_may_have_a_shorter_ttl),
        LEADER_TEST(names_with_slashes),
        LEADER_TEST(turns_count_up),
        LEADER_TEST(a_new_leader_has_heard_everybody),
        LEADER_TEST(gaps_of_another_office_do_not_count),
        LEADER_TEST(a_new_leader_clears_nobody_unheard),
        LEADER_TEST(entries_are_followed_while_members_are_loaded),
        LEADER_TEST(a_note_that_cannot_be_read_is_a_heartbeat_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
