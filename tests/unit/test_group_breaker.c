// links: api lib support
/* The breaker of a member: closed, open, half-open, and by what it turns. Picks are in test_group_probes.c.
 */
#include "tests/unit/breaker_test.h"

enum { SECOND_MS = 1000, WINDOW_MS = GROUP_REPORT_WINDOW_MS };

#define EJECTS ",\"eject\":50,\"eject_reporters\":2,\"eject_max\":100"

static void opens_is_on_trial_and_closes(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    eject(leader, "a");
    struct member member = member_of(leader, "a");
    assert_int_equal(member.ejected_ms, wall_ms(leader) + 30 * SECOND_MS);
    pass(leader, 30 * SECOND_MS - 1);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_OPEN);
    pass(leader, 1);
    member = member_of(leader, "a");
    assert_int_equal(member.ejected_ms, 0);
    assert_int_equal(member.half_open_ms, wall_ms(leader) + 30 * SECOND_MS);
    report(leader, "x", "a", 2, 0);
    propose(leader);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN); /* three calls are wanted */
    report(leader, "x", "a", 0, 1);
    propose(leader);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED); /* a third of them failed */
    assert_int_equal(member_of(leader, "a").due_ms, 0);
}

static void is_shown(void **state)
{
    struct leader *leader = *state;
    const char *of_a = "{\"group\":\"web\",\"id\":\"a\"}", *of_group = "{\"group\":\"web\"}";
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    join(leader, "b", WEB);
    ask(leader, "group.get_member", of_a, false);
    assert_true(says(leader, "\"breaker\":\"closed\",\"half_open_until\":null"));
    eject(leader, "a");
    ask(leader, "group.get_member", of_a, false);
    assert_true(says(leader, "\"breaker\":\"open\",\"half_open_until\":null"));
    assert_true(says(leader, "\"ejected_until\":\"") && says(leader, "\"eligible\":false"));
    ask(leader, "group.get", of_group, false);
    assert_true(says(leader, "\"ejected\":1,\"half_open\":0"));
    pass(leader, 30 * SECOND_MS);
    ask(leader, "group.get_member", of_a, false);
    assert_true(says(leader, "\"breaker\":\"half_open\",\"half_open_until\":\""));
    assert_true(says(leader, "\"ejected_until\":null") && says(leader, "\"eligible\":false"));
    ask(leader, "group.get", of_group, false);
    assert_true(says(leader, "\"ejected\":0,\"half_open\":1"));
    ask(leader, "group.members", "{\"group\":\"web\",\"breaker\":\"half_open\"}", false);
    assert_true(says(leader, "\"id\":\"a\"") && !says(leader, "\"id\":\"b\""));
    ask(leader, "group.members", "{\"group\":\"web\",\"breaker\":\"closed\"}", false);
    assert_true(says(leader, "\"id\":\"b\"") && !says(leader, "\"id\":\"a\""));
    ask(leader, "group.members", "{\"group\":\"web\",\"breaker\":\"open\"}", false);
    assert_true(says(leader, "\"members\":[]"));
}

/* 30 s, 1 min, 2 min, and never more than eject_for_max; a good trial in between does not make it the first
 * again, only a long time does. */
static void each_ejection_is_twice_as_long(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for_max\":\"100s\"");
    join(leader, "a", WEB);
    const uint64_t spans_ms[] = {30000, 60000, 100000, 100000};
    put_on_trial(leader, "a");
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(member_of(leader, "a").half_open_ms, wall_ms(leader) + spans_ms[i - 1]);
        report(leader, "x", "a", 0, 2);
        report(leader, "y", "a", 0, 1);
        propose(leader);
        assert_int_equal(member_of(leader, "a").ejected_ms, wall_ms(leader) + spans_ms[i]);
        pass(leader, spans_ms[i]);
    }
    report(leader, "x", "a", 3, 0);
    propose(leader);
    eject(leader, "a");
    assert_int_equal(member_of(leader, "a").ejected_ms, wall_ms(leader) + 100000);
    pass(leader, 8 * 100000);
    eject(leader, "a");
    assert_int_equal(member_of(leader, "a").ejected_ms, wall_ms(leader) + 100000);
    pass(leader, 8 * 100000 + 1);
    eject(leader, "a");
    assert_int_equal(member_of(leader, "a").ejected_ms, wall_ms(leader) + 30000);
}

