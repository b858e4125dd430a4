// links: api lib support
/* Whose shards are: after failures and returns, among members that come and go; when they move, and when not.
 */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

enum { SECOND_MS = 1000 };

static void join(struct coord_world *world, const char *id)
{
    assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'%s'}", id), OUTCOME_CREATED);
}

static size_t count_of(const struct coord_world *world, const char *part)
{
    size_t count = 0;
    for (const char *at = (const char *)world->answer.data; (at = strstr(at, part)); at++) count++;
    return count;
}

/* How many of the shards are that member's, in that state. */
static size_t has(struct coord_world *world, const char *id, const char *state)
{
    char part[64];
    GROUP_ASK(world, "group.shards", "{'group':'g'}");
    snprintf(part, sizeof part, "\"state\":\"%s\",\"owner\":\"%s\"", state, id);
    return count_of(world, part);
}

static bool shards_say(struct coord_world *world, const char *part)
{
    GROUP_ASK(world, "group.shards", "{'group':'g'}");
    return coord_world_says(world, part);
}

struct revoked {
    unsigned long long number, token;
};

/* The first one that somebody is to let go of; false: there is none. */
static bool find_revoked(struct coord_world *world, struct revoked *revoked)
{
    GROUP_ASK(world, "group.shards", "{'group':'g'}");
    const char *at = strstr((const char *)world->answer.data, "\"state\":\"revoking\"");
    if (!at) return false;
    while (*at != '{') at--;
    revoked->number = strtoull(at + strlen("{\"number\":"), NULL, 10);
    revoked->token = strtoull(strstr(at, "\"token\":") + strlen("\"token\":"), NULL, 10);
    return true;
}

static void let_go(struct coord_world *world, struct revoked revoked)
{
    assert_int_equal(GROUP_DO(world, "group.shard_ack", "{'group':'g','number':%llu,'token':%llu}",
                              revoked.number, revoked.token),
                     OUTCOME_OK);
}

/* Whoever is asked lets go. */
static void settle(struct coord_world *world)
{
    struct revoked revoked;
    for (int round = 0; round < 40; round++) {
        group_world_pass(world, SECOND_MS);
        if (find_revoked(world, &revoked)) let_go(world, revoked);
    }
}

/* Three members with two of six shards each. */
static void begin(struct coord_world *world, const char *settings)
{
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g','shards':6,'guard':0%s}", settings),
                     OUTCOME_CREATED);
    join(world, "a");
    join(world, "b");
    join(world, "c");
    settle(world);
    assert_int_equal(has(world, "a", "owned"), 2);
    assert_int_equal(has(world, "b", "owned"), 2);
    assert_int_equal(has(world, "c", "owned"), 2);
}

/* --- failures --- */

static void who_comes_back_in_time_has_its_shards_again(void **state)
{
    struct coord_world *world = *state;
    begin(world, "");
    group_world_silence(world, "g", "a");
    assert_true(shards_say(world, "\"free\":2"));
    group_world_pass(world, 9 * SECOND_MS);
    assert_true(shards_say(world, "\"free\":2"));
    join(world, "a");
    assert_true(
        coord_world_says(world, "\"state\":\"recovered\"")); /* on probation: nothing else is given to it */
    assert_int_equal(has(world, "a", "owned"), 2);           /* at once */
    group_world_pass(world, 120 * SECOND_MS);
    assert_true(shards_say(world, "\"free\":0,\"moving\":0"));
    assert_int_equal(has(world, "a", "owned"), 2);
    assert_int_equal(has(world, "b", "owned"), 2);
}

static void who_does_not_loses_them_and_gets_its_share_when_it_is_steady(void **state)
{
    struct coord_world *world = *state;
    begin(world, "");
    group_world_silence(world, "g", "a");
    group_world_pass(world, 10 * SECOND_MS);
    assert_int_equal(has(world, "b", "owned"), 3);
    assert_int_equal(has(world, "c", "owned"), 3);
    join(world, "a");
    group_world_pass(world, 59 * SECOND_MS);
    assert_true(shards_say(world, "\"moving\":0"));
    group_world_pass(world, SECOND_MS);
    settle(world);
    assert_int_equal(has(world, "a", "owned"), 2);
}

