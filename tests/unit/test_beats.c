// links: api lib support
/* The leader's memory of heartbeats: suspicion and its end, gaps, phi, health. Rosters, reports, office:
 * test_beats_roster.c. The group's ttl is 15 s
 * unless a test sets another: silence for 10.5 s makes suspect. */
#include "tests/unit/beats_test.h"

enum { SUSPECT_MS = 10500 };

/* --- suspicion --- */

static void silence_makes_suspect(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    leader->now_ms += SUSPECT_MS - 1;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_SILENT));
    observe(leader, TERM);
    assert_int_equal(state_of(leader, "a"), MEMBER_SUSPECT);
    leader->now_ms += 60000;
    assert_int_equal(due(leader), 0); /* its end is that of its lease */
}

static void a_heartbeat_puts_suspicion_off(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    leader->now_ms += SUSPECT_MS - 1;
    assert_int_equal(beat(leader, "a", token, ""), OUTCOME_OK);
    leader->now_ms += SUSPECT_MS - 1;
    assert_int_equal(due(leader), 0);
    assert_int_equal(beats_next_ms(leader->beats), leader->now_ms + 1);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

static void the_group_may_set_how_long(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    settle(leader, ",\"suspect\":\"2s\""); /* also for those who are there already */
    leader->now_ms += 1999;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
    settle(leader, ",\"suspect\":\"30s\"");
    assert_int_equal(due(leader), 0);
}

static void a_short_ttl_has_a_short_silence(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", ",\"ttl\":\"3s\"");
    leader->now_ms += 2499;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

static void a_suspect_that_is_heard_is_cleared(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    leader->now_ms += SUSPECT_MS;
    due(leader);
    observe(leader, TERM);
    leader->now_ms += 10;
    beat(leader, "a", token, "");
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_HEARD));
    observe(leader, TERM);
    assert_int_equal(state_of(leader, "a"), MEMBER_ALIVE);
    assert_int_equal(due(leader), 0);
    leader->now_ms += SUSPECT_MS;
    assert_int_equal(due(leader), 1); /* and all begins anew */
}

/* The heartbeat comes between the proposal and the entry. */
static void heard_while_the_suspicion_is_on_its_way(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    leader->now_ms += SUSPECT_MS;
    due(leader);
    beat(leader, "a", token, "");
    observe(leader, TERM);
    assert_int_equal(state_of(leader, "a"), MEMBER_SUSPECT);
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_HEARD));
}

static void a_suspicion_that_the_log_ignored_is_told_again(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    leader->now_ms += SUSPECT_MS;
    assert_int_equal(due(leader), 1);
    observe(leader, TERM - 1);
    assert_int_equal(state_of(leader, "a"), MEMBER_ALIVE);
    assert_int_equal(due(leader), 0); /* not at once: one that can never be would fill the log */
    leader->now_ms += SUSPECT_MS + 1;
    assert_int_equal(due(leader), 1);
}

static void what_was_not_proposed_is_due_again(void **state)
{
    struct leader *leader = *state;
    uint64_t a = join(leader, "a", ""), b = join(leader, "b", "");
    leader->now_ms += SUSPECT_MS;
    due(leader);
    observe(leader, TERM);
    beat(leader, "a", a, "");
    beat(leader, "b", b, ",\"health\":\"fail\"");
    beat(leader, "b", b, ",\"health\":\"fail\"");
    join(leader, "c", "");
    leader->now_ms += SUSPECT_MS;
    assert_int_equal(due(leader), 4); /* a is heard, b is heard and fails, c is silent */
    assert_int_equal(due(leader), 0);
    beats_not_proposed(leader->beats, leader->items, 4);
    beats_check(leader->beats);
    leader->count = 0;
    assert_int_equal(due(leader), 4);
    assert_true(is_due(leader, "a", OBSERVED_HEARD) && is_due(leader, "b", OBSERVED_HEARD) &&
                is_due(leader, "b", OBSERVED_HEALTH) && is_due(leader, "c", OBSERVED_SILENT));
}

