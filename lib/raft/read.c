/* Read rounds (thesis 6.4): a quorum that answers a heartbeat sent after the round was opened had no later
 * leader by then. */
#include "raft/internal.h"

#include "base/check.h"

uint64_t raft_read(struct raft *raft)
{
    CHECK(!raft->saving);
    if (raft->role != RAFT_LEADER) return 0;
    if (!raft->round_open && !(MUTANT(3) && raft->round)) raft->round++;
    raft->round_open = true;
    return raft->round;
}

static uint64_t round_of(const struct peer *peer)
{
    return peer->round;
}

void raft_confirm_rounds(struct raft *raft)
{
    uint64_t reached = raft_quorum_reached(raft, raft->round_sent, round_of);
    if (reached > raft->round_confirmed) raft->round_confirmed = reached;
}

void raft_forget_rounds(struct raft *raft)
{
    raft->round_confirmed = 0;
    raft->round_sent = 0;
    raft->round_open = false;
    for (size_t i = 0; i < raft->peer_count; i++) raft->peers[i].round = 0;
}

uint64_t raft_round_confirmed(const struct raft *raft)
{
    return raft->role == RAFT_LEADER ? raft->round_confirmed : 0;
}
