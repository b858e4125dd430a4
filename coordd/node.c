/* The turn of the node. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "coordd/clock.h"
#include "coordd/log.h"

#include <errno.h>
#include <poll.h>

/* The only look at the world. A loop that stood still could not hear renewals: step 5 of leases.md. */
static struct mail gather(struct node *node)
{
    uint64_t before_ms = boottime_ms();
    bool waiting_work = node->queue && !node->save_blocked;
    uint64_t until_ms = waiting_work ? before_ms : duties_next_ms(node);
    struct pollfd watched = {.fd = mailbox_descriptor(node->settings.mailbox), .events = POLLIN};
    poll(&watched, 1, until_ms > before_ms ? (int)(until_ms - before_ms) : 0);
    struct mail mail = mailbox_take(node->settings.mailbox);
    uint64_t last_ms = node->now_ms;
    node->now_ms = boottime_ms();
    if (node->now_ms - last_ms > node->settings.heartbeat_ms)
        lease_clock_gap(node->leases, node->now_ms - last_ms);
    pending_clock(node->pending, node->leases, node->now_ms);
    return mail;
}

static void step(struct node *node, struct mail mail)
{
    intake_notices(node, mail.notices);
    if (node->save_blocked) {
        intake_calls(node, mail.calls);
        return;
    }
    raft_tick(node->raft, node->now_ms);
    office_follow(node);
    intake_calls(node, mail.calls);
    intake_propose(node);
    duties_propose(node);
    raft_output(node->raft, &node->output);
}

/* One write, one flush for all of the turn. False when the disk has no room: the same write is tried again
 * until it has. */
static bool save(struct node *node)
{
    const struct raft_output *output = &node->output;
    if (output->save_hard || output->entry_count) {
        struct raftlog_write write = {output->save_hard ? &output->hard : NULL, output->entries,
                                      output->entry_count};
        if (raftlog_append(node->log, &write) == -ENOSPC) {
            if (!node->save_blocked)
                LOG_FACT(ERROR, "the disk is full: nothing can be committed until there is room");
            node->save_blocked = true;
            return false;
        }
        node->view.syncs++;
        node->view.entries_saved += output->entry_count;
    }
    if (node->save_blocked) LOG_FACT(INFO, "there is room on the disk again: going on");
    node->save_blocked = false;
    raft_saved(node->raft);
    return true;
}

static void watch_commands(struct node *node, const struct apply *apply, const struct command *command)
{
    if (command->operation == operation_lease_session) {
        const struct lease_session_args *args = command->args;
        const struct lease_session_result *result = apply->answers->data;
        if (args->node == node->identity.node && args->nonce == node->session_nonce) {
            node->session = result->lease;
            node->session_renewed_ms = node->now_ms;
        }
    } else if (command->operation == operation_wait_cancel) {
        pending_cancelled(node->pending, ((const struct wait_cancel_args *)command->args)->index);
    } else if (command->operation == operation_pulse && node->pulses_out) {
        node->pulses_out--;
    }
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next)
        if (change->ttl_ms == 0 && change->lease == node->session) node->session = 0;
}

static void answer(struct node *node, const struct apply *apply, const struct command *command)
{
    pending_reached(node->pending, command->origin, command->request, apply->index);
    for (const struct answer *each = apply->answers; each; each = each->next)
        pending_answer(node->pending, each, apply->index);
    pending_applied(node->pending, apply->index);
    if (node->office_term) lease_clock_follow(node->leases, apply->lease_changes, node->now_ms);
    watch_commands(node, apply, command);
}

void node_apply(struct node *node, const struct raft_entry *entry, bool answers)
{
    uint64_t time_ms = state_mark(node->state).time_ms;
    if (entry->kind == RAFT_COMMAND) {
        struct command command;
        struct apply apply;
        if (!command_decode(entry->payload, &node->arena, &command))
            fatal("entry %llu holds a command that this version does not know: install the version that the "
                  "cluster runs",
                  (unsigned long long)entry->index);
        time_ms = command.time_ms;
        apply_begin(&apply, node->rows, &node->arena, entry->index, entry->term, time_ms);
        coord_apply(&apply, &command);
        if (answers) answer(node, &apply, &command);
    }
    state_set_mark(node->state, entry->index, entry->term, time_ms);
    if (time_ms > node->stamped_ms) node->stamped_ms = time_ms;
    arena_reset(&node->arena);
}

