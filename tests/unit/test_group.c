// links: api lib support
/* Groups where a script is too long-winded: many members, what leaders observe, transactions, bounds. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

enum { DAY_MS = 24 * 3600 * 1000, MINUTE_MS = 60 * 1000 };

static void join_many(struct coord_world *world, const char *group, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        assert_int_equal(GROUP_DO(world, "group.join", "{'group':'%s','id':'m%04u'}", group, i),
                         OUTCOME_CREATED);
}

static void silence_many(struct coord_world *world, const char *group, unsigned from, unsigned to)
{
    uint64_t leases[1024];
    size_t count = 0;
    for (unsigned i = from; i < to; i++) {
        char id[16];
        struct member member;
        snprintf(id, sizeof id, "m%04u", i);
        assert_true(group_world_member(world, group, id, &member));
        if (member.lease) leases[count++] = member.lease;
    }
    group_world_expire(world, leases, count);
}

static bool group_says(struct coord_world *world, const char *part)
{
    assert_int_equal(GROUP_ASK(world, "group.get", "{'group':'g'}"), OUTCOME_OK);
    return coord_world_says(world, part);
}

/* --- the guard --- */

static void who_the_guard_keeps_is_not_forgotten(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 10);
    silence_many(world, "g", 0, 3);
    assert_true(group_says(world, "\"failed\":3"));
    silence_many(world, "g", 3, 4); /* six of seven are well: yet the guard is not over */
    assert_true(group_says(world, "\"suspect\":1") && group_says(world, "\"guarded\":1"));
    assert_false(group_says(world, "\"guarded_since\":null"));
    group_world_pass(world, 2 * MINUTE_MS);
    assert_true(group_says(world, "\"failed\":4") && group_says(world, "\"guarded_since\":null"));
}

/* What has failed in one ttl counts no more in the next. */
static void few_at_a_time_are_no_mass(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 12);
    for (unsigned i = 0; i < 9; i += 3) {
        silence_many(world, "g", i, i + 3);
        group_world_pass(world, 15000);
    }
    assert_true(group_says(world, "\"failed\":9") && group_says(world, "\"guarded_since\":null"));
    silence_many(world, "g", 9, 12);
    assert_true(group_says(world, "\"failed\":12"));
}

static void those_that_leave_or_are_failed_by_hand_do_not_count(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 12);
    for (unsigned i = 0; i < 4; i++) {
        GROUP_DO(world, "group.leave", "{'group':'g','id':'m%04u','force':true}", i);
        GROUP_DO(world, "group.fail", "{'group':'g','id':'m%04u'}", i + 4);
    }
    silence_many(world, "g", 8, 11);
    assert_true(group_says(world, "\"failed\":7") && group_says(world, "\"guarded_since\":null"));
}

static void the_guard_lets_a_tenth_fail_every_ten_seconds(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 100);
    silence_many(world, "g", 0, 100);
    assert_true(group_says(world, "\"failed\":30") && group_says(world, "\"guarded\":70"));
    group_world_pass(world, 2 * MINUTE_MS);
    assert_true(group_says(world, "\"failed\":37")); /* of the 70 that are up */
    group_world_pass(world, 10000);
    assert_true(group_says(world, "\"failed\":43")); /* of 63 */
    group_world_pass(world, 10 * MINUTE_MS);
    assert_true(group_says(world, "\"failed\":100") && group_says(world, "\"guarded_since\":null"));
}

static void force_fails_all_at_once(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':1,'guard_min':1}");
    join_many(world, "g", 0, 700);
    silence_many(world, "g", 0, 700);
    assert_true(group_says(world, "\"failed\":7,") && group_says(world, "\"guarded\":693"));
    GROUP_DO(world, "group.force", "{'group':'g'}");
    assert_true(coord_world_says(world, "\"failed\":256,\"left\":437"));
    world->time_ms++;
    group_world_propose(world, operation_due, &(struct due_args){0}); /* one entry: no more than it may */
    assert_true(group_says(world, "\"failed\":519,"));
    group_world_pass(world, 10);
    assert_true(group_says(world, "\"failed\":700") && group_says(world, "\"guarded_since\":null"));
}

