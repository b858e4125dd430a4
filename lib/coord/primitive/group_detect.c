/* Failure: what the leader observed of heartbeats, ends of leases, and the guard against mass expiry.
 *
 * The guard (per group): when the ends of leases within one TTL would fail more than guard_percent of the
 * members that were up (and more than guard_min), the group is guarded: members whose leases end stay
 * suspect. It is over when none is kept any more and 70 % of those that are up or suspect are alive: they
 * have joined again, or failed by force, or after guard_max, a tenth of the group every ten seconds. So it
 * always ends. What hangs on the leases (locks, claims) is not held back.
 *
 * A group is guarded also for the sake of all (group_census.c); that ends in the same way, but its rounds
 * come after one another: a tenth of all that are up every ten seconds. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group.h"

enum {
    NEXT_ENTRY_MS = 1, /* a timer of the entry's own time would come in the same entry */
    PACE_MS = 10000,
    PACE_PERCENT = 10,
    WELL_PERCENT = 70,
    OBSERVE_MAX = 1024
};

struct slice group_work_what(struct apply *apply, enum group_work work, struct slice group, struct slice rest)
{
    return object_what(apply, group, (char)work, rest);
}

/* --- the guard --- */

static uint64_t up(const struct group *group)
{
    return group->row.counts[MEMBER_ALIVE] + group->row.counts[MEMBER_SUSPECT];
}

static void set_guard_timer(struct group *group, uint64_t at_ms)
{
    struct apply *apply = group->apply;
    struct slice what = group_work_what(apply, GROUP_WORK_GUARD, group->name, slice_of(NULL, 0));
    if (group->row.guard_due_ms) due_clear(apply, group->row.guard_due_ms, GROUP_CODE, what);
    if (at_ms) due_set(apply, at_ms, GROUP_CODE, what);
    group->row.guard_due_ms = at_ms;
    group->changed = true;
}

static void leave_guard(struct group *group)
{
    group->row.guarded_total_ms += group->apply->time_ms - group->row.guarded_ms;
    group->row.guarded_ms = group->row.guard_cause = 0;
    group->row.window_failed = group->row.guard_round = 0;
    group->row.window_ms = group->apply->time_ms;
    set_guard_timer(group, 0);
    group_tell(group, NULL, GROUP_UNGUARDED);
}

void group_guard_look(struct group *group)
{
    if (!group->row.guarded_ms) return;
    if (group->row.counts[MEMBER_ALIVE] * 100 >= up(group) * WELL_PERCENT && !group->row.guarded)
        leave_guard(group);
}

/* Would one more be too many, of the group alone? */
static bool are_too_many(struct group *group, const struct member *member)
{
    const struct group_config *config = &group->config;
    struct group_row *row = &group->row;
    uint64_t now_ms = group->apply->time_ms;
    if (now_ms >= row->window_ms + member->ttl_ms) {
        row->window_ms = now_ms;
        row->window_failed = 0;
    }
    uint64_t limit = (up(group) + row->window_failed) * config->guard_percent / 100;
    if (limit < config->guard_min) limit = config->guard_min;
    return row->window_failed >= limit;
}

/* A lease of a member has ended: shall the member stay, as a suspect? */
static bool is_guarded(struct group *group, const struct member *member)
{
    struct group_row *row = &group->row;
    if (!group->config.guard_percent) return false;
    if (row->guarded_ms) return true;
    group->changed = true;
    bool all = census_guards(group, member);
    if (!all && !are_too_many(group, member)) {
        census_fails(group, member);
        row->window_failed++;
        return false;
    }
    row->guarded_ms = group->apply->time_ms;
    row->guard_cause = all ? GUARD_ALL : GUARD_GROUP;
    if (!MUTANT(106)) set_guard_timer(group, row->guarded_ms + group->config.guard_max_ms);
    group_tell(group, NULL, GROUP_GUARDED);
    return true;
}

/* Fails the oldest of the members that the guard keeps, `max` of them. */
static uint64_t fail_guarded(struct group *group, uint64_t max, enum member_reason reason)
{
    struct key from = member_first(group->name, MEMBER_SUSPECT, slice_of(NULL, 0));
    struct member member;
    uint64_t failed = 0;
    while (failed < max && group->row.guarded && member_next(group, MEMBER_SUSPECT, &from, &member)) {
        if (!member.guarded) continue;
        member_enter(group, &member, MEMBER_FAILED, reason);
        failed++;
    }
    return failed;
}

/* The members of this round, as many as one entry may; then the rest of them at once, or the next round. */
static uint64_t go_on(struct group *group, enum member_reason reason)
{
    uint64_t now_ms = group->apply->time_ms, round = group->row.guard_round;
    uint64_t failed = fail_guarded(group, round < GROUP_WORK_MAX ? round : GROUP_WORK_MAX, reason);
    if (!group->row.guarded_ms) return failed;
    group->row.guard_round -= failed;
    if (!group->row.guarded)
        leave_guard(group);
    else
        set_guard_timer(group, now_ms + (group->row.guard_round ? NEXT_ENTRY_MS : PACE_MS));
    return failed;
}

