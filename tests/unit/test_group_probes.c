// links: api lib support
/* Picks of members that are half-open: each gets its probes, and no more, whatever the policy and however
 * many others there are. */
#include "tests/unit/breaker_test.h"

enum { WINDOW_MS = GROUP_REPORT_WINDOW_MS, SECOND_MS = 1000 };

#define EJECTS ",\"eject\":50,\"eject_reporters\":2,\"eject_max\":100,\"eject_for\":\"1m\""

static const char *const policies[] = {"two_choices", "round_robin", "random", "weighted", "least_loaded"};
enum { POLICIES = sizeof policies / sizeof *policies };

/* Who is picked, and whether it is a probe. `more`: of the query, from the comma on. */
static bool pick(struct leader *leader, const char *policy, const char *more, char id[16])
{
    char json[300];
    snprintf(json, sizeof json, "{\"group\":\"web\",\"policy\":\"%s\"%s}", policy, more);
    id[0] = 0;
    if (ask(leader, "group.pick", json, false) != OUTCOME_OK) return false;
    assert_int_equal(sscanf((const char *)leader->answer.data, "{\"id\":\"%15[a-z0-9]", id), 1);
    return says(leader, "\"probe\":true");
}

/* Of `count` picks, those that are probes of `id`; nobody picks it otherwise. */
static int probes_of(struct leader *leader, const char *policy, const char *more, const char *id, int count)
{
    char picked[16];
    int probes = 0;
    for (int i = 0; i < count; i++) {
        bool probe = pick(leader, policy, more, picked);
        assert_true(probe == (strcmp(picked, id) == 0));
        probes += probe;
    }
    return probes;
}

static void with_others(struct leader *leader, int others, const char *settings)
{
    settle(leader, settings);
    for (int i = 0; i < others; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%d", i);
        join(leader, id, WEB);
    }
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
}

static void it_gets_its_probes_under_each_policy(struct leader *leader, int others)
{
    with_others(leader, others, EJECTS);
    for (int i = 0; i < POLICIES; i++) {
        uint64_t left_ms = member_of(leader, "a").half_open_ms - wall_ms(leader);
        /* Soon: each tenth pick at the latest; then no more, however many are picked. */
        assert_int_equal(probes_of(leader, policies[i], "", "a", 30), 3);
        assert_int_equal(probes_of(leader, policies[i], "", "a", 100), 0);
        leader->now_ms += WINDOW_MS - 1;
        assert_int_equal(probes_of(leader, policies[i], "", "a", 30), 0);
        leader->now_ms++;
        assert_true(left_ms > WINDOW_MS); /* the trial lasts */
    }
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 3);
}

static void probes_among_few(void **state)
{
    it_gets_its_probes_under_each_policy(*state, 1);
}

static void probes_among_many(void **state)
{
    it_gets_its_probes_under_each_policy(*state, 99);
}

/* The first pick is a probe; then as many others as there are, but nine at most, go between two. */
static void not_all_requests_go_to_it(void **state)
{
    struct leader *leader = *state;
    char picked[16];
    with_others(leader, 2, EJECTS ",\"eject_probes\":1000");
    for (int i = 0; i < 30; i++) assert_int_equal(pick(leader, "random", "", picked), i % 3 == 0);
    for (int i = 0; i < 20; i++) join(leader, (char[]){'x', (char)('a' + i), 0}, WEB);
    assert_true(pick(leader, "random", "", picked));
    for (int i = 1; i < 100; i++) assert_int_equal(pick(leader, "random", "", picked), i % 10 == 0);
}

/* A hundred on trial: nine of ten picks are of others still, and their turns come one after another. */
static void many_on_trial_take_turns(void **state)
{
    struct leader *leader = *state;
    char picked[16];
    int probes[26] = {0};
    settle(leader, EJECTS ",\"panic\":0");
    for (int i = 0; i < 26; i++) {
        join(leader, (char[]){'t', (char)('a' + i), 0}, WEB);
        join(leader, (char[]){'w', (char)('a' + i), 0}, WEB);
    }
    for (int i = 0; i < 26; i++) eject(leader, (char[]){'t', (char)('a' + i), 0});
    pass(leader, 60 * SECOND_MS);
    for (int i = 0; i < 260; i++) {
        bool probe = pick(leader, "two_choices", "", picked);
        assert_true(probe == (i % 10 == 0) && picked[0] == (probe ? 't' : 'w'));
        if (probe) probes[picked[1] - 'a']++;
    }
    for (int i = 0; i < 26; i++) assert_int_equal(probes[i], 1);
}