static void what_is_guarded_is_told_and_remembered(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 4);
    group_world_observe(world, 1, "g", "m0003", OBSERVED_SILENT, 0);
    world->time_ms += 5000;
    silence_many(world, "g", 0, 4);
    GROUP_ASK(world, "group.history", "{'group':'g','id':'m0003'}");
    assert_true(coord_world_says(world, "\"from\":\"suspect\",\"to\":\"suspect\",\"reason\":\"expired\""));
    world->time_ms += 7000;
    assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'m0003'}"), OUTCOME_CREATED);
    GROUP_ASK(world, "group.history", "{'group':'g','id':'m0003'}");
    assert_true(coord_world_says(world, "\"id\":\"m0003\",\"state\":\"alive\""));
    assert_true(coord_world_says(world, "\"guarded_ms\":7000,\"flaps\":0")); /* and not the 5 s before */
}

/* --- shards --- */

/* The process that the guard keeps may still be at work; the one that joins is another. */
static void who_comes_back_from_the_guard_has_no_shards(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':4,'guard':1,'guard_min':1,'rebalance':'0s'}");
    join_many(world, "g", 0, 2);
    group_world_pass(world, 10);
    silence_many(world, "g", 0, 2);
    assert_true(group_says(world, "\"guarded\":1"));
    GROUP_ASK(world, "group.shards", "{'group':'g','member':'m0001'}");
    assert_false(coord_world_says(world, "\"shards\":[]")); /* it is not failed: it keeps them */
    GROUP_DO(world, "group.join", "{'group':'g','id':'m0001'}");
    GROUP_ASK(world, "group.shards", "{'group':'g','member':'m0001'}");
    assert_true(coord_world_says(world, "\"shards\":[]"));
    group_world_pass(world, 10);
    GROUP_ASK(world, "group.shards", "{'group':'g','member':'m0001'}");
    assert_false(coord_world_says(world, "\"shards\":[]"));
}

/* Their number cannot change under somebody who has one: nobody would have let go of it. */
static void owned_shards_are_not_dealt_anew(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':4}");
    join_many(world, "g", 0, 1);
    group_world_pass(world, 10);
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g','shards':5}"), OUTCOME_GROUP_NOT_EMPTY);
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g'}"), OUTCOME_GROUP_NOT_EMPTY);
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g','shards':4,'leader':true}"), OUTCOME_OK);
    GROUP_DO(world, "group.leave", "{'group':'g','id':'m0000','force':true}");
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g','shards':5}"), OUTCOME_OK);
    GROUP_ASK(world, "group.shards", "{'group':'g'}");
    assert_true(coord_world_says(world, "\"free\":5"));
}

static void no_more_move_than_the_limit(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':40,'move_limit':3,'rebalance':'0s'}");
    join_many(world, "g", 0, 1);
    group_world_pass(world, 10);
    join_many(world, "g", 1, 2);
    group_world_pass(world, 10);
    GROUP_ASK(world, "group.shards", "{'group':'g'}");
    assert_true(coord_world_says(world, "\"free\":0,\"moving\":3"));
}

/* Weights 100 and 300: a quarter and three quarters. */
static void shards_go_by_weight(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':40}");
    GROUP_DO(world, "group.join", "{'group':'g','id':'light'}");
    GROUP_DO(world, "group.join", "{'group':'g','id':'heavy','weight':300}");
    GROUP_DO(world, "group.join", "{'group':'g','id':'none','weight':0}");
    group_world_pass(world, 10);
    GROUP_ASK(world, "group.shards", "{'group':'g','member':'light'}");
    size_t count = 0;
    for (const char *at = (char *)world->answer.data; (at = strstr(at, "\"owner\"")); at++) count++;
    assert_int_equal(count, 10);
    GROUP_ASK(world, "group.shards", "{'group':'g','member':'none'}");
    assert_true(coord_world_says(world, "\"shards\":[]"));
}

