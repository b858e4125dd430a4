#include "raft/progress.h"

#include "base/check.h"
#include "base/mutant.h"

void peer_begin(struct peer *peer, uint64_t next)
{
    *peer = (struct peer){
        .id = peer->id, .votes = peer->votes, .state = PEER_PROBE, .next = next, .active = true};
}

void peer_probe(struct peer *peer, uint64_t next)
{
    peer->state = PEER_PROBE;
    peer->next = next > peer->match ? next : peer->match + 1;
    peer->probing = false;
    peer->inflight_count = 0;
}

void peer_sent(struct peer *peer, uint64_t last)
{
    if (peer->state == PEER_PROBE) {
        peer->probing = true;
        return;
    }
    CHECK(peer->inflight_count < PEER_INFLIGHT_MAX);
    peer->inflight[(peer->inflight_first + peer->inflight_count++) % PEER_INFLIGHT_MAX] = last;
    peer->next = last + 1;
}

void peer_matched(struct peer *peer, uint64_t index)
{
    peer->probing = false;
    if (index > peer->match || MUTANT(16)) peer->match = index;
    if (peer->next <= peer->match) peer->next = peer->match + 1;
    peer->state = PEER_REPLICATE;
    while (peer->inflight_count && peer->inflight[peer->inflight_first] <= index) {
        peer->inflight_first = (peer->inflight_first + 1) % PEER_INFLIGHT_MAX;
        peer->inflight_count--;
    }
}
