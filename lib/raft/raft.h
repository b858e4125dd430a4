/* The Raft consensus core: elections, log, replication, commitment, read rounds. Pure: no clock, no I/O, no
 * randomness but the seed it is given; the same calls give the same outputs on every machine.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014); PreVote 9.6, CheckQuorum and
 * stickiness 6.2 and 4.2.3, leader sends before its own disk 10.2.1, ReadIndex 6.4.
 * shared/facts/raft-checklist.md is its list of duties.
 *
 * A turn is: feed inputs (tick, receive, propose, read), take ONE output, send output.now, save what it says
 * to save durably, call raft_saved, send output.after, apply entries up to raft_committed. Nothing in
 * output.after may leave before the save is durable (persisted before said).
 *
 * Ownership: the core copies every payload it is given. What it hands out (entries, messages) stays valid
 * until the next call that takes a non-const struct raft. */
#ifndef COORDD_RAFT_RAFT_H
#define COORDD_RAFT_RAFT_H

#include "base/slice.h"

enum {
    RAFT_VOTERS_MAX = 7,
    RAFT_MEMBERS_MAX = 9,
    RAFT_NAME_SIZE = 64,     /* of a member's name, with its zero */
    RAFT_ADDRESS_SIZE = 124, /* of HOST:PORT, with its zero */
    RAFT_PAYLOAD_MAX = 4 * 1024 * 1024
};

enum raft_entry_kind { RAFT_COMMAND = 1, RAFT_NOOP = 2, RAFT_CONFIG = 3 };

struct raft_entry {
    uint64_t index, term; /* both from 1 */
    enum raft_entry_kind kind;
    uint32_t chain; /* see raft_chain */
    struct slice payload;
};

/* The chain value of an entry: a CRC-32C over its predecessor's chain, its index, term, kind and payload.
 * Equal chains mean equal logs up to there; compared in every AppendEntries and at every start. */
uint32_t raft_chain(uint32_t previous, const struct raft_entry *entry);

/* What must be durable besides the entries. `commit` is a hint: what was known committed when it was written.
 */
struct raft_hard {
    uint64_t term, vote /* node id, 0: none */, commit;
};

/* What a member may do. Numbers are in the log: for ever. */
enum raft_membership {
    RAFT_VOTER = 1,
    RAFT_LEARNER = 2, /* receives the log; is to become a voter once it has caught up */
    RAFT_OBSERVER = 3 /* receives the log and stays so */
};

struct raft_member {
    uint64_t node; /* a random non-zero number, never reused */
    enum raft_membership membership;
    char name[RAFT_NAME_SIZE];       /* for people; the core does not look at it */
    char address[RAFT_ADDRESS_SIZE]; /* HOST:PORT of its peer port; the core does not look at it */
};

/* The cluster. The payload of a RAFT_CONFIG entry is this, encoded by raft_config_encode; a configuration is
 * in force from the moment its entry is appended. A node that waits to be added has no members in its first
 * one: it never stands for election. Unused members and the bytes behind names are zero. */
struct raft_config {
    struct raft_member members[RAFT_MEMBERS_MAX];
    size_t member_count;
};

struct buffer;
void raft_config_encode(const struct raft_config *config, struct buffer *out);
/* False for what raft_config_encode does not make: no members, a node twice, too many voters, a text without
 * its zero. */
bool raft_config_decode(struct slice payload, struct raft_config *config);
const struct raft_member *raft_config_member(const struct raft_config *config, uint64_t node); /* or NULL */

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

enum raft_message_kind {
    RAFT_PRE_VOTE = 1, /* "would you vote for me in `term`?": changes nothing durable */
    RAFT_PRE_VOTE_REPLY,
    RAFT_VOTE,
    RAFT_VOTE_REPLY,
    RAFT_APPEND, /* entries, and the heartbeat when there are none */
    RAFT_APPEND_REPLY,
    RAFT_TIMEOUT_NOW /* leadership transfer: "stand at once, if your log ends at (index, log_term)" */
};

struct raft_message {
    enum raft_message_kind kind;
    uint64_t from, to, term;
    uint64_t
        index; /* votes: last log index; append: index before entries[0]; reply: last matching, or the hint */
    uint64_t log_term; /* the term of the entry at `index` */
    uint32_t chain;    /* append: chain of the entry at `index`, 0 when compacted away */
    uint64_t commit;   /* append: the leader's commit index */
    uint64_t round;    /* append: newest read round; reply: the round answered. 0: none */
    bool reject;       /* replies: refused */
    bool transfer;     /* votes: the leader asked for this election, so stickiness does not apply */
    const struct raft_entry *entries;
    size_t entry_count;
};

