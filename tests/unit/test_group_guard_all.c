// links: api lib support
/* The guard over all groups: when most members of all groups fall silent at once, none of them is failed,
 * however small its group; and it ends. What lies in the census is checked after each entry (group_check). */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

#include <stdlib.h>

enum { MINUTE_MS = 60 * 1000, TTL_MS = 15000 };

/* Groups g00, g01 ...: each with the member "a". */
static void join_all(struct coord_world *world, unsigned from, unsigned to, const char *settings)
{
    for (unsigned i = from; i < to; i++) {
        if (*settings) GROUP_DO(world, "group.put", "{'group':'g%02u'%s}", i, settings);
        assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g%02u','id':'a'}", i), OUTCOME_CREATED);
    }
}

static const char *name_of(unsigned group)
{
    static char name[8];
    snprintf(name, sizeof name, "g%02u", group);
    return name;
}

static struct member member_of(struct coord_world *world, unsigned group)
{
    struct member member;
    CHECK(group_world_member(world, name_of(group), "a", &member));
    return member;
}

static void suspect(struct coord_world *world, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) group_world_observe(world, 1, name_of(i), "a", OBSERVED_SILENT, 0);
}

/* All in one entry. */
static void silence(struct coord_world *world, unsigned from, unsigned to)
{
    uint64_t leases[100];
    for (unsigned i = from; i < to; i++) leases[i - from] = member_of(world, i).lease;
    group_world_expire(world, leases, to - from);
}

static uint64_t count(struct coord_world *world, unsigned groups, enum member_state state)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < groups; i++) found += member_of(world, i).state == state;
    return found;
}

static struct census census_of(struct coord_world *world)
{
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    return group_census(&apply);
}

static bool says(struct coord_world *world, unsigned group, const char *part)
{
    assert_int_equal(GROUP_ASK(world, "group.get", "{'group':'g%02u'}", group), OUTCOME_OK);
    return coord_world_says(world, part);
}

/* --- when --- */

static void nobody_is_failed_when_most_are_suspect(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 10, "");
    suspect(world, 0, 6);
    silence(world, 0, 6);
    assert_int_equal(count(world, 10, MEMBER_SUSPECT), 6);
    assert_true(says(world, 0, "\"guarded\":1") && says(world, 5, "\"guarded_for\":\"all\""));
    assert_true(says(world, 6, "\"guarded_for\":null"));
    struct census census = census_of(world);
    assert_int_equal(census.sums.guarded_groups, 6);
    assert_int_equal(census.sums.guarded, 6);
    assert_int_equal(census.window_failed, 0);
}

/* The one whose time is over is silent, whatever was observed of it. */
static void half_of_them_are_not_most(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 10, "");
    suspect(world, 0, 4);
    silence(world, 4, 5);
    assert_int_equal(member_of(world, 4).state, MEMBER_FAILED);
    silence(world, 5, 6); /* four suspect, one failed, and this one: six of ten */
    assert_int_equal(member_of(world, 5).state, MEMBER_SUSPECT);
}

static void without_suspicion_half_of_them_fail(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 12, "");
    silence(world, 0, 12);
    assert_int_equal(count(world, 12, MEMBER_FAILED), 6);
    assert_int_equal(count(world, 12, MEMBER_SUSPECT), 6);
}

static void fewer_than_ten_say_nothing(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 9, "");
    suspect(world, 0, 9);
    silence(world, 0, 9);
    assert_int_equal(count(world, 9, MEMBER_FAILED), 9);
}

static void what_failed_before_the_window_is_another_matter(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 20, "");
    silence(world, 0, 10);
    group_world_pass(world, TTL_MS - 1);
    silence(world, 10, 11); /* the eleventh of twenty */
    assert_int_equal(member_of(world, 10).state, MEMBER_SUSPECT);
    group_world_pass(world, 1);
    silence(world, 11, 12);
    assert_int_equal(member_of(world, 11).state, MEMBER_FAILED);
}

