#include "tests/support/raft_net.h"

#include "base/check.h"
#include "base/memory.h"

struct net *net_new(size_t count, uint64_t seed)
{
    struct net *net = memory_new(sizeof *net);
    net->count = count;
    net->random = seed * 2 + 1;
    net->now_ms = 1000;
    for (uint64_t id = 1; id <= count; id++) net_start(net, id);
    return net;
}

void net_drop(struct net *net, size_t place)
{
    free(net->queue[place].entries);
    free(net->queue[place].values);
    net->queue[place] = net->queue[--net->queued];
}

void net_free(struct net *net)
{
    while (net->queued) net_drop(net, 0);
    for (uint64_t id = 1; id <= net->count; id++) net_crash(net, id);
    free(net);
}

uint64_t net_random(struct net *net, uint64_t below)
{
    net->random = net->random * 6364136223846793005u + 1442695040888963407u;
    return (net->random >> 33) % below;
}

static struct raft_entry entry_of(const struct net_entry *kept, uint64_t index)
{
    struct slice payload = kept->kind == RAFT_COMMAND ? slice_of(&kept->value, 8) : slice_of(NULL, 0);
    return (struct raft_entry){
        .index = index, .term = kept->term, .kind = kept->kind, .chain = kept->chain, .payload = payload};
}

void net_start(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_settings settings = {.self = id,
                                     .seed = net_random(net, 1u << 30) + id,
                                     .heartbeat_ms = 10,
                                     .election_ms = 50,
                                     .batch_bytes_max = 64,
                                     .inflight_max = 4};
    struct raft_entry *entries = memory_new((size_t)(node->last + 1) * sizeof *entries);
    for (uint64_t index = 1; index <= node->last; index++)
        entries[index - 1] = entry_of(&node->log[index], index);
    struct raft_restored restored = {
        .hard = node->hard,
        .entries = entries,
        .entry_count = (size_t)node->last,
    };
    restored.config.member_count = net->count;
    for (uint64_t i = 0; i < net->count; i++)
        restored.config.members[i] = (struct raft_member){.node = i + 1, .membership = RAFT_VOTER};
    node->applied = 0; /* no state is kept: the log is applied and compared again */
    node->raft = raft_new(&settings, &restored, net->now_ms);
    free(entries);
}

void net_crash(struct net *net, uint64_t id)
{
    if (net->nodes[id].raft) raft_free(net->nodes[id].raft);
    net->nodes[id].raft = NULL;
}

static void save(struct net *net, uint64_t id, const struct raft_output *output)
{
    struct net_node *node = &net->nodes[id];
    for (size_t i = 0; i < output->entry_count; i++) {
        const struct raft_entry *entry = &output->entries[i];
        CHECK(entry->index < NET_LOG_MAX && entry->index <= node->last + 1 &&
              (i || output->truncates || entry->index == node->last + 1));
        struct net_entry kept = {.term = entry->term, .kind = entry->kind, .chain = entry->chain};
        if (entry->kind == RAFT_COMMAND) memcpy(&kept.value, entry->payload.data, 8);
        node->log[entry->index] = kept;
        node->last = entry->index;
    }
    if (!output->save_hard) return;
    CHECK(output->hard.term >= node->hard.term);
    CHECK(output->hard.term > node->hard.term || node->hard.vote == 0 ||
          output->hard.vote == node->hard.vote);
    node->hard = output->hard;
}

/* No message may say what is not on the disk. */
static void check_said(struct net *net, uint64_t id, const struct raft_message *message)
{
    const struct net_node *node = &net->nodes[id];
    if (message->kind == RAFT_APPEND_REPLY && !message->reject) CHECK(message->index <= node->last);
    if (message->kind == RAFT_VOTE_REPLY && !message->reject) {
        CHECK(node->hard.term == message->term && node->hard.vote == message->to);
        uint64_t *vote = &net->vote_of[id][message->term % NET_TERMS_MAX];
        CHECK(*vote == 0 || *vote == message->to); /* never two votes in one term, over all crashes */
        *vote = message->to;
    }
    if (message->kind == RAFT_VOTE) CHECK(node->hard.term == message->term && node->hard.vote == id);
    if (message->kind == RAFT_APPEND) {
        CHECK(node->hard.term == message->term);
        uint64_t *leader = &net->leader_of[message->term % NET_TERMS_MAX];
        CHECK(*leader == 0 || *leader == id); /* one leader a term */
        *leader = id;
    }
}

