/* Changing the members: one at a time (thesis 4.1), only behind a committed entry of the own term (Ongaro's
 * correction of 2015), and only such that a quorum of the voters it would have answers now. */
#include "raft/internal.h"

#include "base/buffer.h"

enum { CAUGHT_UP = 256 /* entries a learner may lack and still be promoted */ };

static bool same_member(const struct raft_member *a, const struct raft_member *b)
{
    return a->node == b->node && a->membership == b->membership && strcmp(a->name, b->name) == 0 &&
           strcmp(a->address, b->address) == 0;
}

static size_t voters_of(const struct raft_config *config)
{
    size_t voters = 0;
    for (size_t i = 0; i < config->member_count; i++) voters += config->members[i].membership == RAFT_VOTER;
    return voters;
}

/* The one member in which they differ, as it is now and as it would be (NULL: not a member). False when none
 * or more than one differs. */
static bool difference(const struct raft_config *now, const struct raft_config *next,
                       const struct raft_member **before, const struct raft_member **after)
{
    size_t differ = 0;
    *before = *after = NULL;
    for (size_t i = 0; i < now->member_count; i++) {
        const struct raft_member *then = raft_config_member(next, now->members[i].node);
        if (then && same_member(&now->members[i], then)) continue;
        differ++;
        *before = &now->members[i];
        *after = then;
    }
    for (size_t i = 0; i < next->member_count; i++) {
        if (raft_config_member(now, next->members[i].node)) continue;
        differ++;
        *after = &next->members[i];
    }
    return differ == 1;
}

static bool is_well_formed(const struct raft_config *next)
{
    struct buffer payload = {0};
    struct raft_config back;
    if (next->member_count == 0 || next->member_count > RAFT_MEMBERS_MAX || voters_of(next) == 0)
        return false;
    raft_config_encode(next, &payload);
    bool good = raft_config_decode(buffer_slice(&payload), &back);
    buffer_free(&payload);
    return good;
}

static bool quorum_answers(const struct raft *raft, const struct raft_config *next)
{
    size_t answering = 0;
    for (size_t i = 0; i < next->member_count; i++) {
        if (next->members[i].membership != RAFT_VOTER) continue;
        uint64_t node = next->members[i].node;
        answering += node == raft->settings.self || raft_hears(raft, raft_peer_of(raft, node));
    }
    return answering >= voters_of(next) / 2 + 1;
}

static bool has_caught_up(const struct raft *raft, const struct peer *peer)
{
    return raft_hears(raft, peer) && peer->state == PEER_REPLICATE &&
           peer->match + CAUGHT_UP >= entries_last(&raft->log);
}

static enum raft_refusal may_change(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return RAFT_NOT_LEADER;
    if (raft->hard.commit < raft->noop && !MUTANT(4)) return RAFT_NOT_READY;
    if (raft_placed_now(raft)->index > raft->hard.commit && !MUTANT(5)) return RAFT_CHANGE_PENDING;
    return raft->transfer_until_ms ? RAFT_TRANSFERRING : RAFT_ACCEPTED;
}

static enum raft_refusal consider(const struct raft *raft, const struct raft_config *next)
{
    const struct raft_member *before, *after;
    enum raft_refusal why = may_change(raft);
    if (why != RAFT_ACCEPTED) return why;
    if (!is_well_formed(next) || !difference(raft_config_now(raft), next, &before, &after))
        return RAFT_SENSELESS;
    bool voted = before && before->membership == RAFT_VOTER;
    bool votes = after && after->membership == RAFT_VOTER;
    if (votes && !before) return RAFT_SENSELESS;
    if (voted && after && after->membership == RAFT_LEARNER) return RAFT_SENSELESS; /* it would be promoted */
    if (votes && !voted && !has_caught_up(raft, raft_peer_of(raft, after->node))) return RAFT_BEHIND;
    if (votes != voted && !quorum_answers(raft, next)) return RAFT_NO_QUORUM;
    return RAFT_ACCEPTED;
}

uint64_t raft_change(struct raft *raft, const struct raft_config *next, enum raft_refusal *why)
{
    *why = consider(raft, next);
    if (*why != RAFT_ACCEPTED) return 0;
    struct buffer payload = {0};
    raft_config_encode(next, &payload);
    uint64_t index = raft_append_own(raft, RAFT_CONFIG, buffer_slice(&payload));
    buffer_free(&payload);
    return index;
}

uint64_t raft_learner_ready(const struct raft *raft)
{
    if (may_change(raft) != RAFT_ACCEPTED) return 0;
    struct raft_config next = *raft_config_now(raft);
    for (size_t i = 0; i < next.member_count; i++) {
        struct raft_member *member = &next.members[i];
        if (member->membership != RAFT_LEARNER) continue;
        member->membership = RAFT_VOTER;
        if (consider(raft, &next) == RAFT_ACCEPTED) return member->node;
        member->membership = RAFT_LEARNER;
    }
    return 0;
}