static void many_shards_are_given_in_several_entries(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','shards':4096}");
    join_many(world, "g", 0, 3);
    group_world_propose(world, operation_due, &(struct due_args){0});
    GROUP_ASK(world, "group.shards", "{'group':'g','key':'x'}");
    assert_true(coord_world_says(world, "\"free\":3072"));
    group_world_pass(world, 10);
    GROUP_ASK(world, "group.shards", "{'group':'g','key':'x'}");
    assert_true(coord_world_says(world, "\"free\":0"));
}

/* --- what leaders observe --- */

static void observations_of_another_term_or_membership_are_ignored(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 1);
    group_world_observe(world, 2, "g", "m0000", OBSERVED_SILENT, 0);
    assert_true(group_says(world, "\"alive\":1"));
    struct member before;
    assert_true(group_world_member(world, "g", "m0000", &before));
    join_many(world, "g", 0, 1);
    struct member now;
    assert_true(group_world_member(world, "g", "m0000", &now));
    struct observe_item items[] = {{before.lease, before.token, OBSERVED_SILENT, 0},
                                   {now.lease, before.token, OBSERVED_SILENT, 0}};
    group_world_propose(world, operation_group_observe, &(struct group_observe_args){1, {items, 2}});
    assert_true(group_says(world, "\"alive\":1"));
    group_world_observe(world, 1, "g", "m0000", OBSERVED_SILENT, 0);
    assert_true(group_says(world, "\"alive\":0,\"suspect\":1"));
    group_world_observe(world, 1, "g", "m0000", OBSERVED_HEARD, 0);
    assert_true(group_says(world, "\"alive\":1,\"suspect\":0"));
    group_world_observe(world, 1, "g", "m0000", OBSERVED_HEALTH, HEALTH_FAIL);
    GROUP_ASK(world, "group.get_member", "{'group':'g','id':'m0000'}");
    assert_true(coord_world_says(world, "\"health\":\"fail\"") &&
                coord_world_says(world, "\"eligible\":false"));
}

/* What is suspected may well be at work: two would lead. Who leads is another only when its lease is over. */
static void a_suspect_leads_until_its_lease_is_over(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','leader':true,'guard':1,'guard_min':1}");
    join_many(world, "g", 0, 4);
    group_world_observe(world, 1, "g", "m0000", OBSERVED_SILENT, 0);
    assert_true(group_says(world, "\"suspect\":1") && group_says(world, "\"leader\":\"m0000\""));
    silence_many(world, "g", 3, 4);
    assert_true(group_says(world, "\"leader\":\"m0000\""));
    silence_many(world, "g", 0, 1); /* the guard keeps it suspect, but its lease is over */
    assert_true(group_says(world, "\"guarded\":1") && group_says(world, "\"leader\":\"m0001\""));
}

/* 30 percent of seven: two, the second one counted. Each time twice as long. */
static void ejections_leave_enough_and_double(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','eject':50,'eject_for':'30s','eject_for_max':'1m'}");
    join_many(world, "g", 0, 7);
    for (unsigned i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%04u", i);
        group_world_observe(world, 1, "g", id, OBSERVED_BAD, 0);
    }
    struct member member;
    assert_true(group_world_member(world, "g", "m0001", &member));
    assert_int_equal(member.ejected_ms, world->time_ms + 30000);
    assert_true(group_world_member(world, "g", "m0002", &member));
    assert_int_equal(member.ejected_ms, 0);
    group_world_pass(world, 30000);
    assert_true(group_world_member(world, "g", "m0001", &member));
    assert_int_equal(member.ejected_ms, 0);
    for (uint64_t again = 2; again <= 3; again++) {
        group_world_observe(world, 1, "g", "m0001", OBSERVED_BAD, member.half_open_ms);
        assert_true(group_world_member(world, "g", "m0001", &member));
        assert_int_equal(member.ejected_ms, world->time_ms + 60000); /* and never longer than eject_for_max */
        group_world_pass(world, 60000);
        assert_true(group_world_member(world, "g", "m0001", &member));
    }
}