static void not_proposed_for_a_member_that_is_another_by_now(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    leader->now_ms += SUSPECT_MS;
    assert_int_equal(due(leader), 1);
    join(leader, "a", "");
    beats_not_proposed(leader->beats, leader->items, 1);
    leader->count = 0;
    assert_int_equal(due(leader), 0);
}

static void at_most_so_many_at_a_time(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    join(leader, "b", "");
    join(leader, "c", "");
    leader->now_ms += SUSPECT_MS;
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
    assert_int_equal(beats_due(leader->beats, leader->now_ms, leader->items, 2), 2);
    assert_int_equal(beats_due(leader->beats, leader->now_ms, leader->items, 2), 1);
    assert_int_equal(beats_due(leader->beats, leader->now_ms, leader->items, 2), 0);
}

/* A round that began before somebody fell due does not speak for him. */
static void only_what_was_due_when_the_round_began(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    leader->now_ms += 100;
    join(leader, "b", "");
    leader->now_ms += SUSPECT_MS;
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
    leader->count = beats_due(leader->beats, leader->now_ms - 100, leader->items, ITEMS_MAX);
    assert_int_equal(leader->count, 1);
    assert_true(is_due(leader, "a", OBSERVED_SILENT));
}

/* --- gaps --- */

static void a_gap_gives_everybody_as_long(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    leader->now_ms += 9000;
    beats_gap(leader->beats, 5000, leader->now_ms);
    leader->now_ms = START_MS + SUSPECT_MS + 5000 - 1;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

static void gaps_do_not_add_up(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    for (uint64_t i = 0; i < 100; i++) {
        leader->now_ms += 100;
        beats_gap(leader->beats, i % 7 == 3 ? 3000 : 100 + i, leader->now_ms);
    }
    leader->now_ms = START_MS + SUSPECT_MS + 3000 - 1;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

static void only_gaps_since_the_last_heartbeat_count(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    leader->now_ms += 1000;
    beats_gap(leader->beats, 5000, leader->now_ms);
    leader->now_ms += 1;
    beat(leader, "a", token, "");
    leader->now_ms += 1000;
    beats_gap(leader->beats, 300, leader->now_ms);
    leader->now_ms = START_MS + 1001 + SUSPECT_MS + 299;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

/* More, ever shorter ones than are remembered: the longest is not forgotten. */
static void many_gaps(void **state)
{
    struct leader *leader = *state;
    join(leader, "a", "");
    for (uint64_t i = 0; i < 200; i++) beats_gap(leader->beats, 2000 - i, leader->now_ms + 1 + i);
    leader->now_ms += SUSPECT_MS + 1999;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

/* --- the detector phi --- */

static void beat_every(struct leader *leader, uint64_t token, uint64_t interval_ms, int times)
{
    for (int i = 0; i < times; i++) {
        leader->now_ms += interval_ms;
        assert_int_equal(beat(leader, "a", token, ""), OUTCOME_OK);
        assert_int_equal(due(leader), 0);
    }
}

static void phi_learns_how_regular_a_member_is(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"detector\":\"phi\",\"phi\":80");
    uint64_t token = join(leader, "a", "");
    beat_every(leader, token, 1000, 100);
    leader->now_ms += 1000 + 561 - 1; /* sigma is 100 ms at least; 10^-8 lies at 5.612 sigma */
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

static void phi_begins_with_the_fixed_rule(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"detector\":\"phi\"");
    uint64_t token = join(leader, "a", "");
    beat_every(leader, token, 1000, 5);
    leader->now_ms += SUSPECT_MS - 1;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

static void phi_waits_longer_for_an_irregular_member(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"detector\":\"phi\"");
    uint64_t token = join(leader, "a", "");
    for (int i = 0; i < 100; i++) beat_every(leader, token, i % 2 ? 500 : 1500, 1);
    leader->now_ms += 3000; /* mean 1 s, sigma half a second */
    assert_int_equal(due(leader), 0);
    leader->now_ms += 1500;
    assert_int_equal(due(leader), 1);
}

/* Its deadlines fall when it beats faster, and the timer with them. */
static void phi_follows_a_member_that_beats_faster(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"detector\":\"phi\"");
    uint64_t token = join(leader, "a", "");
    beat_every(leader, token, 5000, 50);
    beat_every(leader, token, 1000, 200);
    leader->now_ms += 1000 + 600;
    assert_int_equal(due(leader), 1);
}

static void a_lower_phi_is_more_suspicious(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"detector\":\"phi\",\"phi\":10");
    uint64_t token = join(leader, "a", "");
    for (int i = 0; i < 50; i++) {
        leader->now_ms += 1000;
        beat(leader, "a", token, "");
    }
    leader->now_ms += 1000 + 128 - 1;
    assert_int_equal(due(leader), 0);
    leader->now_ms++;
    assert_int_equal(due(leader), 1);
}

/* --- health --- */

static void health_counts_after_a_few_in_a_row(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"fall\":3,\"rise\":2");
    uint64_t token = join(leader, "a", "");
    beat(leader, "a", token, ",\"health\":\"fail\"");
    beat(leader, "a", token, ",\"health\":\"fail\"");
    assert_int_equal(due(leader), 0);
    beat(leader, "a", token, ""); /* says nothing of it */
    beat(leader, "a", token, ",\"health\":\"fail\"");
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_HEALTH));
    assert_int_equal(leader->items[0].value, HEALTH_FAIL);
    observe(leader, TERM);
    assert_false(beats_seat(leader->beats, SLICE("web"), SLICE("a"))->eligible);
    beat(leader, "a", token, ",\"health\":\"warn\"");
    assert_int_equal(due(leader), 0);
    beat(leader, "a", token, ",\"health\":\"warn\"");
    assert_int_equal(due(leader), 1);
    assert_int_equal(leader->items[0].value, HEALTH_WARN);
}

