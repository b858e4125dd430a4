#include "tests/support/raft_net.h"

#include "base/buffer.h"
#include "base/check.h"
#include "base/memory.h"

/* --- nodes and their disks --- */

struct net *net_new(size_t founders, uint64_t seed)
{
    struct net *net = memory_new(sizeof *net);
    net->count = net->founders = founders;
    net->random = seed * 2 + 1;
    net->now_ms = 1000;
    net->keep = NET_LOG_MAX;
    net->batch_bytes_max = 64;
    for (uint64_t id = 1; id <= founders; id++) {
        struct raft_config *config = &net->nodes[id].base.config;
        config->member_count = founders;
        for (uint64_t i = 0; i < founders; i++)
            config->members[i] = (struct raft_member){.node = i + 1, .membership = RAFT_VOTER};
    }
    for (uint64_t id = 1; id <= founders; id++) net_start(net, id);
    return net;
}

uint64_t net_add(struct net *net)
{
    CHECK(net->count < NET_NODES_MAX);
    net_start(net, ++net->count);
    return net->count;
}

void net_free(struct net *net)
{
    while (net->queued) net_drop(net, 0);
    for (uint64_t id = 1; id <= net->count; id++) net_crash(net, id);
    arena_free(&net->arena);
    free(net);
}

uint64_t net_random(struct net *net, uint64_t below)
{
    net->random = net->random * 6364136223846793005u + 1442695040888963407u;
    return (net->random >> 33) % below;
}

static struct raft_entry entry_of(const struct net_entry *kept, uint64_t index)
{
    struct slice payload = kept->kind == RAFT_COMMAND ? slice_of(&kept->value, 8) : kept->payload;
    return (struct raft_entry){
        .index = index, .term = kept->term, .kind = kept->kind, .chain = kept->chain, .payload = payload};
}

void net_start(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_settings settings = {.self = id,
                                     .seed = net_random(net, 1u << 30) + id,
                                     .heartbeat_ms = NET_HEARTBEAT_MS,
                                     .election_ms = NET_ELECTION_MS,
                                     .batch_bytes_max = net->batch_bytes_max,
                                     .inflight_max = 4};
    size_t count = (size_t)(node->last - node->base.index);
    struct raft_entry *entries = memory_new((count + 1) * sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        uint64_t index = node->base.index + 1 + i;
        entries[i] = entry_of(&node->log[index], index);
        if (index <= node->synced && entries[i].kind == RAFT_COMMAND) entries[i].payload = slice_of(NULL, 0);
    }
    struct raft_restored restored = {.hard = node->hard,
                                     .config = node->base.config,
                                     .base_index = node->base.index,
                                     .base_term = node->base.term,
                                     .base_chain = node->base.chain,
                                     .entries = entries,
                                     .entry_count = count,
                                     .applied = node->synced};
    node->applied = node->synced;
    node->digest = node->synced_digest;
    node->commit_seen = 0;
    node->raft = raft_new(&settings, &restored, net->now_ms);
    free(entries);
}

void net_crash(struct net *net, uint64_t id)
{
    if (net->nodes[id].raft) raft_free(net->nodes[id].raft);
    net->nodes[id].raft = NULL;
    net->nodes[id].read_count = 0;
}

static void save(struct net *net, uint64_t id, const struct raft_output *output)
{
    struct net_node *node = &net->nodes[id];
    for (size_t i = 0; i < output->entry_count; i++) {
        const struct raft_entry *entry = &output->entries[i];
        CHECK(entry->index < NET_LOG_MAX && entry->index <= node->last + 1 &&
              entry->index > node->base.index && (i || output->truncates || entry->index == node->last + 1));
        struct net_entry kept = {.term = entry->term, .kind = entry->kind, .chain = entry->chain};
        if (entry->kind == RAFT_COMMAND)
            memcpy(&kept.value, entry->payload.data, 8);
        else
            kept.payload = arena_copy(&net->arena, entry->payload);
        net_check_saved(net, id, entry);
        node->log[entry->index] = kept;
        node->last = entry->index;
    }
    if (!output->save_hard) return;
    CHECK(output->hard.term >= node->hard.term);
    CHECK(output->hard.term > node->hard.term || node->hard.vote == 0 ||
          output->hard.vote == node->hard.vote);
    node->hard = output->hard;
}

void net_sync(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    node->synced = node->applied;
    node->synced_digest = node->digest;
}

void net_trim(struct net *net, uint64_t id, uint64_t index)
{
    struct net_node *node = &net->nodes[id];
    CHECK(index <= node->synced);
    if (index <= node->base.index) return;
    struct raft_base base = {.index = index, .config = *raft_config_at(node->raft, index)};
    CHECK(raft_place(node->raft, index, &base.term, &base.chain));
    node->base = base;
    raft_trimmed(node->raft, index);
}

