/* A member enters a state: counts, lease, history, timer, events, and what follows for the group. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group.h"

enum { FLAP_WINDOW_MS = 3600 * 1000, PROBATION_MAX_MS = 30 * 60 * 1000 };

static bool is_up(uint64_t state)
{
    return state == MEMBER_ALIVE || state == MEMBER_SUSPECT;
}

/* --- timers --- */

static void sooner(uint64_t *due_ms, uint64_t at_ms)
{
    if (!*due_ms || at_ms < *due_ms) *due_ms = at_ms;
}

static uint64_t next_due_ms(const struct group *group, const struct member *member)
{
    uint64_t due_ms = 0, now_ms = group->apply->time_ms;
    if (member->state == MEMBER_FAILED) return member->since_ms + group->config.reap_failed_ms;
    if (member->state == MEMBER_LEFT) return member->since_ms + group->config.reap_left_ms;
    /* Over but not told yet: the timer is on its way. */
    if (member_on_probation(member, now_ms) || (member->due_ms && member->due_ms == member->probation_ms))
        sooner(&due_ms, member->probation_ms);
    if (group_breaker_due_ms(member)) sooner(&due_ms, group_breaker_due_ms(member));
    return due_ms;
}

void member_set_timer(struct group *group, struct member *member, uint64_t due_ms)
{
    struct apply *apply = group->apply;
    if (due_ms == member->due_ms) return;
    struct slice what = group_work_what(apply, GROUP_WORK_MEMBER, group->name, member->id);
    if (member->due_ms) due_clear(apply, member->due_ms, GROUP_CODE, what);
    if (due_ms) due_set(apply, due_ms, GROUP_CODE, what);
    member->due_ms = due_ms;
}

/* --- states --- */

static struct slice lease_what(struct group *group, const struct member *member)
{
    return object_what(group->apply, group->name, 'm', member->id);
}

static void depart(struct group *group, struct member *member)
{
    group->row.guarded -= member->guarded;
    member->guarded = false;
    struct key key = member_state_key(group->name, member);
    CHECK(rows_delete(group->apply->rows, key_slice(&key)) && group->row.counts[member->state]);
    group->row.counts[member->state]--;
}

static void arrive(struct group *group, struct member *member, enum member_state state,
                   enum group_event event)
{
    struct apply *apply = group->apply;
    member->state = state;
    member->order = apply->index;
    member->since_ms = apply->time_ms;
    struct key key = member_state_key(group->name, member);
    rows_put(apply->rows, key_slice(&key), slice_of(NULL, 0));
    group->row.counts[state]++;
    group->row.version = apply->index;
    group->changed = true;
    member_set_timer(group, member, next_due_ms(group, member));
    member_put(group, member);
    group_tell(group, member, event);
}

/* What hangs on the lease beside the membership is told too: other members' claims and locks are none of it.
 */
static void let_lease_go(struct group *group, struct member *member, enum end_reason reason)
{
    struct lease_row lease;
    uint64_t gone = member->lease;
    if (!gone) return;
    member->lease = 0;
    lease_detach(group->apply, gone, GROUP_CODE, lease_what(group, member));
    if (lease_get(group->apply, gone, &lease)) lease_end(group->apply, gone, reason);
}

uint64_t member_flaps(const struct member *member, uint64_t now_ms)
{
    return now_ms - member->flap_ms > FLAP_WINDOW_MS ? 0 : member->flaps;
}

static void put_on_probation(struct group *group, struct member *member)
{
    uint64_t now_ms = group->apply->time_ms, span_ms = group->config.probation_ms;
    member->flaps = member_flaps(member, now_ms);
    uint64_t max_ms = span_ms > PROBATION_MAX_MS ? span_ms : PROBATION_MAX_MS;
    for (uint64_t i = 0; i < member->flaps && span_ms && span_ms < max_ms; i++) span_ms *= 2;
    member->flaps++;
    member->flap_ms = now_ms;
    member->probation_ms = !span_ms ? 0 : now_ms + (span_ms < max_ms ? span_ms : max_ms);
}

static void follow(struct group *group)
{
    group_guard_look(group);
    group_leader_look(group);
    group_shards_look(group);
}

void member_begin(struct group *group, struct member *member, enum member_reason reason)
{
    struct apply *apply = group->apply;
    bool failed = member->state == MEMBER_FAILED;
    member_remember(group, member, MEMBER_ALIVE, reason);
    if (is_up(member->state) && !MUTANT(104))
        group_shards_let_go(group, member); /* taken over: what the other one had, it has no more */
    if (member->state) depart(group, member);
    let_lease_go(group, member, END_TRANSFERRED);
    if (failed) put_on_probation(group, member);
    member->token = apply->index;
    member->joined_ms = apply->time_ms;
    member->draining = false;
    member->health = HEALTH_PASS;
    group_breaker_forget(group, member);
    member->lease = lease_start(apply, LEASE_MEMBER, member->ttl_ms, member->id, slice_of(NULL, 0));
    lease_attach(apply, member->lease, GROUP_CODE, lease_what(group, member));
    arrive(group, member, MEMBER_ALIVE, failed ? GROUP_RECOVERED : GROUP_JOINED);
    if (failed) group_shards_return(group, member);
    follow(group);
}

