/* What the files of the core share: raft.c (the turn), election.c, replicate.c, read.c, config.c. */
#ifndef COORDD_RAFT_INTERNAL_H
#define COORDD_RAFT_INTERNAL_H

#include "base/mutant.h"
#include "raft/entries.h"
#include "raft/progress.h"

struct placed_config {
    uint64_t index; /* of its entry; base or 0: the one the log began with */
    struct raft_config config;
};

struct raft {
    struct raft_settings settings;
    uint64_t random, now_ms;
    enum raft_role role;
    uint64_t leader; /* node id, 0: unknown */
    struct raft_hard hard;
    struct entries log;
    struct strip configs; /* of struct placed_config, by rising index; the last one is in force */
    uint64_t durable;     /* highest index known to be on this disk */
    uint64_t written;     /* highest index ever handed out to be saved and not cut since */
    uint64_t unsaved;     /* first index to save; last + 1: none */
    bool hard_dirty;      /* term or vote changed since the last output */

    uint64_t election_at_ms;  /* not leader: when to campaign */
    uint64_t heard_at_ms;     /* from the current leader; 0: never */
    uint64_t heartbeat_at_ms; /* leader */
    uint64_t quorum_at_ms;    /* leader: when to look whether a quorum still answers */
    uint64_t noop;            /* leader: the index of its own term's first entry */
    uint64_t transfer_to, transfer_until_ms, transfer_asked_ms; /* leader: handing over; 0: it is not */

    struct peer peers[RAFT_MEMBERS_MAX]; /* the members but self; of a leader also some former ones */
    size_t peer_count;

    uint64_t round, round_sent,
        round_confirmed; /* newest opened; newest in heartbeats; see raft_round_confirmed */
    bool round_open;     /* opened, and not yet in a heartbeat */

    struct strip queued_now, queued_after; /* of struct raft_message */
    struct strip output_now, output_after; /* handed out */
    bool saving;                           /* an output is out: raft_saved is owed */
};

/* election.c */
void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader);
void raft_campaign(struct raft *raft);
void raft_stand(struct raft *raft, bool transfer); /* at once, without a pre-vote */
void raft_reset_election(struct raft *raft);
void raft_receive_vote(struct raft *raft, const struct raft_message *message);
void raft_receive_vote_reply(struct raft *raft, const struct raft_message *message);
bool raft_heard_lately(const struct raft *raft);

/* replicate.c */
void raft_lead(struct raft *raft);
uint64_t raft_append_own(struct raft *raft, enum raft_entry_kind kind, struct slice payload);
void raft_receive_append(struct raft *raft, const struct raft_message *message);
void raft_receive_append_reply(struct raft *raft, const struct raft_message *message);
bool raft_may_send(const struct raft *raft); /* a leader, and its term is saved */
void raft_send_appends(struct raft *raft);
void raft_advance_commit(struct raft *raft);

uint64_t raft_quorum_heard_ms(const struct raft *raft);

/* transfer.c */
void raft_leave_if_removed(struct raft *raft); /* a leader whose removal is committed */
void raft_tend_transfer(struct raft *raft); /* sends TIMEOUT_NOW once the target has all; gives up in time */
void raft_receive_timeout_now(struct raft *raft, const struct raft_message *message);

/* read.c */
void raft_confirm_rounds(struct raft *raft);
void raft_forget_rounds(struct raft *raft);

/* config.c */
const struct placed_config *raft_placed_now(const struct raft *raft);
const struct raft_config *raft_config_now(const struct raft *raft);
bool raft_is_voter(const struct raft *raft, uint64_t node);
bool raft_may_stand(const struct raft *raft);
size_t raft_quorum(const struct raft *raft);
void raft_config_push(struct raft *raft, uint64_t index, struct slice payload);
void raft_config_undo(struct raft *raft, uint64_t from);
void raft_config_trim(struct raft *raft, uint64_t index);
void raft_follow_config(struct raft *raft); /* peers become the members of the configuration in force */
struct peer *raft_peer(struct raft *raft, uint64_t node);
const struct peer *raft_peer_of(const struct raft *raft, uint64_t node);
bool raft_hears(const struct raft *raft, const struct peer *peer); /* false for NULL; only for a leader */
/* The largest number that a quorum has reached, of each peer's and the own one. */
uint64_t raft_quorum_reached(const struct raft *raft, uint64_t own, uint64_t (*of)(const struct peer *peer));

/* raft.c */
void raft_send_now(struct raft *raft, struct raft_message message);
void raft_send_after(struct raft *raft, struct raft_message message);
uint64_t raft_random(struct raft *raft);

#endif
