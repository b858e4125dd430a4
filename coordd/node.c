/* The turn of the node. */
#include "coordd/node_internal.h"

#include "api/group_metrics.h"
#include "api/lock_metrics.h"
#include "api/queue_metrics.h"
#include "api/schedule_metrics.h"
#include "base/check.h"
#include "coordd/clock.h"
#include "coordd/log.h"
#include "raft/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the only look at the world --- */

/* A loop that stood still could not hear renewals: step 5 of leases.md. */
static struct mail gather(struct node *node)
{
    peers_wait(node->peers, duties_next_ms(node));
    struct mail mail = mailbox_take(node->settings.mailbox);
    uint64_t last_ms = node->now_ms;
    node->now_ms = boottime_ms();
    node->hurry = false;
    if (node->now_ms - last_ms > node->settings.heartbeat_ms) {
        lease_clock_gap(node->leases, node->now_ms - last_ms);
        beats_gap(node->beats, node->now_ms - last_ms, node->now_ms);
        if (node->expiry.stage == EXPIRY_READY) node->expiry.stage = EXPIRY_IDLE;
    }
    if (node->office_term) beats_clock(node->beats, node->now_ms, node_time_ms(node));
    pending_clock(node->pending, node->leases, node->now_ms);
    node_see(node);
    node->saved_ms = node->now_ms;
    arena_reset(&node->turn);
    return mail;
}

/* --- step --- */

/* Members that are behind, but not too far, get entries from the log on disk. */
static void supply(struct node *node)
{
    uint64_t to, first;
    while (raft_wants_entries(node->raft, &to, &first)) {
        enum { ENTRIES = 1024, BYTES = APPEND_BYTES_MAX };
        struct raft_entry *entries = arena_alloc(&node->turn, ENTRIES * sizeof *entries);
        size_t count = 0, bytes = 0;
        while (count < ENTRIES && bytes < BYTES &&
               raftlog_read(node->contents.log, first + count, &node->turn, &entries[count]) == 0)
            bytes += entries[count++].payload.size;
        CHECK(count);
        raft_supply(node->raft, to, entries, count);
    }
}

static void step(struct node *node, struct mail mail, const struct peer_frame *frames)
{
    struct notice *gone = intake_notices(node, mail.notices);
    if (node->save_blocked) { /* frames are lost: whoever sent them sends again */
        intake_calls(node, mail.calls);
        intake_gone(node, gone);
        return;
    }
    catchup_switch(node);
    gather_frames(node, frames);
    raft_tick(node->raft, node->now_ms);
    office_follow(node);
    intake_calls(node, mail.calls);
    intake_gone(node, gone);
    intake_hold(node);
    duties_propose(node);
    proposals_send(node);
    asks_begin(node);
    members_tend(node);
    catchup_send(node);
    supply(node);
    raft_output(node->raft, &node->output);
}

/* --- send --- */

bool node_tell(struct node *node, uint64_t to, enum wire_kind kind, const void *data)
{
    node->payload.size = 0;
    wire_encode(kind, data, &node->payload);
    return peers_send(node->peers, to, buffer_slice(&node->payload));
}

static void send(struct node *node, const struct raft_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        node->payload.size = 0;
        buffer_add_byte(&node->payload, WIRE_RAFT);
        raft_message_encode(&messages[i], &node->payload);
        peers_send(node->peers, messages[i].to, buffer_slice(&node->payload));
    }
    peers_flush(node->peers);
}

/* --- save --- */

/* One write, one flush for all of the turn. False when the disk has no room: the same write is tried again
 * until it has. */
