/* Raft cores on a network and disks of arrays, for tests: everything scripted or drawn from one seed.
 *
 * A disk keeps what an output said to save once the node is told to save it; a crash forgets what was not.
 * Messages of output.after are queued only after the save. The state machine is a digest over the commands;
 * it survives a crash as it was at its last sync. After every turn the promises are checked
 * (raft_net_check.c); one that is broken ends the process. */
#ifndef COORDD_TESTS_RAFT_NET_H
#define COORDD_TESTS_RAFT_NET_H

#include "base/arena.h"
#include "raft/raft.h"

enum {
    NET_NODES_MAX = 9,
    NET_LOG_MAX = 4096,
    NET_MESSAGES_MAX = 1024,
    NET_TERMS_MAX = 4096,
    NET_READS_MAX = 16,
    NET_HEARTBEAT_MS = 10,
    NET_ELECTION_MS = 50
};

struct net_entry {
    uint64_t term;
    enum raft_entry_kind kind;
    uint32_t chain;
    uint64_t value;       /* the payload of a command */
    struct slice payload; /* of a configuration, in net->arena */
};

struct net_read {
    uint64_t round, term, index /* the leader's commit index when it began */, required;
};

struct net_node {
    struct raft *raft; /* NULL: down */
    /* on disk */
    struct raft_hard hard;
    struct raft_base base;
    struct net_entry log[NET_LOG_MAX]; /* [index], base.index < index <= last */
    uint64_t last;
    uint64_t synced, synced_digest; /* the state as a crash leaves it */
    /* in memory */
    uint64_t applied, digest, commit_seen;
    struct net_read reads[NET_READS_MAX];
    size_t read_count;
};

struct net_message {
    enum { NET_RAFT, NET_SNAPSHOT, NET_HAS } kind;
    uint64_t from, to;
    struct raft_message raft;
    struct raft_entry *entries;   /* owned */
    uint64_t *values;             /* owned */
    uint64_t term, index, digest; /* snapshot: the leader's term, the state; has: the same, back */
    struct raft_base *base;       /* owned */
};

struct net {
    size_t count, founders; /* nodes 1 .. founders are voters at first; the rest waits to be added */
    uint64_t now_ms, random, keep /* payloads kept in memory */, slow /* a node without ticks; 0: none */;
    size_t batch_bytes_max;
    struct net_node nodes[NET_NODES_MAX + 1];       /* by id, from 1 */
    bool cut[NET_NODES_MAX + 1][NET_NODES_MAX + 1]; /* from, to */
    struct net_message *queue[NET_MESSAGES_MAX];    /* oldest first */
    size_t queued;
    struct arena arena;
    uint64_t sent[RAFT_TIMEOUT_NOW + 1]; /* messages by kind */

    /* what any node ever had committed */
    uint64_t committed_last, committed_terms[NET_LOG_MAX], committed_in[NET_LOG_MAX];
    uint32_t committed_chains[NET_LOG_MAX];
    uint64_t applied_last, digests[NET_LOG_MAX];
    uint64_t leader_of[NET_TERMS_MAX], vote_of[NET_NODES_MAX + 1][NET_TERMS_MAX];
    uint64_t snapshots, changes, transfers, reads; /* done */
};

struct net *net_new(size_t founders, uint64_t seed);
void net_free(struct net *net);
uint64_t net_random(struct net *net, uint64_t below);
uint64_t net_add(struct net *net); /* a node that waits to be added, started; its id */

void net_start(struct net *net, uint64_t id); /* from its disk */
void net_crash(struct net *net, uint64_t id);
/* Takes the node's output, saves it, queues its messages, applies, checks. */
void net_turn(struct net *net, uint64_t id);
/* Crashes before the save, or (saved) after it and before anything else was said. */
void net_output_then_crash(struct net *net, uint64_t id, bool saved);
/* Delivers the queued message at `place` (and takes the node's turn, or not yet), or throws it away. */
void net_deliver(struct net *net, size_t place);
void net_give(struct net *net, size_t place);
void net_drop(struct net *net, size_t place);
void net_duplicate(struct net *net, size_t place);
void net_deliver_all(struct net *net); /* until nothing is queued; messages over cut links are dropped */
void net_pass(struct net *net, uint64_t ms); /* time, in steps of 10 ms, everything delivered */
void net_isolate(struct net *net, uint64_t id, bool cut);

/* A leader's duties: snapshots to those who need one, learners that have caught up become voters. */
void net_tend(struct net *net, uint64_t id);
void net_sync(struct net *net, uint64_t id);                 /* the state as it is now survives a crash */
void net_trim(struct net *net, uint64_t id, uint64_t index); /* the log begins after it; index <= synced */

uint64_t net_leader(const struct net *net);                         /* of the highest term; 0: none */
uint64_t net_propose(struct net *net, uint64_t id, uint64_t value); /* index; the turn is not taken */
uint64_t net_read(struct net *net, uint64_t id);                    /* the round; its end is checked */
/* At node `id`: `node` gets this membership, 0 removes it. */
enum raft_refusal net_change(struct net *net, uint64_t id, uint64_t node, int membership);
enum raft_membership net_membership(const struct net *net, uint64_t id, uint64_t node); /* 0: no member */
struct raft_status net_status(const struct net *net, uint64_t id);

/* For scripts: an entry on the disk of a node that is down. */
void net_put(struct net *net, uint64_t id, uint64_t index, uint64_t term, uint64_t value);

/* raft_net_check.c */
void net_check_saved(const struct net *net, uint64_t id, const struct raft_entry *entry);
void net_check_said(struct net *net, uint64_t id, const struct raft_message *message);
void net_check_applied(struct net *net, uint64_t id, const struct raft_entry *entry);
void net_check(struct net *net, uint64_t id);

#endif