/* It lasts for as long as the longest ttl of those that failed in it, but not for a day. */
static void the_window_is_as_long_as_the_ttls(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 1, ",'ttl':'5s'");
    join_all(world, 1, 2, ",'ttl':'1m'");
    join_all(world, 2, 3, ",'ttl':'1h'");
    join_all(world, 3, 30, "");
    silence(world, 0, 1);
    assert_int_equal(census_of(world).window_end_ms, world->time_ms + 5000);
    silence(world, 1, 2);
    silence(world, 3, 4);
    assert_int_equal(census_of(world).window_end_ms, world->time_ms + MINUTE_MS);
    silence(world, 2, 3);
    assert_int_equal(census_of(world).window_end_ms, world->time_ms + 2 * MINUTE_MS);
    assert_int_equal(census_of(world).window_failed, 4);
}

/* --- who --- */

static void groups_without_a_guard_neither_count_nor_are_kept(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 30, ",'guard':0");
    join_all(world, 30, 40, "");
    suspect(world, 0, 30);
    silence(world, 0, 20);
    assert_int_equal(count(world, 20, MEMBER_FAILED), 20);
    silence(world, 30, 31);
    assert_int_equal(member_of(world, 30).state, MEMBER_FAILED);
    GROUP_DO(world, "group.put", "{'group':'g29'}"); /* it has one now */
    assert_int_equal(census_of(world).sums.watched, 10);
    assert_int_equal(census_of(world).sums.silent, 1);
}

static void who_suspects_early_counts_when_its_time_is_over(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 11, ",'suspect':'1s'");
    join_all(world, 11, 22, ",'detector':'phi'");
    suspect(world, 0, 22);
    silence(world, 5, 16);
    assert_int_equal(count(world, 22, MEMBER_FAILED), 11);
    silence(world, 16, 17);
    assert_int_equal(member_of(world, 16).state, MEMBER_SUSPECT);
}

/* The group's row is saved once for all of them; each is judged by what became of those before it. */
static void many_of_one_group_in_one_entry(void **state)
{
    struct coord_world *world = *state;
    uint64_t leases[30];
    char id[8];
    struct member member;
    GROUP_DO(world, "group.put", "{'group':'g00','guard':100,'guard_min':1000}");
    for (unsigned i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "m%02u", i);
        GROUP_DO(world, "group.join", "{'group':'g00','id':'%s'}", id);
        assert_true(group_world_member(world, "g00", id, &member));
        leases[i] = member.lease;
    }
    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "m%02u", i);
        group_world_observe(world, 1, "g00", id, OBSERVED_SILENT, 0);
    }
    group_world_expire(world, leases + 5, 25); /* five are suspect: the eleventh of these is one too many */
    assert_true(says(world, 0, "\"failed\":10,") && says(world, 0, "\"guarded\":15"));
    assert_true(says(world, 0, "\"guarded_for\":\"all\""));
}

static void who_leaves_or_is_failed_by_hand_was_not_silent(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 24, "");
    for (unsigned i = 0; i < 12; i++)
        GROUP_DO(world, i % 2 ? "group.leave" : "group.fail", "{'group':'g%02u','id':'a'%s}", i,
                 i % 2 ? ",'force':true" : "");
    silence(world, 12, 18);
    assert_int_equal(count(world, 18, MEMBER_FAILED), 12);
    silence(world, 18, 19);
    assert_int_equal(member_of(world, 18).state, MEMBER_SUSPECT);
}

static void locks_are_not_held_back(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 10, "");
    GROUP_DO(world, "lock.acquire", "{'name':'l','lease':'L%llx'}",
             (unsigned long long)member_of(world, 0).lease);
    suspect(world, 0, 10);
    silence(world, 0, 1);
    assert_int_equal(member_of(world, 0).state, MEMBER_SUSPECT);
    GROUP_ASK(world, "lock.get", "{'name':'l'}");
    assert_true(coord_world_says(world, "\"holders\":[]"));
}