/* --- probation, history --- */

static uint64_t probation_after_failure(struct coord_world *world)
{
    struct member member;
    silence_many(world, "g", 0, 1);
    join_many(world, "g", 0, 1);
    assert_true(group_world_member(world, "g", "m0000", &member));
    return member.probation_ms ? member.probation_ms - world->time_ms : 0;
}

static void probation_doubles_up_to_half_an_hour(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':0}");
    join_many(world, "g", 0, 1);
    for (uint64_t minutes = 1; minutes < 32; minutes *= 2)
        assert_int_equal(probation_after_failure(world), minutes * MINUTE_MS);
    assert_int_equal(probation_after_failure(world), 30 * MINUTE_MS);
    group_world_pass(world, 61 * MINUTE_MS);
    assert_int_equal(probation_after_failure(world), MINUTE_MS);
}

static void probation_may_be_longer_or_none(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','probation':'2h','guard':0}");
    join_many(world, "g", 0, 1);
    assert_int_equal(probation_after_failure(world), 120 * MINUTE_MS);
    assert_int_equal(probation_after_failure(world), 120 * MINUTE_MS);
    GROUP_DO(world, "group.put", "{'group':'g','probation':'0s','guard':0}");
    assert_int_equal(probation_after_failure(world), 0);
}

static void days_and_transitions_are_bounded(void **state)
{
    struct coord_world *world = *state;
    GROUP_DO(world, "group.put", "{'group':'g','guard':0,'reap_failed':'200d','probation':'0s'}");
    join_many(world, "g", 0, 1);
    group_world_pass(world, 200ull * DAY_MS);
    for (int i = 0; i < 40; i++) probation_after_failure(world);
    struct apply apply;
    struct group group;
    struct member_past past;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    group_load(&group, &apply, SLICE("g"));
    member_past_get(&group, SLICE("m0000"), &past);
    assert_int_equal(past.days.count, GROUP_DAYS_KEPT);
    assert_int_equal(past.transitions.count, GROUP_TRANSITIONS_KEPT);
    assert_int_equal(past.failures, 40);
    assert_int_equal(past.recoveries, 40);
    assert_int_equal(past.up_ms, 200ull * DAY_MS);
    const struct member_day *days = past.days.items;
    for (size_t i = 0; i + 1 < past.days.count; i++) {
        assert_int_equal(days[i].day, days[i + 1].day + 1);
        assert_true(days[i].up_ms <= DAY_MS &&
                    (i == 0 || days[i].up_ms == DAY_MS || i + 1 == past.days.count));
    }
}

/* --- broadcasts --- */

static void broadcasts_are_bounded(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 1);
    for (int i = 0; i < GROUP_BROADCASTS_KEPT + 5; i++)
        assert_int_equal(GROUP_DO(world, "group.broadcast", "{'group':'g','name':'n'}"), OUTCOME_CREATED);
    struct apply apply;
    struct group group;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    group_load(&group, &apply, SLICE("g"));
    assert_int_equal(group.row.broadcasts, GROUP_BROADCASTS_KEPT);
    assert_int_equal(group_broadcasts_open(&group, SLICE("m0000")), GROUP_BROADCASTS_KEPT);
    assert_int_equal(group_broadcasts_open(&group, SLICE("m0001")), 0);
}

/* --- transactions --- */

static enum outcome txn(struct coord_world *world, const char *operations)
{
    return GROUP_DO(world, "txn", "{'then':[%s]}", operations);
}