static void probes_keep_to_zone_and_exclusions(void **state)
{
    struct leader *leader = *state;
    char picked[16];
    settle(leader, EJECTS ",\"panic\":0");
    join(leader, "a", WEB ",\"zone\":\"x\"");
    join(leader, "b", WEB ",\"zone\":\"x\"");
    join(leader, "c", WEB ",\"zone\":\"y\"");
    put_on_trial(leader, "a");
    assert_int_equal(probes_of(leader, "random", ",\"exclude\":[\"a\"]", "a", 30), 0);
    assert_int_equal(probes_of(leader, "random", ",\"zone\":\"y\"", "a", 30), 0);
    assert_int_equal(probes_of(leader, "random", ",\"zone\":\"y\",\"zone_rule\":\"only\"", "a", 30), 0);
    assert_int_equal(probes_of(leader, "random", ",\"zone\":\"x\"", "a", 30), 3);
    assert_true(says(leader, "\"candidates\":1,"));
    leader->now_ms += WINDOW_MS;
    /* Nobody else there: it gets its probes one after another, then it is as if nobody were there. */
    const char *alone = ",\"zone\":\"x\",\"exclude\":[\"b\"],\"zone_rule\":\"only\"";
    for (int i = 0; i < 3; i++) assert_true(pick(leader, "random", alone, picked));
    assert_false(pick(leader, "random", alone, picked));
    assert_int_equal(leader->outcome, OUTCOME_NOBODY_ELIGIBLE);
    leader->now_ms += WINDOW_MS;
    assert_true(pick(leader, "random", ",\"zone\":\"x\",\"exclude\":[\"b\"]", picked));
    assert_string_equal(picked, "a");
    leader->now_ms += WINDOW_MS;
    /* It was probed just now; but nobody else is there to go between. */
    assert_int_equal(probes_of(leader, "random", "", "a", 3), 1);
    assert_true(pick(leader, "random", alone, picked));
    leader->now_ms += WINDOW_MS;
    /* Nobody of that zone: anywhere else, on trial or not. */
    assert_int_equal(probes_of(leader, "random", ",\"zone\":\"z\"", "a", 30), 3);
    leader->now_ms += WINDOW_MS;
    assert_false(pick(leader, "random", ",\"zone\":\"z\",\"zone_rule\":\"only\"", picked));
    assert_int_equal(leader->outcome, OUTCOME_NOBODY_ELIGIBLE);
}

static void a_probe_is_one_of_several(void **state)
{
    struct leader *leader = *state;
    char picked[16];
    with_others(leader, 3, EJECTS);
    assert_true(pick(leader, "random", ",\"n\":2", picked));
    assert_string_equal(picked, "a");
    assert_true(says(leader, "\"all\":[{\"id\":\"a\"") && says(leader, ",{\"id\":\"m"));
    assert_true(says(leader, "\"candidates\":4,"));
    assert_false(pick(leader, "random", ",\"n\":4", picked)); /* not its turn: there are three */
    assert_false(says(leader, "\"id\":\"a\""));
}

/* No weight, no share of what is shared by weight. */
static void without_weight_no_probes_by_weight(void **state)
{
    struct leader *leader = *state;
    settle(leader, EJECTS);
    join(leader, "a", WEB ",\"weight\":0");
    join(leader, "b", WEB);
    put_on_trial(leader, "a");
    assert_int_equal(probes_of(leader, "weighted", "", "a", 30), 0);
    assert_int_equal(probes_of(leader, "round_robin", "", "a", 30), 3);
}

static int key_of_owner(struct leader *leader, const char *id, int from)
{
    char json[100], first[40];
    snprintf(first, sizeof first, "\"owners\":[\"%s\"", id);
    for (int key = from;; key++) {
        snprintf(json, sizeof json, "{\"group\":\"web\",\"key\":\"k%d\"}", key);
        ask(leader, "group.owners", json, false);
        if (says(leader, first)) return key;
    }
}