void net_put(struct net *net, uint64_t id, uint64_t index, uint64_t term, uint64_t value)
{
    struct net_node *node = &net->nodes[id];
    node->log[index] = (struct net_entry){.term = term, .kind = RAFT_COMMAND, .value = value};
    struct raft_entry entry = entry_of(&node->log[index], index);
    node->log[index].chain = raft_chain(index > 1 ? node->log[index - 1].chain : 0, &entry);
    node->last = index;
    if (node->hard.term < term) node->hard.term = term;
}

/* --- messages --- */

static struct net_message *enqueue(struct net *net, uint64_t from, uint64_t to)
{
    if (net->queued == NET_MESSAGES_MAX) net_drop(net, 0);
    struct net_message *message = memory_new(sizeof *message);
    message->from = from;
    message->to = to;
    net->queue[net->queued++] = message;
    return message;
}

static void enqueue_raft(struct net *net, const struct raft_message *message)
{
    struct net_message *kept = enqueue(net, message->from, message->to);
    kept->raft = *message;
    kept->entries = memory_new((message->entry_count + 1) * sizeof *kept->entries);
    kept->values = memory_new((message->entry_count + 1) * sizeof *kept->values);
    for (size_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        kept->entries[i] = *entry;
        if (entry->kind == RAFT_COMMAND) {
            memcpy(&kept->values[i], entry->payload.data, 8);
            kept->entries[i].payload = slice_of(&kept->values[i], 8);
        } else {
            kept->entries[i].payload = arena_copy(&net->arena, entry->payload);
        }
    }
    kept->raft.entries = kept->entries;
}

static struct net_message *take(struct net *net, size_t place)
{
    struct net_message *message = net->queue[place];
    net->queued--;
    memmove(&net->queue[place], &net->queue[place + 1], (net->queued - place) * sizeof(struct net_message *));
    return message;
}

static void free_message(struct net_message *message)
{
    free(message->entries);
    free(message->values);
    free(message->base);
    free(message);
}

void net_drop(struct net *net, size_t place)
{
    free_message(take(net, place));
}

void net_duplicate(struct net *net, size_t place)
{
    struct net_message *original = net->queue[place];
    if (net->queued == NET_MESSAGES_MAX) return;
    if (original->kind == NET_RAFT) {
        enqueue_raft(net, &original->raft);
        return;
    }
    struct net_message *copy = enqueue(net, original->from, original->to);
    *copy = *original;
    if (!original->base) return;
    copy->base = memory_new(sizeof *copy->base);
    *copy->base = *original->base;
}

static void say(struct net *net, uint64_t id, const struct raft_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        net_check_said(net, id, &messages[i]);
        net->sent[messages[i].kind]++;
        enqueue_raft(net, &messages[i]);
    }
}

/* --- turns --- */

static void supply(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    uint64_t to, first;
    while (raft_wants_entries(node->raft, &to, &first)) {
        enum { ENTRIES = 5 };
        struct raft_entry *entries = arena_alloc(&net->arena, ENTRIES * sizeof *entries);
        size_t count = 0;
        CHECK(first > node->base.index && first <= node->last);
        for (; count < ENTRIES && first + count <= node->last; count++)
            entries[count] = entry_of(&node->log[first + count], first + count);
        raft_supply(node->raft, to, entries, count);
    }
}

void net_turn(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_output output;
    if (!node->raft) return;
    supply(net, id);
    raft_output(node->raft, &output);
    say(net, id, output.now, output.now_count);
    save(net, id, &output);
    raft_saved(node->raft);
    say(net, id, output.after, output.after_count);
    net_check(net, id);
    while (node->applied < raft_committed(node->raft))
        net_check_applied(net, id, raft_entry_at(node->raft, node->applied + 1));
    raft_applied(node->raft, node->applied, net->keep);
}

void net_output_then_crash(struct net *net, uint64_t id, bool saved)
{
    struct raft_output output;
    if (!net->nodes[id].raft) return;
    supply(net, id);
    raft_output(net->nodes[id].raft, &output);
    say(net, id, output.now, output.now_count);
    if (saved) save(net, id, &output);
    net_crash(net, id);
}

/* --- snapshots --- */

static size_t underway(const struct net *net, uint64_t to)
{
    size_t count = 0;
    for (size_t i = 0; i < net->queued; i++)
        count += net->queue[i]->kind == NET_SNAPSHOT && net->queue[i]->to == to;
    return count;
}