static enum group_event event_of(enum member_state state)
{
    switch (state) {
    case MEMBER_ALIVE:
        return GROUP_CLEARED;
    case MEMBER_SUSPECT:
        return GROUP_SUSPECTED;
    case MEMBER_FAILED:
        return GROUP_FAILED;
    case MEMBER_LEFT:
        break;
    }
    return GROUP_LEFT;
}

void member_enter(struct group *group, struct member *member, enum member_state state,
                  enum member_reason reason)
{
    member_remember(group, member, state, reason);
    depart(group, member);
    if (state == MEMBER_SUSPECT && reason == MEMBER_EXPIRED) {
        member->guarded = true;
        group->row.guarded++;
    }
    if (!is_up(state)) {
        member->draining = false;
        group_breaker_forget(group, member);
        let_lease_go(group, member, state == MEMBER_LEFT ? END_RELEASED : END_EXPIRED);
    }
    arrive(group, member, state, event_of(state));
    if (MUTANT(102) ? state != MEMBER_ALIVE : !is_up(state) && !(MUTANT(103) && state == MEMBER_FAILED))
        group_shards_let_go(group, member);
    follow(group);
}

void member_store(struct group *group, struct member *member, enum group_event event)
{
    group->row.version = group->apply->index;
    group->changed = true;
    member_set_timer(group, member, next_due_ms(group, member));
    member_put(group, member);
    group_tell(group, member, event);
    follow(group);
}

/* --- the leader of the group --- */

enum { LEADER_LOOKS_MAX = 256, NEXT_ENTRY_MS = 1 };

/* Of leases that end in one entry, all are gone when the first member is told. */
static bool may_lead(struct group *group, const struct member *member)
{
    struct lease_row lease;
    return member->state == MEMBER_ALIVE && !member->draining &&
           lease_get(group->apply, member->lease, &lease);
}

/* Suspicion takes nothing away: its lease is not over, it may well be at work. */
static bool stays_leader(const struct member *member)
{
    return (member->lease || MUTANT(110)) && (!MUTANT(111) || member->state == MEMBER_ALIVE) &&
           !member->draining;
}

/* The member that is alive for the longest; of the first few hundred, should they all drain. */
static bool find_leader(struct group *group, struct member *member)
{
    struct key from = member_first(group->name, MEMBER_ALIVE, slice_of(NULL, 0));
    for (int look = 0; look < LEADER_LOOKS_MAX && member_next(group, MEMBER_ALIVE, &from, member); look++)
        if (may_lead(group, member)) return true;
    return false;
}

static void set_leader_timer(struct group *group, uint64_t at_ms)
{
    struct apply *apply = group->apply;
    struct slice what = group_work_what(apply, GROUP_WORK_LEADER, group->name, slice_of(NULL, 0));
    if (at_ms == group->row.leader_due_ms) return;
    if (group->row.leader_due_ms) due_clear(apply, group->row.leader_due_ms, GROUP_CODE, what);
    if (at_ms) due_set(apply, at_ms, GROUP_CODE, what);
    group->row.leader_due_ms = at_ms;
    group->changed = true;
}

/* A token is one leader's: the second of an entry leads from the next one on. */
void group_leader_look(struct group *group)
{
    struct member member;
    struct slice before = group->row.leader;
    if (!group->config.leader && !before.size) {
        set_leader_timer(group, 0);
        return;
    }
    bool stays = group->config.leader && before.size && member_get(group, before, &member) &&
                 stays_leader(&member) && member.token <= group->row.leader_token;
    if (stays) return;
    bool found = group->config.leader && find_leader(group, &member);
    bool later = found && group->row.leader_token == group->apply->index;
    set_leader_timer(group, later ? group->apply->time_ms + NEXT_ENTRY_MS : 0);
    found &= !later;
    if (!found && !before.size) return;
    group->row.leader = found ? member.id : slice_of(NULL, 0);
    group->row.leader_token = group->apply->index; /* also of none: it only rises */
    group->row.version = group->apply->index;
    group->changed = true;
    group_tell(group, found ? &member : NULL, GROUP_LEADER);
}

void group_leader_due(struct apply *apply, struct slice name)
{
    struct group group;
    group_load(&group, apply, name);
    group.row.leader_due_ms = 0;
    group.changed = true;
    group_leader_look(&group);
    group_save(&group);
}

/* --- timers of members --- */

void member_due(struct apply *apply, struct slice name, struct slice id, uint64_t at_ms)
{
    struct group group;
    struct member member;
    uint64_t now_ms = apply->time_ms;
    group_load(&group, apply, name);
    CHECK(member_get(&group, id, &member) && member.due_ms == at_ms);
    member.due_ms = 0;
    if (!is_up(member.state)) {
        member_delete(&group, &member);
        group.row.version = apply->index;
        group_tell(&group, &member, GROUP_REAPED);
        follow(&group);
    } else {
        bool steady = member.probation_ms && member.probation_ms <= now_ms;
        if (steady) {
            member.probation_ms = 0;
            member_store(&group, &member, GROUP_STEADY);
        }
        bool turned = group_breaker_due(&group, &member);
        CHECK(steady || turned);
    }
    group_save(&group);
}
