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
            if (raftlog_read(node->log, found->entries[i].index, arena, &found->entries[i]))
                fatal("entry %llu cannot be read back from the log",
                      (unsigned long long)found->entries[i].index);
}

static void start_raft(struct node *node, struct raftlog_found *found, struct arena *arena)
{
    struct raft_settings settings = {.self = node->identity.node,
                                     .seed = random_number(),
                                     .heartbeat_ms = node->settings.heartbeat_ms,
                                     .election_ms = node->settings.election_ms,
                                     .batch_bytes_max = 1024 * 1024,
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
    node->view.first_index = found->base_index + 1;
}

static void take_over(struct node *node, const struct datadir_contents *contents)
{
    struct state_mark mark = state_mark(contents->state);
    node->log = contents->log;
    node->state = contents->state;
    node->rows = state_rows(node->state);
    node->identity = contents->found.identity;
    node->applied = mark.applied;
    node->stamped_ms = mark.time_ms;
}

struct node *node_open(const struct node_settings *settings, char *error, size_t error_size)
{
    struct arena arena = {0};
    struct datadir_contents contents = {0};
    struct datadir_settings where = {.path = settings->data_dir, .name = settings->name};
    struct datadir *directory = datadir_open(&where, &arena, &contents, error, error_size);
    if (!directory) {
        arena_free(&arena);
        return NULL;
    }
    struct node *node = memory_new(sizeof *node);
    node->settings = *settings;
    node->directory = directory;
    take_over(node, &contents);
    start_raft(node, &contents.found, &arena);
    node->pending = pending_new();
    node->leases = lease_clock_new(settings->heartbeat_ms);
    node->queue_end = &node->queue;
    node->readings.end = &node->readings.first;
    node->parked.end = &node->parked.first;
    node->pulse_burst = 1;
    node->now_ms = node->committed_ms = boottime_ms();
    LOG(INFO, contents.fresh ? "made a new data directory" : "opened the data directory",
        {"name", node->identity.name}, {"cluster", log_hex(node->identity.cluster)},
        {"node", log_hex(node->identity.node)}, {"applied", log_number(node->applied)},
        {"last", log_number(raft_status(node->raft).last_index)},
        {"torn_bytes_cut", log_number(contents.found.cut_bytes)});
    arena_free(&arena);
    return node;
}

void node_replay(struct node *node)
{
    struct arena arena = {0};
    struct raft_entry entry;
    for (uint64_t index = state_mark(node->state).applied + 1; index <= node->applied; index++) {
        if (raftlog_read(node->log, index, &arena, &entry))
            fatal("entry %llu is gone from the log", (unsigned long long)index);
        node_apply(node, &entry, false);
        arena_reset(&arena);
    }
    arena_free(&arena);
}