static void apply_committed(struct node *node)
{
    uint64_t committed = raft_committed(node->raft);
    while (node->applied < committed) {
        const struct raft_entry *entry = raft_entry_at(node->raft, node->applied + 1);
        CHECK(entry);
        node_apply(node, entry, true);
        node->applied = entry->index;
    }
    raft_applied(node->raft, node->applied, KEPT_ENTRIES);
}

static void commit_state(struct node *node)
{
    node->committed_ms = node->now_ms;
    bool full = state_commit(node->state) == -ENOSPC;
    if (full) {
        if (!node->commit_blocked)
            LOG_FACT(ERROR,
                     "the disk is full: the state is kept in memory and in the log until there is room");
        node_replay(node);
    } else {
        uint64_t base = raftlog_trim(node->log, state_synced(node->state).applied);
        raft_trimmed(node->raft, base);
        node->view.first_index = base + 1;
    }
    node->commit_blocked = full;
}

/* Answers do not wait for the state: durability is the log's. */
static void keep(struct node *node)
{
    size_t dirty = state_dirty(node->state);
    if (!dirty) return;
    uint64_t since_ms = node->now_ms - node->committed_ms;
    if (since_ms >= (node->commit_blocked ? 1000 : COMMIT_MS) ||
        (dirty >= COMMIT_OPERATIONS && !node->commit_blocked))
        commit_state(node);
}

static void stop_when_idle(struct node *node)
{
    if (!node->stopping || node->save_blocked || node->queue ||
        pending_next_ms(node->pending) <= node->now_ms)
        return;
    intake_refuse_all(node, OUTCOME_SHUTTING_DOWN);
    pending_stop(node->pending, OUTCOME_SHUTTING_DOWN, OUTCOME_OUTCOME_UNKNOWN);
    pending_deliver(node->pending);
    if (state_dirty(node->state)) state_commit(node->state);
    node->stopped = true;
}

bool node_turn(struct node *node)
{
    step(node, gather(node));
    if (save(node)) {
        apply_committed(node);
        office_follow(node);
    }
    intake_answer_reads(node);
    duties_confirmed(node);
    pending_deliver(node->pending);
    keep(node);
    stop_when_idle(node);
    node_show(node);
    return !node->stopped;
}

void node_show(struct node *node)
{
    static const char *const roles[] = {"follower", "candidate", "candidate", "leader"};
    struct raft_status status = raft_status(node->raft);
    struct node_view *view = &node->view;
    view->phase = node->stopping ? NODE_STOPPING : node->session ? NODE_RUNNING : NODE_STARTING;
    view->role = roles[status.role];
    memcpy(view->leader, status.leader == node->identity.node ? node->identity.name : "",
           status.leader == node->identity.node ? sizeof view->leader : 1);
    view->term = status.term;
    view->commit = status.commit;
    view->applied = node->applied;
    view->last_index = status.last_index;
    view->leases = lease_clock_count(node->leases);
    view->waiters = pending_waiting(node->pending);
    view->log_bytes = raftlog_bytes(node->log);
    view->state_rows_dirty = state_dirty(node->state);
    view->ready = node->office_term && node->session && !node->stopping && !node->save_blocked;
    view->storage_full = node->save_blocked || raftlog_full(node->log, node->now_ms);
    view->turn_ms = node->now_ms;
    mailbox_show(node->settings.mailbox, view);
}

const char *node_name(const struct node *node)
{
    return node->identity.name;
}

uint64_t node_cluster(const struct node *node)
{
    return node->identity.cluster;
}

void node_close(struct node *node)
{
    pending_free(node->pending);
    lease_clock_free(node->leases);
    raft_free(node->raft);
    state_close(node->state);
    raftlog_close(node->log);
    datadir_close(node->directory);
    arena_free(&node->arena);
    buffer_free(&node->payload);
    free(node);
}
