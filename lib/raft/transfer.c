/* Leadership transfer (thesis 3.10): the leader stops taking commands, waits until the target has all of its
 * log, and asks it to stand at once. */
#include "raft/internal.h"

#include "base/check.h"

static bool can_take(const struct raft *raft, const struct peer *peer)
{
    return raft_hears(raft, peer) && peer->votes;
}

static const struct peer *furthest(const struct raft *raft)
{
    const struct peer *best = NULL;
    for (size_t i = 0; i < raft->peer_count; i++)
        if (can_take(raft, &raft->peers[i]) && (!best || raft->peers[i].match > best->match))
            best = &raft->peers[i];
    return best;
}

enum raft_refusal raft_transfer(struct raft *raft, uint64_t to)
{
    CHECK(!raft->saving);
    if (raft->role != RAFT_LEADER) return RAFT_NOT_LEADER;
    if (raft->transfer_until_ms) return RAFT_TRANSFERRING;
    const struct peer *peer = to ? raft_peer(raft, to) : furthest(raft);
    if (!can_take(raft, peer)) return RAFT_NO_QUORUM;
    raft->transfer_to = peer->id;
    raft->transfer_asked_ms = 0;
    raft->transfer_until_ms = raft->now_ms + raft->settings.election_ms;
    raft_tend_transfer(raft);
    return RAFT_ACCEPTED;
}

static void ask_to_stand(struct raft *raft, uint64_t node)
{
    struct raft_message message = {.kind = RAFT_TIMEOUT_NOW,
                                   .from = raft->settings.self,
                                   .to = node,
                                   .term = raft->hard.term,
                                   .index = entries_last(&raft->log),
                                   .log_term = entries_last_term(&raft->log)};
    raft_send_after(raft, message);
}

bool raft_transferring(const struct raft *raft)
{
    return raft->transfer_until_ms != 0;
}

void raft_tend_transfer(struct raft *raft)
{
    if (!raft->transfer_until_ms || raft->role != RAFT_LEADER) return;
    struct peer *peer = raft_peer(raft, raft->transfer_to);
    if (!peer || !peer->votes || raft->now_ms >= raft->transfer_until_ms) {
        raft->transfer_to = raft->transfer_until_ms = 0;
        return;
    }
    bool asked_lately =
        raft->transfer_asked_ms && raft->now_ms < raft->transfer_asked_ms + raft->settings.heartbeat_ms;
    if (peer->match < entries_last(&raft->log) || asked_lately) return;
    raft->transfer_asked_ms = raft->now_ms;
    ask_to_stand(raft, peer->id);
}

/* Nobody has to wait for a timeout when the leader goes because it was removed. */
void raft_leave_if_removed(struct raft *raft)
{
    bool out = !raft_is_voter(raft, raft->settings.self) && raft_placed_now(raft)->index <= raft->hard.commit;
    if (raft->role != RAFT_LEADER || !out || MUTANT(38)) return;
    const struct peer *heir = furthest(raft);
    if (heir) ask_to_stand(raft, heir->id);
    raft_become_follower(raft, raft->hard.term, 0);
}

void raft_receive_timeout_now(struct raft *raft, const struct raft_message *message)
{
    bool current = message->term == raft->hard.term && raft->leader == message->from &&
                   raft->role == RAFT_FOLLOWER && message->index == entries_last(&raft->log) &&
                   message->log_term == entries_last_term(&raft->log);
    if (MUTANT(37)) current = raft->role != RAFT_LEADER;
    if (current && raft_may_stand(raft)) raft_stand(raft, true);
}
