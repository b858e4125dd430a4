/* Taking and leaving office, and following whoever leads. A leader promises nothing before an entry of its
 * own term is applied (steps 1 and 6 of leases.md). */
#include "coordd/node_internal.h"

#include "base/mutant.h"
#include "coordd/clock.h"
#include "coordd/log.h"
#include "storage/raftlog.h"

enum { HAND_OVER_AGAIN_MS = 60000 };

/* Who has no room leads no longer than it must: another voter may have some. */
static void hand_over_when_full(struct node *node)
{
    bool full = node->commit_blocked || raftlog_full(node->contents.log, node->now_ms);
    bool others = raft_config_in_force(node->raft)->member_count > 1;
    if (!full || !others || raft_transferring(node->raft) ||
        (node->full_ms && node->now_ms < node->full_ms + HAND_OVER_AGAIN_MS))
        return;
    node->full_ms = node->now_ms;
    if (raft_transfer(node->raft, 0) == RAFT_ACCEPTED)
        LOG_FACT(WARN, "the disk is full: handing leadership to another node");
}

static void take(struct node *node, uint64_t term)
{
    node->office_term = term;
    node->view.offices++;
    node->pulses_out = 0;
    node->pulse_burst = 1;
    lease_clock_take_office(node->leases, node->rows, &node->arena, node->now_ms);
    arena_reset(&node->arena);
    beats_take_office(node->beats);
    beats_clock(node->beats, node->now_ms, node_time_ms(node));
    node->observing = (struct observing){0};
    asks_begin_anew(node);
    proposals_office(node);
    LOG(INFO, "took office: leases count anew", {"term", log_number(term)},
        {"applied", log_number(node->applied)}, {"leases", log_number(lease_clock_count(node->leases))});
}

static void leave(struct node *node)
{
    LOG(INFO, "left office", {"term", log_number(node->office_term)});
    node->office_term = 0;
    node->expiry.stage = EXPIRY_IDLE;
    node->expiry.index = node->expiry.after_ms = 0;
    lease_clock_lose_office(node->leases);
    beats_lose_office(node->beats);
    asks_begin_anew(node);
}

/* Questions that went to another leader go to this one. */
static void follow(struct node *node)
{
    if (MUTANT(63)) proposals_term_applied(node, UINT64_MAX);
    node->leader_seen = node->status.leader;
    node->session_asked_ms = 0;
    node->term_seen = node->status.term;
    asks_begin_anew(node);
    if (!node->status.leader)
        LOG(INFO, "no leader is known", {"term", log_number(node->status.term)});
    else if (node->status.leader != node->identity.node)
        LOG(INFO, "following", {"leader", members_name(node, node->status.leader)},
            {"term", log_number(node->status.term)});
}

void office_follow(struct node *node)
{
    node->status = raft_status(node->raft);
    const struct raft_status *status = &node->status;
    bool leads = status->role == RAFT_LEADER;
    if (node->office_term && (!leads || status->term != node->office_term)) leave(node);
    if (!node->office_term && leads && status->ready && node->applied >= status->ready_index)
        take(node, status->term);
    if (node->office_term) hand_over_when_full(node);
    if (status->leader != node->leader_seen || (status->leader && status->term != node->term_seen))
        follow(node);
    if (node_open_term(node))
        node->unable_since_ms = 0;
    else if (!node->unable_since_ms)
        node->unable_since_ms = node->now_ms;
}
