/* A few Raft cores on a network and disks of arrays, for tests: everything scripted or drawn from one seed.
 *
 * A disk keeps what an output said to save once the node is told to save it; a crash forgets what was not.
 * Messages of output.after are queued only after the save. After every step each core is checked, and what is
 * committed is compared with what any node ever had committed. */
#ifndef COORDD_TESTS_RAFT_NET_H
#define COORDD_TESTS_RAFT_NET_H

#include "raft/raft.h"

enum { NET_NODES_MAX = 7, NET_LOG_MAX = 4096, NET_MESSAGES_MAX = 4096, NET_TERMS_MAX = 4096 };

struct net_entry {
    uint64_t term;
    enum raft_entry_kind kind;
    uint32_t chain;
    uint64_t value; /* the payload of a command */
};

struct net_node {
    struct raft *raft; /* NULL: down */
    struct raft_hard hard;
    struct net_entry log[NET_LOG_MAX]; /* on disk, [index] */
    uint64_t last, applied;
};

struct net_message {
    struct raft_message message;
    struct raft_entry *entries; /* owned */
    uint64_t *values;
};

struct net {
    size_t count;
    uint64_t now_ms, random;
    struct net_node nodes[NET_NODES_MAX + 1];       /* by id, from 1 */
    bool cut[NET_NODES_MAX + 1][NET_NODES_MAX + 1]; /* from, to */
    struct net_message queue[NET_MESSAGES_MAX];
    size_t queued;
    struct net_entry committed[NET_LOG_MAX]; /* what any node ever had committed */
    uint64_t committed_last;
    uint64_t leader_of[NET_TERMS_MAX], vote_of[NET_NODES_MAX + 1][NET_TERMS_MAX];
};

struct net *net_new(size_t count, uint64_t seed);
void net_free(struct net *net);
uint64_t net_random(struct net *net, uint64_t below);

void net_start(struct net *net, uint64_t id); /* from its disk */
void net_crash(struct net *net, uint64_t id);
/* Takes the node's output, saves it (or crashes before the save), queues its messages, applies. */
void net_turn(struct net *net, uint64_t id);
void net_output_then_crash(struct net *net, uint64_t id);
/* Delivers the queued message at `place` (and takes the node's turn), or throws it away. */
void net_deliver(struct net *net, size_t place);
void net_drop(struct net *net, size_t place);
void net_duplicate(struct net *net, size_t place);
void net_deliver_all(struct net *net); /* until nothing is queued; messages over cut links are dropped */
void net_pass(struct net *net, uint64_t ms); /* time, in steps of 10 ms, everything delivered */
uint64_t net_leader(const struct net *net);  /* of the highest term; 0: none */
uint64_t net_propose(struct net *net, uint64_t id, uint64_t value); /* index; the turn is not taken */
struct raft_status net_status(const struct net *net, uint64_t id);

#endif