/* --- its end --- */

static void guard_all(struct coord_world *world, unsigned groups)
{
    join_all(world, 0, groups, "");
    suspect(world, 0, groups);
    silence(world, 0, groups);
    assert_int_equal(count(world, groups, MEMBER_SUSPECT), groups);
}

static void it_ends_when_they_are_back(void **state)
{
    struct coord_world *world = *state;
    guard_all(world, 10);
    join_all(world, 0, 10, "");
    assert_int_equal(count(world, 10, MEMBER_ALIVE), 10);
    assert_int_equal(census_of(world).sums.guarded_groups, 0);
    assert_int_equal(census_of(world).sums.silent, 0);
}

static void it_ends_by_force_a_group_at_a_time(void **state)
{
    struct coord_world *world = *state;
    guard_all(world, 10);
    GROUP_DO(world, "group.force", "{'group':'g03'}");
    assert_true(coord_world_says(world, "\"failed\":1,\"left\":0"));
    assert_int_equal(count(world, 10, MEMBER_FAILED), 1);
    assert_true(says(world, 3, "\"guarded_for\":null"));
}

/* A tenth of all every ten seconds, not of each group. */
static void it_ends_by_itself_a_tenth_at_a_time(void **state)
{
    struct coord_world *world = *state;
    guard_all(world, 40);
    group_world_pass(world, 2 * MINUTE_MS - 1);
    assert_int_equal(count(world, 40, MEMBER_FAILED), 0);
    group_world_pass(world, 1);
    uint64_t failed = count(world, 40, MEMBER_FAILED);
    assert_int_equal(failed, 4);
    for (unsigned round = 1; round < 9; round++) {
        group_world_pass(world, 10000);
        uint64_t now = count(world, 40, MEMBER_FAILED);
        assert_true(now > failed && now <= failed + 4);
        failed = now;
    }
    group_world_pass(world, 10000);
    assert_int_equal(count(world, 40, MEMBER_FAILED), 40);
    assert_int_equal(census_of(world).sums.guarded_groups, 0);
}

/* Rounds that were given to groups which came back are lost; they do not put others off for ever. */
static void lost_rounds_hold_nobody_up_for_long(void **state)
{
    struct coord_world *world = *state;
    join_all(world, 0, 10, ",'guard_max':'1s'");
    for (unsigned times = 0; times < 30; times++) {
        suspect(world, 0, 10);
        silence(world, 0, 10);
        group_world_pass(world, 1000);
        join_all(world, 0, 10, "");
    }
    assert_true(census_of(world).round_ms <= world->time_ms + 100 * 1000);
    suspect(world, 0, 10);
    silence(world, 0, 10);
    group_world_pass(world, 110 * 1000);
    assert_int_equal(count(world, 10, MEMBER_FAILED), 10);
}

static void the_census_is_gone_with_the_last_member(void **state)
{
    struct coord_world *world = *state;
    guard_all(world, 10);
    group_world_pass(world, 80ull * 3600 * 1000); /* forgotten */
    struct slice value;
    struct key key = key_of(KEY_CENSUS);
    assert_false(rows_get(world->rows, key_slice(&key), &value));
}

/* --- many lives --- */

enum { GROUPS = 16, STEPS = 400 };

struct random {
    uint64_t state;
};

static uint64_t draw(struct random *random, uint64_t below)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (random->state >> 33) % below;
}

static bool is_up(uint64_t state)
{
    return state == MEMBER_ALIVE || state == MEMBER_SUSPECT;
}

/* Of members in groups with a guard; half of the groups have none that says anything but the census's. */
static void tally(struct coord_world *world, uint64_t *up, uint64_t *silent)
{
    *up = *silent = 0;
    for (unsigned i = 0; i < GROUPS; i++) {
        struct member member;
        if (i % 4 == 3 || !group_world_member(world, name_of(i), "a", &member)) continue;
        *up += is_up(member.state);
        *silent += member.state == MEMBER_SUSPECT;
    }
}

