/* Elections: PreVote (thesis 9.6), stickiness and CheckQuorum (4.2.3, 6.2) together. */
#include "raft/internal.h"

#include "base/check.h"

/* What was to be said in the former term is of no use to anyone, and need not be true once the new one's
 * entries are saved with it. */
static void enter_term(struct raft *raft, uint64_t term, uint64_t vote)
{
    CHECK(term > raft->hard.term);
    raft->hard.term = term;
    raft->hard.vote = vote;
    raft->hard_dirty |= !MUTANT(23);
    strip_drop_last(&raft->queued_after, raft->queued_after.count);
}

uint64_t raft_random(struct raft *raft)
{
    raft->random ^= raft->random << 13; /* Marsaglia, "Xorshift RNGs", 2003 */
    raft->random ^= raft->random >> 7;
    raft->random ^= raft->random << 17;
    return raft->random;
}

void raft_reset_election(struct raft *raft)
{
    uint64_t least = raft->settings.election_ms;
    raft->election_at_ms = raft->now_ms + least + 1 + raft_random(raft) % (least - 1);
}

void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader)
{
    CHECK(term >= raft->hard.term);
    if (term > raft->hard.term) enter_term(raft, term, 0);
    bool changed = raft->role != RAFT_FOLLOWER || raft->leader != leader, led = raft->role == RAFT_LEADER;
    if (led) raft->heard_at_ms = raft_quorum_heard_ms(raft);
    raft->role = RAFT_FOLLOWER;
    if (led) {
        raft_forget_rounds(raft);
        raft_follow_config(raft); /* without those that leave */
    }
    raft->leader = leader;
    raft->transfer_to = raft->transfer_until_ms = 0;
    if (leader) raft->heard_at_ms = raft->now_ms;
    if (changed || leader) raft_reset_election(raft);
}

bool raft_heard_lately(const struct raft *raft)
{
    if (MUTANT(10)) return false;
    if (raft->role == RAFT_LEADER) return true; /* CheckQuorum ends that by itself */
    return raft->leader && raft->now_ms - raft->heard_at_ms < raft->settings.election_ms;
}

static size_t granted(const struct raft *raft)
{
    size_t count = raft_is_voter(raft, raft->settings.self) || MUTANT(29);
    for (size_t i = 0; i < raft->peer_count; i++) count += raft->peers[i].votes && raft->peers[i].granted;
    return count;
}

static void ask_all(struct raft *raft, enum raft_message_kind kind, uint64_t term, bool transfer)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        raft->peers[i].granted = false;
        if (!raft->peers[i].votes) continue;
        struct raft_message message = {.kind = kind,
                                       .from = raft->settings.self,
                                       .to = raft->peers[i].id,
                                       .term = term,
                                       .transfer = transfer,
                                       .index = entries_last(&raft->log),
                                       .log_term = entries_last_term(&raft->log)};
        if (kind == RAFT_PRE_VOTE || MUTANT(21))
            raft_send_now(raft, message);
        else
            raft_send_after(raft, message); /* the own vote must be durable first */
    }
}

void raft_stand(struct raft *raft, bool transfer)
{
    raft->role = RAFT_CANDIDATE;
    enter_term(raft, raft->hard.term + 1, raft->settings.self);
    raft->leader = 0;
    raft_reset_election(raft);
    ask_all(raft, RAFT_VOTE, raft->hard.term, transfer);
    if (granted(raft) >= raft_quorum(raft)) raft_lead(raft);
}

void raft_campaign(struct raft *raft)
{
    bool may = raft_may_stand(raft);
    raft_reset_election(raft);
    if (may || !MUTANT(75)) raft->leader = 0; /* whoever it is does not reach this node */
    if (!may) return;
    raft->role = RAFT_PRE_CANDIDATE;
    ask_all(raft, RAFT_PRE_VOTE, raft->hard.term + 1, false);
    if (granted(raft) >= raft_quorum(raft)) raft_stand(raft, false);
}

static bool log_is_as_new(const struct raft *raft, const struct raft_message *message)
{
    uint64_t term = entries_last_term(&raft->log);
    return MUTANT(8) || message->log_term > term ||
           (message->log_term == term && message->index >= entries_last(&raft->log));
}

static void reply(struct raft *raft, const struct raft_message *to, uint64_t term, bool reject)
{
    bool pre = to->kind == RAFT_PRE_VOTE;
    struct raft_message message = {.kind = pre ? RAFT_PRE_VOTE_REPLY : RAFT_VOTE_REPLY,
                                   .from = raft->settings.self,
                                   .to = to->from,
                                   .term = term,
                                   .reject = reject};
    if (pre || MUTANT(20))
        raft_send_now(raft, message);
    else
        raft_send_after(raft, message);
}

/* The message's term is at least the own one here, except for pre-votes, whose term is only a proposal. */
void raft_receive_vote(struct raft *raft, const struct raft_message *message)
{
    if (message->kind == RAFT_PRE_VOTE) {
        bool grant =
            message->term > raft->hard.term && log_is_as_new(raft, message) && !raft_heard_lately(raft);
        reply(raft, message, grant ? message->term : raft->hard.term, !grant);
        return;
    }
    bool free = raft->hard.vote == message->from || (raft->hard.vote == 0 && raft->leader == 0);
    if (MUTANT(9) || (MUTANT(18) && message->transfer)) free = true;
    bool grant = message->term == raft->hard.term && free && log_is_as_new(raft, message);
    if (grant) {
        raft->hard_dirty |= raft->hard.vote != message->from;
        raft->hard.vote = message->from;
        raft_reset_election(raft);
    }
    reply(raft, message, raft->hard.term, !grant);
}

void raft_receive_vote_reply(struct raft *raft, const struct raft_message *message)
{
    bool pre = message->kind == RAFT_PRE_VOTE_REPLY;
    uint64_t asked = pre ? raft->hard.term + 1 : raft->hard.term;
    struct peer *peer = raft_peer(raft, message->from);
    if (raft->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE) || !peer || message->reject ||
        (message->term != asked && !MUTANT(33)))
        return;
    peer->granted = true;
    if (granted(raft) < raft_quorum(raft)) return;
    if (pre)
        raft_stand(raft, false);
    else
        raft_lead(raft);
}