/* Of keys, its probes are those that were its own; no other key moves. */
static void probes_of_keys_are_its_own(void **state)
{
    struct leader *leader = *state;
    char picked[16], more[40];
    int keys[5], others[20];
    settle(leader, EJECTS);
    for (int i = 0; i < 9; i++) join(leader, (char[]){'m', (char)('a' + i), 0}, WEB);
    join(leader, "a", WEB);
    for (int i = 0; i < 5; i++) keys[i] = key_of_owner(leader, "a", i ? keys[i - 1] + 1 : 0);
    for (int i = 0; i < 20; i++) others[i] = key_of_owner(leader, "mb", i ? others[i - 1] + 1 : 0);
    put_on_trial(leader, "a");
    for (int i = 0; i < 20; i++) {
        snprintf(more, sizeof more, ",\"key\":\"k%d\"", others[i]);
        assert_false(pick(leader, "hash", more, picked));
        assert_string_equal(picked, "mb");
    }
    for (int i = 0; i < 5; i++) {
        snprintf(more, sizeof more, ",\"key\":\"k%d\"", keys[i]);
        assert_int_equal(pick(leader, "hash", more, picked), i < 3);
        assert_int_equal(strcmp(picked, "a") == 0, i < 3);
    }
}

/* Fewer than half are fit: all that are up are picked from, as if nobody had been ejected. */
static void in_panic_nobody_is_probed(void **state)
{
    struct leader *leader = *state;
    char picked[16];
    settle(leader, EJECTS);
    join(leader, "a", WEB);
    put_on_trial(leader, "a");
    for (int i = 0; i < 10; i++) {
        assert_false(pick(leader, "random", "", picked));
        assert_string_equal(picked, "a");
        assert_true(says(leader, "\"panic\":true") && says(leader, "\"candidates\":1,"));
    }
    assert_false(pick(leader, "hash", ",\"key\":\"k\"", picked));
    assert_string_equal(picked, "a");
}

/* Draining, suspect, sick, on probation: none of these is probed either. */
static void who_is_not_fit_gets_no_probes(void **state)
{
    struct leader *leader = *state;
    with_others(leader, 3, EJECTS);
    command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\"}");
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 0);
    command(leader, "group.drain", "{\"group\":\"web\",\"id\":\"a\",\"undo\":true}");
    assert_int_equal(probes_of(leader, "random", "", "a", 2), 1);
    command(leader, "group.fail", "{\"group\":\"web\",\"id\":\"a\"}");
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 0);
    join(leader, "a", WEB);
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 0); /* on probation */
}

static void a_new_trial_has_new_probes(void **state)
{
    struct leader *leader = *state;
    with_others(leader, 1, EJECTS ",\"eject_for_max\":\"1s\"");
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 3);
    report(leader, "x", "a", 0, 2);
    report(leader, "y", "a", 0, 2);
    propose(leader);
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 0);
    pass(leader, SECOND_MS);
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 3);
}

static void a_new_leader_gives_probes_anew(void **state)
{
    struct leader *leader = *state;
    with_others(leader, 1, EJECTS);
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 3);
    beats_lose_office(leader->beats);
    lease_clock_lose_office(leader->leases);
    take_office(leader);
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 3);
}

static void once_closed_it_is_one_of_all(void **state)
{
    struct leader *leader = *state;
    char picked[16];
    int its = 0;
    with_others(leader, 1, EJECTS);
    assert_int_equal(probes_of(leader, "random", "", "a", 30), 3);
    report(leader, "x", "a", 3, 0);
    propose(leader);
    for (int i = 0; i < 40; i++) {
        assert_false(pick(leader, "round_robin", "", picked));
        its += picked[0] == 'a';
    }
    assert_int_equal(its, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEADER_TEST(probes_among_few),
        LEADER_TEST(probes_among_many),
        LEADER_TEST(not_all_requests_go_to_it),
        LEADER_TEST(many_on_trial_take_turns),
        LEADER_TEST(probes_keep_to_zone_and_exclusions),
        LEADER_TEST(a_probe_is_one_of_several),
        LEADER_TEST(without_weight_no_probes_by_weight),
        LEADER_TEST(probes_of_keys_are_its_own),
        LEADER_TEST(in_panic_nobody_is_probed),
        LEADER_TEST(who_is_not_fit_gets_no_probes),
        LEADER_TEST(a_new_trial_has_new_probes),
        LEADER_TEST(a_new_leader_gives_probes_anew),
        LEADER_TEST(once_closed_it_is_one_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