static void a_trial_without_calls_ends_by_itself(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for\":\"40s\"");
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    pass(leader, 40 * SECOND_MS - 1);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    pass(leader, 1);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

static void a_trial_is_a_window_of_reports_at_least(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for\":\"1s\"");
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    pass(leader, WINDOW_MS - 1);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    pass(leader, 1);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

/* Half of the calls fail, but one caller alone says so: nothing is proven, and the trial ends all the same.
 */
static void one_caller_opens_nothing_again(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    uint64_t left_ms = member_of(leader, "a").half_open_ms - wall_ms(leader);
    for (uint64_t spent_ms = 0; spent_ms < left_ms; spent_ms += SECOND_MS) {
        report(leader, "x", "a", 0, 50);
        propose(leader);
        assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
        pass(leader, SECOND_MS);
    }
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

/* How many of `probes` failing calls, each another caller's, open it again. */
static int callers_that_open_again(struct leader *leader, const char *settings)
{
    settle(leader, settings);
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    int callers = 0;
    while (breaker_of(leader, "a") == BREAKER_HALF_OPEN && callers < 10) {
        report(leader, (char[]){(char)('p' + callers++), 0}, "a", 0, 100);
        propose(leader);
    }
    return callers;
}

#define TEN ",\"eject_max\":100,\"eject_reporters\":"

static void few_probes_want_few_reporters(void **state)
{
    struct leader *leader = *state;
    assert_int_equal(callers_that_open_again(leader, TEN "10,\"eject\":50"), 2); /* of three probes */
    assert_int_equal(callers_that_open_again(leader, TEN "10,\"eject\":50,\"eject_probes\":1"), 1);
    assert_int_equal(callers_that_open_again(leader, TEN "10,\"eject\":20,\"eject_probes\":2"), 2);
    assert_int_equal(callers_that_open_again(leader, TEN "1,\"eject\":50"), 1);
    assert_int_equal(callers_that_open_again(leader, TEN "2,\"eject\":50,\"eject_probes\":100"), 2);
    assert_int_equal(callers_that_open_again(leader, TEN "10,\"eject\":50,\"eject_probes\":11"), 6);
    assert_int_equal(callers_that_open_again(leader, TEN "10,\"eject\":100,\"eject_probes\":4"), 4);
}

static void late_reports_about_an_open_one_prove_nothing(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for\":\"1s\"");
    join(leader, "a", WEB);
    eject(leader, "a");
    for (int i = 0; i < 3; i++) report(leader, i ? "y" : "x", "a", 0, 100);
    assert_int_equal(due(leader), 0);
    pass(leader, SECOND_MS);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    report(leader, "x", "a", 2, 0); /* the hundreds that failed are forgotten */
    assert_int_equal(due(leader), 0);
    report(leader, "y", "a", 1, 0);
    propose(leader);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

/* By the time of its entry, the member has turned for another reason. */
static void stale_verdicts_are_ignored(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for\":\"1s\"");
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    for (int good = 0; good < 2; good++) {
        report(leader, "x", "a", good ? 3 : 0, good ? 0 : 2);
        report(leader, "y", "a", good ? 3 : 0, good ? 0 : 2);
        assert_int_equal(due(leader), 1);
        assert_true(is_due(leader, "a", good ? OBSERVED_GOOD : OBSERVED_BAD));
        pass(leader, WINDOW_MS); /* the trial is over */
        assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
        observe(leader, TERM);
        assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
        struct observe_item stale = leader->items[0];
        put_on_trial(leader, "a");
        leader->items[0] = stale;
        leader->count = 1;
        observe(leader, TERM); /* the same again, in the next trial */
        assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    }
    leader->items[0] = (struct observe_item){member_of(leader, "a").lease, member_of(leader, "a").token,
                                             OBSERVED_GOOD, member_of(leader, "a").half_open_ms};
    leader->count = 1;
    observe(leader, TERM - 1);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    leader->items[0].token--;
    observe(leader, TERM);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    leader->items[0].token++;
    observe(leader, TERM);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
    leader->items[0].value = 0; /* good, of one that is closed: nothing is told */
    uint64_t revision = leader->index;
    observe(leader, TERM);
    char unchanged[40];
    snprintf(unchanged, sizeof unchanged, "\"version\":%llu,", (unsigned long long)revision);
    ask(leader, "group.get", "{\"group\":\"web\"}", false);
    assert_true(says(leader, unchanged));
}