struct raft_settings {
    uint64_t self;
    uint64_t seed;         /* for election jitter */
    uint64_t heartbeat_ms; /* >= 1 */
    uint64_t
        election_ms; /* >= 5 * heartbeat_ms; an election starts after [election_ms + 1, 2 * election_ms) */
    size_t batch_bytes_max; /* payload bytes in one append message */
    size_t inflight_max;    /* unanswered append messages with entries, per peer */
};

/* What a node finds on its disk. `base` is the entry just before the first one kept (index 0, term 0, chain 0
 * at the very start). */
struct raft_restored {
    struct raft_hard hard;
    struct raft_config config; /* in force at base */
    uint64_t base_index, base_term;
    uint32_t base_chain;
    const struct raft_entry *entries; /* contiguous from base_index + 1; payloads may be absent up to applied,
                                         but for RAFT_CONFIG */
    size_t entry_count;
    uint64_t applied; /* the state machine has these already; base_index <= applied <= last */
};

struct raft;

/* Starts as a follower. Aborts on a restored state that cannot be (term below an entry's term, commit beyond
 * the last entry, a gap): the caller has checked its disk before. */
struct raft *raft_new(const struct raft_settings *settings, const struct raft_restored *restored,
                      uint64_t now_ms);
void raft_free(struct raft *raft);

/* Time passes. now_ms never goes back. Call when raft_next_ms is reached, or at any time. */
void raft_tick(struct raft *raft, uint64_t now_ms);
uint64_t raft_next_ms(const struct raft *raft);

void raft_receive(struct raft *raft, const struct raft_message *message, uint64_t now_ms);

/* Appends to the leader's log. Returns the entry's index, or 0 when this node is not leader. */
uint64_t raft_propose(struct raft *raft, enum raft_entry_kind kind, struct slice payload);

/* --- membership: one member at a time (thesis 4.1), behind the own term's no-op --- */

enum raft_refusal {
    RAFT_ACCEPTED,
    RAFT_NOT_LEADER,
    RAFT_NOT_READY,      /* no entry of the own term is committed yet */
    RAFT_CHANGE_PENDING, /* another change is not committed yet */
    RAFT_SENSELESS,      /* no change, more than one member differs, too many, no voter left, an id that comes
                            as a voter (a member begins as learner or observer) */
    RAFT_BEHIND,         /* a learner that has not caught up cannot vote */
    RAFT_NO_QUORUM,      /* of the voters it would have, too few answer now */
    RAFT_TRANSFERRING    /* leadership is being handed over */
};
/* Appends a configuration that differs from the one in force by one member: added (as learner or observer),
 * promoted, demoted to observer, removed, or with another name or address. Returns the entry's index, or 0
 * with the reason in *why. A leader that removes (or demotes) itself steps down once that is committed, and
 * asks the member that is furthest to stand. Who is removed gets the log for two election timeouts more, so
 * that it hears of it; messages go to it although it is no member. */
uint64_t raft_change(struct raft *raft, const struct raft_config *next, enum raft_refusal *why);
const struct raft_config *raft_config_in_force(const struct raft *raft);
/* The configuration in force at index (base <= index <= last). */
const struct raft_config *raft_config_at(const struct raft *raft, uint64_t index);
/* A RAFT_LEARNER whose promotion raft_change would accept now; 0: none. */
uint64_t raft_learner_ready(const struct raft *raft);

/* --- leadership transfer (thesis 3.10) --- */

/* Hands leadership to a voter, the one that is furthest when `to` is 0. Until it ends raft_propose and
 * raft_change refuse. It ends with the loss of leadership, or after election_ms without: then this node leads
 * on. */
enum raft_refusal raft_transfer(struct raft *raft, uint64_t to);
bool raft_transferring(const struct raft *raft);

/* --- peers that need what is not in memory --- */

/* A peer that needs entries whose payloads were dropped but which the log on disk still has: true with the
 * first one wanted. The caller reads some from there (as many as settings.batch_bytes_max takes, at least
 * one) and hands them in by raft_supply; they must stay as they are until the output has been sent. Ask again
 * until it is false, before raft_output. */