static void one_entry_makes_one_membership(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(
        txn(world, "{'op':'group.join','group':'g','id':'a'},{'op':'group.join','group':'g','id':'b'}"),
        OUTCOME_OK);
    assert_int_not_equal(
        txn(world, "{'op':'group.join','group':'g','id':'a'},{'op':'group.join','group':'g','id':'a'}"),
        OUTCOME_OK);
    assert_int_equal(txn(world, "{'op':'group.leave','group':'g','id':'a','force':true},"
                                "{'op':'group.delete','group':'g','force':true},"
                                "{'op':'group.join','group':'g','id':'a'}"),
                     OUTCOME_OK);
    assert_true(group_says(world, "\"alive\":1"));
    assert_int_not_equal(txn(world, "{'op':'group.broadcast','group':'g','name':'x'},"
                                    "{'op':'group.broadcast','group':'g','name':'y'}"),
                         OUTCOME_OK);
}

/* Of one lease that hangs a member, a lock and an election, all are told when the member is taken over. */
static void what_hangs_on_the_lease_goes_with_it(void **state)
{
    struct coord_world *world = *state;
    struct member member;
    join_many(world, "g", 0, 1);
    assert_true(group_world_member(world, "g", "m0000", &member));
    assert_int_equal(
        GROUP_DO(world, "lock.acquire", "{'name':'l','lease':'L%llx'}", (unsigned long long)member.lease),
        OUTCOME_CREATED);
    assert_int_equal(GROUP_DO(world, "election.campaign", "{'name':'e','candidate':'x','lease':'L%llx'}",
                              (unsigned long long)member.lease),
                     OUTCOME_CREATED);
    join_many(world, "g", 0, 1);
    GROUP_ASK(world, "lock.get", "{'name':'l'}");
    assert_true(coord_world_says(world, "\"holders\":[]"));
    GROUP_ASK(world, "election.get", "{'name':'e'}");
    assert_true(coord_world_says(world, "\"leader\":null"));
}

static void large_groups_are_deleted_when_small(void **state)
{
    struct coord_world *world = *state;
    join_many(world, "g", 0, 1001);
    assert_int_equal(GROUP_DO(world, "group.delete", "{'group':'g','force':true}"), OUTCOME_GROUP_NOT_EMPTY);
    GROUP_DO(world, "group.leave", "{'group':'g','id':'m0000','force':true}");
    group_world_pass(world, DAY_MS);
    assert_int_equal(GROUP_DO(world, "group.delete", "{'group':'g','force':true}"), OUTCOME_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(who_the_guard_keeps_is_not_forgotten),
        COORD_TEST(few_at_a_time_are_no_mass),
        COORD_TEST(those_that_leave_or_are_failed_by_hand_do_not_count),
        COORD_TEST(the_guard_lets_a_tenth_fail_every_ten_seconds),
        COORD_TEST(force_fails_all_at_once),
        COORD_TEST(what_is_guarded_is_told_and_remembered),
        COORD_TEST(who_comes_back_from_the_guard_has_no_shards),
        COORD_TEST(owned_shards_are_not_dealt_anew),
        COORD_TEST(no_more_move_than_the_limit),
        COORD_TEST(shards_go_by_weight),
        COORD_TEST(many_shards_are_given_in_several_entries),
        COORD_TEST(observations_of_another_term_or_membership_are_ignored),
        COORD_TEST(a_suspect_leads_until_its_lease_is_over),
        COORD_TEST(ejections_leave_enough_and_double),
        COORD_TEST(probation_doubles_up_to_half_an_hour),
        COORD_TEST(probation_may_be_longer_or_none),
        COORD_TEST(days_and_transitions_are_bounded),
        COORD_TEST(broadcasts_are_bounded),
        COORD_TEST(one_entry_makes_one_membership),
        COORD_TEST(what_hangs_on_the_lease_goes_with_it),
        COORD_TEST(large_groups_are_deleted_when_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
