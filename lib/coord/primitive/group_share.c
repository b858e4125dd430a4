/* Whose the shards of a group are to be: decided some time after members came or went (rebalance), or at
 * once when shards lie about. Everybody that is eligible has a quota by weight; who has too much, or drains,
 * is asked to let go of what is too much. Who is not eligible just now (suspect, on probation, ejected)
 * keeps what it has and gets nothing.
 *
 * A shard that its owner lost by a failure is free, and waits `rebalance` for it to come back: it is given
 * to others then, or at once when the member keeps failing. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group_shard.h"

enum {
    CHANGES_MAX = 1024,  /* shards that change hands in one decision */
    SCANNED_MAX = 10000, /* members among whom those that have shares are looked for */
    NEXT_ENTRY_MS = 1    /* a timer of the entry's own time would come in the same entry */
};

struct share {
    struct slice id;
    uint64_t weight, quota, had, has;
    bool rounded_up;
};

struct piece {
    struct shard shard;
    struct share *share; /* of its holder; NULL: that one is not eligible */
    bool moves;
};

struct sharing {
    struct share shares[GROUP_SHARD_MEMBERS_MAX];
    size_t count, hint; /* hint: nobody before it has room */
    uint64_t weight, changes;
    struct piece *pieces;
    bool held_up; /* by the limit of moves */
};

/* --- members that failed --- */

bool member_may_resume(const struct group *group, const struct member *member)
{
    struct member steady = *member;
    if (member_flaps(member, group->apply->time_ms) <= 1) steady.probation_ms = 0;
    return member->weight && member_is_eligible(&steady, group->apply->time_ms);
}

uint64_t shard_waits_until_ms(struct group *group, const struct shard *shard)
{
    struct member last;
    uint64_t now_ms = group->apply->time_ms, until_ms = shard->since_ms + group->config.rebalance_ms;
    if (!shard->last.size || until_ms <= now_ms || !member_get(group, shard->last, &last)) return 0;
    bool keeps_failing = group->config.probation_ms && member_flaps(&last, now_ms) > 0;
    return last.state == MEMBER_FAILED && !keeps_failing ? until_ms : 0;
}

/* --- quotas --- */

static void gather(struct group *group, struct sharing *sharing)
{
    struct key from = member_first(group->name, MEMBER_ALIVE, slice_of(NULL, 0));
    struct member member;
    if (!group->row.eligible) return;
    for (int scanned = 0; scanned < SCANNED_MAX && sharing->count < GROUP_SHARD_MEMBERS_MAX &&
                          member_next(group, MEMBER_ALIVE, &from, &member);
         scanned++) {
        if (!member.weight || !member_is_eligible(&member, group->apply->time_ms)) continue;
        sharing->shares[sharing->count++] = (struct share){.id = member.id, .weight = member.weight};
        sharing->weight += member.weight;
    }
}

static struct share *share_of(struct sharing *sharing, struct slice id)
{
    for (size_t i = 0; id.size && i < sharing->count; i++)
        if (slice_equal(sharing->shares[i].id, id)) return &sharing->shares[i];
    return NULL;
}

/* Who has it, or gets it as soon as it is let go of. */
static struct slice holder_of(const struct shard *shard)
{
    return shard->state == SHARD_REVOKING ? shard->next : shard->owner;
}

static void load(struct group *group, struct sharing *sharing)
{
    sharing->pieces = arena_alloc(group->apply->arena, group->row.shards * sizeof *sharing->pieces);
    for (uint64_t number = 0; number < group->row.shards; number++) {
        struct piece *piece = &sharing->pieces[number];
        CHECK(shard_get(group, number, &piece->shard));
        piece->share = share_of(sharing, holder_of(&piece->shard));
        if (piece->share) piece->share->had++;
    }
}

/* By weight, rounded down. What is left over goes one each to those that have more than that anyway, so that
 * nothing moves for its sake, then to the first. */
static void set_quotas(const struct group *group, struct sharing *sharing)
{
    uint64_t left = group->row.shards;
    for (size_t i = 0; i < sharing->count; i++) {
        struct share *share = &sharing->shares[i];
        share->quota = group->row.shards * share->weight / sharing->weight;
        left -= share->quota;
    }
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; left && i < sharing->count; i++) {
            struct share *share = &sharing->shares[i];
            if (share->rounded_up || (round == 0 && share->had <= share->quota)) continue;
            share->rounded_up = true;
            share->quota++;
            left--;
        }
}

