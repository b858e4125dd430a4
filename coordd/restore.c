/* Starting: what the data directory holds becomes a node. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "coordd/clock.h"
#include "coordd/log.h"

#include <stdio.h>

/* The core needs the payloads of what is not applied yet; the log gave the entries without. */
static void load_payloads(struct node *node, struct raftlog_found *found, uint64_t applied,
                          struct arena *arena)
{
    for (size_t i = 0; i < found->entry_count; i++)
        if (found->entries[i].index > applied)
            if (raftlog_read(node->contents.log, found->entries[i].index, arena, &found->entries[i]))
                fatal("entry %llu cannot be read back from the log",
                      (unsigned long long)found->entries[i].index);
}

static void start_raft(struct node *node, struct raftlog_found *found, struct arena *arena)
{
    struct raft_settings settings = {.self = node->identity.node,
                                     .seed = random_number(),
                                     .heartbeat_ms = node->settings.heartbeat_ms,
                                     .election_ms = node->settings.election_ms,
                                     .batch_bytes_max = APPEND_BYTES_MAX,
                                     .inflight_max = 64};
    load_payloads(node, found, node->applied, arena);
    struct raft_restored restored = {.hard = found->hard,
                                     .config = found->config,
                                     .base_index = found->base_index,
                                     .base_term = found->base_term,
                                     .base_chain = found->base_chain,
                                     .entries = found->entries,
                                     .entry_count = found->entry_count,
                                     .applied = node->applied};
    node->raft = raft_new(&settings, &restored, boottime_ms());
    node->output.hard = found->hard;
    node->status = raft_status(node->raft);
    node->view.first_index = found->base_index + 1;
}

bool node_enter(struct node *node, const struct datadir_founding *founding, char *error, size_t error_size)
{
    struct arena arena = {0};
    struct datadir_settings where = {.name = node->settings.name, .founding = founding};
    if (!datadir_open(node->directory, &where, &arena, &node->contents, error, error_size)) {
        arena_free(&arena);
        return false;
    }
    struct raftlog_found *found = &node->contents.found;
    struct state_mark mark = state_mark(node->contents.state);
    node->rows = state_rows(node->contents.state);
    node->identity.cluster = found->identity.cluster;
    node->identity.node = found->identity.node;
    if (strcmp(node->identity.name, found->identity.name) != 0) /* else others may be reading it: node_name */
        memcpy(node->identity.name, found->identity.name, sizeof node->identity.name);
    node->applied = mark.applied;
    node->applied_term = mark.term;
    node->stamped_ms = mark.time_ms;
    node->digest_told = mark.applied;
    start_raft(node, found, &arena);
    LOG(INFO, node->contents.fresh ? "made a new data directory" : "opened the data directory",
        {"name", node->identity.name}, {"cluster", log_hex(node->identity.cluster)},
        {"node", log_hex(node->identity.node)}, {"applied", log_number(node->applied)},
        {"last", log_number(node->status.last_index)}, {"torn_bytes_cut", log_number(found->cut_bytes)});
    found->entries = NULL;
    found->entry_count = 0;
    arena_free(&arena);
    return true;
}

/* Where the others reach it: only a cluster of one that was never told about a peer port has none. */
static bool open_peers(struct node *node, char *error, size_t error_size)
{
    const struct node_settings *settings = &node->settings;
    const struct raft_config *config = node->raft ? raft_config_in_force(node->raft) : NULL;
    const struct raft_member *self = config ? raft_config_member(config, node->identity.node) : NULL;
    bool several = node->founding || !config || config->member_count != 1 || (self && self->address[0]);
    const char *listen = settings->peer_listen ? settings->peer_listen : several ? "127.0.0.1:7401" : NULL;
    const char *advertise = settings->advertise_peer;
    if (!advertise && node->founding) advertise = founding_address(node->founding, node->identity.name);
    if (!advertise && self && self->address[0] && !settings->peer_listen) advertise = self->address;
    struct peers_settings peers = {
        .identity = {node->identity.cluster, node->identity.node, node->identity.name},
        .listen = listen,
        .advertise = advertise,
        .secret_file = settings->cluster_secret_file,
        .cert_file = settings->peer_cert,
        .key_file = settings->peer_key,
        .ca_file = settings->peer_ca,
        .wake = mailbox_descriptor(settings->mailbox),
        .heartbeat_ms = settings->heartbeat_ms};
    node->peers = peers_open(&peers, error, error_size);
    return node->peers != NULL;
}

static bool open_all(struct node *node, char *error, size_t error_size)
{
    const struct node_settings *settings = &node->settings;
    node->directory = datadir_take(settings->data_dir, error, error_size);
    if (!node->directory) return false;
    node->identity.node = datadir_node(node->directory, error, error_size);
    if (!node->identity.node) return false;
    snprintf(node->identity.name, sizeof node->identity.name, "%s", settings->name ? settings->name : "n1");
    if (datadir_fresh(node->directory) && founding_wanted(settings)) {
        node->founding = founding_open(settings, node->identity.name, error, error_size);
        if (!node->founding) return false;
    } else if (!node_enter(node, NULL, error, error_size)) {
        return false;
    }
    return open_peers(node, error, error_size);
}

struct node *node_open(const struct node_settings *settings, char *error, size_t error_size)
{
    struct node *node = memory_new(sizeof *node);
    node->settings = *settings;
    node->now_ms = node->opened_ms = node->committed_ms = node->unable_since_ms = boottime_ms();
    node->pending = pending_new();
    node->leases = lease_clock_new(settings->heartbeat_ms);
    node->beats = beats_new();
    node->watches = watches_new(node->pending, node->leases);
    proposals_open(&node->proposals);
    asks_open(&node->asks);
    /* What a leader still tells the process before this one answers no question of this one. */
    node->asks.last_number = node->cluster_calls.last_number = random_number() >> 16;
    pending_clock(node->pending, node->leases, node->now_ms);
    node->pulse_burst = 1;
    if (open_all(node, error, error_size)) return node;
    node_close(node);
    return NULL;
}

void node_replay(struct node *node)
{
    struct arena arena = {0};
    struct raft_entry entry;
    for (uint64_t index = state_mark(node->contents.state).applied + 1; index <= node->applied; index++) {
        if (raftlog_read(node->contents.log, index, &arena, &entry))
            fatal("entry %llu is gone from the log", (unsigned long long)index);
        node_apply(node, &entry, false);
        arena_reset(&arena);
    }
    arena_free(&arena);
}
