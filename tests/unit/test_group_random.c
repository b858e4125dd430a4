// links: api lib support
/* Random lives of groups: members join, fall silent, come back, leave and are removed; shards move;
 * broadcasts are acknowledged; time passes. After each entry every invariant of group.h is checked, and by
 * what clients see: a shard changes hands only when its owner has let go of it or is no longer the member
 * that it was; tokens only rise; and the guard always ends. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 200, MEMBERS = 12, SHARDS = 16, GUARD_ENDS_MS = 3600 * 1000 };

struct seen_shard {
    unsigned long long token;
    char owner[8], state[12];
};
struct seen_member {
    uint64_t token, state;
};

struct life {
    struct coord_world *world;
    uint64_t random;
    struct seen_shard shards[SHARDS];
    struct seen_member members[MEMBERS];
    unsigned shard_count;
    int let_go; /* the shard that this entry lets go of; -1: none */
    bool anew;  /* shards are made anew, or the group goes */
};
static uint64_t guards, moves, failures, ends, closed, reopened; /* what happened in all lives */

static const char *const ids[MEMBERS] = {"a", "ab", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"};

static uint64_t draw(struct life *life, uint64_t below)
{
    life->random = life->random * 6364136223846793005u + 1442695040888963407u;
    return (life->random >> 33) % below;
}

/* --- what is seen --- */

static bool is_same_member(const struct life *life, const struct seen_member *before, const char *owner)
{
    for (int i = 0; i < MEMBERS; i++)
        if (strcmp(ids[i], owner) == 0)
            return before[i].token == life->members[i].token && life->members[i].state >= MEMBER_ALIVE &&
                   life->members[i].state <= MEMBER_SUSPECT;
    return false;
}

static void see_members(struct life *life)
{
    for (int i = 0; i < MEMBERS; i++) {
        struct seen_member *seen = &life->members[i];
        struct member member;
        bool there = group_world_member(life->world, "g", ids[i], &member);
        if (there) assert_true(member.token >= seen->token);
        if (there && member.state == MEMBER_FAILED && seen->state != MEMBER_FAILED) failures++;
        *seen =
            there ? (struct seen_member){member.token, member.state} : (struct seen_member){seen->token, 0};
    }
}

static void see_shard(struct life *life, const struct seen_member *before, const char *text)
{
    struct seen_shard now = {0};
    unsigned number;
    if (sscanf(text, "{\"number\":%u,\"state\":\"%11[a-z]\",\"owner\":\"%7[a-z]\",\"token\":%llu", &number,
               now.state, now.owner, &now.token) != 4) {
        now.owner[0] = 0;
        assert_true(sscanf(text, "{\"number\":%u,\"state\":\"%11[a-z]\",\"owner\":null,\"token\":%llu",
                           &number, now.state, &now.token) >= 2);
        assert_string_equal(now.state, "free");
    }
    assert_true(number < SHARDS);
    struct seen_shard *seen = &life->shards[number];
    bool changed = strcmp(seen->owner, now.owner) != 0;
    if (!life->anew) {
        assert_true(now.token >= seen->token);
        if (changed && *seen->owner)
            assert_true((int)number == life->let_go || !is_same_member(life, before, seen->owner));
        if (changed && *now.owner) assert_true(now.token == life->world->index);
        if (!changed) assert_true(now.token == seen->token);
        moves += changed && *seen->owner && *now.owner;
    }
    *seen = now;
}

static void see(struct life *life)
{
    struct seen_member before[MEMBERS];
    memcpy(before, life->members, sizeof before);
    see_members(life);
    for (unsigned i = 0; life->anew && i < SHARDS; i++) life->shards[i] = (struct seen_shard){0};
    if (GROUP_ASK(life->world, "group.shards", "{'group':'g'}") == OUTCOME_OK)
        for (const char *at = strstr((char *)life->world->answer.data, "{\"number\""); at;
             at = strstr(at + 1, "{\"number\""))
            see_shard(life, before, at);
    life->let_go = -1;
    life->anew = false;
}

/* --- what happens --- */

static void join(struct life *life, const char *id)
{
    static const char *const more[] = {
        "", ",'weight':0", ",'weight':300", ",'zone':'z'", ",'ttl':'1s'", ",'on_conflict':'reject'"};
    GROUP_DO(life->world, "group.join", "{'group':'g','id':'%s'%s}", id, more[draw(life, 6)]);
}

static void fall_silent(struct life *life)
{
    uint64_t leases[MEMBERS];
    size_t count = 0, most = 1 + draw(life, MEMBERS);
    for (int i = 0; i < MEMBERS && count < most; i++) {
        struct member member;
        if (group_world_member(life->world, "g", ids[i], &member) && member.lease && draw(life, 2))
            leases[count++] = member.lease;
    }
    group_world_expire(life->world, leases, count);
}

static void let_go(struct life *life)
{
    for (int i = 0; i < SHARDS; i++) {
        if (strcmp(life->shards[i].state, "revoking") != 0 || draw(life, 2)) continue;
        life->let_go = i;
        assert_int_equal(GROUP_DO(life->world, "group.shard_ack", "{'group':'g','number':%d,'token':%llu}", i,
                                  life->shards[i].token),
                         OUTCOME_OK);
        return;
    }
}

static void acknowledge(struct life *life, const char *id)
{
    struct member member;
    const char *number;
    if (!group_world_member(life->world, "g", id, &member)) return;
    GROUP_ASK(life->world, "group.broadcasts", "{'group':'g','member':'%s'}", id);
    number = strstr((char *)life->world->answer.data, "\"number\":");
    if (number)
        GROUP_DO(life->world, "group.broadcast_ack",
                 "{'group':'g','number':%llu,'member':'%s','token':%llu,'response':7}",
                 strtoull(number + strlen("\"number\":"), NULL, 10), id, (unsigned long long)member.token);
}

static void set_up(struct life *life)
{
    static const char *const rebalances[] = {"0s", "100ms", "3s"};
    static const char *const probations[] = {"0s", "1s", "1m"};
    unsigned shards = draw(life, 3) ? life->shard_count : (unsigned)draw(life, SHARDS + 1);
    enum outcome outcome =
        GROUP_DO(life->world, "group.put",
                 "{'group':'g','shards':%u,'move_limit':%u,'rebalance':'%s','probation':'%s','leader':%s,"
                 "'guard':%u,'guard_min':%u,'guard_max':'%us','reap_failed':'%us','reap_left':'5s','eject':"
                 "50,'eject_max':80,"
                 "'eject_for':'%us','eject_for_max':'8s'}",
                 shards, 1 + (unsigned)draw(life, 6), rebalances[draw(life, 3)], probations[draw(life, 3)],
                 draw(life, 2) ? "true" : "false", 10 * (unsigned)draw(life, 5), 1 + (unsigned)draw(life, 3),
                 1 + (unsigned)draw(life, 60), 1 + (unsigned)draw(life, 100), 1 + (unsigned)draw(life, 4));
    if (outcome == OUTCOME_GROUP_NOT_EMPTY) return; /* somebody has one */
    life->anew = shards != life->shard_count;
    life->shard_count = shards;
}

static void observe(struct life *life, const char *id)
{
    struct member member;
    if (group_world_member(life->world, "g", id, &member) && member.lease)
        group_world_observe(life->world, 1, "g", id, OBSERVED_SILENT + draw(life, 3),
                            HEALTH_PASS + draw(life, 3));
}

/* What the leader judged of the reports about some, and about all that are on trial; sometimes of a trial
 * that is over. */
static void judge(struct life *life)
{
    for (int i = 0; i < MEMBERS; i++) {
        struct member member;
        if (!group_world_member(life->world, "g", ids[i], &member) || !member.lease) continue;
        uint64_t before = member_breaker(&member);
        if (before != BREAKER_HALF_OPEN && draw(life, 3)) continue;
        group_world_observe(life->world, 1, "g", ids[i], draw(life, 2) ? OBSERVED_BAD : OBSERVED_GOOD,
                            draw(life, 8) ? member.half_open_ms : 1);
        assert_true(group_world_member(life->world, "g", ids[i], &member));
        closed += before == BREAKER_HALF_OPEN && member_breaker(&member) == BREAKER_CLOSED;
        reopened += before == BREAKER_HALF_OPEN && member_breaker(&member) == BREAKER_OPEN;
        see(life);
    }
}

static void step(struct life *life)
{
    const char *id = ids[draw(life, MEMBERS)];
    struct coord_world *world = life->world;
    uint64_t dice = draw(life, 100);
    if (dice < 30)
        join(life, id);
    else if (dice < 40)
        fall_silent(life);
    else if (dice < 55)
        let_go(life);
    else if (dice < 59)
        GROUP_DO(world, "group.leave", "{'group':'g','id':'%s','force':true}", id);
    else if (dice < 61)
        GROUP_DO(world, "group.fail", "{'group':'g','id':'%s'}", id);
    else if (dice < 65)
        GROUP_DO(world, "group.drain", "{'group':'g','id':'%s','undo':%s}", id,
                 draw(life, 2) ? "true" : "false");
    else if (dice < 68)
        GROUP_DO(world, "group.broadcast", "{'group':'g','name':'n','timeout':'%us','percent':%u}",
                 1 + (unsigned)draw(life, 9), 1 + (unsigned)draw(life, 100));
    else if (dice < 72)
        acknowledge(life, id);
    else if (dice < 76)
        observe(life, id);
    else if (dice < 80)
        judge(life);
    else if (dice < 82)
        set_up(life);
    else if (dice < 83)
        GROUP_DO(world, "group.force", "{'group':'g'}");
    else if (dice < 84 && !draw(life, 4)) {
        life->anew = true;
        if (GROUP_DO(world, "group.delete", "{'group':'g','force':true}") == OUTCOME_NOTHING)
            life->shard_count = 0;
    } else
        world->time_ms += draw(life, 4000);
    see(life);
    while (draw(life, 3) && coord_due_ms(world->rows) <= world->time_ms) {
        group_world_propose(world, operation_due, &(struct due_args){0});
        see(life);
    }
}

static bool is_guarded(struct life *life)
{
    GROUP_ASK(life->world, "group.get", "{'group':'g'}");
    return coord_world_says(life->world, "\"guarded_since\":\"");
}

static void live(uint64_t seed)
{
    struct life life = {.world = coord_world_new(), .random = seed * 0x9e3779b97f4a7c15u, .let_go = -1};
    set_up(&life);
    see(&life);
    for (int i = 0; i < STEPS; i++) {
        bool before = is_guarded(&life);
        step(&life);
        guards += !before && is_guarded(&life);
    }
    if (is_guarded(&life)) ends++;
    group_world_pass(life.world, GUARD_ENDS_MS);
    assert_false(is_guarded(&life));
    GROUP_ASK(life.world, "group.get", "{'group':'g'}");
    assert_false(coord_world_says(life.world, "\"config\"") &&
                 !coord_world_says(life.world, "\"ejected\":0,\"half_open\":0"));
    GROUP_DO(life.world, "group.delete", "{'group':'g','force':true}");
    coord_world_free(life.world);
}

/* SEEDS="FROM TO" in the environment: more of them, by hand. */
static void a_shard_has_one_owner_and_the_guard_ends(void **state)
{
    unsigned long long from = 1, to = 60;
    (void)state;
    if (getenv("SEEDS")) sscanf(getenv("SEEDS"), "%llu %llu", &from, &to);
    for (unsigned long long seed = from; seed <= to; seed++) {
        if (getenv("SEEDS")) fprintf(stderr, "\r%llu ", seed);
        live(seed);
    }
    assert_true(guards && moves && failures && ends && closed && reopened);
    if (getenv("SEEDS"))
        fprintf(stderr,
                "guards %llu, handed over %llu, failures %llu, guarded at the end %llu, closed %llu, "
                "reopened %llu\n",
                (unsigned long long)guards, (unsigned long long)moves, (unsigned long long)failures,
                (unsigned long long)ends, (unsigned long long)closed, (unsigned long long)reopened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_shard_has_one_owner_and_the_guard_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
