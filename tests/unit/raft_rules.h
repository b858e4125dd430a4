/* What the scripts of Raft's rules share. Numbers in their comments are those of
 * shared/facts/raft-checklist.md. */
#ifndef COORDD_TESTS_RAFT_RULES_H
#define COORDD_TESTS_RAFT_RULES_H

#include "tests/support/raft_net.h"
#include "tests/unit/cmocka_all.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A cluster that has a leader, not its first, everything settled. */
static inline struct net *elected(size_t founders, uint64_t seed)
{
    struct net *net = net_new(founders, seed);
    for (uint64_t id = 1; id <= founders; id++) {
        net_crash(net, id);
        net->nodes[id].hard.term = 6;
        net_start(net, id);
    }
    net_pass(net, 500);
    assert_true(net_leader(net) != 0);
    return net;
}

static inline void forget_messages(struct net *net)
{
    while (net->queued) net_drop(net, 0);
}

/* Node 1 gets one message and takes its turn; what is queued then is all that it says. */
static inline void give(struct net *net, struct raft_message message)
{
    forget_messages(net);
    raft_receive(net->nodes[1].raft, &message, net->now_ms);
    net_turn(net, 1);
}

/* The one thing that node 1 says to one message. */
static inline struct raft_message answer(struct net *net, struct raft_message message)
{
    give(net, message);
    assert_int_equal(net->queued, 1);
    struct raft_message reply = net->queue[0]->raft;
    net_drop(net, 0);
    return reply;
}

static inline void no_answer(struct net *net, struct raft_message message)
{
    give(net, message);
    assert_int_equal(net->queued, 0);
}

static inline struct raft_message vote(uint64_t from, uint64_t term, uint64_t index, uint64_t log_term)
{
    return (struct raft_message){
        .kind = RAFT_VOTE, .from = from, .to = 1, .term = term, .index = index, .log_term = log_term};
}

/* An append to node 1 behind the last entry on its disk, which is of log_term. */
static inline struct raft_message append(struct net *net, uint64_t from, uint64_t term,
                                         struct raft_entry *entries, size_t count)
{
    const struct net_node *node = &net->nodes[1];
    bool base = node->last == node->base.index;
    struct raft_message message = {.kind = RAFT_APPEND,
                                   .from = from,
                                   .to = 1,
                                   .term = term,
                                   .index = node->last,
                                   .log_term = base ? node->base.term : node->log[node->last].term,
                                   .chain = base ? node->base.chain : node->log[node->last].chain,
                                   .entries = entries,
                                   .entry_count = count};
    uint32_t chain = message.chain;
    for (size_t i = 0; i < count; i++) {
        entries[i].index = message.index + 1 + i;
        chain = entries[i].chain = raft_chain(chain, &entries[i]);
    }
    return message;
}

/* The number of messages of a kind that are queued for a node (0: for anyone). */
static inline size_t queued(const struct net *net, enum raft_message_kind kind, uint64_t to)
{
    size_t count = 0;
    for (size_t i = 0; i < net->queued; i++)
        count += net->queue[i]->kind == NET_RAFT && net->queue[i]->raft.kind == kind &&
                 (to == 0 || net->queue[i]->to == to);
    return count;
}

static inline struct raft_peer_status peer_status(const struct net *net, uint64_t leader, uint64_t node)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    size_t count = raft_peers(net->nodes[leader].raft, peers);
    for (size_t i = 0; i < count; i++)
        if (peers[i].node == node) return peers[i];
    fail_msg("node %llu is no peer", (unsigned long long)node);
    return peers[0];
}

/* The call ends the process. */
static inline void aborts(void (*call)(void *), void *argument)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        call(argument);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#endif