void group_guard_due(struct apply *apply, struct slice name)
{
    struct group group;
    group_load(&group, apply, name);
    CHECK(group.row.guarded_ms);
    group.row.guard_due_ms = 0;
    uint64_t pace = up(&group) * PACE_PERCENT / 100, at_ms = 0;
    if (!group.row.guard_round) {
        group.row.guard_round = pace ? pace : 1;
        if (group.row.guard_cause == GUARD_ALL) at_ms = census_round_ms(&group, group.row.guard_round);
    }
    if (at_ms > apply->time_ms)
        set_guard_timer(&group, at_ms);
    else
        go_on(&group, MEMBER_EXPIRED);
    group_save(&group);
}

/* An operator knows that they are dead. The rest of many goes by the guard's timer, at once. */
uint64_t group_force_guarded(struct group *group)
{
    if (!group->row.guarded_ms) return 0;
    group->row.guard_round = group->row.guarded;
    return go_on(group, MEMBER_FORCED);
}

/* --- ends of leases --- */

/* Many of one group end together: it is loaded and saved once for all of them. */
static struct group *in_hand(struct apply *apply, struct slice name)
{
    if (apply->group && slice_equal(apply->group->name, name)) return apply->group;
    group_leases_ended(apply);
    apply->group = arena_alloc(apply->arena, sizeof *apply->group);
    group_load(apply->group, apply, name);
    return apply->group;
}

void group_leases_ended(struct apply *apply)
{
    if (apply->group) group_save(apply->group);
    apply->group = NULL;
}

void group_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason)
{
    struct slice name, id;
    struct member member;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &id) && kind == 'm');
    struct group *group = in_hand(apply, name);
    CHECK(member_get(group, id, &member) && member.lease == lease);
    member.lease = 0;
    if (reason != END_EXPIRED) {
        member_enter(group, &member, MEMBER_LEFT, MEMBER_REMOVED);
    } else if (is_guarded(group, &member) && !MUTANT(109)) {
        member_enter(group, &member, MEMBER_SUSPECT, MEMBER_EXPIRED);
    } else {
        member_enter(group, &member, MEMBER_FAILED, MEMBER_EXPIRED);
    }
}

struct slice group_what_path(struct apply *apply, struct slice what)
{
    struct slice name, id;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &id));
    return member_path(apply, name, id);
}

/* --- what the leader observed --- */

static const struct field item_fields[] = {
    {.number = 1, .type = FIELD_LEASE, .offset = offsetof(struct observe_item, lease), .name = "lease"},
    {.number = 2, .type = FIELD_UINT, .offset = offsetof(struct observe_item, token), .name = "token"},
    {.number = 3, .type = FIELD_UINT, .offset = offsetof(struct observe_item, what), .name = "what"},
    {.number = 4, .type = FIELD_UINT, .offset = offsetof(struct observe_item, value), .name = "value"},
};
static const struct record item_record = RECORD("group_observe_item", observe_item, item_fields);
static const struct field observe_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct group_observe_args, term), .name = "term"},
    {.number = 2,
     .type = FIELD_LIST,
     .offset = offsetof(struct group_observe_args, items),
     .name = "items",
     .record = &item_record,
     .max = OBSERVE_MAX},
};
const struct record group_observe_record = RECORD("group_observe", group_observe_args, observe_fields);

static void observe_one(struct group *group, struct member *member, const struct observe_item *item)
{
    switch (item->what) {
    case OBSERVED_SILENT:
        if (member->state == MEMBER_ALIVE) member_enter(group, member, MEMBER_SUSPECT, MEMBER_SILENT);
        return;
    case OBSERVED_HEARD:
        if (member->state == MEMBER_SUSPECT) member_enter(group, member, MEMBER_ALIVE, MEMBER_HEARD);
        return;
    case OBSERVED_HEALTH:
        if (item->value < HEALTH_PASS || item->value > HEALTH_FAIL || item->value == member->health) return;
        member->health = item->value;
        member_store(group, member, GROUP_HEALTH);
        return;
    case OBSERVED_BAD:
        group_breaker_bad(group, member, item->value);
        return;
    case OBSERVED_GOOD:
        group_breaker_good(group, member, item->value);
        return;
    default:
        return;
    }
}

/* The member that hangs on the lease. */
bool group_member_of_lease(struct apply *apply, uint64_t lease, struct slice *name, struct slice *id)
{
    struct key from = key_of(KEY_ATTACHMENT);
    struct slice key, value;
    char kind;
    key_number(&from, lease);
    key_byte(&from, GROUP_CODE);
    if (!rows_seek(apply->rows, key_slice(&from), &key, &value) || !slice_starts_with(key, key_slice(&from)))
        return false;
    return object_parse_what(slice_skip(arena_copy(apply->arena, key), from.size), name, &kind, id) &&
           kind == 'm';
}

/* Observations of another term are those of a leader that may have heard more since. */
void group_observe(struct apply *apply, const void *arguments)
{
    const struct group_observe_args *args = arguments;
    const struct observe_item *items = args->items.items;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
    if (args->term != apply->term) return;
    struct group group = {0};
    for (size_t i = 0; i < args->items.count; i++) {
        struct slice name, id;
        struct member member;
        if (!group_member_of_lease(apply, items[i].lease, &name, &id)) continue;
        if (!group.apply || !slice_equal(group.name, name)) { /* many of one group come together */
            group_save(&group);
            group_load(&group, apply, name);
        }
        CHECK(member_get(&group, id, &member));
        if (member.token == items[i].token) observe_one(&group, &member, &items[i]);
    }
    group_save(&group);
}
