/* The promises of Raft, checked as seen from outside:
 * 1. a vote or an acknowledgement is said only when it is on the disk; one vote, one leader a term;
 * 2. logs match: equal index and term, equal everything up to there (the chain);
 * 3. what any node had committed stays, and every later leader has it;
 * 4. all apply the same in the same order;
 * 5. a leader thinks of a peer only what the peer has;
 * 6. a read sees all that had been committed anywhere when it began. */
#include "tests/support/raft_net.h"

#include "base/check.h"

void net_check_saved(const struct net *net, uint64_t id, const struct raft_entry *entry)
{
    for (uint64_t other = 1; other <= net->count; other++) {
        const struct net_node *node = &net->nodes[other];
        bool has = other != id && entry->index > node->base.index && entry->index <= node->last;
        if (has && node->log[entry->index].term == entry->term)
            CHECK(node->log[entry->index].chain == entry->chain);
    }
}

void net_check_said(struct net *net, uint64_t id, const struct raft_message *message)
{
    const struct net_node *node = &net->nodes[id];
    uint64_t *vote = &net->vote_of[id][message->term % NET_TERMS_MAX];
    uint64_t *leader = &net->leader_of[message->term % NET_TERMS_MAX];
    switch (message->kind) {
    case RAFT_PRE_VOTE:
    case RAFT_PRE_VOTE_REPLY:
        return;
    case RAFT_VOTE:
        CHECK(node->hard.vote == id && (*vote == 0 || *vote == id));
        *vote = id;
        break;
    case RAFT_VOTE_REPLY:
        if (message->reject) break;
        CHECK(node->hard.vote == message->to && (*vote == 0 || *vote == message->to));
        *vote = message->to;
        break;
    case RAFT_APPEND:
        CHECK(*leader == 0 || *leader == id);
        *leader = id;
        break;
    case RAFT_APPEND_REPLY:
        CHECK(message->reject || message->index <= node->last);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    }
    CHECK(node->hard.term == message->term);
}

void net_check_applied(struct net *net, uint64_t id, const struct raft_entry *entry)
{
    struct net_node *node = &net->nodes[id];
    CHECK(entry && entry->index == node->applied + 1 && entry->index <= net->committed_last);
    CHECK(entry->term == net->committed_terms[entry->index] &&
          entry->chain == net->committed_chains[entry->index]);
    uint64_t value = 0;
    if (entry->kind == RAFT_COMMAND) memcpy(&value, entry->payload.data, 8);
    node->digest = node->digest * 31 + value;
    node->applied++;
    if (node->applied > net->applied_last) net->digests[++net->applied_last] = node->digest;
    CHECK(node->digest == net->digests[node->applied]);
}

static void check_commit(struct net *net, struct net_node *node, const struct raft_status *status)
{
    uint64_t term, commit = status->commit;
    uint32_t chain;
    CHECK(commit >= node->commit_seen && raft_committed(node->raft) <= node->last);
    node->commit_seen = commit;
    for (uint64_t index = net->committed_last + 1; index <= commit; index++) {
        CHECK(index < NET_LOG_MAX && raft_place(node->raft, index, &term, &chain));
        net->committed_terms[index] = term;
        net->committed_chains[index] = chain;
        uint64_t before = net->committed_in[index - 1];
        net->committed_in[index] = status->term > before ? status->term : before;
        net->committed_last = index;
    }
    if (commit && raft_place(node->raft, commit, &term, &chain))
        CHECK(term == net->committed_terms[commit] && chain == net->committed_chains[commit]);
}

/* Complete with regard to what was committed in terms before its own. */
static void check_leader_log(const struct net *net, const struct net_node *node,
                             const struct raft_status *status)
{
    uint64_t term, index = net->committed_last;
    uint32_t chain;
    while (index && net->committed_in[index] >= status->term) index--;
    CHECK(index <= status->last_index);
    if (index && raft_place(node->raft, index, &term, &chain)) CHECK(chain == net->committed_chains[index]);
}

static void check_peers(const struct net *net, const struct net_node *node, const struct raft_status *status)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    size_t count = raft_peers(node->raft, peers);
    for (size_t i = 0; i < count; i++) {
        const struct net_node *peer = &net->nodes[peers[i].node];
        uint64_t term, match = peers[i].match;
        uint32_t chain;
        if (peer->hard.term != status->term) continue;
        CHECK(match <= peer->last);
        if (match > peer->base.index && raft_place(node->raft, match, &term, &chain))
            CHECK(peer->log[match].chain == chain);
    }
}

static void check_reads(struct net *net, struct net_node *node, const struct raft_status *status)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->read_count; i++) {
        struct net_read *read = &node->reads[i];
        bool over = status->role != RAFT_LEADER || status->term != read->term;
        bool confirmed = !over && raft_round_confirmed(node->raft) >= read->round;
        CHECK(!confirmed || read->index >= read->required);
        net->reads += confirmed;
        if (!over && !confirmed) node->reads[kept++] = *read;
    }
    node->read_count = kept;
}

void net_check(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_status status = raft_status(node->raft);
    raft_check(node->raft);
    check_commit(net, node, &status);
    check_reads(net, node, &status);
    if (status.role != RAFT_LEADER) return;
    check_leader_log(net, node, &status);
    check_peers(net, node, &status);
}