static void who_keeps_failing_does_not_get_them_back(void **state)
{
    struct coord_world *world = *state;
    begin(world, "");
    group_world_silence(world, "g", "a");
    join(world, "a");
    assert_int_equal(has(world, "a", "owned"), 2);
    group_world_silence(world, "g", "a");
    group_world_pass(world, 1); /* nobody waits for it */
    assert_true(shards_say(world, "\"free\":0"));
    assert_int_equal(has(world, "b", "owned"), 3);
    join(world, "a");
    group_world_pass(world, 30 * SECOND_MS);
    assert_int_equal(has(world, "a", "owned"), 0);
}

static void without_probation_it_gets_them_back_each_time(void **state)
{
    struct coord_world *world = *state;
    begin(world, ",\"probation\":0");
    for (int i = 0; i < 3; i++) {
        group_world_silence(world, "g", "a");
        group_world_pass(world, 5 * SECOND_MS);
        assert_true(shards_say(world, "\"free\":2"));
        join(world, "a");
        assert_int_equal(has(world, "a", "owned"), 2);
    }
}

/* What others do meanwhile does not give its shards away before their time. */
static void others_do_not_shorten_the_wait(void **state)
{
    struct coord_world *world = *state;
    begin(world, "");
    group_world_silence(world, "g", "a");
    group_world_pass(world, 3 * SECOND_MS);
    GROUP_DO(world, "group.leave", "{'group':'g','id':'c','force':true}");
    join(world, "b"); /* another process takes its place */
    group_world_pass(world, SECOND_MS);
    assert_true(shards_say(world, "\"free\":2"));
    assert_int_equal(has(world, "b", "owned"), 4);
    join(world, "a");
    assert_int_equal(has(world, "a", "owned"), 2);
}

static void the_wait_begins_with_each_failure(void **state)
{
    struct coord_world *world = *state;
    begin(world, "");
    group_world_silence(world, "g", "a");
    group_world_pass(world, 6 * SECOND_MS);
    group_world_silence(world, "g", "b");
    group_world_pass(world, 5 * SECOND_MS);
    assert_int_equal(has(world, "c", "owned"), 4); /* a's, and not b's */
    group_world_pass(world, 5 * SECOND_MS);
    assert_int_equal(has(world, "c", "owned"), 6);
}

/* It would have let go of them anyway: the next one does not wait. */
static void what_a_failed_member_was_to_let_go_of_goes_on_at_once(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':6,'guard':0}");
    join(world, "a");
    group_world_pass(world, 10 * SECOND_MS);
    join(world, "b");
    group_world_pass(world, 10 * SECOND_MS);
    assert_int_equal(has(world, "a", "revoking"), 3);
    group_world_silence(world, "g", "a");
    group_world_pass(world, 1);
    assert_int_equal(has(world, "b", "owned"), 3);
    assert_true(shards_say(world, "\"free\":3"));
}

static void the_only_one_gets_them_back_however_often_it_fails(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':6,'guard':0}");
    join(world, "a");
    for (int i = 0; i < 3; i++) {
        group_world_pass(world, 30 * SECOND_MS);
        assert_int_equal(has(world, "a", "owned"), 6);
        group_world_silence(world, "g", "a");
        group_world_pass(world, 15 * SECOND_MS);
        assert_true(shards_say(world, "\"free\":6"));
        join(world, "a");
    }
}

/* --- what moves --- */

/* Seven shards of three: one has three. Who that is does not depend on who was suspected last. */
static void a_suspicion_moves_nothing(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':7,'rebalance':'1s'}");
    join(world, "a");
    join(world, "b");
    join(world, "c");
    settle(world);
    for (int i = 0; i < 2; i++)
        for (const char *id = "a\0b\0c\0"; *id; id += 2) {
            group_world_observe(world, 1, "g", id, OBSERVED_SILENT, 0);
            group_world_pass(world, 2 * SECOND_MS);
            assert_true(shards_say(world, "\"free\":0,\"moving\":0"));
            group_world_observe(world, 1, "g", id, OBSERVED_HEARD, 0);
            group_world_pass(world, 2 * SECOND_MS);
            assert_true(shards_say(world, "\"free\":0,\"moving\":0"));
        }
}