static struct share *with_room(struct sharing *sharing)
{
    for (; sharing->hint < sharing->count; sharing->hint++) {
        struct share *share = &sharing->shares[sharing->hint];
        if (share->has < share->quota) return share;
    }
    return NULL;
}

/* --- moves --- */

/* Its owner is up but is not to have it: it drains, or has a weight of 0. */
static bool is_to_go(struct group *group, struct slice owner)
{
    struct member member;
    return !member_get(group, owner, &member) || member.draining || !member.weight;
}

/* What stays where it is fills the quotas first; false: this one is to move. */
static bool stays(struct group *group, const struct piece *piece)
{
    const struct shard *shard = &piece->shard;
    struct share *share = piece->share;
    if (shard->state == SHARD_FREE) return false;
    if (!share) return shard->state == SHARD_OWNED && !is_to_go(group, shard->owner);
    if (share->has == share->quota) return false;
    share->has++;
    return true;
}

static struct share *choose(struct sharing *sharing, const struct shard *shard)
{
    struct share *last = share_of(sharing, shard->state == SHARD_REVOKING ? shard->owner : shard->last);
    return last && last->has < last->quota ? last : with_room(sharing);
}

/* Nobody is eligible: rather the one that had it, on probation as it may be, than nobody. */
static bool give_back(struct group *group, struct shard *shard)
{
    struct member last;
    bool can = member_get(group, shard->last, &last) && last.state == MEMBER_ALIVE && !last.draining &&
               last.weight && last.health != HEALTH_FAIL;
    if (can) shard_give(group, shard, last.id);
    return can;
}

static void give_free(struct group *group, struct sharing *sharing, struct shard *shard)
{
    uint64_t waits_ms = shard_waits_until_ms(group, shard);
    struct share *share = waits_ms ? NULL : choose(sharing, shard);
    if (waits_ms) {
        shards_sooner(group, waits_ms);
    } else if (share) {
        share->has++;
        sharing->changes++;
        shard_give(group, shard, share->id);
    } else if (!sharing->count) {
        sharing->changes += give_back(group, shard);
    }
}

static void ask_back(struct group *group, struct sharing *sharing, struct shard *shard)
{
    bool moves = shard->state == SHARD_REVOKING;
    if (!moves && group->row.shards_moving >= group->config.move_limit) {
        sharing->held_up = true;
        return;
    }
    struct share *share = choose(sharing, shard);
    if (!share) return;
    share->has++;
    sharing->changes++;
    if (MUTANT(100))
        shard_give(group, shard, share->id);
    else if (moves && slice_equal(share->id, shard->owner))
        shard_return_to(group, shard);
    else
        shard_revoke(group, shard, share->id);
}

static void move_all(struct group *group, struct sharing *sharing)
{
    for (uint64_t number = 0; number < group->row.shards && sharing->changes < CHANGES_MAX; number++) {
        struct piece *piece = &sharing->pieces[number];
        if (!piece->moves) continue;
        if (piece->shard.state == SHARD_FREE)
            give_free(group, sharing, &piece->shard);
        else
            ask_back(group, sharing, &piece->shard);
    }
    /* The rest: also what the limit held up before some need not move after all. */
    bool more = sharing->held_up && group->row.shards_moving < group->config.move_limit;
    if (more || sharing->changes == CHANGES_MAX) shards_sooner(group, group->apply->time_ms + NEXT_ENTRY_MS);
}

void group_shards_due(struct apply *apply, struct slice name)
{
    struct group group;
    struct sharing *sharing = arena_alloc(apply->arena, sizeof *sharing);
    *sharing = (struct sharing){.count = 0};
    group_load(&group, apply, name);
    group.row.shards_due_ms = 0;
    group.changed = true;
    gather(&group, sharing);
    load(&group, sharing);
    set_quotas(&group, sharing);
    for (uint64_t number = 0; number < group.row.shards; number++)
        sharing->pieces[number].moves = !stays(&group, &sharing->pieces[number]);
    move_all(&group, sharing);
    group_save(&group);
}