static bool save(struct node *node)
{
    const struct raft_output *output = &node->output;
    if (output->save_hard || output->entry_count) {
        struct raftlog_write write = {output->save_hard ? &output->hard : NULL, output->entries,
                                      output->entry_count};
        if (raftlog_append(node->contents.log, &write) == -ENOSPC) {
            if (!node->save_blocked)
                LOG_FACT(ERROR, "the disk is full: nothing can be committed here until there is room");
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

/* --- apply --- */

static void watch_commands(struct node *node, const struct apply *apply, const struct command *command)
{
    if (command->operation == operation_lease_session) {
        const struct lease_session_args *args = command->args;
        const struct lease_session_result *result = apply->answers->data;
        if (args->node == node->identity.node && args->nonce == node->session_nonce) {
            node->session = result->lease;
            node->session_renewed_ms = node->session_since_ms = node->now_ms;
        }
    } else if (command->operation == operation_wait_cancel) {
        pending_cancelled(node->pending, ((const struct wait_cancel_args *)command->args)->index);
    } else if (command->operation == operation_pulse && node->pulses_out) {
        node->pulses_out--;
    } else if (command->operation == operation_digest) {
        duties_compare(node, command->args);
    }
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next)
        if (change->ttl_ms == 0 && change->lease == node->session) node->session = node->session_asked_ms = 0;
}

static void answer(struct node *node, const struct apply *apply, const struct command *command)
{
    proposals_applied(node, command->origin, command->request);
    pending_reached(node->pending, command->origin, command->request, apply->index);
    if (node->office_term) {
        lease_clock_follow(node->leases, apply->lease_changes, node->now_ms);
        beats_follow(node->beats, node->rows, &node->arena, apply->events, node->now_ms);
    }
    for (const struct answer *each = apply->answers; each; each = each->next)
        pending_answer(node->pending, each, apply->index, apply->lease_changes);
    pending_applied(node->pending, apply->index);
    watch_commands(node, apply, command);
}

static void count_events(const struct node_settings *settings, const struct event *events)
{
    if (settings->lock_metrics) lock_metrics_count(settings->lock_metrics, events);
    if (settings->queue_metrics) queue_metrics_count(settings->queue_metrics, events);
    if (settings->group_metrics) group_metrics_count(settings->group_metrics, events);
    if (settings->schedule_metrics) schedule_metrics_count(settings->schedule_metrics, events);
}

void node_apply(struct node *node, const struct raft_entry *entry, bool answers)
{
    uint64_t time_ms = state_mark(node->contents.state).time_ms;
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
        if (answers) {
            answer(node, &apply, &command);
            watches_applied(node->watches, &node->arena, entry->index, apply.events);
            count_events(&node->settings, apply.events);
        }
    }
    state_set_mark(node->contents.state, entry->index, entry->term, time_ms);
    if (time_ms > node->stamped_ms) node->stamped_ms = time_ms;
    arena_reset(&node->arena);
}

static void apply_committed(struct node *node)
{
    uint64_t committed = raft_committed(node->raft);
    while (node->applied < committed) {
        const struct raft_entry *entry = raft_entry_at(node->raft, node->applied + 1);
        CHECK(entry);
        if (entry->term > node->applied_term) proposals_term_applied(node, entry->term);
        node_apply(node, entry, true);
        node->applied = entry->index;
        node->applied_term = entry->term;
        duties_digest(node, entry->index);
        cluster_calls_applied(node, entry);
    }
}

/* --- keep --- */

/* The log keeps some of what the state has, for members that were away; unless room is short. */
static void trim(struct node *node)
{
    struct raftlog *log = node->contents.log;
    bool several = raft_config_in_force(node->raft)->member_count > 1 && !raftlog_full(log, node->now_ms);
    size_t kept = several ? (size_t)(node->settings.log_keep_bytes / RAFTLOG_SEGMENT_BYTES) : 0;
    uint64_t index = raftlog_before_last(log, kept + 1);
    uint64_t synced = state_synced(node->contents.state).applied;
    uint64_t base = raftlog_trim(log, catchup_keep(node, index < synced ? index : synced));
    raft_trimmed(node->raft, base);
    node->view.first_index = base + 1;
}

static void commit_state(struct node *node)
{
    node->committed_ms = node->now_ms;
    bool full = state_commit(node->contents.state) == -ENOSPC;
    if (full) {
        if (!node->commit_blocked)
            LOG_FACT(ERROR,
                     "the disk is full: the state is kept in memory and in the log until there is room");
        node_replay(node);
    } else {
        trim(node);
    }
    node->commit_blocked = full;
}

/* Answers do not wait for the state: durability is the log's. */
static void keep(struct node *node)
{
    size_t dirty = state_dirty(node->contents.state);
    if (!dirty) return;
    uint64_t since_ms = node->now_ms - node->committed_ms;
    if (since_ms >= (node->commit_blocked ? 1000 : COMMIT_MS) ||
        (state_pages(node->contents.state) >= COMMIT_PAGES && !node->commit_blocked))
        commit_state(node);
}

/* --- the end --- */

/* Waits are ended by the log, so that nobody is granted a lock after it was told that the node stops; what
 * was proposed is answered when it comes round. Then a leader hands over. All of it has a limit. */
static bool still_has_work(struct node *node)
{
    bool others = raft_config_in_force(node->raft)->member_count > 1;
    bool open = node->proposals.count > 0 || pending_waiting(node->pending) > 0;
    if (node->save_blocked) return true;
    if (node->now_ms >= node->stopping_ms + node_hold_ms(node) / 2 && (others || !open)) return false;
    if (open || raft_transferring(node->raft)) return true;
    if (!others || !node->office_term || node->handed_over) return false;
    node->handed_over = true;
    raft_transfer(node->raft, 0);
    node->hurry = true;
    return true;
}

static void stop_when_idle(struct node *node)
{
    if (!node->stopping || still_has_work(node)) return;
    intake_refuse_all(node, OUTCOME_SHUTTING_DOWN, "");
    proposals_forget_sent(node);
    pending_stop(node->pending, OUTCOME_OUTCOME_UNKNOWN, OUTCOME_OUTCOME_UNKNOWN);
    pending_deliver(node->pending);
    watches_post(node->watches);
    if (state_dirty(node->contents.state)) state_commit(node->contents.state);
    node->stopped = true;
}

/* What a quorum has acknowledged and this node has saved before does not wait for the flush of what came
 * since. A follower's acknowledgement comes first. */
static void answer_early(struct node *node)
{
    apply_committed(node);
    node_see(node);
    asks_answer(node);
    pending_deliver(node->pending);
    watches_post(node->watches);
    peers_flush(node->peers);
}

bool node_turn(struct node *node)
{
    if (node->founding) return founding_turn(node);
    struct mail mail = gather(node);
    step(node, mail, peers_take(node->peers));
    if (!node->save_blocked) {
        send(node, node->output.now, node->output.now_count);
        if (node->office_term) answer_early(node);
    }
    bool saved = save(node);
    node->saved_ms = boottime_ms();
    pending_clock(node->pending, node->leases, node->saved_ms);
    if (saved) {
        send(node, node->output.after, node->output.after_count);
        apply_committed(node);
        raft_applied(node->raft, node->applied, KEPT_ENTRIES);
        office_follow(node);
    }
    if (node->status.commit != node->view.commit) node->hurry = true; /* the others are to know */
    node_see(node);
    asks_answer(node);
    duties_confirmed(node);
    watches_turn(node->watches);
    intake_again(node, watches_due(node->watches));
    pending_deliver(node->pending);
    watches_post(node->watches);
    keep(node);
    stop_when_idle(node);
    peers_flush(node->peers);
    node_show(node);
    return !node->stopped;
}

/* --- what it says of itself --- */

uint64_t node_hold_ms(const struct node *node)
{
    return 2 * node->settings.election_ms;
}

uint64_t node_open_term(const struct node *node)
{
    if (node->office_term) return node->office_term;
    bool follows = node->status.leader && node->status.leader != node->identity.node;
    return follows ? node->status.term : 0;
}

/* A wall clock that jumps under a leader must not end what was promised for some minutes: within an office,
 * time goes at most an eighth faster or slower than the steady clock, towards what the wall clock says. */
uint64_t node_time_ms(struct node *node)
{
    enum { LOOK_MS = 64 };
    uint64_t wall_ms = wallclock_ms(), elapsed_ms = node->now_ms - node->paced_at_ms;
    uint64_t even_ms = node->paced_ms + elapsed_ms, most_ms = elapsed_ms / 8;
    if (node->paced_term != node->office_term) {
        node->paced_term = node->office_term;
        node->paced_ms = wall_ms > node->stamped_ms ? wall_ms : node->stamped_ms;
    } else if (elapsed_ms < LOOK_MS) {
        return even_ms;
    } else if (wall_ms > even_ms) {
        node->paced_ms = even_ms + (wall_ms - even_ms < most_ms ? wall_ms - even_ms : most_ms);
    } else {
        node->paced_ms = even_ms - (even_ms - wall_ms < most_ms ? even_ms - wall_ms : most_ms);
    }
    node->paced_at_ms = node->now_ms;
    return node->paced_ms;
}

uint64_t node_read_time_ms(const struct node *node)
{
    uint64_t applied_ms = state_mark(node->contents.state).time_ms, now_ms = readclock_ms();
    return now_ms > applied_ms ? now_ms : applied_ms;
}

uint64_t node_propose(struct node *node, const struct operation *operation, const void *args, uint64_t origin,
                      uint64_t request)
{
    uint64_t now_ms = node_time_ms(node);
    if (now_ms > node->stamped_ms) node->stamped_ms = now_ms;
    node->payload.size = 0;
    command_encode(&(struct command){node->stamped_ms, operation, origin, request, args}, &node->payload);
    return raft_propose(node->raft, RAFT_COMMAND, buffer_slice(&node->payload));
}

static const char *role(const struct node *node)
{
    static const char *const roles[] = {"follower", "candidate", "candidate", "leader"};
    const struct raft_member *self =
        raft_config_member(raft_config_in_force(node->raft), node->identity.node);
    if (self && self->membership == RAFT_VOTER) return roles[node->status.role];
    return self && self->membership == RAFT_OBSERVER ? "observer" : "learner";
}

void node_see(struct node *node)
{
    struct state_mark mark = state_mark(node->contents.state);
    watches_see(node->watches, &(struct watches_view){.rows = node->rows,
                                                      .applied = node->applied,
                                                      .term = mark.term,
                                                      .time_ms = mark.time_ms,
                                                      .now_ms = node->now_ms,
                                                      .unable_since_ms = node->unable_since_ms});
}

static void show_watches(const struct node *node, struct node_view *view)
{
    struct watches_counts counts = watches_counts(node->watches);
    view->watches = counts.streams;
    view->watches_behind = counts.streams - counts.live;
    view->requests_kept = counts.kept;
    view->watches_reset = counts.resets;
}

static void show_metrics(struct node *node, struct node_view *view)
{
    view->locks = node->settings.lock_metrics;
    view->queues = node->settings.queue_metrics;
    view->groups = node->settings.group_metrics;
    view->schedules = node->settings.schedule_metrics;
    if (!node->rows) return;
    if (view->queues) queue_metrics_look(view->queues, node->rows, node->applied, node->now_ms);
    if (view->groups) group_metrics_look(view->groups, node->rows, node->now_ms);
    if (view->schedules) schedule_metrics_look(view->schedules, node->rows, node->now_ms);
}

void node_show(struct node *node)
{
    struct node_view *view = &node->view;
    show_watches(node, view);
    node->status = raft_status(node->raft);
    const struct raft_status *status = &node->status;
    uint64_t heard_ago_ms = node->now_ms - status->heard_ms;
    bool follows =
        status->leader && status->leader != node->identity.node && heard_ago_ms < node->settings.election_ms;
    view->phase = node->stopping                 ? NODE_STOPPING
                  : node->session || view->ready ? NODE_RUNNING
                  : view->phase == NODE_RUNNING  ? NODE_RUNNING
                                                 : NODE_STARTING;
    view->role = role(node);
    snprintf(view->leader, sizeof view->leader, "%s", members_name(node, status->leader));
    view->cluster = node->identity.cluster;
    view->term = status->term;
    view->commit = status->commit;
    view->applied = node->applied;
    view->last_index = status->last_index;
    view->leases = lease_clock_count(node->leases);
    view->waiters = pending_waiting(node->pending);
    view->log_bytes = raftlog_bytes(node->contents.log);
    view->state_rows_dirty = state_dirty(node->contents.state);
    view->ready = (node->office_term || follows) && node->session && !node->stopping && !node->save_blocked;
    view->storage_full = node->save_blocked || raftlog_full(node->contents.log, node->now_ms);
    view->turn_ms = node->now_ms;
    show_metrics(node, view);
    mailbox_show(node->settings.mailbox, view);
}

const char *node_name(const struct node *node)
{
    return node->identity.name;
}

bool node_is_alone(const struct node *node)
{
    return node->raft && raft_config_in_force(node->raft)->member_count == 1 &&
           raft_config_member(raft_config_in_force(node->raft), node->identity.node);
}

/* Whatever of it was opened. */
void node_close(struct node *node)
{
    catchup_close(node);
    proposals_free(node);
    if (node->peers) peers_close(node->peers);
    if (node->founding) founding_free(node->founding);
    watches_free(node->watches);
    pending_free(node->pending);
    lease_clock_free(node->leases);
    if (node->beats) beats_free(node->beats);
    if (node->raft) raft_free(node->raft);
    if (node->contents.state) state_close(node->contents.state);
    if (node->contents.log) raftlog_close(node->contents.log);
    if (node->directory) datadir_close(node->directory);
    asks_free(&node->asks);
    arena_free(&node->arena);
    arena_free(&node->turn);
    buffer_free(&node->payload);
    free(node);
}
