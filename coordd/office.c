/* Taking and leaving office. A leader promises nothing before an entry of its own term is applied (steps 1
 * and 6 of leases.md). */
#include "coordd/node_internal.h"

#include "coordd/clock.h"
#include "coordd/log.h"

static void take(struct node *node, uint64_t term)
{
    node->office_term = term;
    node->view.offices++;
    node->pulses_out = 0;
    node->pulse_burst = 1;
    lease_clock_take_office(node->leases, node->rows, &node->arena, node->now_ms);
    arena_reset(&node->arena);
    LOG(INFO, "took office: leases count anew", {"term", log_number(term)},
        {"applied", log_number(node->applied)}, {"leases", log_number(lease_clock_count(node->leases))});
}

static void leave(struct node *node)
{
    LOG(INFO, "left office", {"term", log_number(node->office_term)});
    node->office_term = 0;
    node->expiry.stage = EXPIRY_IDLE;
    lease_clock_lose_office(node->leases);
    intake_refuse_all(node, OUTCOME_NO_LEADER);
}

void office_follow(struct node *node)
{
    struct raft_status status = raft_status(node->raft);
    bool leads = status.role == RAFT_LEADER;
    if (node->office_term && (!leads || status.term != node->office_term)) leave(node);
    if (!node->office_term && leads && status.ready && node->applied >= status.ready_index)
        take(node, status.term);
}