/* Since it was proposed, it fell silent, or nobody is to be ejected any more. */
static void bad_ones_that_are_not_ejected_after_all(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    uint64_t token = join(leader, "a", WEB);
    join(leader, "b", WEB);
    report(leader, "x", "a", 0, 50);
    report(leader, "y", "a", 0, 50);
    assert_int_equal(due(leader), 1);
    struct observe_item bad = leader->items[0];
    leader->items[0].what = OBSERVED_SILENT;
    observe(leader, TERM);
    assert_int_equal(state_of(leader, "a"), MEMBER_SUSPECT);
    leader->items[0] = bad;
    observe(leader, TERM);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
    beat(leader, "a", token, "");
    propose(leader);
    assert_int_equal(state_of(leader, "a"), MEMBER_ALIVE);
    settle(leader, ",\"eject_max\":100");
    leader->items[0] = bad;
    leader->count = 1;
    observe(leader, TERM);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
    settle(leader, EJECTS);
    observe(leader, TERM);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_OPEN);
    beats_not_proposed(leader->beats, &bad, 1); /* another leader's entry was before */
    assert_int_equal(due(leader), 0);
}

static void what_is_overtaken_is_not_proposed(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for\":\"1s\"");
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    report(leader, "x", "a", 3, 0);
    pass(leader, WINDOW_MS);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
    assert_int_equal(due(leader), 0);
}

static void what_was_proposed_in_vain_is_proposed_again(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"eject_for\":\"1s\"");
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    report(leader, "x", "a", 3, 0);
    assert_int_equal(due(leader), 1);
    beats_not_proposed(leader->beats, leader->items, leader->count);
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_GOOD));
    pass(leader, WINDOW_MS);
    beats_not_proposed(leader->beats, leader->items, leader->count); /* of a trial that is over */
    assert_int_equal(due(leader), 0);
    report(leader, "x", "a", 0, 30);
    report(leader, "y", "a", 0, 30);
    assert_int_equal(due(leader), 1);
    beats_not_proposed(leader->beats, leader->items, leader->count);
    assert_int_equal(due(leader), 1);
    assert_true(is_due(leader, "a", OBSERVED_BAD));
}

/* --- how many --- */

static void join_many(struct leader *leader, int count)
{
    for (int i = 0; i < count; i++) join(leader, (char[]){'m', (char)('a' + i), 0}, WEB);
}

static const char *nth(int i)
{
    static char id[3];
    snprintf(id, sizeof id, "m%c", 'a' + i);
    return id;
}

/* 30 percent of ten: three, and one that is half-open is one of them until it is closed. */
static void no_more_than_the_share_are_out(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_reporters\":2,\"eject_for\":\"20s\"");
    join_many(leader, 10);
    put_on_trial(leader, nth(0));
    eject(leader, nth(1));
    eject(leader, nth(2));
    assert_int_equal(breaker_of(leader, nth(2)), BREAKER_OPEN);
    eject(leader, nth(3));
    assert_int_equal(breaker_of(leader, nth(3)), BREAKER_CLOSED);
    report(leader, "x", nth(0), 3, 0);
    propose(leader);
    assert_int_equal(breaker_of(leader, nth(0)), BREAKER_CLOSED);
    pass(leader, WINDOW_MS);
    eject(leader, nth(3));
    assert_int_equal(breaker_of(leader, nth(3)), BREAKER_OPEN);
}

/* No share of nothing: no hidden "at least one". */
static void the_only_member_may_not_be_ejected(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_reporters\":2,\"eject_max\":99");
    join_many(leader, 1);
    eject(leader, nth(0));
    assert_int_equal(breaker_of(leader, nth(0)), BREAKER_CLOSED);
    settle(leader, EJECTS);
    pass(leader, WINDOW_MS);
    eject(leader, nth(0));
    assert_int_equal(breaker_of(leader, nth(0)), BREAKER_OPEN);
}

