/* What a leader (or candidate) knows of one other voter.
 *
 * PROBE: where the logs agree is not known yet; one append at a time. REPLICATE: appends are pipelined, up to
 * inflight_max unanswered. Invariant: match < next. match never falls within a term. */
#ifndef COORDD_RAFT_PROGRESS_H
#define COORDD_RAFT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PEER_INFLIGHT_MAX = 256 };

enum peer_state { PEER_PROBE, PEER_REPLICATE };

struct peer {
    uint64_t id;
    bool votes;
    uint64_t leaves_at_ms; /* 0: a member; else a former one that is told so until then */
    /* candidate */
    bool granted;
    /* leader */
    enum peer_state state;
    uint64_t match, next;
    bool probing;         /* PROBE: an append is under way */
    bool active;          /* answered since the last look at the quorum */
    bool supplied;        /* entries from the disk are on their way to it in this turn */
    uint64_t heard_ms;    /* its last answer in this term, 0: none */
    uint64_t commit_told; /* the commit index in the last append to it */
    uint64_t round;
    uint64_t inflight[PEER_INFLIGHT_MAX]; /* last index of each unanswered append, rising; a ring */
    size_t inflight_first, inflight_count;
};

void peer_begin(struct peer *peer, uint64_t next); /* a new leader's view */
void peer_sent(struct peer *peer, uint64_t last);
void peer_matched(struct peer *peer, uint64_t index);
void peer_probe(struct peer *peer, uint64_t next);

#endif