static uint64_t kept, let_fail;

/* By what is seen from outside: who was failed for its silence was not one of most. */
static void silence_one(struct coord_world *world, unsigned group, uint64_t *failures)
{
    struct member before;
    uint64_t up, silent;
    if (!group_world_member(world, name_of(group), "a", &before) || !before.lease) return;
    tally(world, &up, &silent);
    silent += before.state == MEMBER_ALIVE;
    bool new_window = world->time_ms >= census_of(world).window_end_ms;
    if (new_window) *failures = 0;
    silence(world, group, group + 1);
    bool failed = member_of(world, group).state == MEMBER_FAILED;
    if (group % 4 == 3) {
        assert_true(failed);
        return;
    }
    bool most = up + *failures >= 10 && (silent + *failures) * 2 > up + *failures;
    assert_int_equal(failed, !most);
    kept += !failed;
    let_fail += failed;
    *failures += failed;
}

static void live(uint64_t seed)
{
    struct coord_world *world = coord_world_new();
    struct random random = {seed * 0x9e3779b97f4a7c15u};
    uint64_t failures = 0;
    for (unsigned i = 3; i < GROUPS; i += 4) GROUP_DO(world, "group.put", "{'group':'g%02u','guard':0}", i);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned group = (unsigned)draw(&random, GROUPS);
        struct member member;
        bool there = group_world_member(world, name_of(group), "a", &member);
        uint64_t dice = draw(&random, 100);
        if (dice < 45)
            join_all(world, group, group + 1, "");
        else if (dice < 65 && there && member.lease)
            suspect(world, group, group + 1);
        else if (dice < 85)
            silence_one(world, group, &failures);
        else if (dice < 88)
            GROUP_DO(world, "group.force", "{'group':'g%02u'}", group);
        else if (dice < 90)
            GROUP_DO(world, "group.drain", "{'group':'g%02u','id':'a'}", group);
        else if (dice < 92)
            GROUP_DO(world, "group.leave", "{'group':'g%02u','id':'a','force':true}", group);
        else if (dice < 93 && group % 4 != 3)
            GROUP_DO(world, "group.delete", "{'group':'g%02u','force':true}", group);
        else
            group_world_pass(world, draw(&random, draw(&random, 8) ? 4000 : 60000));
    }
    group_world_pass(world, 10 * MINUTE_MS);
    assert_int_equal(census_of(world).sums.guarded_groups, 0);
    coord_world_free(world);
}

static void random_lives(void **state)
{
    unsigned long long from = 1, to = 25;
    (void)state;
    if (getenv("SEEDS")) sscanf(getenv("SEEDS"), "%llu %llu", &from, &to);
    for (unsigned long long seed = from; seed <= to; seed++) live(seed);
    assert_true(kept && let_fail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(nobody_is_failed_when_most_are_suspect),
        COORD_TEST(half_of_them_are_not_most),
        COORD_TEST(without_suspicion_half_of_them_fail),
        COORD_TEST(fewer_than_ten_say_nothing),
        COORD_TEST(what_failed_before_the_window_is_another_matter),
        COORD_TEST(the_window_is_as_long_as_the_ttls),
        COORD_TEST(groups_without_a_guard_neither_count_nor_are_kept),
        COORD_TEST(who_suspects_early_counts_when_its_time_is_over),
        COORD_TEST(many_of_one_group_in_one_entry),
        COORD_TEST(who_leaves_or_is_failed_by_hand_was_not_silent),
        COORD_TEST(locks_are_not_held_back),
        COORD_TEST(it_ends_when_they_are_back),
        COORD_TEST(it_ends_by_force_a_group_at_a_time),
        COORD_TEST(it_ends_by_itself_a_tenth_at_a_time),
        COORD_TEST(lost_rounds_hold_nobody_up_for_long),
        COORD_TEST(the_census_is_gone_with_the_last_member),
        cmocka_unit_test(random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
