/* The invariants of groups: see group.h, and those of shards and broadcasts in their files. */
#include "base/check.h"
#include "coord/primitive/group.h"

enum { KIND_AND_NUMBER = 9 /* of the key of a timer or an attachment: then whose it is */ };

static bool is_up(uint64_t state)
{
    return state == MEMBER_ALIVE || state == MEMBER_SUSPECT;
}

bool group_timer_is_set(struct apply *apply, uint64_t at_ms, struct slice what)
{
    struct key key = key_of(KEY_DUE);
    struct slice value;
    key_number(&key, at_ms);
    key_byte(&key, GROUP_CODE);
    key_bytes(&key, what);
    return rows_get(apply->rows, key_slice(&key), &value);
}

static uint64_t count_rows(struct apply *apply, struct key prefix)
{
    struct key from = prefix;
    struct slice key, value;
    uint64_t count = 0;
    for (;
         rows_seek(apply->rows, key_slice(&from), &key, &value) && slice_starts_with(key, key_slice(&prefix));
         count++)
        from = key_after(key);
    return count;
}

static void check_lease(struct group *group, const struct member *member)
{
    struct key key = key_of(KEY_ATTACHMENT);
    struct lease_row lease;
    struct slice value;
    CHECK((member->lease != 0) == (is_up(member->state) && !member->guarded));
    CHECK(!member->guarded || member->state == MEMBER_SUSPECT);
    if (!member->lease) return;
    key_number(&key, member->lease);
    key_byte(&key, GROUP_CODE);
    key_bytes(&key, object_what(group->apply, group->name, 'm', member->id));
    CHECK(rows_get(group->apply->rows, key_slice(&key), &value));
    CHECK(lease_get(group->apply, member->lease, &lease) && lease.kind == LEASE_MEMBER &&
          lease.ttl_ms == member->ttl_ms);
}

static void check_member(struct group *group, const struct member *member)
{
    struct key key = member_state_key(group->name, member);
    struct slice value;
    CHECK(member->state >= MEMBER_ALIVE && member->state <= MEMBER_STATES && member->token);
    CHECK(rows_get(group->apply->rows, key_slice(&key), &value));
    CHECK(is_up(member->state) || member->due_ms);
    uint64_t turns_ms = group_breaker_due_ms(member);
    CHECK(!turns_ms || (is_up(member->state) && member->due_ms && member->due_ms <= turns_ms));
    CHECK(!member->ejected_ms || !member->half_open_ms);
    if (member->due_ms)
        CHECK(group_timer_is_set(group->apply, member->due_ms,
                                 group_work_what(group->apply, GROUP_WORK_MEMBER, group->name, member->id)));
    check_lease(group, member);
}

static uint64_t check_timer(struct group *group, uint64_t at_ms, enum group_work work)
{
    if (at_ms)
        CHECK(group_timer_is_set(group->apply, at_ms,
                                 group_work_what(group->apply, work, group->name, slice_of(NULL, 0))));
    return at_ms > 0;
}

static void check_members(struct group *group, struct group_totals *totals)
{
    uint64_t counts[MEMBER_STATES + 1] = {0}, guarded = 0, draining = 0, eligible = 0, all = 0, ejected = 0,
                                    half_open = 0;
    struct key from = member_first(group->name, 0, slice_of(NULL, 0));
    struct member member;
    for (; member_next(group, 0, &from, &member); all++) {
        check_member(group, &member);
        counts[member.state]++;
        guarded += member.guarded;
        draining += member.state == MEMBER_ALIVE && member.draining;
        eligible += member.eligible;
        CHECK(!member.eligible || member.state == MEMBER_ALIVE);
        ejected += member_breaker(&member) == BREAKER_OPEN;
        half_open += member_breaker(&member) == BREAKER_HALF_OPEN;
        totals->leases += member.lease > 0;
        totals->timers += member.due_ms > 0;
    }
    CHECK(memcmp(counts + 1, group->row.counts + 1, sizeof counts - sizeof *counts) == 0);
    CHECK(guarded == group->row.guarded && (!guarded || group->row.guarded_ms));
    CHECK(draining == group->row.draining && eligible == group->row.eligible);
    CHECK(ejected == group->row.ejected && half_open == group->row.half_open);
    CHECK(count_rows(group->apply, group_key_of(KEY_MEMBER_STATE, group->name)) == all);
    CHECK(count_rows(group->apply, group_key_of(KEY_MEMBER_PAST, group->name)) == all);
    totals->members += all;
}

