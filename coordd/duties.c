/* What the node proposes by itself: its session, expiries, pulses, ends of waits. */
#include "coordd/node_internal.h"

#include "base/memory.h"
#include "coordd/clock.h"

enum { EXPIRE_BATCH = 1024, PULSE_BURST_MAX = 64 };

/* The session is the lease on which waits hang whose client this process holds. */
static void keep_session(struct node *node)
{
    if (!node->session) {
        if (node->session_asked_ms && node->now_ms - node->session_asked_ms < SESSION_TTL_MS) return;
        node->session_nonce = random_number();
        struct lease_session_args args = {node->identity.node, node->session_nonce, SESSION_TTL_MS};
        if (node_propose(node, operation_lease_session, &args, 0, 0)) node->session_asked_ms = node->now_ms;
    } else if (node->now_ms - node->session_renewed_ms >= SESSION_TTL_MS / 4) {
        node->session_asked_ms = 0;
        node->session_renewed_ms = node->now_ms;
        struct reading *renewal = memory_new(sizeof *renewal);
        renewal->round = raft_read(node->raft);
        reading_add(&node->readings, renewal);
    }
}

static void propose_expiry(struct node *node)
{
    struct lease_expire_item *items = arena_alloc(&node->arena, EXPIRE_BATCH * sizeof *items);
    size_t count = lease_clock_due(node->leases, node->expiry.by_ms, items, EXPIRE_BATCH);
    node->expiry.stage = EXPIRY_IDLE;
    if (count) {
        struct lease_expire_args args = {node->office_term, {items, count}};
        if (node_propose(node, operation_lease_expire, &args, 0, 0))
            node->view.expired_leases += count;
        else
            lease_clock_not_proposed(node->leases, items, count);
    }
    arena_reset(&node->arena);
}

static void step_expiry(struct node *node)
{
    struct expiry *expiry = &node->expiry;
    if (expiry->stage == EXPIRY_READY) propose_expiry(node);
    if (expiry->stage == EXPIRY_IDLE && lease_clock_next_ms(node->leases) <= node->now_ms) {
        expiry->stage = EXPIRY_DRAINING;
        expiry->by_ms = node->now_ms;
        expiry->number++;
        expiry->awaited = mailbox_barrier_count(node->settings.mailbox);
        if (expiry->awaited) mailbox_ask_barrier(node->settings.mailbox, expiry->number);
    }
    if (expiry->stage == EXPIRY_DRAINING && expiry->awaited == 0) {
        expiry->stage = EXPIRY_CONFIRMING;
        expiry->round = raft_read(node->raft);
    }
}

void duties_confirmed(struct node *node)
{
    struct expiry *expiry = &node->expiry;
    if (expiry->stage == EXPIRY_CONFIRMING && raft_round_confirmed(node->raft) >= expiry->round)
        expiry->stage = EXPIRY_READY;
}

/* One pulse entry does one piece of work; while they all find some, twice as many go into the next turn. */
static void propose_pulses(struct node *node)
{
    if (node->pulses_out) return;
    if (!coord_wants_pulse(node->rows)) {
        node->pulse_burst = 1;
        return;
    }
    for (size_t i = 0; i < node->pulse_burst; i++)
        if (node_propose(node, operation_pulse, &(struct pulse_args){0}, 0, 0)) node->pulses_out++;
    if (node->pulse_burst < PULSE_BURST_MAX) node->pulse_burst *= 2;
}

static void propose_cancels(struct node *node)
{
    struct wait_cancel_args cancel;
    for (size_t i = 0; i < 1024 && pending_next_cancel(node->pending, node->now_ms, &cancel); i++)
        node_propose(node, operation_wait_cancel, &cancel, 0, 0);
}

void duties_propose(struct node *node)
{
    if (!node->office_term) return;
    keep_session(node);
    step_expiry(node);
    propose_pulses(node);
    propose_cancels(node);
}

static void earliest(uint64_t *until_ms, uint64_t at_ms)
{
    if (at_ms < *until_ms) *until_ms = at_ms;
}

uint64_t duties_next_ms(const struct node *node)
{
    uint64_t now_ms = node->now_ms, until_ms = now_ms + 1000;
    if (node->save_blocked) return now_ms + 100;
    earliest(&until_ms, raft_next_ms(node->raft));
    earliest(&until_ms, pending_next_ms(node->pending));
    if (state_dirty(node->state))
        earliest(&until_ms,
                 node->committed_ms + COMMIT_MS > now_ms ? node->committed_ms + COMMIT_MS : now_ms + 1);
    if (!node->office_term) return until_ms;
    earliest(&until_ms, now_ms + node->settings.heartbeat_ms / 2);
    if (node->expiry.stage == EXPIRY_IDLE) earliest(&until_ms, lease_clock_next_ms(node->leases));
    bool at_once = node->expiry.stage == EXPIRY_READY || (!node->session && !node->session_asked_ms) ||
                   (!node->pulses_out && coord_wants_pulse(node->rows));
    return at_once ? 0 : until_ms;
}
