// links: api lib support
/* Members of several groups whose leases end in one entry, among other leases: a group is in hand meanwhile,
 * and all that happened is in its row afterwards. The invariants are checked after each entry. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

enum { PAIRS = 6, TTL_MS = 15000 };

static uint64_t lease_of(struct coord_world *world, const char *group, const char *id)
{
    struct member member;
    CHECK(group_world_member(world, group, id, &member) && member.lease);
    return member.lease;
}

/* a-0 b-0 a-1 b-1 ...: their leases in this order. */
static void join_pairs(struct coord_world *world, const char *settings, uint64_t leases[2 * PAIRS])
{
    char id[8];
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        const char *group = i % 2 ? "b" : "a";
        if (i < 2) GROUP_DO(world, "group.put", "{'group':'%s'%s}", group, settings);
        snprintf(id, sizeof id, "m%u", i / 2);
        assert_int_equal(GROUP_DO(world, "group.join", "{'group':'%s','id':'%s'}", group, id),
                         OUTCOME_CREATED);
        leases[i] = lease_of(world, group, id);
    }
    group_world_pass(world, TTL_MS);
}

static void assert_counts(struct coord_world *world, const char *name, uint64_t alive, uint64_t suspect,
                          uint64_t failed)
{
    struct apply apply;
    struct group group;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    group_load(&group, &apply, slice_text(name));
    assert_int_equal(group.row.counts[MEMBER_ALIVE], alive);
    assert_int_equal(group.row.counts[MEMBER_SUSPECT], suspect);
    assert_int_equal(group.row.counts[MEMBER_FAILED], failed);
    assert_int_equal(group.row.version, world->index);
    assert_int_equal(group.row.revision, world->index);
}

static void groups_that_take_turns_are_all_saved(void **state)
{
    struct coord_world *world = *state;
    uint64_t leases[2 * PAIRS];
    join_pairs(world, ",'guard':0,'leader':true", leases);
    group_world_expire(world, leases, 2 * PAIRS - 2);
    assert_counts(world, "a", 1, 0, PAIRS - 1);
    assert_counts(world, "b", 1, 0, PAIRS - 1);
    group_world_expire(world, leases + 2 * PAIRS - 2, 1);
    assert_counts(world, "a", 0, 0, PAIRS);
}

/* The guard counts those of the same entry, in either group. */
static void the_guard_sees_who_failed_just_before(void **state)
{
    struct coord_world *world = *state;
    uint64_t leases[2 * PAIRS];
    join_pairs(world, "", leases);
    group_world_expire(world, leases, 2 * PAIRS);
    assert_counts(world, "a", 0, PAIRS - 3, 3);
    assert_counts(world, "b", 0, PAIRS - 3, 3);
}

/* A lock's own lease goes with the lock: leases end while leases end. */
static void other_things_end_between_them(void **state)
{
    struct coord_world *world = *state;
    uint64_t leases[2 * PAIRS];
    join_pairs(world, ",'guard':0", leases);
    for (unsigned i = 0; i < 2 * PAIRS; i += 3)
        assert_int_equal(GROUP_DO(world, "lock.acquire", "{'name':'l%u','lease':'L%llx'}", i,
                                  (unsigned long long)leases[i]),
                         OUTCOME_CREATED);
    group_world_expire(world, leases, 2 * PAIRS);
    assert_counts(world, "a", 0, 0, PAIRS);
    assert_counts(world, "b", 0, 0, PAIRS);
}

static void what_the_same_transaction_does_then_builds_on_it(void **state)
{
    struct coord_world *world = *state;
    uint64_t leases[2 * PAIRS];
    join_pairs(world, ",'guard':0", leases);
    assert_int_equal(
        GROUP_DO(world, "txn",
                 "{'then':[{'op':'lease.revoke','id':'L%llx'},{'op':'group.fail','group':'a','id':'m1'},"
                 "{'op':'lease.revoke','id':'L%llx'}]}",
                 (unsigned long long)leases[0], (unsigned long long)leases[4]),
        OUTCOME_OK);
    assert_counts(world, "a", PAIRS - 3, 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(groups_that_take_turns_are_all_saved),
        COORD_TEST(the_guard_sees_who_failed_just_before),
        COORD_TEST(other_things_end_between_them),
        COORD_TEST(what_the_same_transaction_does_then_builds_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