static void another_health_breaks_the_row(void **state)
{
    struct leader *leader = *state;
    uint64_t token = join(leader, "a", "");
    beat(leader, "a", token, ",\"health\":\"fail\"");
    beat(leader, "a", token, ",\"health\":\"pass\"");
    beat(leader, "a", token, ",\"health\":\"fail\"");
    beat(leader, "a", token, ",\"health\":\"warn\"");
    assert_int_equal(due(leader), 0);
    beat(leader, "a", token, ",\"health\":\"warn\"");
    beat(leader, "a", token, ",\"health\":\"pass\""); /* before it was proposed */
    assert_int_equal(due(leader), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER_TEST(silence_makes_suspect),
        LEADER_TEST(a_heartbeat_puts_suspicion_off),
        LEADER_TEST(the_group_may_set_how_long),
        LEADER_TEST(a_short_ttl_has_a_short_silence),
        LEADER_TEST(a_suspect_that_is_heard_is_cleared),
        LEADER_TEST(heard_while_the_suspicion_is_on_its_way),
        LEADER_TEST(a_suspicion_that_the_log_ignored_is_told_again),
        LEADER_TEST(what_was_not_proposed_is_due_again),
        LEADER_TEST(not_proposed_for_a_member_that_is_another_by_now),
        LEADER_TEST(at_most_so_many_at_a_time),
        LEADER_TEST(only_what_was_due_when_the_round_began),
        LEADER_TEST(a_gap_gives_everybody_as_long),
        LEADER_TEST(gaps_do_not_add_up),
        LEADER_TEST(only_gaps_since_the_last_heartbeat_count),
        LEADER_TEST(many_gaps),
        LEADER_TEST(phi_learns_how_regular_a_member_is),
        LEADER_TEST(phi_begins_with_the_fixed_rule),
        LEADER_TEST(phi_waits_longer_for_an_irregular_member),
        LEADER_TEST(phi_follows_a_member_that_beats_faster),
        LEADER_TEST(a_lower_phi_is_more_suspicious),
        LEADER_TEST(health_counts_after_a_few_in_a_row),
        LEADER_TEST(another_health_breaks_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