static void send_snapshot(struct net *net, uint64_t id, uint64_t to)
{
    struct net_node *node = &net->nodes[id];
    struct raft_base base = {.index = node->synced, .config = *raft_config_at(node->raft, node->synced)};
    CHECK(raft_place(node->raft, base.index, &base.term, &base.chain));
    struct net_message *message = enqueue(net, id, to);
    message->kind = NET_SNAPSHOT;
    message->term = raft_status(node->raft).term;
    message->index = base.index;
    message->digest = node->synced_digest;
    message->base = memory_new(sizeof base);
    *message->base = base;
}

void net_tend(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    if (!node->raft) return;
    size_t count = raft_peers(node->raft, peers);
    for (size_t i = 0; i < count; i++)
        if (peers[i].state == RAFT_PEER_NEEDS_SNAPSHOT && peers[i].heard_ms &&
            underway(net, peers[i].node) < 2)
            send_snapshot(net, id, peers[i].node);
    uint64_t learner = raft_learner_ready(node->raft);
    if (learner) CHECK(net_change(net, id, learner, RAFT_VOTER) == RAFT_ACCEPTED);
}

static void install(struct net *net, uint64_t id, const struct net_message *message)
{
    struct net_node *node = &net->nodes[id];
    CHECK(message->index <= net->applied_last && message->digest == net->digests[message->index]);
    node->base = *message->base;
    node->last = node->synced = node->applied = node->commit_seen = message->index;
    node->hard.commit = message->index;
    node->synced_digest = node->digest = message->digest;
    raft_install(node->raft, message->base);
    net->snapshots++;
}

static void receive_snapshot(struct net *net, const struct net_message *message)
{
    struct net_node *node = &net->nodes[message->to];
    uint64_t index = message->index, term = message->base->term;
    struct raft_status status = raft_status(node->raft);
    if (status.role == RAFT_LEADER || message->term < status.term) return;
    bool has = raft_has(node->raft, index, term);
    if (!has) {
        net_turn(net, message->to); /* what is to be saved is saved before the log begins anew */
        if (!raft_has(node->raft, index, term)) install(net, message->to, message);
    }
    struct net_message *reply = enqueue(net, message->to, message->from);
    reply->kind = NET_HAS;
    reply->term = message->term;
    reply->index = index;
}

/* --- delivery --- */

void net_give(struct net *net, size_t place)
{
    struct net_message *message = take(net, place);
    struct raft *raft = net->nodes[message->to].raft;
    if (raft && !net->cut[message->from][message->to]) {
        if (message->kind == NET_RAFT)
            raft_receive(raft, &message->raft, net->now_ms);
        else if (message->kind == NET_SNAPSHOT)
            receive_snapshot(net, message);
        else
            raft_snapshot_done(raft, message->from, message->term, message->index);
    }
    free_message(message);
}

void net_deliver(struct net *net, size_t place)
{
    uint64_t to = net->queue[place]->to;
    net_give(net, place);
    net_turn(net, to);
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
            net_tend(net, id);
            net_turn(net, id);
        }
        net_deliver_all(net);
    }
}

void net_isolate(struct net *net, uint64_t id, bool cut)
{
    for (uint64_t other = 1; other <= NET_NODES_MAX; other++) net->cut[id][other] = net->cut[other][id] = cut;
}

/* --- what a script asks and wants --- */

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

uint64_t net_read(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    struct raft_status status = raft_status(node->raft);
    if (!status.ready || node->read_count == NET_READS_MAX) return 0;
    uint64_t round = raft_read(node->raft);
    node->reads[node->read_count++] =
        (struct net_read){round, status.term, status.commit, net->committed_last};
    return round;
}

enum raft_refusal net_change(struct net *net, uint64_t id, uint64_t node, int membership)
{
    struct raft_config next = *raft_config_in_force(net->nodes[id].raft);
    enum raft_refusal why;
    size_t place = 0;
    while (place < next.member_count && next.members[place].node != node) place++;
    if (membership == 0) {
        if (place == next.member_count) return RAFT_SENSELESS;
        next.members[place] = next.members[--next.member_count];
        next.members[next.member_count] = (struct raft_member){0};
    } else {
        if (place == RAFT_MEMBERS_MAX) return RAFT_SENSELESS;
        if (place == next.member_count) next.member_count++;
        next.members[place].node = node;
        next.members[place].membership = (enum raft_membership)membership;
    }
    uint64_t index = raft_change(net->nodes[id].raft, &next, &why);
    CHECK((index != 0) == (why == RAFT_ACCEPTED));
    net->changes += why == RAFT_ACCEPTED;
    return why;
}

enum raft_membership net_membership(const struct net *net, uint64_t id, uint64_t node)
{
    const struct raft_member *member = raft_config_member(raft_config_in_force(net->nodes[id].raft), node);
    return member ? member->membership : (enum raft_membership)0;
}