/* Whom the share does not let go is not proposed with each report, but once in a window. */
static void what_must_not_be_is_proposed_once_a_window(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_reporters\":2,\"eject_max\":0");
    join(leader, "a", WEB);
    size_t proposed = 0;
    for (int i = 0; i < 35; i++, pass(leader, SECOND_MS)) {
        report(leader, "x", "a", 0, 50);
        report(leader, "y", "a", 0, 50);
        for (size_t count; (count = due(leader)); observe(leader, TERM)) proposed += count;
    }
    assert_int_equal(proposed, 4);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

/* The others left: who is on trial would be too many of those that are there. It may not be opened again, and
 * its trial ends. */
static void it_is_not_opened_again_when_too_few_are_left(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"eject\":50,\"eject_reporters\":2,\"eject_max\":50");
    join_many(leader, 2);
    put_on_trial(leader, nth(0));
    command(leader, "group.leave", "{\"group\":\"web\",\"id\":\"mb\",\"force\":true}");
    report(leader, "x", nth(0), 0, 3);
    report(leader, "y", nth(0), 0, 3);
    propose(leader);
    assert_int_equal(breaker_of(leader, nth(0)), BREAKER_HALF_OPEN);
    pass(leader, 30 * SECOND_MS);
    assert_int_equal(breaker_of(leader, nth(0)), BREAKER_CLOSED);
}

/* --- members come and go --- */

static void a_membership_that_is_over_has_no_breaker(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    const char *const ends[] = {"group.leave", "group.fail", "group.join"};
    for (int half_open = 0; half_open < 2; half_open++)
        for (int i = 0; i < 3; i++) {
            join(leader, "a", WEB);
            pass(leader, 3600 * SECOND_MS);
            if (half_open)
                put_on_trial(leader, "a");
            else
                eject(leader, "a");
            command(leader, ends[i],
                    i ? "{\"group\":\"web\",\"id\":\"a\"}"
                      : "{\"group\":\"web\",\"id\":\"a\",\"force\":true}");
            assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
            ask(leader, "group.get", "{\"group\":\"web\"}", false);
            assert_true(says(leader, "\"ejected\":0,\"half_open\":0"));
        }
}

/* A new process under its name is heard before it is judged; but soon after, its ejection is a longer one. */
static void who_joins_again_is_ejected_for_longer(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    eject(leader, "a");
    join(leader, "a", WEB);
    eject(leader, "a");
    assert_int_equal(member_of(leader, "a").ejected_ms, wall_ms(leader) + 60000);
}

static void a_suspect_is_on_trial_too_but_not_judged(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"suspect\":\"35s\"");
    uint64_t token = join(leader, "a", WEB);
    eject(leader, "a");
    pass(leader, 30 * SECOND_MS);
    pass(leader, 5 * SECOND_MS);
    propose(leader);
    assert_int_equal(state_of(leader, "a"), MEMBER_SUSPECT);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    report(leader, "x", "a", 3, 0);
    assert_int_equal(due(leader), 0);
    beat(leader, "a", token, "");
    propose(leader);
    assert_int_equal(state_of(leader, "a"), MEMBER_ALIVE);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    report(leader, "x", "a", 3, 0);
    propose(leader);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
    eject(leader, "a");
    pass(leader, 40 * SECOND_MS);
    propose(leader);
    assert_int_equal(state_of(leader, "a"), MEMBER_SUSPECT);
    pass(leader, 200 * SECOND_MS); /* its timers come all the same */
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

static void without_the_setting_an_ejection_just_ends(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    eject(leader, "a");
    settle(leader, "");
    assert_int_equal(breaker_of(leader, "a"), BREAKER_OPEN);
    pass(leader, 30 * SECOND_MS);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

/* The entry of another command comes before that of the timers; the timers are not lost. */
static void a_change_at_the_end_of_an_ejection_does_not_end_it(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    for (int i = 0; i < 2; i++) {
        if (i) eject(leader, "a");
        if (!i) put_on_trial(leader, "a");
        enum breaker before = breaker_of(leader, "a");
        leader->now_ms += 3600 * SECOND_MS;
        command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\"}");
        command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\",\"undo\":true}");
        assert_int_equal(breaker_of(leader, "a"), before);
        pass(leader, 0);
        assert_int_equal(breaker_of(leader, "a"), i ? BREAKER_HALF_OPEN : BREAKER_CLOSED);
    }
}