static void enqueue(struct net *net, const struct raft_message *message)
{
    if (net->queued == NET_MESSAGES_MAX) net_drop(net, 0);
    struct net_message *kept = &net->queue[net->queued++];
    kept->message = *message;
    kept->entries = memory_new(message->entry_count * sizeof *kept->entries);
    kept->values = memory_new(message->entry_count * sizeof *kept->values);
    for (size_t i = 0; i < message->entry_count; i++) {
        kept->entries[i] = message->entries[i];
        if (!kept->entries[i].payload.size) continue;
        memcpy(&kept->values[i], message->entries[i].payload.data, 8);
        kept->entries[i].payload = slice_of(&kept->values[i], 8);
    }
    kept->message.entries = kept->entries;
}

void net_duplicate(struct net *net, size_t place)
{
    struct raft_message message = net->queue[place].message;
    if (net->queued < NET_MESSAGES_MAX) enqueue(net, &message);
}

static void say(struct net *net, uint64_t id, const struct raft_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (messages[i].kind != RAFT_PRE_VOTE && messages[i].kind != RAFT_PRE_VOTE_REPLY)
            check_said(net, id, &messages[i]);
        enqueue(net, &messages[i]);
    }
}

static void apply(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    uint64_t committed = raft_committed(node->raft);
    CHECK(committed <= node->last);
    for (; node->applied < committed; node->applied++) {
        const struct net_entry *mine = &node->log[node->applied + 1];
        if (node->applied == net->committed_last) net->committed[++net->committed_last] = *mine;
        const struct net_entry *all = &net->committed[node->applied + 1];
        CHECK(mine->term == all->term && mine->value == all->value &&
              mine->chain == all->chain); /* never lost or changed */
        CHECK(raft_entry_at(node->raft, node->applied + 1));
    }
    raft_applied(node->raft, node->applied, NET_LOG_MAX); /* followers far behind are snapshots' business */
}

void net_turn(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_output output;
    if (!node->raft) return;
    raft_output(node->raft, &output);
    say(net, id, output.now, output.now_count);
    save(net, id, &output);
    raft_saved(node->raft);
    say(net, id, output.after, output.after_count);
    apply(net, id);
    raft_check(node->raft);
}

void net_output_then_crash(struct net *net, uint64_t id)
{
    struct raft_output output;
    if (!net->nodes[id].raft) return;
    raft_output(net->nodes[id].raft, &output);
    say(net, id, output.now, output.now_count);
    net_crash(net, id);
}

void net_deliver(struct net *net, size_t place)
{
    struct raft_message *message = &net->queue[place].message;
    uint64_t to = message->to;
    struct raft *raft = net->nodes[to].raft;
    bool arrives = raft && !net->cut[message->from][to];
    if (arrives) raft_receive(raft, message, net->now_ms);
    net_drop(net, place);
    if (arrives) net_turn(net, to);
}

void net_deliver_all(struct net *net)
{
    for (size_t limit = 0; net->queued; limit++) {
        CHECK(limit < 1000000);
        net_deliver(net, 0);
    }
}

void net_pass(struct net *net, uint64_t ms)
{
    for (uint64_t end = net->now_ms + ms; net->now_ms < end;) {
        net->now_ms += 10;
        for (uint64_t id = 1; id <= net->count; id++) {
            if (!net->nodes[id].raft) continue;
            raft_tick(net->nodes[id].raft, net->now_ms);
            net_turn(net, id);
        }
        net_deliver_all(net);
    }
}

struct raft_status net_status(const struct net *net, uint64_t id)
{
    return raft_status(net->nodes[id].raft);
}

uint64_t net_leader(const struct net *net)
{
    uint64_t leader = 0, term = 0;
    for (uint64_t id = 1; id <= net->count; id++) {
        if (!net->nodes[id].raft) continue;
        struct raft_status status = net_status(net, id);
        if (status.role == RAFT_LEADER && status.term > term) {
            leader = id;
            term = status.term;
        }
    }
    return leader;
}

uint64_t net_propose(struct net *net, uint64_t id, uint64_t value)
{
    return raft_propose(net->nodes[id].raft, RAFT_COMMAND, slice_of(&value, 8));
}