static bool may_lead(const struct member *member)
{
    return member->state == MEMBER_ALIVE && !member->draining;
}

/* Nobody leads only when nobody may, as far as was looked, or for the rest of an entry that had a leader. */
static void check_leader(struct group *group)
{
    struct key from = member_first(group->name, MEMBER_ALIVE, slice_of(NULL, 0));
    struct member member;
    struct slice leader = group->row.leader;
    CHECK(!leader.size || group->config.leader);
    if (leader.size) {
        CHECK(member_get(group, leader, &member) && member.lease && !member.draining);
        CHECK(member.token <= group->row.leader_token);
        CHECK(!group->row.leader_due_ms);
    } else if (group->config.leader && !group->row.leader_due_ms &&
               member_next(group, MEMBER_ALIVE, &from, &member)) {
        CHECK(!may_lead(&member));
    }
}

static void check_group(struct apply *apply, struct slice name, struct group_totals *totals)
{
    struct group group;
    group_load(&group, apply, name);
    CHECK(group.kept);
    check_members(&group, totals);
    check_leader(&group);
    totals->timers += check_timer(&group, group.row.guard_due_ms, GROUP_WORK_GUARD);
    totals->timers += check_timer(&group, group.row.shards_due_ms, GROUP_WORK_SHARDS);
    totals->timers += check_timer(&group, group.row.leader_due_ms, GROUP_WORK_LEADER);
    CHECK((group.row.guarded_ms != 0) == (group.row.guard_due_ms != 0));
    CHECK((group.row.guarded_ms != 0) == (group.row.guard_cause != 0));
    census_add(&group, &totals->sums);
    group_shards_check(&group, totals);
    group_broadcasts_check(&group, totals);
}

static uint64_t count_ours(struct apply *apply, enum key_kind kind)
{
    struct key from = key_of(kind);
    struct slice key, value;
    uint64_t count = 0;
    while (rows_seek(apply->rows, key_slice(&from), &key, &value) && key.data[0] == kind) {
        from = key_after(key);
        count += key.data[KIND_AND_NUMBER] == GROUP_CODE;
    }
    return count;
}

/* Nothing is left of groups and members that are gone. */
static void check_totals(struct apply *apply, const struct group_totals *totals)
{
    CHECK(count_rows(apply, key_of(KEY_MEMBER)) == totals->members);
    CHECK(count_rows(apply, key_of(KEY_MEMBER_STATE)) == totals->members);
    CHECK(count_rows(apply, key_of(KEY_MEMBER_PAST)) == totals->members);
    CHECK(count_rows(apply, key_of(KEY_SHARD)) == totals->shards);
    CHECK(count_rows(apply, key_of(KEY_SHARD_OF)) == totals->owned);
    CHECK(count_rows(apply, key_of(KEY_BROADCAST)) == totals->broadcasts);
    CHECK(count_rows(apply, key_of(KEY_BROADCAST_ACK)) == totals->acks);
    CHECK(count_ours(apply, KEY_DUE) == totals->timers);
    CHECK(count_ours(apply, KEY_ATTACHMENT) == totals->leases);
}

static void check_leases(struct apply *apply, uint64_t members)
{
    struct lease_row lease;
    uint64_t count = 0;
    for (uint64_t last = 0; lease_next(apply->rows, apply->arena, last, &lease); last = lease.id)
        count += lease.kind == LEASE_MEMBER;
    CHECK(count == members);
}

void group_check(struct rows *rows, struct arena *arena)
{
    struct apply apply = {.rows = rows, .arena = arena};
    struct key from = object_first(KEY_GROUP, slice_of(NULL, 0), slice_of(NULL, 0));
    struct group_totals totals = {0};
    struct slice name;
    uint64_t count = 0;
    for (; object_next(&apply, &from, slice_of(NULL, 0), &name); count++) check_group(&apply, name, &totals);
    check_totals(&apply, &totals);
    census_check(&apply, &totals.sums);
    check_leases(&apply, totals.leases);
    group_check_kept(rows, arena, count);
}