/* With two at a time: as many more as were acknowledged, but not in a decision for each. */
static void the_next_move_when_some_have_moved(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':8,'move_limit':2,'rebalance':0}");
    join(world, "a");
    group_world_pass(world, 10);
    join(world, "b");
    group_world_pass(world, 10);
    assert_int_equal(has(world, "a", "revoking"), 2);
    struct revoked revoked;
    assert_true(find_revoked(world, &revoked));
    let_go(world, revoked);
    assert_true(shards_say(world, "\"moving\":1"));
    group_world_pass(world, 99);
    assert_true(shards_say(world, "\"moving\":1"));
    group_world_pass(world, 1);
    assert_true(shards_say(world, "\"moving\":2"));
    settle(world);
    assert_int_equal(has(world, "b", "owned"), 4);
}

/* Meanwhile the one that was to have it is unfit: the shard goes to somebody who is not. */
static void a_shard_is_not_handed_to_the_unfit(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':2,'rebalance':'5s','guard':0}");
    join(world, "a");
    group_world_pass(world, 5 * SECOND_MS);
    join(world, "b");
    group_world_pass(world, 5 * SECOND_MS);
    assert_int_equal(has(world, "a", "revoking"), 1);
    group_world_observe(world, 1, "g", "b", OBSERVED_HEALTH, HEALTH_FAIL);
    struct revoked revoked;
    assert_true(find_revoked(world, &revoked));
    let_go(world, revoked);
    assert_true(coord_world_says(world, "\"state\":\"free\""));
    group_world_pass(world, 1);
    assert_int_equal(has(world, "a", "owned"), 2);
}

/* A token is one membership's: not that of two who had the shard in the same entry. */
static void each_owner_has_a_token_of_its_own(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':2,'rebalance':0,'guard':0}");
    join(world, "a");
    group_world_pass(world, 10);
    join(world, "b");
    group_world_pass(world, 10);
    assert_int_equal(has(world, "a", "revoking"), 1);
    struct revoked revoked;
    assert_true(find_revoked(world, &revoked));
    assert_int_equal(GROUP_DO(world, "txn",
                              "{'then':[{'op':'group.shard_ack','group':'g','number':%llu,'token':%llu},"
                              "{'op':'group.fail','group':'g','id':'b'},"
                              "{'op':'group.join','group':'g','id':'b'}]}",
                              revoked.number, revoked.token),
                     OUTCOME_OK);
    char part[64];
    snprintf(part, sizeof part, "\"owner\":\"b\",\"token\":%llu,", (unsigned long long)world->index);
    assert_true(shards_say(world, "\"free\":1"));
    group_world_pass(world, 10);
    assert_true(shards_say(world, "\"free\":0"));
    assert_int_equal(count_of(world, part), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(who_comes_back_in_time_has_its_shards_again),
        COORD_TEST(who_does_not_loses_them_and_gets_its_share_when_it_is_steady),
        COORD_TEST(who_keeps_failing_does_not_get_them_back),
        COORD_TEST(without_probation_it_gets_them_back_each_time),
        COORD_TEST(others_do_not_shorten_the_wait),
        COORD_TEST(the_wait_begins_with_each_failure),
        COORD_TEST(what_a_failed_member_was_to_let_go_of_goes_on_at_once),
        COORD_TEST(the_only_one_gets_them_back_however_often_it_fails),
        COORD_TEST(a_suspicion_moves_nothing),
        COORD_TEST(the_next_move_when_some_have_moved),
        COORD_TEST(a_shard_is_not_handed_to_the_unfit),
        COORD_TEST(each_owner_has_a_token_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