static void nor_at_the_end_of_probation(void **state)
{
    struct leader *leader = *state;
    settle(leader, ",\"probation\":\"30s\",\"guard\":0");
    join(leader, "a", WEB);
    command(leader, "group.fail", "{\"group\":\"web\",\"id\":\"a\"}");
    join(leader, "a", WEB);
    leader->now_ms += 3600 * SECOND_MS;
    command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\"}");
    command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\",\"undo\":true}");
    assert_int_not_equal(member_of(leader, "a").due_ms, 0);
    pass(leader, 0);
    assert_int_equal(member_of(leader, "a").probation_ms, 0);
    assert_int_equal(member_of(leader, "a").due_ms, 0);
}

/* Both are told, each in an event of its own. */
static void probation_and_ejection_may_end_together(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS ",\"probation\":\"30s\",\"guard\":0");
    join(leader, "a", WEB);
    command(leader, "group.fail", "{\"group\":\"web\",\"id\":\"a\"}");
    join(leader, "a", WEB);
    eject(leader, "a");
    assert_int_equal(member_of(leader, "a").probation_ms, member_of(leader, "a").ejected_ms);
    pass(leader, 30 * SECOND_MS);
    assert_int_equal(member_of(leader, "a").probation_ms, 0);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
}

static void shards_do_not_come_back_before_it_is_closed(void **state)
{
    struct leader *leader = *state;
    const char *of_a = "{\"group\":\"web\",\"member\":\"a\"}";
    settle(leader, EJECTS ",\"shards\":8,\"rebalance\":\"0s\"");
    join(leader, "b", WEB);
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    pass(leader, SECOND_MS);
    ask(leader, "group.shards", of_a, false);
    assert_true(says(leader, "\"shards\":[]"));
    report(leader, "x", "a", 3, 0);
    propose(leader);
    pass(leader, SECOND_MS);
    ask(leader, "group.shards", of_a, false);
    assert_true(says(leader, "\"next\":\"a\""));
}

static void a_new_leader_judges_anew(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    report(leader, "x", "a", 0, 2);
    beats_lose_office(leader->beats);
    lease_clock_lose_office(leader->leases);
    take_office(leader);
    report(leader, "y", "a", 1, 1);
    propose(leader);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_HALF_OPEN);
    report(leader, "y", "a", 1, 0);
    propose(leader);
    assert_int_equal(breaker_of(leader, "a"), BREAKER_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER_TEST(opens_is_on_trial_and_closes),
        LEADER_TEST(is_shown),
        LEADER_TEST(each_ejection_is_twice_as_long),
        LEADER_TEST(a_trial_without_calls_ends_by_itself),
        LEADER_TEST(a_trial_is_a_window_of_reports_at_least),
        LEADER_TEST(one_caller_opens_nothing_again),
        LEADER_TEST(few_probes_want_few_reporters),
        LEADER_TEST(late_reports_about_an_open_one_prove_nothing),
        LEADER_TEST(stale_verdicts_are_ignored),
        LEADER_TEST(bad_ones_that_are_not_ejected_after_all),
        LEADER_TEST(what_is_overtaken_is_not_proposed),
        LEADER_TEST(what_was_proposed_in_vain_is_proposed_again),
        LEADER_TEST(no_more_than_the_share_are_out),
        LEADER_TEST(the_only_member_may_not_be_ejected),
        LEADER_TEST(what_must_not_be_is_proposed_once_a_window),
        LEADER_TEST(it_is_not_opened_again_when_too_few_are_left),
        LEADER_TEST(a_membership_that_is_over_has_no_breaker),
        LEADER_TEST(who_joins_again_is_ejected_for_longer),
        LEADER_TEST(a_suspect_is_on_trial_too_but_not_judged),
        LEADER_TEST(without_the_setting_an_ejection_just_ends),
        LEADER_TEST(a_change_at_the_end_of_an_ejection_does_not_end_it),
        LEADER_TEST(nor_at_the_end_of_probation),
        LEADER_TEST(probation_and_ejection_may_end_together),
        LEADER_TEST(shards_do_not_come_back_before_it_is_closed),
        LEADER_TEST(a_new_leader_judges_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