bool raft_wants_entries(struct raft *raft, uint64_t *node, uint64_t *first);
void raft_supply(struct raft *raft, uint64_t node, const struct raft_entry *entries, size_t count);

/* A peer whose next entry is before base + 1 needs a snapshot: its state is PEER_NEEDS_SNAPSHOT. The caller
 * brings it one by its own ways and reports here what the peer then has (index: last entry in the snapshot;
 * `term`: the term in which the peer said so). */
void raft_snapshot_done(struct raft *raft, uint64_t node, uint64_t term, uint64_t index);

/* A snapshot has been made this node's state: the log begins anew behind it, on disk (durable already) and
 * here. Only for index > raft_committed; the caller has checked that raft_has(index, term) is false. */
struct raft_base {
    uint64_t index, term;
    uint32_t chain;
    struct raft_config config; /* in force at index */
};
void raft_install(struct raft *raft, const struct raft_base *base);
/* The log has the entry (index, term) durably, or it is before the base: no snapshot up to there is needed.
 * When it has it, it is known to be committed from now on. */
bool raft_has(struct raft *raft, uint64_t index, uint64_t term);
/* Term and chain of an entry, for base <= index <= last. False outside. */
bool raft_place(const struct raft *raft, uint64_t index, uint64_t *term, uint32_t *chain);

/* Opens (or joins the not yet sent) read round: confirmed once a quorum has answered a heartbeat sent after
 * this call. Round numbers are never reused and rise over all terms of this process. Returns 0 when not
 * leader. */
uint64_t raft_read(struct raft *raft);
/* Every round up to this one is confirmed in the current term; 0 after leadership changed. A read of round r
 * may be answered once raft_round_confirmed >= r, still in the same term, and the state has applied what
 * raft_status told as commit when it was opened, by a leader that was ready then. */
uint64_t raft_round_confirmed(const struct raft *raft);

struct raft_output {
    bool save_hard; /* write `hard` */
    struct raft_hard hard;
    /* Write these entries, contiguous, replacing anything already written at or after entries[0].index. */
    const struct raft_entry *entries;
    size_t entry_count;
    bool truncates;                 /* entries[0].index is not beyond what was written before */
    const struct raft_message *now; /* may leave before the save */
    size_t now_count;
    const struct raft_message *after; /* must not leave before the save is durable */
    size_t after_count;
};

/* What this turn must save and send. Taking it once settles it: the caller now owes raft_saved. */
void raft_output(struct raft *raft, struct raft_output *output);
/* All that the last output said to save is durable. A leader counts itself only now. */
void raft_saved(struct raft *raft);

/* Entries up to here are committed, durable here, and may be applied. */
uint64_t raft_committed(const struct raft *raft);
/* The entry at index, or NULL when it is beyond the end or its payload was dropped. */
const struct raft_entry *raft_entry_at(const struct raft *raft, uint64_t index);
/* The state machine has applied up to index: payloads up to index - keep are dropped. A leader keeps what a
 * member that keeps up still lacks, as long as it all takes no more than inflight_max * batch_bytes_max. */
void raft_applied(struct raft *raft, uint64_t index, uint64_t keep);
/* The log on disk now begins after `index` (raftlog_trim): forget terms and chains before it. */
void raft_trimmed(struct raft *raft, uint64_t index);

struct raft_status {
    enum raft_role role;
    uint64_t term, leader /* 0: unknown */, commit, last_index, last_term;
    bool ready; /* leader, and an entry of its own term is committed: reads, renewals and expiry may start
                   once applied */
    uint64_t ready_index; /* that entry (the no-op of this term) */
    uint64_t heard_ms; /* leader: a quorum has answered since then; else: the leader was last heard then. 0:
                          never */
    uint64_t change_index; /* of the configuration in force; > commit: not committed */
};
struct raft_status raft_status(const struct raft *raft);

enum raft_peer_state { RAFT_PEER_PROBE, RAFT_PEER_REPLICATE, RAFT_PEER_NEEDS_SNAPSHOT };
struct raft_peer_status {
    uint64_t node, match, next;
    enum raft_membership membership;
    enum raft_peer_state state;
    uint64_t heard_ms; /* its last answer in this term; 0: none */
};
/* What a leader knows of the others, at most RAFT_MEMBERS_MAX; 0 when not leader. */
size_t raft_peers(const struct raft *raft, struct raft_peer_status *peers);

/* Aborts when an invariant of the core is broken. The simulator calls it after every step. */
void raft_check(const struct raft *raft);

#endif
